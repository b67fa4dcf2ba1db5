"""What must hold between settings; each rule says which settings it is about.

A rule whose settings could not all be read keeps silent (see ``report``). The first name is the
one that the problem is shown with.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

from proxy.config.model import Config
from proxy.config.report import Report, shown

# What --authentication-config cannot say, and so does not exclude.
BESIDE_A_FILE: Final = frozenset({"oidc_clock_skew", "oidc_http_proxy"})


def check_rules(config: Config, report: Report, *, authentication_only: bool, audit: bool) -> None:
    """Report every rule that ``config``, with nothing left open, does not keep."""
    for rule in _AUTHENTICATION_RULES if authentication_only else _RULES:
        rule(config, report)
    if audit:
        _audit_has_a_policy_and_a_place(config, report)
        _recordings(config, report)


def _issuer_and_client(config: Config, report: Report) -> None:
    if config.authentication_config is not None:
        return
    if not config.oidc_issuer_url:
        report.rule("is required; give the issuer's URL, https://...", "oidc_issuer_url")
    if not config.oidc_client_id:
        report.rule("is required; give the client id that Headlamp uses", "oidc_client_id")


def _file_or_flags(config: Config, report: Report) -> None:
    """validateOIDCOptions of kube-apiserver."""
    if config.authentication_config is None:
        return
    for name in report.given:
        if name.startswith("oidc_") and name not in BESIDE_A_FILE:
            report.rule(
                "authentication-config file and oidc-* flags are mutually exclusive; remove one",
                name,
                "authentication_config",
            )


def _disallowed_issuer(config: Config, report: Report) -> None:
    if config.oidc_issuer_url and config.oidc_issuer_url in config.disallowed_issuer:
        report.rule(
            "URL must not overlap with disallowed issuers: "
            f"[{' '.join(config.disallowed_issuer)}]; remove it here or from --disallowed-issuer",
            "oidc_issuer_url",
            "disallowed_issuer",
        )


def _discovery(config: Config, report: Report) -> None:
    """Both rules are those of kube-apiserver's AuthenticationConfiguration."""
    url = config.oidc_discovery_url
    if url and url.rstrip("/") == config.oidc_issuer_url.rstrip("/"):
        report.rule(
            "is the issuer itself; remove it, or give the URL of the discovery document",
            "oidc_discovery_url",
            "oidc_issuer_url",
        )


def _recordings(config: Config, report: Report) -> None:
    if config.record_sessions_failure == "closed" and config.record_sessions is None:
        report.rule(
            "records nothing without --record-sessions; give the directory, or remove it",
            "record_sessions_failure",
            "record_sessions",
        )


def _keys_from_file(config: Config, report: Report) -> None:
    if config.oidc_jwks_file is None:
        return
    for name in ("oidc_discovery_url", "oidc_http_proxy", "oidc_ca_file"):
        if getattr(config, name) is not None:
            report.rule(
                "cannot go with --oidc-jwks-file, with which nothing is fetched; remove one",
                name,
                "oidc_jwks_file",
            )


def _audience_of_what(config: Config, report: Report) -> None:
    if config.token_passthrough_audience and not config.token_passthrough:
        report.rule(
            "has no effect without --token-passthrough; add that, or remove this",
            "token_passthrough_audience",
            "token_passthrough",
        )


def _reserved_groups(config: Config, report: Report) -> None:
    for group in config.allow_reserved_group:
        if not group.startswith(config.reserved_prefix):
            report.rule(
                f"{shown(group)} is not reserved, so it needs no exception; remove it, or check "
                f"its spelling (reserved: {', '.join(config.reserved_prefix)})",
                "allow_reserved_group",
                "reserved_prefix",
            )
    if config.authenticated_group.startswith(config.reserved_prefix):
        report.rule(
            "has a reserved prefix; choose a name without "
            f"{', '.join(config.reserved_prefix)} in front",
            "authenticated_group",
            "reserved_prefix",
        )


def _one_upstream(config: Config, report: Report) -> None:
    if config.kubeconfig is None:
        return
    for name in ("upstream", "upstream_ca_file", "upstream_token_file"):
        if getattr(config, name) is not None:
            report.rule(
                "cannot go with --kubeconfig, which says the same; remove one", name, "kubeconfig"
            )


def _upstream_is_not_us(config: Config, report: Report) -> None:
    if config.upstream is None or not config.upstream.leads_to(config.listen):
        return
    if "upstream" in report.given:
        problem = "is where this proxy itself listens"
    else:
        problem = (
            f"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT ({config.upstream}) are where "
            "this proxy itself listens"
        )
    report.rule(
        f"{problem} (--listen {config.listen}); give the API server's own address",
        "upstream",
        "listen",
    )


