"""What our certificates look like: made, read and judged here, without a file or a clock.

Both kinds are valid under OpenSSL's strict checks (RFC 5280 section 4.2) and under Go's
crypto/x509: ECDSA P-256, key identifiers, critical constraints and usages.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
BACKDATED = timedelta(hours=1)  # a node's clock may still be set back after it booted
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and the private key that it should be for."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def matches(self) -> bool:
        return self.certificate.public_key() == self.key.public_key()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def self_sign(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("headlamp-auth-proxy CA")
    public_key = key.public_key()
    return (
        _builder(name, public_key, now - BACKDATED, now + CA_LIFETIME)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_authority_key_identifier(public_key), critical=False)
        .sign(key, hashes.SHA256())
    )


def fits(leaf: Pair, authority: Pair, names: frozenset[x509.GeneralName], now: datetime) -> bool:
    certificate = leaf.certificate
    try:
        certificate.verify_directly_issued_by(authority.certificate)
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        leaf.matches
        and frozenset(present.value) == names
        and certificate.not_valid_before_utc <= now < renewal(certificate)
    )


def issue(authority: Pair, names: frozenset[x509.GeneralName], now: datetime) -> Pair:
    key = new_key()
    signer = authority.certificate
    end = min(now + LEAF_LIFETIME, signer.not_valid_after_utc)
    certificate = (
        _builder(_name("headlamp-auth-proxy"), key.public_key(), now - BACKDATED, end)
        .issuer_name(signer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sorted(names, key=repr)), critical=False)
        .add_extension(_authority_key_identifier(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def renewal(certificate: x509.Certificate) -> datetime:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start + (end - start) * 2 / 3


def subject_alternative_names(serving_names: Iterable[str]) -> frozenset[x509.GeneralName]:
    names: set[x509.GeneralName] = {x509.DNSName("localhost")}
    for name in ("127.0.0.1", "::1", *serving_names):
        try:
            names.add(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            names.add(_dns_name(name))
    return frozenset(names)


def _dns_name(name: str) -> x509.DNSName:
    labels = name.removeprefix("*.").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"--serving-name {name!r} is neither a DNS name nor an IP address; "
            "write an international name in its xn-- form"
        )
    return x509.DNSName(name.lower())


# --- What both are made of -----------------------------------------------------------------------


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority_key_identifier(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    # The key alone, not issuer and serial: a CA certificate made anew for the same key still fits.
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def parse_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
