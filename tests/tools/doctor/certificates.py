"""Certificates with one thing wrong with each, for the name ``localhost``."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from proxy.tls import load_pair
from tests.tools.doctor.stage import context_of


def expired(authority: trustme.CA) -> ssl.SSLContext:
    past = datetime.now(UTC) - timedelta(days=1)
    return context_of(
        authority.issue_cert("localhost", not_before=past - timedelta(9), not_after=past)
    )


def ending(authority: trustme.CA) -> ssl.SSLContext:
    soon = datetime.now(UTC) + timedelta(hours=5)
    return context_of(authority.issue_cert("localhost", not_after=soon))


def early(authority: trustme.CA) -> ssl.SSLContext:
    future = datetime.now(UTC) + timedelta(days=1)
    return context_of(authority.issue_cert("localhost", not_before=future))


def elsewhere(authority: trustme.CA) -> ssl.SSLContext:
    return context_of(authority.issue_cert("idp-1.tail1234.ts.net"))


def for_clients(authority: trustme.CA) -> ssl.SSLContext:
    """One that says of itself that it is no server's."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    parent = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    parent_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(parent_key, ec.EllipticCurvePrivateKey)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    leaf = _builder(parent, key, now).add_extension(names, False).add_extension(usage, False)
    return _context(key, leaf.sign(parent_key, hashes.SHA256()))


def strangers(_: trustme.CA) -> ssl.SSLContext:
    return context_of(trustme.CA(organization_name="Strangers").issue_cert("localhost"))


def without_intermediate(authority: trustme.CA) -> ssl.SSLContext:
    """A leaf of an intermediate CA, which is named in it, as public ones are, and not sent."""
    between = authority.create_child_ca()
    key = ec.generate_private_key(ec.SECP256R1())
    parent = x509.load_pem_x509_certificate(between.cert_pem.bytes())
    parent_key = serialization.load_pem_private_key(between.private_key_pem.bytes(), None)
    assert isinstance(parent_key, ec.EllipticCurvePrivateKey)
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS,
        x509.UniformResourceIdentifier("http://ca.invalid/between.crt"),
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = (
        _builder(parent, key, datetime.now(UTC))
        .add_extension(names, False)
        .add_extension(x509.AuthorityInformationAccess([access]), False)
    )
    return _context(key, leaf.sign(parent_key, hashes.SHA256()))


def _builder(
    parent: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(30))
    )


def _context(key: ec.EllipticCurvePrivateKey, leaf: x509.Certificate) -> ssl.SSLContext:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, leaf.public_bytes(serialization.Encoding.PEM), private)
    return context
