"""The only place of the configuration that touches files, and what must be in them.

What is checked is what the program will do with the file later, by the same library, so that a
file that passes here is one that works. Messages name the file and never what is in it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from proxy.config.model import Config
from proxy.config.report import Report
from proxy.denial import InvalidDenyList
from proxy.files import open_regular

ReadFile = Callable[[Path], bytes]
LoadPair = Callable[[Path, Path], None]
CheckKubeconfig = Callable[[bytes, Path], list[str]]
CheckAuthentication = Callable[[bytes, Config], list[str]]


class CheckAudit(NamedTuple):
    """How the files of audit and recordings are looked at; each returns all that is wrong."""

    policy: Callable[[bytes], list[str]] = lambda _content: []
    webhook: Callable[[bytes, Path], list[str]] = lambda _content, _path: []
    log: Callable[[Path], list[str]] = lambda _path: []
    recordings: Callable[[Path], list[str]] = lambda _directory: []


def read_file(path: Path) -> bytes:
    """Read what will be read again later, and so may be no pipe. Raises OSError."""
    with open_regular(path) as file:
        return file.read()


def read_once(path: Path) -> bytes:
    """Read what is not looked at again, from a pipe too. Raises OSError."""
    return path.read_bytes()


def load_pair(certificate: Path, key: Path) -> None:
    """Load a certificate with its key, or raise ssl.SSLError; never asks for a passphrase."""
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")


def exists(path: Path, read_file: ReadFile) -> bool:
    """Say whether there is such a file; one that cannot be read is there, and a problem later."""
    try:
        read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def check_kubeconfig(content: bytes, _: Path) -> list[str]:
    """Return what is wrong with a kubeconfig on the face of it."""
    return [] if _is_mapping(content) else ["is not a kubeconfig in YAML or JSON"]


def check_authentication(_content: bytes, _config: Config) -> list[str]:
    """Return what is wrong with an AuthenticationConfiguration on the face of it: nothing."""
    return []


def check_authentication_files(
    config: Config, read_file: ReadFile, check: CheckAuthentication, report: Report
) -> None:
    """Report every file about tokens that could not be used as it must be."""
    _check_certificates("oidc_ca_file", config.oidc_ca_file, read_file, report)
    _read("oidc_jwks_file", config.oidc_jwks_file, read_file, report)
    path = config.authentication_config
    content = _read("authentication_config", path, read_file, report)
    if content is not None:
        for problem in check(content, config):
            report.value("authentication_config", str(path), problem)


def check_files(
    config: Config,
    read_file: ReadFile,
    load_pair: LoadPair,
    check_kubeconfig: CheckKubeconfig,
    report: Report,
) -> None:
    """Report every other file that could not be used as it must be at the start."""
    _check_certificates("upstream_ca_file", config.upstream_ca_file, read_file, report)
    _check_certificates("tls_cert_file", config.tls_cert_file, read_file, report)
    kubeconfig = _read("kubeconfig", config.kubeconfig, read_file, report)
    if kubeconfig is not None and config.kubeconfig is not None:
        for problem in check_kubeconfig(kubeconfig, config.kubeconfig):
            report.value("kubeconfig", str(config.kubeconfig), problem)
    _read("tls_private_key_file", config.tls_private_key_file, read_file, report)
    certificate, key = config.tls_cert_file, config.tls_private_key_file
    if certificate and key and report.failed.isdisjoint({"tls_cert_file", "tls_private_key_file"}):
        _check_pair(certificate, key, load_pair, report)


def check_deny_file(config: Config, read_file: ReadFile, report: Report) -> None:
    """Report a deny file that could not be used as it must be at the start."""
    content = _read("deny_file", config.deny_file, read_file, report)
    if content is None:
        return
    from proxy.deny_list import parse_deny_list  # only who has one pays for YAML

    try:
        parse_deny_list(content)
    except InvalidDenyList as error:
        report.value("deny_file", str(config.deny_file), str(error))


def check_audit_files(
    config: Config, read_file: ReadFile, check: CheckAudit, report: Report
) -> None:
    """Report every file of audit and recordings that could not be used at the start."""
    policy, webhook = config.audit_policy_file, config.audit_webhook_config_file
    log = config.audit_log_path
    problems: dict[str, list[str]] = {}
    if (content := _read("audit_policy_file", policy, read_file, report)) is not None:
        problems["audit_policy_file"] = check.policy(content)
    content = _read("audit_webhook_config_file", webhook, read_file, report)
    if content is not None and webhook is not None:
        problems["audit_webhook_config_file"] = check.webhook(content, webhook)
    if log is not None:
        problems["audit_log_path"] = check.log(log)
    if config.record_sessions is not None:
        problems["record_sessions"] = check.recordings(config.record_sessions)
    for name, found in problems.items():
        for problem in found:
            report.value(name, str(getattr(config, name)), problem)


def _read(name: str, path: Path | None, read_file: ReadFile, report: Report) -> bytes | None:
    if path is None:
        return None
    try:
        return read_file(path)
    except OSError as error:
        report.value(name, str(path), f"cannot be read: {error.strerror}")
        return None


def _check_certificates(name: str, path: Path | None, read_file: ReadFile, report: Report) -> None:
    content = _read(name, path, read_file, report)
    if content is not None and not _has_certificate(content):
        report.value(name, str(path), "holds no certificate; it must have one in PEM")


def _has_certificate(content: bytes) -> bool:
    """Say whether OpenSSL finds a certificate; bundles may have comments in any encoding."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=content.decode("ascii", errors="ignore")
        )
    except (ssl.SSLError, ValueError):
        return False
    return True


def _is_mapping(content: bytes) -> bool:
    import yaml  # as above

    try:
        return isinstance(yaml.compose(content, Loader=yaml.SafeLoader), yaml.MappingNode)
    except (yaml.YAMLError, RecursionError):
        return False


def _check_pair(certificate: Path, key: Path, load_pair: LoadPair, report: Report) -> None:
    try:
        load_pair(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = "is not the key of the certificate in --tls-cert-file"
        else:
            message = (
                "cannot be loaded with --tls-cert-file; it must be an unencrypted private key in "
                f"PEM, of a kind that OpenSSL accepts ({error.reason or 'no such key found'})"
            )
        report.value("tls_private_key_file", str(key), message)
