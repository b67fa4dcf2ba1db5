"""A stream of YAML documents, of which one is changed and the others are not touched, to the byte.

A document is parsed to be looked at, and written anew only if it was changed; then its comments,
its order and its quoting stay, which is what ``ruamel.yaml`` is here for (and what would be lost
with the loader that the rest of this program uses).
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import yaml
from ruamel.yaml import YAML

_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_INDENTED_LIST: Final = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\n\1 +- ", re.MULTILINE)

Change = Callable[[Any], None]


class StreamError(Exception):
    """What was given is not a stream of YAML documents; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the stream, its separator included, and what it says."""

    text: str
    content: Any

    def changed(self, change: Change) -> str:
        """Return the text after ``change`` was made; the same text where nothing changed."""
        after = deepcopy(self.content)
        change(after)
        if after == self.content:
            return self.text
        if self.text.lstrip("-\n ").startswith("{"):
            return json.dumps(after, indent=4) + "\n"
        editor = _editor(self.text)
        content = editor.load(self.text)
        change(content)
        output = io.StringIO()
        editor.dump(content, output)
        return output.getvalue()


def documents(text: str, origin: str) -> list[Document]:
    """Take a stream apart; joined, the texts are the stream. Raises StreamError."""
    starts = [found.start() for found in _SEPARATOR.finditer(text)]
    edges = [0, *(s for s in starts if s), len(text)]
    found = []
    for begin, end in itertools.pairwise(edges):
        part = text[begin:end]
        try:
            content = yaml.load(part, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise StreamError(_where(error, origin, text.count("\n", 0, begin))) from error
        found.append(Document(part, content))
    return found


def _where(error: yaml.YAMLError, origin: str, lines_before: int) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {lines_before + mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{origin}{line}: not YAML: {problem}"


def _editor(text: str) -> YAML:
    """Return an editor that leaves alone what is not changed, and sets lists as ``text`` does."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096  # a long line stays one line
    editor.explicit_start = bool(_SEPARATOR.match(text))
    if _INDENTED_LIST.search(text):
        editor.indent(mapping=2, sequence=4, offset=2)
    return editor