def _certificate_of_our_own(config: Config, report: Report) -> None:
    if config.trust_dir and config.cert_dir:
        if _inside(config.cert_dir, config.trust_dir):
            report.rule(
                "is inside --trust-dir, which others can read; give another directory",
                "cert_dir",
                "trust_dir",
            )
    elif config.trust_dir:
        report.rule("needs --cert-dir as well, a private directory", "trust_dir", "cert_dir")
    elif config.cert_dir:
        report.rule("needs --trust-dir as well, for Headlamp to mount", "cert_dir", "trust_dir")


def _certificate_given(config: Config, report: Report) -> None:
    pair = ("tls_cert_file", "tls_private_key_file")
    if config.tls_cert_file and not config.tls_private_key_file:
        report.rule("needs --tls-private-key-file as well", *pair)
    if config.tls_private_key_file and not config.tls_cert_file:
        report.rule("needs --tls-cert-file as well", *reversed(pair))


def _one_way_to_serve(config: Config, report: Report) -> None:
    """Exactly one of: a certificate that we make, one that is given, none at all."""
    made = _set(config, "trust_dir", "cert_dir")
    given = _set(config, "tls_cert_file", "tls_private_key_file")
    if made and given:
        report.rule(
            "cannot go with --tls-cert-file and --tls-private-key-file: the certificate is either "
            "made here or given; remove one pair",
            made[0],
            *given,
        )
    if config.plaintext:
        for name in (*made, *given):
            report.rule("cannot go with --plaintext; remove one", name, "plaintext")
    elif not made and not given:
        report.rule(
            "no certificate to serve with; set --trust-dir and --cert-dir to have one made, or "
            "--tls-cert-file and --tls-private-key-file, or --plaintext for none",
            "listen",
            "plaintext",
            "trust_dir",
            "cert_dir",
            "tls_cert_file",
            "tls_private_key_file",
        )


def _plaintext_stays_local(config: Config, report: Report) -> None:
    if config.plaintext and not config.listen.is_local:
        report.rule(
            f"would send tokens unencrypted over --listen {config.listen}; listen on loopback "
            "(127.0.0.1, [::1], localhost) or on unix:/path, or serve TLS",
            "plaintext",
            "listen",
        )


def _a_token_fits_in_a_head(config: Config, report: Report) -> None:
    if config.max_token_bytes >= config.max_head_bytes:
        report.rule(
            f"leaves no room for a token of --max-token-bytes {config.max_token_bytes}; raise it "
            "to two tokens and some room, or lower the other",
            "max_head_bytes",
            "max_token_bytes",
        )


def _listeners_differ(config: Config, report: Report) -> None:
    if config.admin_listen.overlaps(config.listen):
        report.rule(
            f"is taken by --listen {config.listen}; choose another port", "admin_listen", "listen"
        )


def _audit_has_a_policy_and_a_place(config: Config, report: Report) -> None:
    places = ("audit_log_path", "audit_webhook_config_file")
    if config.audit_policy_file is None:
        for name in _set(config, *places):
            report.rule(
                "has no effect without --audit-policy-file, which says what is audited; add that",
                name,
                "audit_policy_file",
            )
    elif not _set(config, *places):
        report.rule(
            "has no effect without a place for the events; add --audit-log-path or "
            "--audit-webhook-config-file",
            "audit_policy_file",
            *places,
        )


def _set(config: Config, *names: str) -> list[str]:
    return [name for name in names if getattr(config, name) is not None]


def _inside(path: Path, parent: Path) -> bool:
    """Say whether ``path`` is ``parent`` or below it, by its spelling."""
    inner, outer = (PurePosixPath(posixpath.normpath(p)) for p in (path, parent))
    return inner.is_relative_to(outer)


_Rules = tuple[Callable[[Config, Report], None], ...]

_AUTHENTICATION_RULES: Final[_Rules] = (
    _issuer_and_client,
    _file_or_flags,
    _disallowed_issuer,
    _discovery,
    _keys_from_file,
    _audience_of_what,
    _reserved_groups,
)
_RULES: Final[_Rules] = (
    *_AUTHENTICATION_RULES,
    _one_upstream,
    _upstream_is_not_us,
    _certificate_of_our_own,
    _certificate_given,
    _one_way_to_serve,
    _plaintext_stays_local,
    _a_token_fits_in_a_head,
    _listeners_differ,
)
