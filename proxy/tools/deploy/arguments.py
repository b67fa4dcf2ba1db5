"""Takes a command line apart that mixes a tool's own flags with those of ``serve``.

The flags of ``serve`` are passed on as they were written, once they have been checked as ``serve``
itself would check them, but for the files, which are on another machine.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.config import Config, ConfigError, load
from proxy.config.model import SETTINGS
from proxy.suggestion import did_you_mean

# What a pod has that is not here: an address of the API server.
_POD: Final = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}

# Names in Kubernetes: of a namespace (RFC 1123 label), of a service account (RFC 1123 subdomain).
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE: Final = re.compile(_LABEL)
_ACCOUNT: Final = re.compile(rf"({_LABEL})/({_LABEL}(?:\.{_LABEL})*)")


@dataclass(frozen=True, slots=True)
class Own:
    """A flag of the tool's own; without a ``placeholder`` it is a switch."""

    flag: str
    placeholder: str
    help: str


@dataclass(slots=True)
class Arguments:
    """A command line, taken apart: the tool's own flags, those of ``serve``, and the rest."""

    own: dict[str, list[str]] = field(default_factory=dict)
    serve: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def one(self, flag: str, default: str) -> str:
        return self.own.get(flag, [default])[-1]


def with_long_output(argv: Sequence[str]) -> list[str]:
    """Return ``argv`` with ``--output`` for ``-o``."""
    return [
        f"--output{word[2:]}" if word[:2] == "-o" and word[:3] in {"-o", "-o="} else word
        for word in argv
    ]


def take_apart(argv: Sequence[str], own: Sequence[Own]) -> Arguments:
    """Sort ``argv``; what is wrong with it is in ``problems``, a line each."""
    takes_value = {o.flag: bool(o.placeholder) for o in own}
    takes_value |= {s.flag: bool(s.declared.placeholder) for s in SETTINGS.values()}
    ours = {o.flag for o in own}
    found = Arguments()
    left = deque(argv)
    while left:
        argument = left.popleft()
        flag, equals, value = argument.partition("=")
        if not argument.startswith("-") or argument == "-":
            found.rest.append(argument)
        elif flag not in takes_value:
            found.problems.append(f"{flag}: unknown flag{did_you_mean(flag, list(takes_value))}")
        elif takes_value[flag] and not equals and not left:
            found.problems.append(f"{flag}: needs a value; write {flag}=VALUE")
        elif flag not in ours:
            found.serve.append(argument)
            if takes_value[flag] and not equals:
                found.serve[-1] = f"{flag}={left.popleft()}"
        else:
            if takes_value[flag] and not equals:
                value = left.popleft()
            elif equals and not takes_value[flag]:
                found.problems.append(f"{flag}: takes no value")
            found.own.setdefault(flag, []).append(value)
    return found


def check_serve(arguments: Arguments, stand_in: Mapping[str, str]) -> Config:
    """Return the configuration of ``serve`` in a pod; add what is wrong to ``problems``.

    ``stand_in`` are flags that only the pod can know, with a value to check the others by.
    """
    given = {flag.partition("=")[0] for flag in arguments.serve}
    assumed = [f"{flag}={value}" for flag, value in stand_in.items() if flag not in given]
    try:
        return load([*arguments.serve, *assumed], _POD, _no_file, elsewhere=True)
    except ConfigError as error:
        arguments.problems += error.problems
        return Config()


def is_namespace(name: str) -> bool:
    """Say whether a namespace can have this name."""
    return bool(_NAMESPACE.fullmatch(name))


def account_of(text: str) -> tuple[str, str] | None:
    """Return namespace and name of a service account as NAMESPACE/NAME, None if it is not one."""
    found = _ACCOUNT.fullmatch(text)
    return (found[1], found[2]) if found else None


def usage(own: Sequence[Own]) -> str:
    """Return the help on a tool's own flags."""
    lines = [(f"{o.flag} {o.placeholder}".rstrip(), o.help) for o in own]
    width = max(len(flag) for flag, _ in lines)
    return "".join(f"  {flag:{width}}  {text}\n" for flag, text in lines)


def _no_file(path: object) -> bytes:
    raise FileNotFoundError(path)
