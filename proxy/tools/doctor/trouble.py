"""What can go wrong on the way to an address before a word of HTTP, and what its certificate says.

OpenSSL's verdict alone does not tell a private CA from a missing intermediate, nor whose
certificate has expired; the certificate that the peer showed does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID


class Kind(StrEnum):
    """What went wrong, in the order in which it can."""

    PROXY = "proxy"
    NAME = "name_unknown"
    REFUSED = "refused"
    SILENT = "unreachable"
    CLOSED = "tls_closed"
    NOT_TLS = "not_tls"
    TLS = "tls_failed"
    EXPIRED = "certificate_expired"
    EARLY = "certificate_not_yet_valid"
    NAMES = "certificate_wrong_name"
    CHAIN = "certificate_incomplete"
    UNSUITABLE = "certificate_unsuitable"
    CA = "certificate_unknown_ca"


# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME: Final = frozenset({62, 64})  # of a host, of an IP address
_NO_ISSUER: Final = frozenset({20, 21})
# no CA, another purpose; too weak: its key, a CA's key, a CA's hash
_UNSUITABLE: Final = frozenset({24, 26, 66, 67, 68, 79})


@dataclass(frozen=True, slots=True)
class Peer:
    """The certificate that a peer showed; ``points_up`` says that it names where its CA's is."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    self_signed: bool
    points_up: bool

    def ends_in(self, now: float) -> float:
        """Return the seconds from ``now`` (unix) until it ends."""
        return self.not_after.timestamp() - now


@dataclass(frozen=True, slots=True)
class Reached:
    """A peer to which TLS, if any, was made and verified."""

    addresses: tuple[str, ...]
    peer: Peer | None = None


class Trouble(Exception):
    """The way ends here; the text says what was seen."""

    def __init__(
        self, kind: Kind, saw: str, addresses: Sequence[str] = (), peer: Peer | None = None
    ) -> None:
        super().__init__(saw)
        self.kind, self.saw, self.addresses, self.peer = kind, saw, tuple(addresses), peer


def read_peer(der: bytes) -> Peer:
    """Return what a certificate says. Raises ValueError."""
    certificate = x509.load_der_x509_certificate(der)
    return Peer(
        subject=_shown(certificate.subject),
        issuer=_shown(certificate.issuer),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        self_signed=certificate.subject == certificate.issuer,
        points_up=_points_up(certificate),
    )


def refused_certificate(code: int, message: str, peer: Peer, sent: int, now: float) -> Kind:
    """Return why a certificate was refused.

    ``code`` is OpenSSL's, ``sent`` how many certificates came, ``now`` in unix seconds.
    """
    if code == _EXPIRED:
        return Kind.EXPIRED
    if code == _NOT_YET_VALID:
        return Kind.EARLY
    if code in _WRONG_NAME or "mismatch" in message.lower():
        return Kind.NAMES
    if code in _UNSUITABLE:
        return Kind.UNSUITABLE
    if peer.ends_in(now) < 0:  # OpenSSL names the missing CA first, and it would fail with it too
        return Kind.EXPIRED
    if code in _NO_ISSUER and sent == 1 and peer.points_up and not peer.self_signed:
        return Kind.CHAIN
    return Kind.CA


def described(kind: Kind, peer: Peer, host: str, now: float) -> str:
    """Return what is wrong with a certificate, with what it says itself."""
    match kind:
        case Kind.EXPIRED if peer.ends_in(now) < 0:
            return f"its certificate ({peer.subject}) ended on {_day(peer.not_after)}"
        case Kind.EXPIRED:
            return f"a certificate above its own ({peer.subject}, from {peer.issuer}) has expired"
        case Kind.EARLY:
            return f"its certificate ({peer.subject}) begins on {_day(peer.not_before)}"
        case Kind.NAMES:
            names = ", ".join(peer.names) or "nothing"
            return f"its certificate is for {names}, not for {host}"
        case Kind.UNSUITABLE:
            return f"its certificate ({peer.subject}, from {peer.issuer}) may not be used for this"
        case Kind.CHAIN:
            return f"its certificate is from {peer.issuer}, whose own it does not send along"
        case _ if peer.self_signed:
            return f"its certificate ({peer.subject}) is signed by itself"
        case _:
            return f"its certificate is from {peer.issuer}, which is not trusted here"


def _shown(name: x509.Name) -> str:
    """Return what people know somebody by: R11 (Let's Encrypt)."""
    found = [
        str(name.get_attributes_for_oid(oid)[0].value)
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        if name.get_attributes_for_oid(oid)
    ]
    match found:
        case [common, organisation]:
            return f"{common} ({organisation})"
        case [one]:
            return one
    return name.rfc4514_string() or "somebody without a name"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _points_up(certificate: x509.Certificate) -> bool:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return False
    return any(a.access_method == AuthorityInformationAccessOID.CA_ISSUERS for a in access.value)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
