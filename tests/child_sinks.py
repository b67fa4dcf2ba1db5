"""Every sink of a ``serve`` that another program starts, with flags of its own, as the demo does.

Python runs ``sitecustomize`` before a program. The one here gives a ``serve`` its sinks by the
environment, and links its log and its token to where they outlive the folder of whoever started it.
Without TEST_EVERY_SINK nothing is done, and nothing is searched.
"""

from __future__ import annotations

import functools
from pathlib import Path

from tests.sinks import EVERY_SINK, Sinks

_CUSTOMIZE = """
import os, sys
if "serve" in sys.orig_argv:
    os.environ.update({settings!r})
    os.link(os.readlink("/proc/self/fd/2"), {log!r} + str(os.getpid()))
    for argument in sys.orig_argv:
        if argument.startswith({token_file!r}):
            os.link(argument.removeprefix({token_file!r}), {token!r} + str(os.getpid()))
"""
_TOKEN_FILE = "--upstream-token-file="


def environment(folder: Path) -> dict[str, str]:
    """Return what a program needs in its environment, so that all ``serve`` below have sinks."""
    return {"PYTHONPATH": str(_customized(folder)[1])} if EVERY_SINK else {}


def check(folder: Path) -> int:
    """Raise AssertionError if a secret is in a sink; return how many ``serve`` there were."""
    if not EVERY_SINK:
        return 0
    sinks, at = _customized(folder)
    logs, tokens = sorted(at.glob("log-*")), sorted(at.glob("token-*"))
    for log in logs:
        sinks.check(log, [*sinks.flags(), *(f"{_TOKEN_FILE}{token}" for token in tokens)])
    return len(logs)


@functools.cache
def _customized(folder: Path) -> tuple[Sinks, Path]:
    sinks, at = Sinks(folder), folder / "customized"
    at.mkdir()
    given = (flag.removeprefix("--").split("=", 1) for flag in sinks.flags())
    settings = {f"HEADLAMP_AUTH_PROXY_{k.upper().replace('-', '_')}": v for k, v in given}
    log, token = str(at / "log-"), str(at / "token-")
    code = _CUSTOMIZE.format(settings=settings, log=log, token=token, token_file=_TOKEN_FILE)
    (at / "sitecustomize.py").write_text(code)
    return sinks, at
