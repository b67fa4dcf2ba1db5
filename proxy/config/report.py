"""Every problem of a configuration in one list, each naming flag, value and source.

Somebody who fixes a start that failed should have to do it once. A setting that could not be read
is left out of the rules between settings, so that one mistake is not reported twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.config.declaration import Setting

_USERINFO: Final = re.compile(r"//.*@", re.DOTALL)


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` has one line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Given:
    """What one source says about one setting, as text; ``source`` is worded for people."""

    texts: tuple[str, ...]
    source: str


class Report:
    """Collects problems; ``given`` is what the settings were set to, defaults left out."""

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self.lines: list[str] = []
        self.given: dict[str, Given] = {}
        self.failed: set[str] = set()
        self._settings = settings

    def value(self, name: str, text: str, message: str) -> None:
        """Record that one value of the setting ``name`` cannot be used."""
        self.failed.add(name)
        flag = self._settings[name].flag
        source = self.given[name].source if name in self.given else "default"
        self.lines.append(f"{flag} {shown(text)} ({source}): {message}")

    def rule(self, message: str, name: str, *others: str) -> None:
        """Record that ``name`` does not go with ``others``, unless one of them failed already."""
        if not self.failed.isdisjoint({name, *others}):
            return
        given = self.given.get(name)
        subject = self._settings[name].flag
        if given:
            subject += f" {', '.join(map(shown, given.texts))} ({given.source})"
        self.lines.append(f"{subject}: {message}")


def shown(text: str) -> str:
    """Return ``text`` quoted for a message, without the credentials that a URL may carry."""
    return json.dumps(_USERINFO.sub("//***@", text), ensure_ascii=False)


def one_line(problem: str) -> str:
    """Return ``problem`` with all that would not show, or would move a cursor, escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in problem)
