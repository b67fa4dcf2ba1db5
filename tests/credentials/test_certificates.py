from __future__ import annotations

import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.credentials import issuing
from proxy.credentials.certificates import CertificateError, ensure_certificates

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def cert_dir(tmp_path: Path) -> Path:
    return tmp_path / "certs"


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize(
    "name", ["-verify_ip=127.0.0.1", "-verify_ip=::1", "-verify_hostname=localhost"]
)
def test_openssl_accepts_the_leaf_under_its_strict_rules(cert_dir: Path, name: str) -> None:
    ensure_certificates(cert_dir, [], NOW)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *name.split("=")]
    command += ["-attime", str(int(NOW)), "-CAfile", str(cert_dir / "ca.crt")]
    command += [str(cert_dir / "tls.crt")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_keys_and_their_directory_are_private(cert_dir: Path) -> None:
    ensure_certificates(cert_dir, [], NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cert_dir.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.crt": 0o644, "tls.key": 0o600, "tls.crt": 0o644}
    assert stat.S_IMODE(cert_dir.stat().st_mode) == 0o700


def test_a_restart_changes_nothing(cert_dir: Path) -> None:
    first = ensure_certificates(cert_dir, ["a.example"], NOW)
    files = snapshot(cert_dir)
    assert ensure_certificates(cert_dir, ["a.example"], NOW + 100 * DAY) == first
    assert snapshot(cert_dir) == files


def test_many_that_start_at_once_agree_on_everything(cert_dir: Path) -> None:
    together = Barrier(8)

    def start(_: int) -> object:
        together.wait()
        return ensure_certificates(cert_dir, [], NOW)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(start, range(8)))
    assert all(result == results[0] for result in results)


def test_the_leaf_is_renewed_at_two_thirds_of_its_life_and_the_authority_stays(
    cert_dir: Path,
) -> None:
    first = ensure_certificates(cert_dir, [], NOW)
    assert ensure_certificates(cert_dir, [], first.renew_at - 1) == first
    second = ensure_certificates(cert_dir, [], first.renew_at)
    assert second.certificate != first.certificate
    assert second.key != first.key
    assert second.ca == first.ca
    assert second.not_after == first.renew_at + 365 * DAY


def test_other_serving_names_make_another_leaf(cert_dir: Path) -> None:
    first = ensure_certificates(cert_dir, ["a.example"], NOW)
    second = ensure_certificates(cert_dir, ["b.example", "fd00::7"], NOW)
    names = x509.load_pem_x509_certificate(second.certificate).extensions
    present = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert second.ca == first.ca
    assert "b.example" in present.get_values_for_type(x509.DNSName)
    assert "a.example" not in present.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("content", [b"", b"garbage", None, issuing.key_pem(issuing.new_key())])
def test_a_leaf_that_is_broken_in_any_way_is_made_anew(
    cert_dir: Path, name: str, content: bytes | None
) -> None:
    first = ensure_certificates(cert_dir, [], NOW)
    (cert_dir / name).unlink()
    if content is not None:
        (cert_dir / name).write_bytes(content)
    second = ensure_certificates(cert_dir, [], NOW)
    assert second.certificate != first.certificate
    assert second.ca == first.ca
    assert (cert_dir / "tls.crt").read_bytes() == second.certificate
    assert (cert_dir / "tls.key").read_bytes() == second.key


def test_a_first_start_that_was_cut_short_goes_on_with_the_key_it_made(cert_dir: Path) -> None:
    cert_dir.mkdir()
    key = issuing.new_key()
    (cert_dir / "ca.key").write_bytes(issuing.key_pem(key))
    issued = ensure_certificates(cert_dir, [], NOW)
    assert x509.load_pem_x509_certificate(issued.ca).public_key() == key.public_key()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("ca.crt", b"", "ca.crt is not a certificate"),
        ("ca.crt", b"-----BEGIN CERTIFICATE-----\nMII", "ca.crt is not a certificate"),
        ("ca.key", b"", "ca.key is not an EC private key"),
        ("ca.key", b"-----BEGIN PRIVATE KEY-----\nMII", "ca.key is not an EC private key"),
        ("ca.key", issuing.key_pem(issuing.new_key()), "ca.crt does not belong to ca.key"),
        ("ca.key", None, "ca.key is missing"),
    ],
)
def test_an_authority_that_cannot_be_used_is_an_error_and_stays_as_it_is(
    cert_dir: Path, name: str, content: bytes | None, why: str
) -> None:
    ensure_certificates(cert_dir, [], NOW)
    (cert_dir / name).unlink()
    if content is not None:
        (cert_dir / name).write_bytes(content)
    files = snapshot(cert_dir)
    with pytest.raises(CertificateError, match=why) as raised:
        ensure_certificates(cert_dir, [], NOW)
    assert "--cert-dir" in str(raised.value)
    assert "restart the whole pod" in str(raised.value)
    assert snapshot(cert_dir) == files


@pytest.mark.parametrize(
    ("later", "why"), [(3650 * DAY, "expired on 2037-"), (-DAY, "not valid before 2027-")]
)
def test_an_authority_out_of_its_time_is_an_error(cert_dir: Path, later: float, why: str) -> None:
    ensure_certificates(cert_dir, [], NOW)
    files = snapshot(cert_dir)
    with pytest.raises(CertificateError, match=why):
        ensure_certificates(cert_dir, [], NOW + later)
    assert snapshot(cert_dir) == files


def test_another_kind_of_key_is_not_taken_for_ours(cert_dir: Path) -> None:
    ensure_certificates(cert_dir, [], NOW)
    other = ec.generate_private_key(ec.SECP384R1())
    (cert_dir / "ca.key").write_bytes(issuing.key_pem(other))
    with pytest.raises(CertificateError, match="does not belong"):
        ensure_certificates(cert_dir, [], NOW)


def test_a_file_where_the_directory_should_be_is_an_error_that_names_the_flag(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CertificateError, match=rf"--cert-dir: {path}: it is not a directory"):
        ensure_certificates(path, [], NOW)


def test_a_serving_name_that_cannot_be_one_is_an_error_before_anything_is_made(
    cert_dir: Path,
) -> None:
    with pytest.raises(CertificateError, match=r"--serving-name 'a b'.*xn--"):
        ensure_certificates(cert_dir, ["a b"], NOW)
    assert not cert_dir.exists()


def test_no_key_is_part_of_a_repr(cert_dir: Path) -> None:
    assert "KEY" not in repr(ensure_certificates(cert_dir, [], NOW))
