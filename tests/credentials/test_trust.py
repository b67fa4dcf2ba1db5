from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from proxy.credentials.certificates import CertificateError
from proxy.credentials.trust import write_trust_directory


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in directory.iterdir()}


def test_headlamp_finds_the_three_files_of_a_service_account(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("kube-tools\n")
    trust_dir = tmp_path / "trust"
    write_trust_directory(trust_dir, b"CA", tmp_path / "own")
    assert {path.name for path in trust_dir.iterdir()} == {"ca.crt", "token", "namespace"}
    assert (trust_dir / "ca.crt").read_bytes() == b"CA"
    assert (trust_dir / "namespace").read_bytes() == b"kube-tools"
    assert (trust_dir / "token").read_text().startswith("This is not a token.")


def test_the_token_is_not_one_that_could_be_sent_by_mistake(tmp_path: Path) -> None:
    write_trust_directory(tmp_path, b"CA", tmp_path / "none")
    token = (tmp_path / "token").read_bytes()
    assert b" " in token  # so no bearer token
    assert b"\n" not in token  # Go refuses to send a header with one, and says nothing helpful


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_outside_of_a_cluster_the_namespace_is_default(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "own").write_text(content)
    write_trust_directory(tmp_path / "trust", b"CA", tmp_path / "own")
    assert (tmp_path / "trust" / "namespace").read_bytes() == b"default"


def test_everybody_may_read_what_is_written(tmp_path: Path) -> None:
    trust_dir = tmp_path / "trust"
    write_trust_directory(trust_dir, b"CA", tmp_path / "none")
    assert stat.S_IMODE(trust_dir.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in trust_dir.iterdir()} == {0o644}


def test_files_that_are_right_already_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust_dir = tmp_path / "trust"
    write_trust_directory(trust_dir, b"CA", tmp_path / "none")
    before = snapshot(trust_dir)
    write_trust_directory(trust_dir, b"CA", tmp_path / "none")
    assert snapshot(trust_dir) == before
    assert not caplog.records


def test_another_authority_is_written_and_the_log_says_to_restart_headlamp(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_trust_directory(tmp_path, b"old CA", tmp_path / "none")
    with caplog.at_level(logging.WARNING):
        write_trust_directory(tmp_path, b"new CA", tmp_path / "none")
    assert (tmp_path / "ca.crt").read_bytes() == b"new CA"
    assert "restart Headlamp" in caplog.text


def test_a_directory_that_cannot_be_one_is_an_error_that_names_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CertificateError, match=rf"--trust-dir: {path}: it is not a directory"):
        write_trust_directory(path, b"CA")
