"""The one declaration of every setting; ``Config`` is what the rest of the program sees.

Flags, environment variables, file keys, ``--help`` and the table in the documentation are all
derived from here. A ``Config`` that ``load`` returned is whole: what is left open (the in-cluster
API server, kube-apiserver's rule for the user prefix) has been filled in.
"""

# ruff: noqa: RUF009 (one() and many() are dataclasses.field(), declared with more)
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

from proxy.config import values
from proxy.config.address import Address, listen_address, tcp_listen_address
from proxy.config.declaration import Setting, declared_settings, many, one
from proxy.impersonation import RESERVED_PREFIXES
from proxy.limits import (
    DEFAULTS,
    HIGHEST_TOKEN_BYTES,
    MAX_GROUPS,
    MAX_REQUESTS_PER_USER,
    MAX_STREAMS_PER_USER,
    MAX_TOKEN_BYTES,
)

TOKENS: Final = "Tokens"
IDENTITY: Final = "Identity"
UPSTREAM: Final = "API server"
SERVING: Final = "Serving"
LIMITS: Final = "Limits"
AUDIT: Final = "Audit"
SESSIONS: Final = "Sessions"
ADMIN: Final = "Administration"


def _claims(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    return MappingProxyType(dict(pairs))


def _algs(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(lists)) or ("RS256",)  # empty is the default, as upstream


def _reserved(added: Sequence[str]) -> tuple[str, ...]:
    return (*RESERVED_PREFIXES, *added)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, typed and ready to use; durations are in seconds."""

    oidc_issuer_url: str = one(
        TOKENS,
        "URL",
        "",
        values.issuer,
        "The issuer whose ID tokens are accepted: https, and exactly the text of their `iss` "
        "claim, for the two are compared as strings.",
        words="required, unless --authentication-config is given",
    )
    oidc_client_id: tuple[str, ...] = many(
        TOKENS,
        "ID",
        (),
        values.name,
        "A client id that a token may be meant for (its `aud` claim); one match is enough.",
        collect=tuple,
        words="required, unless --authentication-config is given",
    )
    oidc_required_claim: Mapping[str, str] = many(
        TOKENS,
        "CLAIM=VALUE",
        (),
        values.required_claim,
        "A claim that every token must carry with exactly this value.",
        collect=_claims,
        words="none",
    )
    oidc_signing_algs: tuple[str, ...] = many(
        TOKENS,
        "ALGS",
        ("RS256",),
        values.signing_algs,
        "The algorithms that a token may be signed with, comma-separated: RS, ES or PS with 256, "
        "384 or 512. Symmetric ones and `none` cannot be configured.",
        collect=_algs,
    )
    oidc_ca_file: Path | None = one(
        TOKENS,
        "FILE",
        "",
        values.file,
        "PEM certificates that the issuer's certificate must chain to.",
        words="system roots",
    )
    oidc_discovery_url: str | None = one(
        TOKENS,
        "URL",
        "",
        values.optional(values.https_url),
        "Where to fetch the discovery document, for an issuer that is reached under another name; "
        "the issuer in the document must still be --oidc-issuer-url.",
        words="the issuer with /.well-known/openid-configuration",
    )
    oidc_jwks_file: Path | None = one(
        TOKENS,
        "FILE",
        "",
        values.file,
        "The issuer's keys as a JSON Web Key Set, for an issuer that cannot be reached at all; "
        "nothing is then fetched.",
        words="fetched from the issuer",
    )
    oidc_http_proxy: str | None = one(
        TOKENS,
        "URL",
        "",
        values.optional(values.http_proxy),
        "An http:// or socks5h:// proxy on the way to the issuer, such as that of a Tailscale "
        "sidecar; it looks the name up as well.",
        words="none",
    )
    oidc_clock_skew: float = one(
        TOKENS,
        "DURATION",
        "60s",
        values.duration,
        "How long after its `exp` a token is still taken, because Headlamp sends the old token "
        "once more while it refreshes it. 0s is what kube-apiserver does.",
    )
    token_passthrough: bool = one(
        TOKENS,
        "",
        "false",
        values.switch,
        "Pass on requests with a token that is of no configured issuer, as they are, if the API "
        "server knows the token (TokenReview): service accounts, for example.",
    )
    token_passthrough_audience: tuple[str, ...] = many(
        TOKENS,
        "AUDIENCE",
        (),
        values.name,
        "An audience that such a token may be for; one match is enough.",
        collect=tuple,
        words="the API server's own",
    )
    authentication_config: Path | None = one(
        TOKENS,
        "FILE",
        "",
        values.file,
        "kube-apiserver's AuthenticationConfiguration (apiserver.config.k8s.io), in place of all "
        "--oidc settings but --oidc-clock-skew and --oidc-http-proxy; read again when it changes.",
        words="none",
    )
    disallowed_issuer: tuple[str, ...] = many(
        TOKENS,
        "URL",
        (),
        values.name,
        "An issuer that must not be one of users: kube-apiserver disallows those of its own "
        "service accounts.",
        collect=tuple,
        words="none",
    )

    oidc_username_claim: str = one(
        IDENTITY,
        "CLAIM",
        "email",
        values.name,
        "The claim that names the user. With `email`, a token whose `email_verified` is present "
        "must say true.",
    )
    oidc_username_prefix: str = one(
        IDENTITY,
        "PREFIX",
        "",
        values.prefix,
        "Put before every user name; `-` for none. Unset, it is kube-apiserver's rule: none for "
        "the claim `email`, the issuer and a `#` for any other.",
        words="kube-apiserver's rule",
    )
    oidc_groups_claim: tuple[str, ...] = many(
        IDENTITY,
        "CLAIM",
        ("tags", "groups"),
        values.name,
        "A claim, string or list, whose values are the user's groups; of several, all count. "
        "Empty for no groups.",
        collect=tuple,
    )
    oidc_groups_prefix: str = one(
        IDENTITY,
        "PREFIX",
        "",
        values.prefix,
        "Put before every group. `-` has no special meaning here, as in kube-apiserver.",
        words="none",
    )
    send_credential_id: bool = one(
        IDENTITY,
        "",
        "false",
        values.switch,
        "Send the token's `jti` along as the extra `authentication.kubernetes.io/credential-id`, "
        "as kube-apiserver records it; this proxy's account then needs impersonate on it.",
    )
    send_token_facts: bool = one(
        IDENTITY,
        "",
        "false",
        values.switch,
        "Send what the token says about where it came from along as extras under "
        "`headlamp-auth-proxy.dev/`: issuer, subject, id, and of tsidp node and addresses; this "
        "proxy's account then needs impersonate on them.",
    )
    groups_allow: tuple[str, ...] = many(
        IDENTITY,
        "GLOB",
        (),
        values.name,
        "A pattern (`*`, `?`, `[a-z]`) of groups to pass on, prefix included. Groups that match "
        "none are dropped before anything judges them.",
        collect=tuple,
        words="all",
    )
    allow_reserved_group: tuple[str, ...] = many(
        IDENTITY,
        "GROUP",
        (),
        values.reserved_group,
        "A group with a reserved prefix that a token may nevertheless bring; never "
        "`system:masters`.",
        collect=tuple,
        words="none",
    )
    reserved_prefix: tuple[str, ...] = many(
        IDENTITY,
        "PREFIX",
        (),
        values.name,
        "One more prefix of user and group names that no token may bring, added to "
        + ", ".join(f"`{prefix}`" for prefix in RESERVED_PREFIXES)
        + ".",
        collect=_reserved,
        words="none added",
    )
    authenticated_group: str = one(
        IDENTITY,
        "GROUP",
        "headlamp-auth-proxy:authenticated",
        values.name,
        "A group that goes along with every identity, and that no token may bring: without a "
        "user, the API server then refuses a request instead of serving it as this proxy.",
    )
    allow_impersonation: bool = one(
        IDENTITY,
        "",
        "false",
        values.switch,
        "Let users impersonate whom the API server's authorizers let them (`kubectl --as`, "
        "checked by SubjectAccessReview); otherwise impersonation headers are refused.",
    )

    deny_file: Path | None = one(
        IDENTITY,
        "FILE",
        "",
        values.file,
        "Users, groups, subjects and token ids, in YAML or JSON, that are locked out at once "
        "whatever their tokens say; looked at every second. docs/operations.md has the format.",
        words="none",
    )

    upstream: Address | None = one(
        UPSTREAM,
        "URL",
        "",
        values.optional(values.upstream),
        "The API server, https://host:port. Set alone, it leaves the two files below at their "
        "in-cluster defaults.",
        words="in-cluster service account",
    )
    upstream_ca_file: Path | None = one(
        UPSTREAM,
        "FILE",
        "",
        values.file,
        "PEM certificates that the API server's certificate must chain to.",
        words="the service account's ca.crt if there is one, else system roots",
    )
    upstream_token_file: Path | None = one(
        UPSTREAM,
        "FILE",
        "",
        values.file,
        "The bearer token of this proxy's own account; read again when it changes, and allowed "
        "to appear after the start.",
        words="the service account's token",
    )
    kubeconfig: Path | None = one(
        UPSTREAM,
        "FILE",
        "",
        values.file,
        "A kubeconfig whose current context says what the API server is and who this proxy is "
        "there; instead of all --upstream settings.",
        words="none",
    )
    allow_privileged_service_account: bool = one(
        UPSTREAM,
        "",
        "false",
        values.switch,
        "Serve although this proxy's own account may do everything in the cluster; otherwise it "
        "is then not ready and forwards nothing.",
    )
    pass_header: tuple[str, ...] = many(
        UPSTREAM,
        "NAME",
        (),
        values.request_header,
        "One more request header that may pass to the API server; never one that carries "
        "identity, framing or connection state.",
        collect=tuple,
        words="none",
    )

    listen: Address = one(
        SERVING,
        "ADDRESS",
        "127.0.0.1:6443",
        listen_address,
        "Where Headlamp connects to: host:port or unix:/path. Only HTTP/1.1 is spoken.",
    )
    serving_name: tuple[str, ...] = many(
        SERVING,
        "NAME",
        (),
        values.serving_name,
        "One more DNS name or IP address in the certificate that is made in --cert-dir, besides "
        "localhost, 127.0.0.1 and ::1.",
        collect=tuple,
        words="none",
    )
    trust_dir: Path | None = one(
        SERVING,
        "DIRECTORY",
        "",
        values.file,
        "Where to write what Headlamp mounts in place of its service account: ca.crt, namespace "
        "and a token that is none. Needs --cert-dir.",
        words="none",
    )
    cert_dir: Path | None = one(
        SERVING,
        "DIRECTORY",
        "",
        values.file,
        "Where to keep the CA and certificate that this proxy makes for itself; private. Needs "
        "--trust-dir.",
        words="none",
    )
    tls_cert_file: Path | None = one(
        SERVING,
        "FILE",
        "",
        values.file,
        "A certificate of your own, with its chain, in PEM; read again when it changes.",
        words="none",
    )
    tls_private_key_file: Path | None = one(
        SERVING,
        "FILE",
        "",
        values.file,
        "The private key of --tls-cert-file, in PEM and not encrypted.",
        words="none",
    )
    plaintext: bool = one(
        SERVING,
        "",
        "false",
        values.switch,
        "Serve HTTP without TLS; only on loopback or a unix socket, because the tokens could be "
        "read on any other way.",
    )
    whoami: bool = one(
        SERVING,
        "on|off",
        "on",
        values.on_or_off,
        "Answer `/.auth-proxy/whoami` with a page that says who somebody is here, what RBAC grants "
        "them, or why they are not let in. It needs no token. off: the path is like any other.",
    )

    max_head_bytes: int = one(
        LIMITS,
        "BYTES",
        str(DEFAULTS.head_bytes),
        values.number(4096, 1_000_000),
        "The largest request line with headers: two tokens (Headlamp sends its cookie too) and "
        "some room, and less than the 1 MiB at which the API server itself refuses.",
    )
    max_head_fields: int = one(
        LIMITS,
        "COUNT",
        str(DEFAULTS.head_fields),
        values.number(20, 10_000),
        "The most headers of a request; each is looked at before anybody is known.",
    )
    head_timeout: float = one(
        LIMITS,
        "DURATION",
        f"{DEFAULTS.head_timeout:g}s",
        values.duration_between(0.1, 300),
        "How long a request's head may take from its first byte to its last; a connection with a "
        "half-sent head then ends.",
    )
    tls_handshake_timeout: float = one(
        LIMITS,
        "DURATION",
        f"{DEFAULTS.handshake_timeout:g}s",
        values.duration_between(0.1, 300),
        "How long a TLS handshake may take; Kubernetes' own clients wait 10s.",
    )
    idle_timeout: float = one(
        LIMITS,
        "DURATION",
        f"{DEFAULTS.idle_timeout:g}s",
        values.duration_between(0.1, 86_400),
        "How long a connection may stay open without a request. Keep it above 90s: Go clients "
        "give theirs up then, and must be the first, or a request of theirs may fail.",
    )
    stall_timeout: float = one(
        LIMITS,
        "DURATION",
        f"{DEFAULTS.stall_timeout:g}s",
        values.duration_between(1, 86_400),
        "How long a client may leave an answer or stream unread while more of it waits here; it "
        "is then cut.",
    )
    max_connections: int = one(
        LIMITS,
        "COUNT",
        str(DEFAULTS.connections),
        values.number(1, 1_000_000),
        "The most connections of clients, handshakes included. A few more are answered 503, the "
        "rest are closed. Each may take two descriptors; with fewer, the limit is lowered.",
    )
    max_connections_per_address: int = one(
        LIMITS,
        "COUNT",
        str(DEFAULTS.connections_per_address),
        values.number(1, 1_000_000, or_none=True),
        "The most connections from one IP address; 0 for no limit, because in a pod every client "
        "is 127.0.0.1.",
    )
    max_streams_per_user: int = one(
        LIMITS,
        "COUNT",
        str(MAX_STREAMS_PER_USER),
        values.number(1, 1_000_000, or_none=True),
        "The most watches, followed logs, exec sessions and port-forwards that one user may have "
        "open, over all browsers and tabs; more are answered 429. 0 for no limit.",
    )
    max_requests_per_user: int = one(
        LIMITS,
        "COUNT",
        str(MAX_REQUESTS_PER_USER),
        values.number(1, 1_000_000, or_none=True),
        "The most other requests that one user may have in flight; more are answered 429, after "
        "which Kubernetes' clients wait and try again. 0 for no limit.",
    )
    max_token_bytes: int = one(
        LIMITS,
        "BYTES",
        str(MAX_TOKEN_BYTES),
        values.number(1024, HIGHEST_TOKEN_BYTES),
        "The largest token that is looked at. One of tsidp has about 1 KiB, with two hundred "
        "groups about 10.",
    )
    max_groups: int = one(
        LIMITS,
        "COUNT",
        str(MAX_GROUPS),
        values.number(1, 5000),
        "The most groups, of those that --groups-allow lets pass, that a token may bring; each is "
        "a header of every request to the API server.",
    )

    audit_policy_file: Path | None = one(
        AUDIT,
        "FILE",
        "",
        values.file,
        "kube-apiserver's audit policy (audit.k8s.io/v1), which says what is audited; the levels "
        "Request and RequestResponse count as Metadata. Needs a place to write to, below.",
        words="none: nothing is audited",
    )
    audit_log_path: Path | None = one(
        AUDIT,
        "FILE",
        "",
        values.file,
        "Where to write audit events, one line of JSON each; `-` for standard output.",
        words="none",
    )
    audit_log_maxsize: int = one(
        AUDIT,
        "MEGABYTES",
        "100",
        values.number(1, 100_000, or_none=True),
        "How large the file may grow before it is rotated; 0 for no limit.",
    )
    audit_log_maxage: int = one(
        AUDIT,
        "DAYS",
        "366",
        values.number(1, 100_000, or_none=True),
        "How long a rotated file is kept; 0 for no limit.",
    )
    audit_log_maxbackup: int = one(
        AUDIT,
        "COUNT",
        "100",
        values.number(1, 100_000, or_none=True),
        "How many rotated files are kept; 0 for no limit.",
    )
    audit_webhook_config_file: Path | None = one(
        AUDIT,
        "FILE",
        "",
        values.file,
        "A kubeconfig that says where audit events are sent in batches, and as whom. What cannot "
        "be delivered in time is dropped and counted; no request waits for it.",
        words="none",
    )
    forwarded_from: tuple[IPv4Network | IPv6Network, ...] = many(
        AUDIT,
        "CIDR",
        (),
        values.network,
        "Addresses of clients, such as Headlamp's pod, whose `X-Forwarded-For` is believed: its "
        "addresses are then source addresses in the audit log. Others' is logged as unverified.",
        collect=tuple,
        words="none",
    )
    record_sessions: Path | None = one(
        SESSIONS,
        "DIRECTORY",
        "",
        values.file,
        "Where to record what exec and attach print, as asciicast v2; made if it is not there, and "
        "for the owner only. What people type is not recorded.",
        words="none",
    )
    record_sessions_failure: str = one(
        SESSIONS,
        "open|closed",
        "open",
        values.one_of("open", "closed"),
        "What becomes of a session that cannot be recorded (SPDY, a full disk): `open` lets it go "
        "on without, `closed` refuses or ends it, and all but reading on nodes' own API with it.",
    )
    record_sessions_max_bytes: int = one(
        SESSIONS,
        "BYTES",
        "104857600",
        values.number(65_536, 1 << 40),
        "The most bytes of one recording; what becomes of longer ones is said by "
        "--record-sessions-failure.",
    )

    admin_listen: Address = one(
        ADMIN,
        "ADDRESS",
        ":9090",
        tcp_listen_address,
        "Where /metrics, /livez and /readyz are served; nothing is ever proxied here. Without a "
        "host: all addresses of both families.",
    )
    tracing_otlp_endpoint: str | None = one(
        ADMIN,
        "URL",
        "",
        values.optional(values.collector_url),
        "Where a collector takes OpenTelemetry spans (OTLP over HTTP; /v1/traces is added). Needs "
        "the optional part `headlamp-auth-proxy[tracing]`, which the image has.",
        words="no spans",
    )
    tracing_sampling_rate_per_million: int = one(
        ADMIN,
        "N",
        "1000000",
        values.number(0, 1_000_000),
        "Of a million requests, how many are traced; one whose `traceparent` says that it is "
        "sampled always is, and one whose says that it is not never.",
    )
    shutdown_grace: float = one(
        ADMIN,
        "DURATION",
        "25s",
        values.duration,
        "How long requests may go on after SIGTERM; open streams are then cut. Keep it below the "
        "pod's terminationGracePeriodSeconds.",
    )
    config: Path | None = one(
        ADMIN,
        "FILE",
        "",
        values.file,
        "A YAML file with settings: the flags' names without dashes in front, and lists for those "
        "that are repeatable. Flags and environment variables come before it.",
        words="none",
    )


SETTINGS: Final[Mapping[str, Setting]] = declared_settings(fields(Config))
