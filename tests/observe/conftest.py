from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from proxy.observe.log_writer import LogWriter


class Reader:
    """The reading end of the pipe that a writer under test writes to."""

    def __init__(self, fd: int, writer: LogWriter) -> None:
        self._file = os.fdopen(fd, "rb")
        self._writer = writer

    def finish(self) -> list[str]:
        """Close the writer and return all that it has written, as lines."""
        self._writer.close()
        return self._file.read().decode("ascii").splitlines()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def pipe() -> Iterator[tuple[LogWriter, Reader]]:
    read_end, write_end = os.pipe()
    writer = LogWriter(write_end)
    os.close(write_end)
    reader = Reader(read_end, writer)
    yield writer, reader
    reader.close()
    writer.close()


@pytest.fixture
def writer(pipe: tuple[LogWriter, Reader]) -> LogWriter:
    return pipe[0]


@pytest.fixture
def reader(pipe: tuple[LogWriter, Reader]) -> Reader:
    return pipe[1]
