"""The arguments of ``explain`` and ``check-config``, and what they print.

Standard output has one object, or one text, and nothing else. Problems of the configuration go to
standard error as well, in the words of ``serve``.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.config import Config, ConfigError, load
from proxy.config.report import one_line
from proxy.files import explain
from proxy.tools.deploy.arguments import Arguments, Own, take_apart, usage, with_long_output

NOT_AUTHENTICATED: Final = 1
REFUSED: Final = 2
MAX_INPUT: Final = 1 << 20  # bytes

OWN: Final = (
    Own("--token-file", "FILE|-", "the token; - is standard input (required)"),
    Own("--now", "UNIX", "the time to believe, in unix seconds, also 1.5 (default: now)"),
    Own("--raw-identity", "", "show it before the guard, --groups-allow and the added group"),
    Own("--output", "json|text", "or -o (default: json)"),
)
DETAILS: Final = f"""\
Says what serve would make of a token, and why. Takes the settings of serve that are about tokens
and identities (below), as flags, from the environment or from --config, and:

{usage(OWN)}
Exit status: 0 authenticated, 1 not authenticated, 2 the configuration is refused. The issuer's
keys are fetched unless --oidc-jwks-file has them; the network is given up after 10 s.
"""
CHECK_DETAILS: Final = """\
Says whether serve could use the settings that are about tokens, identities, the audit and
recordings, with the files that they name: an AuthenticationConfiguration and its expressions, a
deny file, an audit policy, a webhook's kubeconfig, places for the audit log and for recordings.
Nothing is fetched, and nothing is made.

Exit status: 0 they can be used, 2 they cannot; standard error then has every reason. It also has
what serve would warn of in an audit policy.
"""
CAN_BE_USED: Final = (
    "serve can use these settings; not looked at: how it is served, how the API server is reached, "
    "and whatever answers in the network\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of ``explain`` itself; the other arguments are settings."""

    token_file: str
    now: float | None
    raw_identity: bool
    output: str


def main(arguments: Sequence[str]) -> int:
    """Run ``explain``; return the exit status."""
    taken = take_apart(with_long_output(arguments), OWN)
    problems = taken.problems + [f"{word!a}: unexpected argument" for word in taken.rest]
    asked = _asked(taken, problems)
    config = _config(taken.serve, problems)
    content = _content(asked.token_file, problems)
    if problems:
        return _refuse(problems, asked.output)
    from proxy.account import refused
    from proxy.authn.trace import Trace
    from proxy.errors import TokenMalformed
    from proxy.tools.explain.account import Refused, account
    from proxy.tools.token_file import token_in

    now = time.time() if asked.now is None else asked.now
    try:
        token = token_in(content)
        result = asyncio.run(account(config, token, now, raw_identity=asked.raw_identity))
    except TokenMalformed as error:
        why = f"--token-file {asked.token_file!a}: {error.detail}"
        result = refused(error, Trace(), why=why)
    except Refused as error:
        return _refuse([str(error)], asked.output)
    _print(result, asked.output)
    return 0 if result["authenticated"] else NOT_AUTHENTICATED


def check(arguments: Sequence[str]) -> int:
    """Run ``check-config``; return the exit status."""
    problems: list[str] = []
    config = _config(arguments, problems, audit=True)
    if problems:
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))
        return REFUSED
    from proxy.checked_audit import policy_warnings

    warnings = policy_warnings(config.audit_policy_file)
    sys.stderr.write("".join(f"warning: {one_line(line)}\n" for line in warnings))
    sys.stdout.write(CAN_BE_USED)
    return 0


def _config(settings: Sequence[str], problems: list[str], *, audit: bool = False) -> Config:
    """Return the configuration; what is wrong with it is added to ``problems``."""
    from proxy.checked_audit import AUDIT_CHECKS
    from proxy.plans import problems_of_file

    try:
        return load(
            settings,
            os.environ,
            check_authentication=problems_of_file,
            check_audit=AUDIT_CHECKS if audit else None,
            authentication_only=True,
        )
    except ConfigError as error:
        problems += error.problems
        return Config()


def _asked(taken: Arguments, problems: list[str]) -> Asked:
    """Return what is asked; what is wrong with it is added to ``problems``."""
    token_file = taken.one("--token-file", "")
    if not token_file:
        problems.append("--token-file: is required; give a file, or - for standard input")
    output = taken.one("--output", "json")
    if output not in {"json", "text"}:
        problems.append(f"--output {output!a}: is not an output; write json or text")
    return Asked(
        token_file=token_file,
        now=_now(taken.own["--now"][-1], problems) if "--now" in taken.own else None,
        raw_identity="--raw-identity" in taken.own,
        output="text" if output == "text" else "json",
    )


def _now(text: str, problems: list[str]) -> float:
    try:
        now = float(text)
    except ValueError:
        now = math.nan
    if not math.isfinite(now):
        problems.append(f"--now {text!a}: is not a number of unix seconds")
    return now


def _content(name: str, problems: list[str]) -> bytes:
    """Return what is in the file; of standard input, only if there are no problems so far."""
    if not name or (name == "-" and problems):
        return b""
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_INPUT)
        with Path(name).open("rb") as file:
            return file.read(MAX_INPUT)
    except OSError as error:
        problems.append(f"--token-file {name!a}: cannot be read: {explain(error)}")
        return b""


def _refuse(problems: Sequence[str], output: str) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    if output == "json":
        error = "\n".join(problems)
        _print({"authenticated": False, "user": None, "error": error, "steps": []}, output)
    return REFUSED


def _print(result: dict[str, Any], output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        from proxy.tools.explain.text import text

        sys.stdout.write(text(result))
