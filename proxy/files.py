"""Files that others replace under us, and files that others read while we write them.

Both sides keep to what Kubernetes' atomic writer promises
(k8s.io/kubernetes/pkg/volume/util/atomic_writer.go): a reader follows symlinks anew on each look,
because a rotation swaps a link and touches no file, and a writer shows a name only when what is
behind it is whole. What was read is compared, not trusted to have changed because its stat did.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol

# What Kubernetes mounts into every pod that has a service account: token, ca.crt, namespace.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_BYTES = 1 << 20  # a CA bundle of every public root is a quarter of this
NOT_REGULAR = "it is not a regular file"
_Stamp = tuple[int, int, int, int]


class SourceError(Exception):
    """What was configured cannot be read or used; the message names where it came from."""


class Source(Protocol):
    """Some bytes that were configured: a file's, or given as they are."""

    @property
    def origin(self) -> str:
        """Say where the bytes come from, in words that an operator can act on."""
        ...

    def read(self) -> bytes:
        """Return the bytes as they are now. Raises SourceError."""
        ...

    def forget(self) -> None:
        """Have the next ``read`` look at content and not only at stat."""
        ...


class GivenData:
    """Bytes that came inside the configuration or from a program."""

    def __init__(self, origin: str, content: bytes = b"") -> None:
        self.origin = origin
        self.content = content

    def read(self) -> bytes:
        return self.content

    def forget(self) -> None:
        """There is nowhere to look."""


class FollowedFile:
    """A file that is read again when its inode, mtime or size differ from the last time."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path = path
        self.origin = f"{path} ({setting})"
        self._stamp: _Stamp | None = None
        self._content = b""

    def read(self) -> bytes:
        try:
            if self._stamp is None or _stamp(self.path.stat()) != self._stamp:
                self._read()
        except OSError as error:
            self._stamp = None
            raise SourceError(f"{self.origin} cannot be read: {explain(error)}") from error
        return self._content

    def forget(self) -> None:
        self._stamp = None

    def _read(self) -> None:
        with open_regular(self.path) as file:
            status = os.fstat(file.fileno())  # before reading: what changes later is seen later
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES} bytes")
        self._content, self._stamp = content, _stamp(status)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read. Raises OSError, and so for a FIFO, which might never have a writer."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, NOT_REGULAR)
    # If it is replaced by a FIFO meanwhile, that is not waited for either.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Put ``content`` at ``path`` so that no reader ever sees less than all of it.

    The file is 0600 from its first byte and gets ``mode`` (whatever the umask) before it gets its
    name. Raises OSError.
    """
    try:
        _write_and_rename(path, content, mode)
        _sync_directory(path.parent)
    except OSError as error:
        error.filename = str(path)  # the temporary name means nothing to anybody
        raise


def _write_and_rename(path: Path, content: bytes, mode: int) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(error: OSError) -> str:
    """Return what is wrong and, where it is known, what to do about it."""
    match error.errno:
        case errno.EROFS:
            return "the filesystem is read-only; mount a writable volume there"
        case errno.EACCES | errno.EPERM:
            return (
                f"permission denied for user {os.geteuid()} and group {os.getegid()}; "
                "change its owner or mode, or the pod's runAsUser or fsGroup"
            )
        case errno.ENOENT:
            return "there is no such file or directory"
        case errno.ENOTDIR | errno.EEXIST:
            return "it is not a directory"
        case errno.ENOSPC | errno.EDQUOT:
            return "there is no space left; give the volume more"
        case _:
            return error.strerror or str(error)
