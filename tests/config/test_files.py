"""Files that must be usable at the start are looked at as they will be used; on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from proxy.config import Config, ConfigError, load
from tests.config.loading import REQUIRED, SOUND

TLS = (*REQUIRED, "--upstream=https://10.0.0.1")


def problems(*argv: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(argv, {})
    return caught.value.problems


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes("# Zertifikate für uns\n".encode() + authority.cert_pem.bytes())
    return path


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
    leaf = authority.issue_cert("localhost")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(leaf.cert_chain_pems[0].bytes())
    key.write_bytes(leaf.private_key_pem.bytes())
    return certificate, key


def load_tls(certificate: Path, key: Path) -> Config:
    return load([*TLS, f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"], {})


def tls_problem(certificate: Path, key: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_tls(certificate, key)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("flag", ["--oidc-ca-file", "--upstream-ca-file"])
def test_a_bundle_with_a_certificate_is_taken_whatever_its_comments(
    flag: str, ca_file: Path
) -> None:
    load([*SOUND, f"{flag}={ca_file}"], {})


@pytest.mark.parametrize("flag", ["--oidc-ca-file", "--upstream-ca-file"])
@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_bundle_without_a_certificate_is_named(flag: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_bytes(content)
    assert problems(*SOUND, f"{flag}={path}") == [
        f'{flag} "{path}" (flag): holds no certificate; it must have one in PEM'
    ]


@pytest.mark.parametrize(
    "flag", ["--oidc-ca-file", "--upstream-ca-file", "--oidc-jwks-file", "--config"]
)
def test_a_file_that_is_missing_is_named(flag: str, tmp_path: Path) -> None:
    path = tmp_path / "missing"
    assert problems(*SOUND, f"{flag}={path}") == [
        f'{flag} "{path}" (flag): cannot be read: No such file or directory'
    ]


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--oidc-ca-file", "it is not a regular file"),
        ("--oidc-jwks-file", "it is not a regular file"),
        ("--config", "Is a directory"),
    ],
)
def test_a_directory_is_not_a_file(flag: str, why: str, tmp_path: Path) -> None:
    assert problems(*SOUND, f"{flag}={tmp_path}") == [
        f'{flag} "{tmp_path}" (flag): cannot be read: {why}'
    ]


def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert problems(*SOUND, f"--deny-file={pipe}") == [
        f'--deny-file "{pipe}" (flag): cannot be read: it is not a regular file'
    ]


def test_the_file_of_settings_is_read_once_and_so_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"oidc-clock-skew: 7s\n")
    os.close(writing)
    try:
        assert load([*SOUND, f"--config=/dev/fd/{reading}"], {}).oidc_clock_skew == 7
    finally:
        os.close(reading)


def test_the_token_file_may_appear_later(tmp_path: Path) -> None:
    path = tmp_path / "token"
    config = load([*SOUND, f"--upstream-token-file={path}"], {})
    assert config.upstream_token_file == path


@pytest.mark.parametrize("content", ["", "just text", "[]", "{", "\0"])
def test_a_kubeconfig_must_be_a_mapping(content: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    assert problems(*REQUIRED, "--plaintext", f"--kubeconfig={path}") == [
        f'--kubeconfig "{path}" (flag): is not a kubeconfig in YAML or JSON'
    ]


def test_a_kubeconfig_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    assert problems(*REQUIRED, "--plaintext", f"--kubeconfig={path}") == [
        f'--kubeconfig "{path}" (flag): cannot be read: No such file or directory'
    ]


def test_a_certificate_with_its_key_is_taken(pair: tuple[Path, Path]) -> None:
    config = load_tls(*pair)
    assert (config.tls_cert_file, config.tls_private_key_file) == pair


def test_the_key_of_another_certificate_is_named(
    authority: trustme.CA, pair: tuple[Path, Path]
) -> None:
    certificate, key = pair
    key.write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
    assert tls_problem(certificate, key) == (
        f'--tls-private-key-file "{key}" (flag): is not the key of the certificate in '
        "--tls-cert-file"
    )


def test_an_encrypted_key_is_named_and_no_passphrase_asked_for(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    assert "must be an unencrypted private key in PEM" in tls_problem(certificate, key)


def test_what_is_no_key_is_named_and_not_shown(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    key.write_text("hunter2")
    problem = tls_problem(certificate, key)
    assert problem.startswith(f'--tls-private-key-file "{key}" (flag): cannot be loaded')
    assert "hunter2" not in problem


def test_what_is_no_certificate_is_named_alone(pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    certificate.write_text("junk")
    assert tls_problem(certificate, key) == (
        f'--tls-cert-file "{certificate}" (flag): holds no certificate; it must have one in PEM'
    )


def test_a_certificate_and_a_key_that_are_missing_are_both_named(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert problems(*TLS, f"--tls-cert-file={a}", f"--tls-private-key-file={b}") == [
        f'--tls-cert-file "{a}" (flag): cannot be read: No such file or directory',
        f'--tls-private-key-file "{b}" (flag): cannot be read: No such file or directory',
    ]


def test_a_deny_file_must_be_one_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "deny.yaml"
    assert "cannot be read: No such file" in problems(*SOUND, f"--deny-file={path}")[0]
    path.write_text("user: [alice]")
    (problem,) = problems(*SOUND, f"--deny-file={path}")
    assert problem.startswith(f"--deny-file \"{path}\" (flag): line 1: 'user' is no key here")
    path.write_text("")
    assert load([*SOUND, f"--deny-file={path}"], {}).deny_file == path
