"""An exchange that has ended, made without asking anybody: a real one, for the log reads no other.

Where an attribute is C's (the compiled form), nothing that merely looks like an exchange has it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from proxy.denial import Bearer
from proxy.errors import ProxyError
from proxy.http.exchange import Client, Exchange
from proxy.http.head import RequestHead
from proxy.http.service import Admission, Session
from proxy.impersonation import Impersonation
from proxy.missing_rule import MissingRule
from proxy.requestinfo import Kind, resolve
from proxy.speaker import PassedThrough

TARGET = b"/api/v1/namespaces/n%61/pods/p/exec?command=cat&command=/secret&token=abc"
BEARER = Bearer("alice@example.com")


@dataclass(frozen=True)
class Ended:
    """What an exchange that has ended has come to, as far as the log looks at it."""

    method: bytes = b"POST"
    target: bytes = TARGET
    user_agent: bytes = b"kubectl/v1.36"
    forwarded_for: tuple[bytes, ...] = ()
    identity: Impersonation | PassedThrough | None = None
    address: str = "127.0.0.1:50000"
    audit_id: str = "0f8fad5b-d9cb-469f-a165-70867728950e"
    kind: Kind = "upgrade"
    status: int = 200
    began_at: float = 1.0
    sent_at: float = 1.1
    answered_at: float = 1.1123456
    completed_at: float = 1_767_225_600.5
    ended_at: float = 2.5
    bytes_received: int = 10
    bytes_sent: int = 20
    error: ProxyError | None = None
    missing: MissingRule | None = None
    session: Session | None = None
    truncated: bool = False
    impersonation_forbidden: bool = False
    client_left: bool = False

    def exchange(self) -> Exchange:
        made = Exchange.__new__(Exchange)
        for field in fields(self):
            if hasattr(Exchange, field.name):
                setattr(made, field.name, getattr(self, field.name))
        made.info = resolve(self.method, self.target)
        made.head = RequestHead(
            self.method,
            self.target,
            True,
            forwarded_for=self.forwarded_for,
            user_agent=self.user_agent,
        )
        made.client = Client()
        made.client.address = self.address
        made.admission = None if self.identity is None else Admission(self.identity, BEARER)
        return made
