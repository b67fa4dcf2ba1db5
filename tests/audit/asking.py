"""As much of an exchange as the audit looks at, without a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from proxy.denial import Bearer
from proxy.errors import ProxyError
from proxy.http.head import RequestHead
from proxy.http.service import Admission
from proxy.missing_rule import MissingRule
from proxy.requestinfo import RequestInfo, resolve
from tests.http.conftest import identity

PODS = b"/api/v1/pods"


def admitted(name: str) -> Admission:
    return Admission(identity(name), Bearer(name))


@dataclass
class Client:
    address: str = "10.0.0.1"


@dataclass(eq=False)  # known by being the same one, as an exchange is
class Asking:
    """A request that was answered with 200; ``ended_at`` is 0 until it is."""

    admission: Admission | None
    target: bytes = PODS
    agent: bytes = b"kubectl"
    forwarded_for: list[bytes] = field(default_factory=list)
    client: Client = field(default_factory=Client)
    kind: str = "unary"
    error: ProxyError | None = None
    method: bytes = b"GET"
    impersonation: tuple[tuple[bytes, bytes], ...] = ()
    audit_id: str = "0f8fad5b-d9cb-469f-a165-70867728950e"
    received_at: float = 1_790_000_000.0
    completed_at: float = 1_790_000_000.5
    answered_at: float = 1.0
    ended_at: float = 0.0
    status: int = 200
    truncated: bool = False
    client_left: bool = False
    impersonation_forbidden: bool = False
    missing: MissingRule | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @cached_property
    def head(self) -> RequestHead:
        return RequestHead(
            self.method,
            self.target,
            True,
            impersonation=self.impersonation,
            forwarded_for=tuple(self.forwarded_for),
            user_agent=self.agent,
        )

    @cached_property
    def info(self) -> RequestInfo:
        return resolve(self.method, self.target)
