"""A stream of YAML documents, of which one is changed and the others are not touched, to the byte.

A document is parsed to be looked at, and written anew only if it was changed; then its comments,
its order and its quoting stay, which is what ``ruamel.yaml`` is here for (and what would be lost
with the loader that the rest of this program uses). What was written is read once more: it must
say what was there before and the change, and nothing else, or the stream is refused.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError as EditorError

# The directives before a document (%YAML 1.1) are its own.
SEPARATOR: Final = re.compile(r"^(?:%[^\n]*\n)*---(?=\s|$)", re.MULTILINE)
_INDENTED_LIST: Final = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\n\1 +- ", re.MULTILINE)

# Far above what any manifest has; the parsers recurse, and an alias of aliases grows by powers.
_MAX_DEPTH: Final = 100
_MAX_NODES: Final = 1_000_000

Change = Callable[[Any], None]


class StreamError(Exception):
    """What was given is not a stream of YAML documents; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the stream, its separator included, and what it says.

    ``origin`` and ``lines_before`` are for messages about it.
    """

    text: str
    content: Any
    origin: str
    lines_before: int

    def changed(self, change: Change) -> str:
        """Return the text after ``change`` was made; the same text where nothing changed.

        Raises StreamError where the document cannot be written without changing more of it.
        """
        after = _unshared(self.content)
        change(after)
        if after == self.content:
            return self.text
        if self.text.lstrip("-\n ").startswith("{"):
            return json.dumps(after, indent=4) + "\n"
        text = self._edited(change)
        if _load(text, self.origin, self.lines_before) != after:
            raise StreamError(
                f"{self.origin}, line {self.lines_before + 1}: this document cannot be changed in "
                "one place alone; write out its anchors (&) and aliases (*)"
            )
        return text

    def _edited(self, change: Change) -> str:
        editor = _editor(self.text)
        output = io.StringIO(newline="\r\n" if "\r\n" in self.text else "\n")
        try:
            content = editor.load(self.text)
            change(content)
            editor.dump(content, output)
        except EditorError as error:
            raise StreamError(_where(error, self.origin, self.lines_before)) from error
        return output.getvalue()


def documents(text: str, origin: str) -> list[Document]:
    """Take a stream apart; joined, the texts are the stream. Raises StreamError."""
    starts = [found.start() for found in SEPARATOR.finditer(text)]
    edges = [0, *(s for s in starts if s), len(text)]
    found = []
    for begin, end in itertools.pairwise(edges):
        part, before = text[begin:end], text.count("\n", 0, begin)
        found.append(Document(part, _load(part, origin, before), origin, before))
    return found


def _load(text: str, origin: str, lines_before: int) -> Any:
    try:
        _check_size(text)
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise StreamError(_where(error, origin, lines_before)) from error
    except ValueError as error:  # a date in the thirteenth month
        raise StreamError(f"{origin}, line {lines_before + 1} or below: {error}") from error


def _check_size(text: str) -> None:
    """Raise MarkedYAMLError for what no manifest is: endless, very deep, or very large written out.

    Parsing into events takes no recursion, whatever the depth.
    """
    sizes: dict[str, int] = {}  # what each anchor stands for, in nodes
    open_nodes: list[tuple[str | None, int]] = []  # their anchors, and the count before each
    count = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        problem = None
        if isinstance(event, yaml.AliasEvent):
            count += sizes.get(event.anchor or "", 1)
            if any(event.anchor == anchor for anchor, _ in open_nodes):
                problem = f"the anchor {event.anchor} contains itself"
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.ScalarEvent):
                sizes[event.anchor or ""] = 1
            else:
                open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor or ""] = count - before
        if len(open_nodes) > _MAX_DEPTH:
            problem = f"more than {_MAX_DEPTH} levels deep"
        if count > _MAX_NODES:
            problem = f"more than {_MAX_NODES} values, with its aliases (*) written out"
        if problem:
            mark: Any = event.start_mark  # of libyaml's class, which the stubs do not take here
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _unshared(content: Any) -> Any:
    """Return a copy in which what an alias stands for is there once more, to be changed alone."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_unshared(item) for item in content]
    return content


def _where(error: yaml.YAMLError | EditorError, origin: str, lines_before: int) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {lines_before + mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return f"{origin}{line}: not YAML: {problem}"


def _editor(text: str) -> YAML:
    """Return an editor that leaves alone what is not changed, and sets lists as ``text`` does."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096  # a long line stays one line
    editor.explicit_start = bool(SEPARATOR.match(text))
    if _INDENTED_LIST.search(text):
        editor.indent(mapping=2, sequence=4, offset=2)
    return editor
