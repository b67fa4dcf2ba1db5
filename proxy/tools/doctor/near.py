"""Names that were probably meant to be one another: RBAC compares to the letter, people do not.

Each way in which a written name can miss the real one is a ``Miss``; the surest way that fits is
taken. Nothing here decides a right: it only chooses what an operator is asked to look at.
"""

from __future__ import annotations

import unicodedata
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

_ALIKE: Final = 0.86  # of difflib's ratio; "alice@example.com" and "alcie@example.com" have 0.94
_SHORTEST: Final = 5  # characters of a name that may be misspelt; shorter ones are all alike
_SEPARATORS: Final = (":", "#", "/", "|")


class Miss(StrEnum):
    """How a written name differs from the one that was meant, the surest first."""

    BLANK = "blank"
    CASE = "case"
    PREFIX = "prefix"
    LOCAL_PART = "local part"
    DOMAIN = "domain"
    SPELLING = "spelling"


WORDS: Final = {
    Miss.BLANK: "differs by blanks or by characters that look the same",
    Miss.CASE: "differs in upper and lower case",
    Miss.PREFIX: "differs by a prefix",
    Miss.LOCAL_PART: "is only a part of it",
    Miss.DOMAIN: "has another domain",
    Miss.SPELLING: "is spelt almost the same",
}


def miss(written: str, real: str) -> Miss | None:
    """Say how ``written`` misses ``real``; None if it is the same or something else altogether."""
    if written == real or not written or not real:
        return None
    plain, meant = _plain(written), _plain(real)
    if plain == meant:
        return Miss.BLANK
    plain, meant = plain.casefold(), meant.casefold()
    if plain == meant:
        return Miss.CASE
    if _is_tail(plain, meant) or _is_tail(meant, plain):
        return Miss.PREFIX
    return _of_addresses(plain, meant) or _misspelt(plain, meant)


def _plain(name: str) -> str:
    """Return a name in one form of Unicode, without blanks, quotes and what cannot be seen."""
    composed = unicodedata.normalize("NFKC", name)
    seen = (char for char in composed if unicodedata.category(char) not in {"Cf", "Cc"})
    return "".join(seen).strip(" \t\"'")


def _is_tail(tail: str, whole: str) -> bool:
    """Say whether ``whole`` is ``tail`` with a prefix before it."""
    return whole.endswith(tail) and whole[: -len(tail)].endswith(_SEPARATORS)


def _of_addresses(plain: str, meant: str) -> Miss | None:
    local, at, domain = _bare(plain).partition("@")
    other_local, other_at, other_domain = _bare(meant).partition("@")
    if local != other_local or not local:
        return None
    if at and other_at:
        return Miss.DOMAIN if domain != other_domain else Miss.PREFIX
    return Miss.LOCAL_PART if at or other_at else None


def _bare(name: str) -> str:
    """Return a name without what stands before the last separator."""
    return name[max(name.rfind(separator) for separator in _SEPARATORS) + 1 :]


def _misspelt(plain: str, meant: str) -> Miss | None:
    if min(len(plain), len(meant)) < _SHORTEST:
        return None
    alike = SequenceMatcher(None, plain, meant, autojunk=False).ratio() >= _ALIKE
    # Two people of one domain are not one person: with a domain, the local part must be alike.
    local, at, _ = plain.partition("@")
    other, other_at, _ = meant.partition("@")
    if alike and at and other_at:
        alike = SequenceMatcher(None, local, other, autojunk=False).ratio() >= _ALIKE - 0.1
    return Miss.SPELLING if alike else None
