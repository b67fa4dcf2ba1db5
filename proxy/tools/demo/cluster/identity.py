"""Who is asking: the proxy by its token, and whom it says it asks for.

The rules of kube-apiserver's impersonation filter: the one who really asks needs leave for each
user and group that he names, groups without a user are an error, and whoever is impersonated is
authenticated. Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Protocol

from proxy.tools.demo.cluster.rbac import AUTHENTICATED, Authorizer, Question
from proxy.tools.demo.cluster.statuses import ApiError, bad_request, forbidden, quoted, unauthorized
from proxy.tools.demo.manifests import ACCOUNT_NAME, ACCOUNT_NAMESPACE
from proxy.userinfo import UserInfo

ACCOUNT = UserInfo(
    f"system:serviceaccount:{ACCOUNT_NAMESPACE}:{ACCOUNT_NAME}",
    groups=(
        "system:serviceaccounts",
        f"system:serviceaccounts:{ACCOUNT_NAMESPACE}",
        AUTHENTICATED,
    ),
)


class Headers(Protocol):
    """A request's headers, names in any case."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]: ...


def user_of(headers: Headers, account_token: str, authorizer: Authorizer) -> UserInfo:
    """Return for whom the request is to be served. Raises ApiError."""
    expected = f"Bearer {account_token}"
    given = list(headers.getall("Authorization", ()))
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), expected.encode()):
        raise unauthorized()
    users = list(headers.getall("Impersonate-User", ()))
    groups = list(headers.getall("Impersonate-Group", ()))
    if not users:
        if groups:
            raise bad_request(f"requested {quoted(groups[0])} without impersonating a user")
        return ACCOUNT
    for user in users:
        _check(authorizer, "users", user)
    for group in groups:
        _check(authorizer, "groups", group)
    return UserInfo(users[0], groups=tuple(dict.fromkeys([*groups, AUTHENTICATED])))


def _check(authorizer: Authorizer, resource: str, name: str) -> None:
    if authorizer.allowed_by(ACCOUNT, Question("impersonate", "", resource, name=name)) is None:
        raise _cannot_impersonate(resource, name)


def _cannot_impersonate(resource: str, name: str) -> ApiError:
    message = (
        f"User {quoted(ACCOUNT.username)} cannot impersonate resource {quoted(resource)} "
        'in API group "" at the cluster scope'
    )
    return forbidden(message, resource, "", name)
