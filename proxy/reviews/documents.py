"""The reviews of authentication.k8s.io and authorization.k8s.io, as they are sent and answered.

An answer is read with suspicion, because decisions hang on it: what is missing, malformed or of
another type than it must be is ``Unknown``, a value like any other, and never a crash or a yes.
Source: k8s.io/api, authentication/v1 and authorization/v1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

from proxy.rights import AUTHENTICATION, AUTHORIZATION, Rule
from proxy.userinfo import UserInfo

KINDS: Final = (
    "TokenReview",
    "SelfSubjectReview",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
    "SubjectAccessReview",
)
_MESSAGE: Final = 300  # characters of what the API server says that may go into a log

Outcome = Literal["answered", "unknown"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no answer that can be relied on; ``why`` is for the log.

    ``status`` is the HTTP status of a refusal, 0 where no answer came.
    """

    why: str
    status: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """Whether something is allowed; ``error`` is what an authorizer could not evaluate."""

    allowed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What somebody may do, as far as the API server can list it; ``error`` is what it could not.

    A role that is bound and does not exist is such an error.
    """

    rules: tuple[Rule, ...]
    complete: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """Whose token it is, None if nobody's; ``audiences`` that both sides have in common.

    ``error`` is why it is nobody's, if the API server says so.
    """

    user: UserInfo | None
    audiences: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that may be allowed (ResourceAttributes); what is empty is left out."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    version: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        what = f"{what}.{self.group}" if self.group else what
        return f"{self.verb} {what} {self.name}".rstrip()

    def attributes(self) -> dict[str, str]:
        names = ("verb", "group", "version", "resource", "subresource", "name", "namespace")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class Review:
    """What is sent: a document of one of the review kinds, and where it goes."""

    kind: str
    group: str
    spec: Mapping[str, Any] = field(repr=False)

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/v1/{self.kind.lower()}s"

    def document(self) -> bytes:
        document: dict[str, Any] = {"kind": self.kind, "apiVersion": f"{self.group}/v1"}
        if self.spec:
            document["spec"] = self.spec
        return json.dumps(document, separators=(",", ":")).encode()


def token_review(token: bytes, audiences: Sequence[str]) -> Review:
    """Ask whose token it is; without audiences, those of the API server itself count."""
    spec: dict[str, Any] = {"token": token.decode("ascii")}
    if audiences:
        spec["audiences"] = list(audiences)
    return Review("TokenReview", AUTHENTICATION, spec)


def self_subject_review() -> Review:
    return Review("SelfSubjectReview", AUTHENTICATION, {})


def self_subject_access_review(question: Question) -> Review:
    spec = {"resourceAttributes": question.attributes()}
    return Review("SelfSubjectAccessReview", AUTHORIZATION, spec)


def self_subject_rules_review(namespace: str) -> Review:
    return Review("SelfSubjectRulesReview", AUTHORIZATION, {"namespace": namespace})


def subject_access_review(user: UserInfo, question: Question) -> Review:
    """Ask whether ``user``, with all that the API server would see of them, may do it."""
    spec: dict[str, Any] = {
        "user": user.username,
        "groups": list(user.groups),
        "resourceAttributes": question.attributes(),
    }
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    return Review("SubjectAccessReview", AUTHORIZATION, spec)


# --- Answers -------------------------------------------------------------------------------------


class _Malformed(Exception):
    """Something in an answer is not what it must be."""


def read(status: int, body: bytes, review: Review, status_of: Callable[[Any], T]) -> T | Unknown:
    """Return what ``status_of`` makes of the answer's ``status`` member, or why it cannot."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Unknown(f"{review.kind}: status {status}, and no JSON", status)
    if status not in {200, 201}:
        return Unknown(f"{review.kind}: status {status}{_message(document)}", status)
    try:
        if _object(document).get("kind") != review.kind:
            return Unknown(f"{review.kind}: the answer is of another kind")
        return status_of(_object(document.get("status")))
    except _Malformed as malformed:
        return Unknown(f"{review.kind}: the answer is malformed: {malformed}")


def token_status(status: Any) -> TokenStatus:
    if not _boolean(status.get("authenticated"), absent=False):
        return TokenStatus(None, error=_text(status.get("error") or "")[:_MESSAGE])
    return TokenStatus(_user(status.get("user")), _texts(status.get("audiences")))


def subject(status: Any) -> UserInfo:
    return _user(status.get("userInfo"))


def access(status: Any) -> Access:
    """Read the answer to an access review; only a plain yes that nothing denies is one."""
    allowed = _boolean(status.get("allowed"))
    denied = _boolean(status.get("denied"), absent=False)
    error = status.get("evaluationError") or ""
    return Access(allowed and not denied, _text(error)[:_MESSAGE])


def rules(status: Any) -> Rules:
    """Read the list of rules, which says itself whether it is whole."""
    found = [_resource_rule(_object(item)) for item in _items(status.get("resourceRules"))]
    found += [_path_rule(_object(item)) for item in _items(status.get("nonResourceRules"))]
    incomplete = _boolean(status.get("incomplete"), absent=False)
    error = _text(status.get("evaluationError") or "")[:_MESSAGE]
    return Rules(tuple(found), complete=not incomplete and not error, error=error)


def _resource_rule(item: Mapping[str, Any]) -> Rule:
    return Rule(
        verbs=_texts(item.get("verbs")),
        groups=_texts(item.get("apiGroups")),
        resources=_texts(item.get("resources")),
        names=_texts(item.get("resourceNames")),
    )


def _path_rule(item: Mapping[str, Any]) -> Rule:
    return Rule(verbs=_texts(item.get("verbs")), paths=_texts(item.get("nonResourceURLs")))


def _user(value: Any) -> UserInfo:
    user = _object(value)
    name = _text(user.get("username"))
    if not name:
        raise _Malformed("a user without a name")
    extra = {key: _texts(values) for key, values in _object(user.get("extra") or {}).items()}
    return UserInfo(name, _text(user.get("uid") or ""), _texts(user.get("groups")), extra)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Malformed("an object is missing")
    return value


def _items(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _Malformed("a list is something else")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _items(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Malformed("a text is missing or something else")
    return value


def _boolean(value: Any, *, absent: bool | None = None) -> bool:
    value = absent if value is None else value
    if not isinstance(value, bool):
        raise _Malformed("a boolean is missing or something else")
    return value


def _message(document: Any) -> str:
    """Return the message of a Status, as far as it is one, to put behind a status code."""
    message = document.get("message") if isinstance(document, dict) else None
    return f": {message[:_MESSAGE]}" if isinstance(message, str) else ""
