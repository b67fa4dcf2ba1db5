from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.files import MAX_BYTES, FollowedFile, SourceError, explain, write_atomically


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def tight_umask() -> Iterator[None]:
    before = os.umask(0o777)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_a_key_is_private_whatever_the_umask_lets_through(tmp_path: Path) -> None:
    write_atomically(tmp_path / "key", b"secret", 0o600)
    assert mode(tmp_path / "key") == 0o600


@pytest.mark.usefixtures("open_umask")
def test_a_key_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look(_: int, wanted: int) -> None:
        seen.extend(mode(path) for path in tmp_path.iterdir())

    monkeypatch.setattr(os, "fchmod", look)
    write_atomically(tmp_path / "ca.crt", b"public", 0o644)
    assert seen == [0o600]


@pytest.mark.usefixtures("tight_umask")
def test_a_public_file_is_readable_by_all_whatever_the_umask_takes_away(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ca.crt", b"public", 0o644)
    assert mode(tmp_path / "ca.crt") == 0o644


def test_writing_replaces_the_file_and_never_changes_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new", 0o644)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_a_failed_write_leaves_nothing_behind_and_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the file name is what matters
        write_atomically(target, b"x", 0o600)
    assert raised.value.filename == str(target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_followed_through_the_swap_of_a_symlink(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "token").symlink_to("..data/token")
    followed = FollowedFile(tmp_path / "token", "--flag")
    assert followed.read() == b"first"

    (tmp_path / "..data_tmp").symlink_to("second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert followed.read() == b"second"


def test_an_unchanged_file_is_not_read_again_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("aaa")
    before = path.stat()
    followed = FollowedFile(path, "--flag")
    followed.read()
    path.write_text("bbb")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert followed.read() == b"aaa"
    followed.forget()
    assert followed.read() == b"bbb"


def test_what_cannot_be_read_is_an_error_that_names_the_file_and_the_setting(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(MAX_BYTES + 1))
    for name, why in [
        ("missing", "no such file"),
        ("", "not a regular file"),
        ("fifo", "not a regular file"),
        ("large", "larger than"),
    ]:
        path = tmp_path / name
        with pytest.raises(SourceError, match=why) as raised:
            FollowedFile(path, "--flag").read()
        assert str(raised.value).startswith(f"{path} (--flag) cannot be read: ")


def test_a_file_that_comes_back_is_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    followed = FollowedFile(path, "--flag")
    followed.read()
    path.rename(tmp_path / "away")
    with pytest.raises(SourceError):
        followed.read()
    (tmp_path / "away").rename(path)
    assert followed.read() == b"one"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "mount a writable volume"),
        (errno.EACCES, "fsGroup"),
        (errno.EPERM, "runAsUser"),
        (errno.ENOTDIR, "not a directory"),
        (errno.EEXIST, "not a directory"),
        (errno.ENOSPC, "no space left"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_an_operating_system_error_is_explained_with_what_to_do(number: int, advice: str) -> None:
    assert advice in explain(OSError(number, os.strerror(number)))
