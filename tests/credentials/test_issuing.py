from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store

from proxy.credentials import issuing
from proxy.credentials.issuing import Pair

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = issuing.subject_alternative_names(["proxy.example", "10.0.0.7"])


def new_authority(now: datetime = NOW) -> Pair:
    key = issuing.new_key()
    return Pair(issuing.self_sign(key, now), key)


def test_the_authority_lives_ten_years_and_may_sign_leaves_only() -> None:
    certificate = new_authority().certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert certificate.not_valid_after_utc - NOW == timedelta(days=3650)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(True, 0))
    assert (usage.critical, usage.value.key_cert_sign) == (True, True)
    assert not usage.value.digital_signature


def test_the_leaf_lives_a_year_and_may_only_serve() -> None:
    certificate = issuing.issue(new_authority(), NAMES, NOW).certificate
    extensions = certificate.extensions
    assert certificate.not_valid_after_utc - NOW == timedelta(days=365)
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    ]


def test_both_use_p256_and_carry_key_identifiers() -> None:
    authority = new_authority()
    leaf = issuing.issue(authority, NAMES, NOW)
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    for pair in (authority, leaf):
        signer = pair.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        assert signer.value.key_identifier == own.value.digest
        named = pair.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert named.value == x509.SubjectKeyIdentifier.from_public_key(pair.key.public_key())
        assert isinstance(pair.key.curve, ec.SECP256R1)


@pytest.mark.parametrize("name", sorted(NAMES, key=repr), ids=str)
def test_a_leaf_verifies_for_each_of_its_names(name: x509.DNSName | x509.IPAddress) -> None:
    authority = new_authority()
    leaf = issuing.issue(authority, NAMES, NOW)
    builder = PolicyBuilder().store(Store([authority.certificate])).time(NOW)
    assert builder.build_server_verifier(name).verify(leaf.certificate, [])


def test_the_names_are_loopback_and_the_given_ones() -> None:
    assert {str(name.value) for name in NAMES} == {
        "127.0.0.1", "::1", "localhost", "proxy.example", "10.0.0.7",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "a b", "-a", "a..b", "münchen.de", "x" * 64, "a." * 127])
def test_a_name_that_no_certificate_may_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="--serving-name"):
        issuing.subject_alternative_names([name])


def test_a_leaf_never_outlives_its_authority() -> None:
    authority = new_authority(NOW - timedelta(days=3600))
    leaf = issuing.issue(authority, NAMES, NOW)
    assert leaf.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_a_leaf_fits_until_two_thirds_of_its_life() -> None:
    authority = new_authority()
    leaf = issuing.issue(authority, NAMES, NOW)
    due = issuing.renewal(leaf.certificate)
    assert abs(due - (NOW + timedelta(days=365 * 2 / 3))) < timedelta(hours=1)
    assert issuing.fits(leaf, authority, NAMES, due - timedelta(seconds=1))
    assert not issuing.fits(leaf, authority, NAMES, due)
    assert not issuing.fits(leaf, authority, NAMES, NOW - timedelta(days=1))


def test_a_leaf_fits_only_its_authority_its_names_and_its_key() -> None:
    authority = new_authority()
    leaf = issuing.issue(authority, NAMES, NOW)
    assert not issuing.fits(leaf, new_authority(), NAMES, NOW)
    assert not issuing.fits(leaf, authority, issuing.subject_alternative_names([]), NOW)
    assert not issuing.fits(Pair(leaf.certificate, issuing.new_key()), authority, NAMES, NOW)
