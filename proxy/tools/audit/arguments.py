"""The arguments of ``audit`` and of ``audit play``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from proxy.config.values import duration


class UsageError(Exception):
    """An argument that cannot be; the message says what to write."""


@dataclass(slots=True)
class Asked:
    """The arguments, read."""

    since: float = 0.0
    output: str = ""
    denied: bool = False
    speed: float = 1.0
    idle_limit: float = 2.0
    names: dict[str, set[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


_Take = Callable[[Asked, str], None]


def _since(asked: Asked, value: str) -> None:
    if re.match(r"\d{4}-", value) is None:
        asked.since = time.time() - duration(value)
        return
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is no time; write for example 2026-01-31T09:00:00Z") from None
    asked.since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _output(asked: Asked, value: str) -> None:
    if value not in {"table", "json"}:
        raise ValueError("is not an output; write table or json")
    asked.output = value


def _speed(asked: Asked, value: str) -> None:
    asked.speed = float(value)
    if not 0.01 <= asked.speed <= 1000:
        raise ValueError("is out of range; write from 0.01 to 1000")


def _idle_limit(asked: Asked, value: str) -> None:
    asked.idle_limit = duration(value)


def _name(kind: str) -> _Take:
    return lambda asked, value: asked.names.setdefault(kind, set()).add(value)


QUERY: Final[dict[str, _Take]] = {
    "--since": _since,
    "--user": _name("users"),
    "--group": _name("groups"),
    "--verb": _name("verbs"),
    "--resource": _name("resources"),
    "--namespace": _name("namespaces"),
    "-n": _name("namespaces"),
    "--output": _output,
    "-o": _output,
}
PLAY: Final[dict[str, _Take]] = {"--speed": _speed, "--idle-limit": _idle_limit}


def read(arguments: Sequence[str], flags: dict[str, _Take]) -> Asked:
    """Read the arguments of one of the two; raises ``UsageError``."""
    asked, left = Asked(), list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, value = argument.partition("=")
        if argument == "--denied" and flags is QUERY:
            asked.denied = True
        elif flag in flags:
            if not equals and not left:
                raise UsageError(f"{flag}: needs a value")
            value = value if equals else left.pop(0)
            try:
                flags[flag](asked, value)
            except ValueError as error:
                raise UsageError(f"{flag} {value!a}: {error}") from None
        elif argument.startswith("-") and argument != "-":
            raise UsageError(f"{flag!a}: is not known; the flags are {', '.join(flags)}")
        else:
            asked.files.append(argument)
    return asked
