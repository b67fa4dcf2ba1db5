"""The arguments of ``audit`` and of ``audit play``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from proxy.config.values import duration
from proxy.suggestion import did_you_mean

_MOMENT: Final = "2026-01-31 or 2026-01-31T09:00:00Z"
_SPEEDS: Final = (0.01, 1000.0)


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


class Flags(NamedTuple):
    """The flags of one command, and what each does to ``Asked``."""

    with_value: dict[str, _Take]
    switches: dict[str, Callable[[Asked], None]]


def _since(asked: Asked, value: str) -> None:
    if re.match(r"\d{4}-", value) is None:
        try:
            asked.since = time.time() - duration(value)
        except ValueError as error:
            raise ValueError(f"{error}; or write a date or a time, {_MOMENT}") from None
        return
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"is no time; write for example {_MOMENT}") from None
    asked.since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _denied(asked: Asked) -> None:
    asked.denied = True


def _output(asked: Asked, value: str) -> None:
    if value not in {"table", "json"}:
        raise ValueError("is not an output; write table or json")
    asked.output = value


def _speed(asked: Asked, value: str) -> None:
    lowest, highest = _SPEEDS
    try:
        asked.speed = float(value)
    except ValueError:
        raise ValueError(f"is not a number; write one from {lowest:g} to {highest:g}") from None
    if not lowest <= asked.speed <= highest:
        raise ValueError(f"is out of range; write from {lowest:g} to {highest:g}")


def _idle_limit(asked: Asked, value: str) -> None:
    asked.idle_limit = duration(value)


def _name(kind: str) -> _Take:
    return lambda asked, value: asked.names.setdefault(kind, set()).add(value)


QUERY: Final = Flags(
    {
        "--since": _since,
        "--user": _name("users"),
        "--group": _name("groups"),
        "--verb": _name("verbs"),
        "--resource": _name("resources"),
        "--namespace": _name("namespaces"),
        "-n": _name("namespaces"),
        "--output": _output,
        "-o": _output,
    },
    {"--denied": _denied},
)
PLAY: Final = Flags({"--speed": _speed, "--idle-limit": _idle_limit}, {})


def read(arguments: Sequence[str], flags: Flags) -> Asked:
    """Read the arguments of one of the two; raises ``UsageError``."""
    asked, left = Asked(), list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, value = argument.partition("=")
        if flag in flags.switches:
            if equals:
                raise UsageError(f"{flag}: takes no value")
            flags.switches[flag](asked)
        elif flag in flags.with_value:
            if not equals and not left:
                raise UsageError(f"{flag}: needs a value")
            value = value if equals else left.pop(0)
            try:
                flags.with_value[flag](asked, value)
            except ValueError as error:
                raise UsageError(f"{flag} {value!a}: {error}") from None
        elif argument.startswith("-") and argument != "-":
            known = [*flags.with_value, *flags.switches]
            hint = did_you_mean(flag, known) or f"; the flags are {', '.join(known)}"
            raise UsageError(f"{flag!a}: is not known{hint}")
        else:
            asked.files.append(argument)
    return asked
