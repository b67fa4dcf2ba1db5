"""Gives memory that was freed back to the system.

glibc keeps what lies between pieces that are still in use: after 256 connections with large answers
11 MiB of 72, for as long as the process lives. Given back every ten seconds that costs a
millisecond, at most, and the pages come again when they are needed.

A piece of 128 KiB or more is mapped for itself, and gone when it is freed. Left alone, glibc raises
that limit with what it sees, and has large pieces lie between the small ones too.
"""

from __future__ import annotations

import contextlib
from typing import Final

_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_MAPPED: Final = 128 * 1024  # bytes; what glibc begins with


def give_back() -> None:
    """Do so where the C library can (malloc_trim(3), mallopt(3)); elsewhere nothing happens."""
    with contextlib.suppress(Exception):  # whatever is missing, nobody must notice
        import ctypes  # when ten seconds have passed, and not at the start

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        libc.malloc_trim(0)
