"""The identity that a client asks for with ``Impersonate-*``, read so that it means one thing.

kube-apiserver takes the first of several users, ignores headers that it does not know and keeps a
key that it cannot unescape as it came. Here whatever could mean two things to two readers is
refused: what is asked about and what is sent on must be the same to the letter. The questions are
those that kube-apiserver itself asks its authorizers (k8s.io/apiserver,
endpoints/filters/impersonation).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.errors import ImpersonationMalformed, TooManyImpersonated
from proxy.headers import Field
from proxy.reviews.documents import Question
from proxy.rights import AUTHENTICATION
from proxy.userinfo import UserInfo

MAX_VALUES: Final = 64

_USER, _GROUP, _UID = "impersonate-user", "impersonate-group", "impersonate-uid"
_EXTRA: Final = "impersonate-extra-"
_UNESCAPABLE: Final = re.compile(r"(?:[^%]|%[0-9a-f]{2})+")

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SERVICE_ACCOUNT: Final = re.compile(
    rf"system:serviceaccount:(?P<namespace>{_LABEL}):"
    r"(?P<name>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*)"
)
_LONGEST_NAME: Final = 253  # a DNS subdomain


def requested(fields: Sequence[Field]) -> UserInfo:
    """Return who is asked for, each group and extra value once.

    ``fields`` are all headers that look like impersonation. As in kube-apiserver, a service account
    without groups has those of its kind. Raises ImpersonationMalformed or TooManyImpersonated.
    """
    if len(fields) > MAX_VALUES:
        raise TooManyImpersonated(f"{len(fields)} headers, at most {MAX_VALUES} pass")
    users: list[str] = []
    groups: list[str] = []
    uids: list[str] = []
    extra: dict[str, list[str]] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name == _USER:
            users.append(value)
        elif name == _GROUP:
            groups.append(value)
        elif name == _UID:
            uids.append(value)
        elif name.startswith(_EXTRA):
            extra.setdefault(_key(name.removeprefix(_EXTRA)), []).append(value)
        else:
            raise ImpersonationMalformed(f"{name[:64]!a} is no impersonation header")
    if len(users) != 1 or len(uids) > 1 or uids == [""]:
        raise ImpersonationMalformed(f"{len(users)} users and {len(uids)} uids, or an empty one")
    user = users[0]
    return UserInfo(
        user,
        uid=uids[0] if uids else "",
        groups=tuple(dict.fromkeys(groups)) or _groups_of(user),
        extra={key: tuple(dict.fromkeys(values)) for key, values in extra.items()},
    )


def questions(user: UserInfo) -> list[Question]:
    """Return what somebody must be allowed who wants to be ``user``: each value, in order.

    The groups that a service account has of itself are not asked about, as in kube-apiserver.
    """
    namespace, name = service_account(user.username) or ("", "")
    if name:
        asked = [
            Question("impersonate", resource="serviceaccounts", name=name, namespace=namespace)
        ]
    else:
        asked = [Question("impersonate", resource="users", name=user.username)]
    if user.groups != _groups_of(user.username):
        asked += [Question("impersonate", resource="groups", name=group) for group in user.groups]
    asked += [
        _authentication("userextras", value, key)
        for key, values in user.extra.items()
        for value in values
    ]
    if user.uid:
        asked.append(_authentication("uids", user.uid))
    return asked


def service_account(username: str) -> tuple[str, str] | None:
    """Return namespace and name if it is a service account's user name, as kube-apiserver has it.

    Anything else that begins like one is an ordinary user (serviceaccount.SplitUsername).
    """
    found = _SERVICE_ACCOUNT.fullmatch(username)
    if found is None or len(found["name"]) > _LONGEST_NAME:
        return None
    return found["namespace"], found["name"]


def _groups_of(username: str) -> tuple[str, ...]:
    account = service_account(username)
    if account is None:
        return ()
    return ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")


def _authentication(resource: str, name: str, subresource: str = "") -> Question:
    return Question("impersonate", AUTHENTICATION, resource, subresource, name=name, version="v1")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ImpersonationMalformed("a value is not UTF-8") from None


def _key(escaped: str) -> str:
    """Return an extra's key; ``escaped`` is in lower case already, what it escapes need not be."""
    if not _UNESCAPABLE.fullmatch(escaped):
        raise ImpersonationMalformed(f"{escaped[:64]!a} is not the key of an extra")
    return _text(unquote_to_bytes(escaped))
