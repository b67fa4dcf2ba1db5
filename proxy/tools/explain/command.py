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
from proxy.files import SourceError, explain

NOT_AUTHENTICATED: Final = 1
REFUSED: Final = 2
MAX_INPUT: Final = 1 << 20  # bytes

DETAILS: Final = """\
Says what serve would make of a token, and why. Takes the settings of serve that are about tokens
and identities (below), as flags, from the environment or from --config, and:

  --token-file FILE|-
      The token; - is standard input. Required.
  --now UNIX
      The time to believe, in unix seconds, with a fraction if need be. Default: now
  --raw-identity
      Show the identity as the claims give it, before the guard, --groups-allow and the group
      that is added.
  -o, --output json|text
      Default: json

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


@dataclass(slots=True)
class Asked:
    """What is asked of ``explain`` itself; the other arguments are settings."""

    token_file: str = ""
    now: float | None = None
    raw_identity: bool = False
    output: str = "json"


class UsageError(Exception):
    """An argument that cannot be; the message says what to write."""


def main(arguments: Sequence[str]) -> int:
    """Run ``explain``; return the exit status."""
    try:
        asked, settings = _split(arguments)
        token = _token(asked.token_file)
        config = _config(settings)
    except (UsageError, SourceError) as error:
        return _refuse([str(error)], _output_of(arguments))
    except ConfigError as error:
        return _refuse(error.problems, _output_of(arguments))
    from proxy.tools.explain.account import Refused, account

    now = time.time() if asked.now is None else asked.now
    try:
        result = asyncio.run(account(config, token, now, raw_identity=asked.raw_identity))
    except Refused as error:
        return _refuse([str(error)], asked.output)
    _print(result, asked.output)
    return 0 if result["authenticated"] else NOT_AUTHENTICATED


def check(arguments: Sequence[str]) -> int:
    """Run ``check-config``; return the exit status."""
    try:
        config = _config(arguments, audit=True)
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return REFUSED
    from proxy.checked_audit import policy_warnings

    warnings = policy_warnings(config.audit_policy_file)
    sys.stderr.write("".join(f"warning: {one_line(line)}\n" for line in warnings))
    sys.stdout.write(CAN_BE_USED)
    return 0


def _config(settings: Sequence[str], *, audit: bool = False) -> Config:
    from proxy.checked_audit import AUDIT_CHECKS
    from proxy.plans import problems_of_file

    return load(
        settings,
        os.environ,
        check_authentication=problems_of_file,
        check_audit=AUDIT_CHECKS if audit else None,
        authentication_only=True,
    )


def _split(arguments: Sequence[str]) -> tuple[Asked, list[str]]:
    """Take out what is ours; what is left is for ``load``. Raises UsageError."""
    asked, settings = Asked(), []
    left = list(arguments)
    while left:
        flag, equals, value = left.pop(0).partition("=")
        if flag == "--raw-identity" and not equals:
            asked.raw_identity = True
            continue
        if flag not in {"--token-file", "--now", "-o", "--output"}:
            settings.append(flag + equals + value)
            continue
        if not equals:
            if not left:
                raise UsageError(f"{flag}: needs a value")
            value = left.pop(0)
        _take(asked, flag, value)
    if not asked.token_file:
        raise UsageError("--token-file: is required; give a file, or - for standard input")
    return asked, settings


def _take(asked: Asked, flag: str, value: str) -> None:
    match flag:
        case "--token-file":
            asked.token_file = value
        case "--now":
            try:
                asked.now = float(value)
            except ValueError:
                asked.now = math.nan
            if not math.isfinite(asked.now):
                raise UsageError(f"--now {value!a}: is not a number of unix seconds")
        case _:
            if value not in {"json", "text"}:
                raise UsageError(f"{flag} {value!a}: is not an output; write json or text")
            asked.output = value


def _output_of(arguments: Sequence[str]) -> str:
    """Return the output that was asked for, as far as that can be told."""
    text = any(
        argument in {"-o=text", "--output=text"}
        or (argument in {"-o", "--output"} and following == "text")
        for argument, following in zip(arguments, [*arguments, ""][1:], strict=True)
    )
    return "text" if text else "json"


def _token(name: str) -> bytes:
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise SourceError(f"--token-file {name!a}: cannot be read: {explain(error)}") from None
    return content[:MAX_INPUT]


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
