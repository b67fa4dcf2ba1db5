"""Calls ``load`` with files that exist in memory only, and a configuration that is sound."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, load

REQUIRED = ("--oidc-issuer-url=https://idp.example", "--oidc-client-id=headlamp")
SOUND = (*REQUIRED, "--upstream=https://10.0.0.1", "--plaintext")


def load_with(
    *flags: str,
    base: tuple[str, ...] = SOUND,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, bytes | str] | None = None,
) -> Config:
    """Load ``base`` and then ``flags``; no file exists but those given."""

    def read(path: Path) -> bytes:
        if files is None or str(path) not in files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        content = files[str(path)]
        return content.encode() if isinstance(content, str) else content

    def load_pair(certificate: Path, key: Path) -> None:
        """Every pair is a good one."""

    return load([*base, *flags], env or {}, read, load_pair)


def problems_of(
    *flags: str,
    base: tuple[str, ...] = SOUND,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, bytes | str] | None = None,
) -> list[str]:
    """Return the problems of what ``load_with`` would load."""
    with pytest.raises(ConfigError) as caught:
        load_with(*flags, base=base, env=env, files=files)
    return caught.value.problems
