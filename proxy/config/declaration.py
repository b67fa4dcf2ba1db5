"""What it takes to declare a setting: one call beside the field that it fills.

A declaration holds the text of the default, not its value: what is shown is what one could write,
and it goes through the same parser as everything that a person writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field
from typing import Any, Final, TypeVar

ENVIRONMENT_PREFIX: Final = "HEADLAMP_AUTH_PROXY_"
_METADATA: Final = "declaration"

T = TypeVar("T")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Declaration:
    """Everything about a setting but its name, which is that of its field.

    ``parse`` takes one text and raises ValueError with words that follow the value in a message;
    ``collect`` makes the field's value of what ``parse`` returned for each text.
    """

    group: str
    placeholder: str  # the kind of value and its unit, as the help writes it; empty: a switch
    default: tuple[str, ...]
    default_words: str  # what the default does, where its text does not say it
    help: str
    parse: Callable[[str], Any]
    collect: Callable[[Sequence[Any]], Any]
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """A declaration with its name, and what is derived from the name."""

    name: str
    declared: Declaration

    @property
    def key(self) -> str:
        """The key in the YAML file."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """The name of the environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def default_shown(self) -> str:
        return self.declared.default_words or ", ".join(self.declared.default)


def one(
    group: str,
    placeholder: str,
    default: str,
    parse: Callable[[str], T],
    text: str,
    *,
    words: str = "",
) -> T:
    """Declare a setting with one value (of several, the last counts); ``text`` is its help."""

    def collect(values: Sequence[T]) -> T:
        return values[-1]

    declared = Declaration(group, placeholder, (default,), words, text, parse, collect, False)
    return _field(declared, lambda: parse(default))


def many(
    group: str,
    placeholder: str,
    default: tuple[str, ...],
    parse: Callable[[str], Item],
    text: str,
    *,
    collect: Callable[[Sequence[Item]], T],
    words: str = "",
) -> T:
    """Declare a repeatable setting; ``collect`` makes its value from the parsed items."""
    declared = Declaration(group, placeholder, default, words, text, parse, collect, True)
    return _field(declared, lambda: collect([parse(item) for item in default]))


def _field(declared: Declaration, value: Callable[[], T]) -> T:
    return field(default_factory=value, metadata={_METADATA: declared})


def declared_settings(fields: Iterable[Field[Any]]) -> dict[str, Setting]:
    """Return the settings that the fields of a dataclass declare, by name, in order."""
    return {f.name: Setting(f.name, f.metadata[_METADATA]) for f in fields}
