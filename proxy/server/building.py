"""From the configuration to the parts: each function makes one of them, and runs nothing.

What cannot be made is a ``StartError`` that names the flag and what to change.
"""

from __future__ import annotations

import logging
import tempfile
import time
from typing import TYPE_CHECKING, Final

from proxy import rights
from proxy.authn.authenticator import Authenticator
from proxy.authn.cache import TokenCache
from proxy.authn.configuration.plan import InvalidConfiguration
from proxy.config import Address, Config
from proxy.credentials.certificates import CertificateError
from proxy.credentials.credential import Credential, from_files
from proxy.credentials.endpoint import Upstream
from proxy.credentials.serving import GivenCertificate, OwnCertificate, ServingCertificate
from proxy.credentials.trust import write_trust_directory
from proxy.denial import InvalidDenyList
from proxy.files import SourceError, explain
from proxy.gate import Gate
from proxy.http.pool import Pool, TLSSettings
from proxy.http.service import Admission
from proxy.http.tls_transport import Buffers
from proxy.impersonation import Policy
from proxy.issuers import Issuers
from proxy.limits import Limits
from proxy.observe.metrics import Metrics
from proxy.review_gate import ReviewGate
from proxy.reviews.client import Reviewer
from proxy.reviews.impersonators import Impersonators
from proxy.reviews.self_check import SelfCheck
from proxy.reviews.tokens import TokenReviews
from proxy.sessions.recorder import Recorder
from proxy.sockets import RESERVED, affordable_connections
from proxy.version import VERSION

if TYPE_CHECKING:
    from proxy.deny_file import DenyFile
    from proxy.observe.tracing import Tracing

GO_IDLE: Final = 90.0  # seconds after which Go's clients give up idle connections

_log = logging.getLogger(__name__)


class StartError(Exception):
    """The proxy cannot start; each problem names the flag and what to change."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def upstream_of(config: Config) -> tuple[Upstream, Credential]:
    if config.kubeconfig is not None:
        from proxy.credentials.kubeconfig import KubeconfigError, from_kubeconfig

        try:
            upstream, credential = from_kubeconfig(config.kubeconfig)
        except (KubeconfigError, OSError) as error:
            raise StartError(f"--kubeconfig {str(config.kubeconfig)!r}: {error}") from error
        if Address(upstream.host, upstream.port).leads_to(config.listen):
            raise StartError(
                f"--kubeconfig {str(config.kubeconfig)!r}: its server is this proxy itself "
                f"(--listen {config.listen}); name the API server"
            )
        return upstream, credential
    assert config.upstream is not None
    assert config.upstream_token_file is not None
    host = config.upstream.host
    credential = from_files(config.upstream_token_file, config.upstream_ca_file)
    return Upstream(host, config.upstream.port, host.rstrip(".")), credential


def pool_of(upstream: Upstream, settings: TLSSettings, buffers: Buffers) -> Pool:
    name = upstream.server_name
    return Pool(upstream.host, upstream.port, server_name=name, settings=settings, buffers=buffers)


def self_check_of(config: Config, reviewer: Reviewer, policy: Policy) -> SelfCheck:
    needed = [
        *(rights.TOKEN_PASSTHROUGH if config.token_passthrough else ()),
        *(rights.ALLOW_IMPERSONATION if config.allow_impersonation else ()),
        *(rights.SEND_CREDENTIAL_ID if config.send_credential_id else ()),
        *(rights.SEND_TOKEN_FACTS if config.send_token_facts else ()),
    ]
    allowed = config.allow_privileged_service_account
    return SelfCheck(reviewer, policy, needed=needed, allow_privileged=allowed)


def gates_of(
    config: Config, gate: Gate, authenticator: Authenticator, policy: Policy, reviewer: Reviewer
) -> Gate | ReviewGate:
    """Put the second gate around the first where a setting asks for it."""
    tokens = TokenReviews(reviewer, config.token_passthrough_audience)
    review_gate = ReviewGate(
        gate,
        authenticator,
        policy,
        tokens=tokens if config.token_passthrough else None,
        impersonators=Impersonators(reviewer) if config.allow_impersonation else None,
        max_token_bytes=config.max_token_bytes,
    )
    return review_gate if config.token_passthrough or config.allow_impersonation else gate


def issuers_of(config: Config, cache: TokenCache[Admission], metrics: Metrics) -> Issuers:
    try:
        return Issuers(config, metrics, on_keys=cache.keep_only, on_change=cache.clear)
    except (InvalidConfiguration, SourceError) as error:
        raise StartError(f"--authentication-config: {error}") from error


def limits_of(config: Config) -> Limits:
    """Return the limits of connections, as many as there are descriptors for."""
    connections = affordable_connections(config.max_connections)
    if not connections:
        raise StartError(
            f"--max-connections {config.max_connections}: the limit of open files (ulimit -n) "
            f"leaves none; raise it to {RESERVED} and two for each connection"
        )
    if connections < config.max_connections:
        _log.warning(
            "the limit of open files allows fewer connections than --max-connections",
            extra={"max_connections": config.max_connections, "connections": connections},
        )
    if config.idle_timeout <= GO_IDLE:
        _log.warning(
            "--idle-timeout is not above 90s: a Go client may send a request on a connection that "
            "is just being closed, and the request then fails"
        )
    return Limits(
        head_bytes=config.max_head_bytes,
        head_fields=config.max_head_fields,
        head_timeout=config.head_timeout,
        handshake_timeout=config.tls_handshake_timeout,
        idle_timeout=config.idle_timeout,
        stall_timeout=config.stall_timeout,
        connections=connections,
        connections_per_address=config.max_connections_per_address,
    )


def recorder_of(config: Config) -> Recorder | None:
    """Make the directory for recordings where there is none, and see that it can be written to."""
    directory = config.record_sessions
    if directory is None:
        return None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return Recorder(directory, config.record_sessions_max_bytes)
    except OSError as error:
        raise StartError(f"--record-sessions {str(directory)!r}: {explain(error)}") from error


def denial_of(config: Config) -> DenyFile | None:
    if config.deny_file is None:
        return None
    from proxy.deny_file import DenyFile  # as in all of this: only who has one pays for YAML

    try:
        return DenyFile(config.deny_file)
    except (SourceError, InvalidDenyList) as error:
        raise StartError(f"--deny-file {str(config.deny_file)!r}: {error}") from error


def tracing_of(config: Config) -> Tracing | None:
    """Make what sends spans; its libraries are loaded here and nowhere else."""
    if config.tracing_otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )

        from proxy.observe.tracing import Tracing
    except ImportError as error:
        raise StartError(
            f"--tracing-otlp-endpoint {config.tracing_otlp_endpoint!r}: {error.name} is not "
            "installed; install headlamp-auth-proxy[tracing]"
        ) from error
    exporter = OTLPSpanExporter(f"{config.tracing_otlp_endpoint}/v1/traces")
    return Tracing(exporter, config.tracing_sampling_rate_per_million, VERSION)


def certificate_of(config: Config) -> ServingCertificate | None:
    """Make or load the serving certificate, and what Headlamp trusts it by."""
    try:
        if config.cert_dir is not None and config.trust_dir is not None:
            own = OwnCertificate(config.cert_dir, config.serving_name, time.time())
            write_trust_directory(config.trust_dir, own.ca)
            return own
        if config.tls_cert_file is not None and config.tls_private_key_file is not None:
            return GivenCertificate(config.tls_cert_file, config.tls_private_key_file)
    except CertificateError as error:
        raise StartError(str(error)) from error
    return None
