"""Events as lines of a table, which no name in them can break or colour.

Widths are fixed, so that a line can be written as soon as its event is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from proxy.tools.audit.events import DOMAIN, Event
from proxy.tools.audit.terminal import visible

_COLUMNS: Final = (("TIME", 20), ("USER", 26), ("VERB", 8), ("RESOURCE", 18), ("OBJECT", 28))
_MAX: Final = 200  # characters of one field
_SESSION: Final = f"{DOMAIN}session-"


def header() -> str:
    return _line([title for title, _ in _COLUMNS], "CODE", "")


def row(event: Event) -> str:
    """One line, without its end."""
    where = f"{event.namespace}/{event.name}" if event.namespace else event.name
    when = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    what = (event.resource, where) if event.resource else (event.uri.partition("?")[0], "")
    texts = (when, event.user or "-", event.verb, *what)
    return _line([visible(text[:_MAX]) for text in texts], str(event.code or "-"), _notes(event))


def _notes(event: Event) -> str:
    """Say by whom it was denied, and what is known of a session."""
    found = event.annotations
    notes = [f"denied by {event.denied_by}"] if event.denied_by else []
    if command := found.get(f"{_SESSION}command"):
        notes.append(command)
    for name, words in (("exit-status", "exit"), ("duration", "for"), ("ports", "ports")):
        if value := found.get(_SESSION + name):
            notes.append(f"{words} {value}")
    if recording := found.get(f"{_SESSION}recording"):
        notes.append(recording)
    if not event.is_last:
        notes.append("end not in the log")
    return ", ".join(visible(note[:_MAX]) for note in notes)


def _line(texts: Sequence[str], code: str, notes: str) -> str:
    columns = [f"{text:{width}}" for text, (_, width) in zip(texts, _COLUMNS, strict=True)]
    return "  ".join([*columns, f"{code:4}", notes]).rstrip()
