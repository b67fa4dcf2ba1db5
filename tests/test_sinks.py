"""The search of all sinks finds what it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import sinks
from tests.issuer import rsa_key


@pytest.mark.parametrize("sink", ["serve.log", "every-sink/audit.log", "every-sink/1.cast"])
@pytest.mark.parametrize("part", [1, 2])
def test_a_token_is_found_in_every_file(tmp_path: Path, sink: str, part: int) -> None:
    (tmp_path / "every-sink").mkdir()
    log = tmp_path / "serve.log"
    token = rsa_key().token({"sub": "somebody who is found"})
    (tmp_path / sink).write_text("nothing")
    sinks.check(tmp_path, log, [])
    (tmp_path / sink).write_text(f'{{"authorization":"{token.split(".")[part]}"}}')
    with pytest.raises(AssertionError, match=Path(sink).name):
        sinks.check(tmp_path, log, [])


def test_the_proxys_own_token_is_found(tmp_path: Path) -> None:
    (tmp_path / "every-sink").mkdir()
    log, token = tmp_path / "serve.log", tmp_path / "token"
    token.write_text("the-proxys-own-token\n")
    log.write_text("Bearer the-proxys-own-token")
    with pytest.raises(AssertionError, match=r"serve\.log"):
        sinks.check(tmp_path, log, [f"--upstream-token-file={token}"])
