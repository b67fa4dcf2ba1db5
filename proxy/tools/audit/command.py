"""What ``audit`` and ``audit play`` do and print, and how they end."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from proxy.tools.audit.arguments import PLAY, QUERY, Asked, UsageError, read
from proxy.tools.audit.events import Event, Filter, IsRecording, NoEvent, Requests, parse
from proxy.tools.audit.play import PlayError, play
from proxy.tools.audit.reading import Unread, lines, with_rotated
from proxy.tools.audit.table import header, row
from proxy.tools.audit.terminal import visible

SOME_UNREAD: Final = 1
WRONG_USE: Final = 2
_REPORTED: Final = 10  # lines that are named, of those that are no events

DETAILS: Final = """\
Reads audit logs, of this proxy or of kube-apiserver, and says who did what: one line for each
request. A FILE may be compressed with gzip; what was rotated away from it is read before it.
Without a FILE, or for -, standard input is read.

  --since DURATION|TIME
      Only what began since then: a duration such as 1h or 30m, a date, or a time in RFC 3339.
  --user USER, --group GROUP, --verb VERB, --resource RESOURCE, -n, --namespace NAMESPACE
      Only these; each may be repeated. A resource is written like pods or pods/exec, and pods
      means its subresources too. An impersonated user is found as well as who impersonates.
  --denied
      Only what was refused, by this proxy or by the API server.
  -o, --output table|json
      json has the whole event, one a line. Default: table on a terminal, else json.

audit play FILE shows a recorded session as it was. Ctrl-C ends it.

  --speed FACTOR
      2 is twice as fast. Default: 1
  --idle-limit DURATION
      Wait no longer than this where nothing was printed. Default: 2s

What is played is what the session printed. Sequences that would do more than draw on your terminal
(ask it questions, set its title or the clipboard) are left out.

Exit status: 0; 1 if something could not be read, which standard error then names; 2 wrong use.
"""


def main(arguments: Sequence[str]) -> int:
    """Run ``audit``; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever the locale
    playing = list(arguments[:1]) == ["play"]
    try:
        asked = read(arguments[1:], PLAY) if playing else read(arguments, QUERY)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    if playing and len(asked.files) != 1:
        sys.stderr.write("audit play: give one FILE\n")
        return WRONG_USE
    try:
        if not playing:
            return _query(asked)
        play(asked.files[0], asked.speed, asked.idle_limit)
    except PlayError as error:
        sys.stderr.write(f"{error}\n")
        return SOME_UNREAD
    return 0


def _query(asked: Asked) -> int:
    names = {kind: frozenset(values) for kind, values in asked.names.items()}
    wanted = Filter(since=asked.since, denied=asked.denied, **names)
    table = (asked.output or ("table" if sys.stdout.isatty() else "json")) == "table"
    problems = _Problems()
    if table:
        sys.stdout.write(f"{header()}\n")
    for event in _events(with_rotated(asked.files or ["-"]), problems):
        if wanted.takes(event):
            sys.stdout.write((row(event) if table else json.dumps(event.document)) + "\n")
    sys.stdout.flush()
    return problems.report()


def _events(names: Sequence[str], problems: _Problems) -> Iterator[Event]:
    """Yield an event for each request of these logs."""
    requests = Requests()
    for name in names:
        try:
            for place, text in lines(name):
                try:
                    event = requests.add(parse(text))
                except IsRecording:
                    problems.log(f"{place}: begins a recording; see: audit play FILE")
                    break
                except NoEvent as error:
                    problems.line(place, str(error))
                else:
                    if event is not None:
                        yield event
        except Unread as error:
            problems.log(str(error))
    yield from requests.under_way()


class _Problems:
    """Names what could not be read, some of it at once and the rest as a number."""

    def __init__(self) -> None:
        self._lines = 0
        self._any = False

    def log(self, problem: str) -> None:
        self._any = True
        sys.stderr.write(f"{visible(problem)}\n")

    def line(self, place: str, problem: str) -> None:
        self._lines += 1
        if self._lines <= _REPORTED:
            self.log(f"{place}: is no audit event, and is skipped: {problem}")

    def report(self) -> int:
        """Return the exit status."""
        if self._lines > _REPORTED:
            self.log(f"{self._lines - _REPORTED} more lines are no audit events, and were skipped")
        return SOME_UNREAD if self._any else 0
