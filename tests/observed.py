"""An exchange as its observers see it, made without asking anybody: a real one.

Where an attribute is C's (the compiled form), nothing that merely looks like an exchange has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from proxy.errors import ProxyError
from proxy.http.exchange import Client, Exchange
from proxy.http.head import RequestHead
from proxy.http.service import Admission, Session
from proxy.missing_rule import MissingRule
from proxy.requestinfo import Kind, resolve


@dataclass(frozen=True)
class Observed:
    """What an exchange has come to, as far as the access log and the audit log look at it."""

    admission: Admission | None
    method: bytes
    target: bytes
    user_agent: bytes
    kind: Kind
    forwarded_for: tuple[bytes, ...] = ()
    impersonation: tuple[tuple[bytes, bytes], ...] = ()
    address: str = "10.0.0.1"
    audit_id: str = "0f8fad5b-d9cb-469f-a165-70867728950e"
    status: int = 200
    received_at: float = 1_767_225_600.0
    completed_at: float = 1_767_225_600.5
    began_at: float = 1.0
    sent_at: float = 1.1
    answered_at: float = 1.1123456
    ended_at: float = 2.5
    bytes_received: int = 10
    bytes_sent: int = 20
    annotations: dict[str, str] = field(default_factory=dict)
    error: ProxyError | None = None
    missing: MissingRule | None = None
    session: Session | None = None
    truncated: bool = False
    impersonation_forbidden: bool = False
    client_left: bool = False

    def exchange(self) -> Exchange:
        made = Exchange.__new__(Exchange)
        for each in fields(self):
            if hasattr(Exchange, each.name):
                setattr(made, each.name, getattr(self, each.name))
        made.info = resolve(self.method, self.target)
        made.head = RequestHead(
            self.method,
            self.target,
            True,
            impersonation=self.impersonation,
            forwarded_for=self.forwarded_for,
            user_agent=self.user_agent,
        )
        made.client = Client()
        made.client.address = self.address
        return made
