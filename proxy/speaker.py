"""Who speaks in a request that leaves: there are two kinds, and no request can be of both.

Either it is this proxy, with its own credential and the identity of whom it speaks for; or it is
the client itself, with the token that it brought, because the API server knows that one. The
second kind has no place in which a credential of ours could be kept, and ``verify`` looks at the
very bytes that are about to leave, as it does for the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from proxy.errors import Internal
from proxy.impersonation import Impersonation, is_one_head, verify_outgoing


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """This proxy, speaking for ``identity``; ``credential`` is whole header lines of its own."""

    credential: bytes = field(repr=False)
    identity: Impersonation

    @property
    def header(self) -> bytes:
        return self.identity.header

    def verify(self, head: bytes) -> None:
        """Raise ``Internal`` unless ``head`` carries exactly this identity."""
        verify_outgoing(head, self.identity)


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """A client whom the API server knows by its own token (``credential``, a whole header line).

    ``username`` and ``groups`` are what the API server said of it. They are for the log: nothing
    is asserted, and the API server looks at the token again.
    """

    username: str
    groups: tuple[str, ...]
    credential: bytes = field(repr=False)
    original: ClassVar[str] = ""
    header: ClassVar[bytes] = b""

    def verify(self, head: bytes) -> None:
        """Raise ``Internal`` unless ``head`` carries this token and no identity beside it."""
        lower = head.lower()
        if (
            not self.credential.startswith(b"Authorization: Bearer ")
            or head.count(b"\r\n" + self.credential) != 1
            or lower.count(b"\r\nauthorization") != 1
            or b"\r\nimpersonate" in lower
            or b"\r\nx-remote-" in lower
            or not is_one_head(lower)
        ):
            raise Internal("[unexpected] the outgoing head does not carry the client's token alone")
