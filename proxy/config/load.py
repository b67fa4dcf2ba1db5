"""The steps from sources to a ``Config``: gather, parse, complete, judge, look at the files.

No step stops the next: each adds its problems to one report, and only the end decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.config import files
from proxy.config.address import Address
from proxy.config.model import SETTINGS, Config
from proxy.config.report import ConfigError, Report, one_line
from proxy.config.rules import check_rules
from proxy.config.sources import gather
from proxy.config.values import printable, service_address
from proxy.files import SERVICE_ACCOUNT


def load(
    argv: Sequence[str],
    environ: Mapping[str, str],
    read_file: files.ReadFile | None = None,
    load_pair: files.LoadPair = files.load_pair,
    check_kubeconfig: files.CheckKubeconfig = files.check_kubeconfig,
    check_authentication: files.CheckAuthentication = files.check_authentication,
    check_audit: files.CheckAudit | None = None,
    *,
    authentication_only: bool = False,
    elsewhere: bool = False,
) -> Config:
    """Return the configuration that flags, environment and file describe together.

    Raises ConfigError with every problem. Nothing is read but through the functions given.
    ``check_kubeconfig`` takes a kubeconfig's content and path, and returns all that is wrong;
    ``check_authentication`` takes an AuthenticationConfiguration's content and the configuration.
    With ``authentication_only``, what concerns neither tokens nor identities is not looked at, and
    what concerns the deny file, the audit and recordings only where ``check_audit`` is given.
    ``elsewhere`` is for settings of a proxy on another machine, whose files cannot be looked at.
    """
    report = Report(SETTINGS)
    report.given = gather(argv, environ, read_file or files.read_once, report)
    read_file = read_file or files.read_file
    config = _parsed(report)
    config = replace(config, oidc_username_prefix=_username_prefix(config))
    if not authentication_only:
        config = _completed(config, environ, read_file, report)
    audit = check_audit is not None or not authentication_only
    check_rules(config, report, authentication_only=authentication_only, audit=audit)
    if not elsewhere:
        files.check_authentication_files(config, read_file, check_authentication, report)
    if not authentication_only and not elsewhere:
        files.check_files(config, read_file, load_pair, check_kubeconfig, report)
    if audit and not elsewhere:
        files.check_deny_file(config, read_file, report)
        files.check_audit_files(config, read_file, check_audit or files.CheckAudit(), report)
    if report.lines:
        raise ConfigError([one_line(line) for line in report.lines])
    return config


def _parsed(report: Report) -> Config:
    """Return what was given as values; what could not be read has its default and is marked."""
    values: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        given = report.given.get(name)
        if given is None:
            continue
        texts = given.texts if setting.declared.repeatable else given.texts[-1:]
        if setting.declared.repeatable and texts == ("",):
            texts = ()  # --flag= empties a list
        items = []
        for text in texts:
            try:
                items.append(setting.declared.parse(printable(text)))
            except ValueError as error:
                report.value(name, text, str(error))
        if name not in report.failed:
            values[name] = setting.declared.collect(items)
    return Config(**values)


def _completed(
    config: Config, environ: Mapping[str, str], read_file: files.ReadFile, report: Report
) -> Config:
    """Fill in what depends on where the program runs."""
    if config.kubeconfig is not None:
        return config
    in_cluster_ca = SERVICE_ACCOUNT / "ca.crt"
    ca_file: Path | None = config.upstream_ca_file
    if ca_file is None and files.exists(in_cluster_ca, read_file):
        ca_file = in_cluster_ca
    return replace(
        config,
        upstream=config.upstream or _in_cluster(environ, report),
        upstream_ca_file=ca_file,
        upstream_token_file=config.upstream_token_file or SERVICE_ACCOUNT / "token",
    )


def _username_prefix(config: Config) -> str:
    """kube-apiserver's rule: BuiltInAuthenticationOptions.ToAuthenticationConfig."""
    if config.oidc_username_prefix == "-":
        return ""
    if not config.oidc_username_prefix and config.oidc_username_claim != "email":
        return f"{config.oidc_issuer_url}#"
    return config.oidc_username_prefix


def _in_cluster(environ: Mapping[str, str], report: Report) -> Address | None:
    """Return the API server that Kubernetes names to every pod (rest.InClusterConfig)."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "")
    instead = "set --upstream or --kubeconfig"
    if not host or not port:
        missing = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set"
        report.rule(f"not in a cluster ({missing}); {instead}", "upstream", "kubeconfig")
        return None
    try:
        return service_address(host, port)
    except ValueError as error:
        problem = f"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: the address {error}"
        report.rule(f"{problem}; {instead}", "upstream", "kubeconfig")
        return None
