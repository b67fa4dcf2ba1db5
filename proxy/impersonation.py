"""From a ``UserInfo`` to the identity headers of a request; refuses, or is complete, never partial.

The API server serves a request that has our credential and no ``Impersonate-User`` **as us**
(k8s.io/apiserver, endpoints/filters/impersonation). So three things must stay true here:

1. An ``Impersonation`` cannot be built without a name that survives HTTP unchanged.
2. A group of our own goes along with every identity: were the user header ever lost on the way,
   the API server would answer 400 (groups without a user) and not serve the request as us.
3. ``verify_outgoing`` looks at the very bytes that are about to leave, and trusts nothing that
   was decided before.

Reserved names are refused even though RBAC should not allow them either: with ``users`` left open
in RBAC, ``system:kube-controller-manager`` would pass, constrained impersonation or not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from proxy.errors import (
    ExtraMalformed,
    GroupMalformed,
    GroupReserved,
    ImpersonationDenied,
    ImpersonationMalformed,
    Internal,
    TooManyGroups,
    UidMalformed,
    UsernameMalformed,
    UsernameReserved,
)
from proxy.limits import MAX_GROUPS
from proxy.rights import ORIGINAL_USER
from proxy.userinfo import CREDENTIAL_ID, UserInfo

RESERVED_PREFIXES: Final = ("system:", "kubeadm:", "eks:", "aks:")
NEVER_ALLOWED: Final = "system:masters"
# kube-apiserver adds this one itself to whoever is impersonated; naming it needs its own RBAC.
NEVER_SENT: Final = "system:authenticated"
MAX_EXTRA: Final = 64  # values, of all keys together

# What of a key is escaped in the name of a header; more than client-go does (see _header_name).
_ESCAPED: Final = re.compile(rb"[^a-z0-9.-]")


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be asserted. ``groups_allow`` are globs; empty lets every group be judged."""

    authenticated_group: str
    groups_allow: tuple[str, ...] = ()
    allowed_reserved_groups: frozenset[str] = frozenset()
    reserved_prefixes: tuple[str, ...] = RESERVED_PREFIXES
    max_groups: int = MAX_GROUPS
    send_credential_id: bool = False
    send_token_facts: bool = False


@dataclass(frozen=True, slots=True)
class Impersonation:
    """An identity that may be asserted, with its header lines ready to write.

    ``groups`` includes our own; ``dropped`` counts groups that no ``groups_allow`` glob matches.
    ``extra`` has each value with its key; ``uid`` is empty where there is none. ``original`` is
    the user who asked to be somebody else, empty where nobody did.
    """

    username: str
    groups: tuple[str, ...]
    header: bytes
    dropped: int
    uid: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    original: str = ""


def impersonate(user: UserInfo, policy: Policy) -> Impersonation:
    """Return the identity to assert for ``user``; raises an ``IdentityError``, or returns whole."""
    _check_username(user.username, policy)
    groups, dropped = _filtered(user.groups, policy)
    if len(groups) > policy.max_groups:
        raise TooManyGroups(f"{len(groups)} groups, at most {policy.max_groups} pass")
    for group in groups:
        _check_group(group, policy)
    sent = (*(g for g in groups if g != NEVER_SENT), policy.authenticated_group)
    if user.uid:
        _check_uid(user.uid)
    extra = _extra(user, policy) if user.extra else ()
    header = _header(user.username, sent, user.uid, extra)
    return Impersonation(user.username, sent, header, dropped, user.uid, extra)


