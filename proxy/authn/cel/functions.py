"""Kubernetes' extension functions that the library does not have, as tables of it.

``FUNCTIONS`` joins the tables of the modules beside this one. A type is written as the library
writes it; one with a dot in its name is opaque: it has a name for the checker, and at run time it
is a map that only functions of the same table look into. Source of names, types and meanings:
k8s.io/apiserver/pkg/cel/library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Function:
    """One Python function under one name, with the overloads that it serves.

    ``overloads`` gives for each id the types of the parameters, the target of a member first, and
    of the result. ``run`` takes them as Python values and raises ValueError. A result of type
    ``optional<...>`` of a list or a map is returned as that, empty for none.
    """

    name: str
    overloads: Mapping[str, tuple[tuple[str, ...], str]]
    run: Callable[..., Any]
    is_member: bool = True


def readable(read: Callable[..., Any]) -> Callable[..., bool]:
    """Return the function that says whether ``read`` raises no ValueError."""

    def can_be_read(*arguments: Any) -> bool:
        try:
            read(*arguments)
        except ValueError:
            return False
        return True

    return can_be_read


def member(
    name: str, run: Callable[..., Any], **overloads: tuple[tuple[str, ...], str]
) -> Function:
    return Function(name, overloads, run)


def free(name: str, run: Callable[..., Any], **overloads: tuple[tuple[str, ...], str]) -> Function:
    return Function(name, overloads, run, is_member=False)