def _extra(user: UserInfo, policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return each value to send with its key; what is not sent is not judged."""
    extra = tuple(
        (key, value)
        for key, values in user.extra.items()
        if key != CREDENTIAL_ID or policy.send_credential_id
        for value in values
    )
    if len(extra) > MAX_EXTRA:
        raise ExtraMalformed(f"{len(extra)} values of extra, at most {MAX_EXTRA} pass")
    for key, value in extra:
        # In transit a key is lower-cased, so another one would arrive as somebody else's.
        if _malformed(key) or key != key.lower():
            raise ExtraMalformed(f"key {key!a} of extra is not one in lower case")
        if problem := _malformed(value):
            raise ExtraMalformed(f"value {value!a} of extra {key!a} {problem}")
    return extra


def _header_name(key: str) -> str:
    """Escape a key so that it arrives as it is: the API server lower-cases, then undoes escapes.

    Escaped is what client-go escapes (transport/round_trippers.go, headerKeyEscape), capitals,
    which would lose their case, and all else that is no letter, for some servers lose a ``_``.
    """
    return _ESCAPED.sub(lambda found: b"%%%02X" % ord(found[0]), key.encode()).decode()


def _check_uid(uid: str) -> None:
    if problem := _malformed(uid):
        raise UidMalformed(f"uid {uid!a} {problem}")


def impersonate_requested(user: UserInfo, original: Impersonation, policy: Policy) -> Impersonation:
    """Return the identity to assert for ``user``, whom ``original`` has asked to be.

    Whether that is allowed is for the API server to say, so reserved names are not judged here, and
    nothing is dropped; but ``system:masters`` never passes, because it is above RBAC. Raises
    ImpersonationMalformed or ImpersonationDenied, or returns whole.
    """
    names = [
        user.username,
        *user.groups,
        *user.extra,
        *(v for vs in user.extra.values() for v in vs),
    ]
    for name in [*names, user.uid] if user.uid else names:
        if problem := _malformed(name):
            raise ImpersonationMalformed(f"{name!a} {problem}")
    if NEVER_ALLOWED in user.groups:
        raise ImpersonationDenied(f"group {NEVER_ALLOWED} is never impersonated")
    if any(key.lower() == ORIGINAL_USER for key in user.extra):
        raise ImpersonationDenied(f"extra {ORIGINAL_USER} is this proxy's own")
    sent = tuple(dict.fromkeys((*user.groups, policy.authenticated_group)))
    asked = tuple((key, value) for key, values in user.extra.items() for value in values)
    extra = (*asked, (ORIGINAL_USER, original.username))
    return Impersonation(
        user.username,
        sent,
        _header(user.username, sent, user.uid, extra),
        0,
        user.uid,
        extra,
        original.username,
    )


def _header(
    username: str, groups: tuple[str, ...], uid: str, extra: tuple[tuple[str, str], ...]
) -> bytes:
    """Return the header lines of an identity, all of whose parts have been judged."""
    lines = [f"Impersonate-User: {username}\r\n"]
    lines += [f"Impersonate-Group: {group}\r\n" for group in groups]
    if uid:
        lines.append(f"Impersonate-Uid: {uid}\r\n")
    lines += [f"Impersonate-Extra-{_header_name(key)}: {value}\r\n" for key, value in extra]
    return "".join(lines).encode()


def _filtered(groups: tuple[str, ...], policy: Policy) -> tuple[list[str], int]:
    """Keep each group once, in order, that a glob matches; count the others."""
    unique = list(dict.fromkeys(groups))
    if not policy.groups_allow:
        return unique, 0
    kept = [g for g in unique if any(fnmatchcase(g, glob) for glob in policy.groups_allow)]
    return kept, len(unique) - len(kept)


def _check_username(name: str, policy: Policy) -> None:
    if problem := _malformed(name):
        raise UsernameMalformed(f"user name {name!a} {problem}")
    if name.startswith(policy.reserved_prefixes):
        raise UsernameReserved(f"user name {name!a} is reserved")


def _check_group(name: str, policy: Policy) -> None:
    if problem := _malformed(name):
        raise GroupMalformed(f"group {name!a} {problem}")
    if name == policy.authenticated_group:
        raise GroupReserved(f"group {name!a} is this proxy's own")
    if name == NEVER_ALLOWED or (
        name.startswith(policy.reserved_prefixes) and name not in policy.allowed_reserved_groups
    ):
        raise GroupReserved(f"group {name!a} is reserved")


def _malformed(name: str) -> str | None:
    """Say why ``name`` could not travel in a header and arrive as it is, or None."""
    if not name:
        return "is empty"
    if name.strip(" \t") != name:
        return "begins or ends with a blank"
    if not name.isprintable() and any(unicodedata.category(c) in {"Cc", "Cs"} for c in name):
        return "holds a control character or a lone surrogate"
    if "\ufffd" in name:
        # What JSON cannot say (a lone surrogate, bytes that are not UTF-8) has become this, as in
        # Go; two users who differ in nothing else must not become one.
        return "holds a character that could not be read"
    return None


_USER: Final = b"\r\nimpersonate-user: "


def verify_outgoing(head: bytes, identity: Impersonation) -> None:
    """Look at a head that is about to leave; raise ``Internal`` unless it says who, exactly once.

    ``head`` runs from the request line to the empty line. Nothing in it but ``identity.header``
    may look like an impersonation header, there is one non-empty user and at least one group, at
    most one credential and one word on the body's length, no line ends in any way but CR LF (some
    servers take a bare LF for an end), and no second head hides inside.
    """
    lower = head.lower()
    user = lower.find(_USER)
    block = user + len(b"\r\n")
    groups = len(identity.groups)
    others = len(identity.extra) + bool(identity.uid)
    if (
        user < 0
        or lower[user + len(_USER) : user + len(_USER) + 1] in b" \t\r"
        or head[block : block + len(identity.header)] != identity.header
        or lower.count(_USER) != 1
        or lower.count(b"\r\nimpersonate") != 1 + groups + others
        or lower.count(b"\r\nimpersonate-group: ") != groups
        or groups < 1
        or (others and not _carries_others(lower, identity))
        or not is_one_head(lower)
    ):
        raise Internal("[unexpected] the outgoing head does not carry exactly one identity")


def verify_lines(start: bytes, count: int) -> None:
    """Look at what leaves in front of fields that ``verify_outgoing`` has seen behind its like.

    It was written around values of the client's; raise ``Internal`` unless it is as many lines
    still, so that no value has become a line of its own, or the end of the head.
    """
    if (
        not start.count(b"\r\n") == start.count(b"\r") == start.count(b"\n") == count
        or start[-2:] != b"\r\n"
    ):
        raise Internal("[unexpected] the outgoing head does not begin as it was written")


def is_one_head(lower: bytes) -> bool:
    """Say whether a head, in lower case, is one head to whoever reads it, whoever speaks in it."""
    return (
        lower.count(b"\r\nauthorization") <= 1
        and lower.count(b"\r\ncontent-length:") + lower.count(b"\r\ntransfer-encoding:") <= 1
        and lower.count(b"\r") == lower.count(b"\n") == lower.count(b"\r\n")
        and lower.find(b"\r\n\r\n") == len(lower) - 4
    )


def _carries_others(lower: bytes, identity: Impersonation) -> bool:
    """Say whether UID and extra are there as often as they must be, and nothing of another kind."""
    return lower.count(b"\r\nimpersonate-uid: ") == bool(identity.uid) and lower.count(
        b"\r\nimpersonate-extra-"
    ) == len(identity.extra)
