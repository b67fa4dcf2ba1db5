"""What a client asks for with Impersonate-*: one meaning, or none; and what is then asked."""

from __future__ import annotations

import pytest

from proxy.errors import ImpersonationMalformed, TooManyImpersonated
from proxy.reviews.documents import Question
from proxy.reviews.requested import questions, requested, service_account
from proxy.userinfo import UserInfo

AUTHN = "authentication.k8s.io"
Fields = list[tuple[bytes, bytes]]

USER, GROUP, UID = b"Impersonate-User", b"Impersonate-Group", b"Impersonate-Uid"
ROBOT = "system:serviceaccount:shop:robot"
ITS_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:shop")


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ([(USER, b"bob")], UserInfo("bob")),
        ([(b"IMPERSONATE-user", b"bob")], UserInfo("bob")),
        ([(GROUP, b"b"), (USER, b"bob"), (GROUP, b"a"), (GROUP, b"b")],
         UserInfo("bob", groups=("b", "a"))),
        ([(USER, b"bob"), (GROUP, b"a,b")], UserInfo("bob", groups=("a,b",))),
        ([(USER, b"bob"), (UID, b"7")], UserInfo("bob", uid="7")),
        ([(USER, "j\u00f6rg".encode())], UserInfo("j\u00f6rg")),
        ([(USER, b"bob"), (b"Impersonate-Extra-Scopes", b"view"),
          (b"Impersonate-Extra-scopes", b"edit"), (b"impersonate-extra-scopes", b"view")],
         UserInfo("bob", extra={"scopes": ("view", "edit")})),
        ([(USER, b"bob"), (b"Impersonate-Extra-Example.com%2Fa_b", b"1")],
         UserInfo("bob", extra={"example.com/a_b": ("1",)})),
        ([(USER, b"bob"), (b"Impersonate-Extra-%46oo+%C3%B6", b"1")],
         UserInfo("bob", extra={"Foo+\u00f6": ("1",)})),
        ([(USER, ROBOT.encode())], UserInfo(ROBOT, groups=ITS_GROUPS)),
        ([(USER, ROBOT.encode()), (GROUP, b"a")], UserInfo(ROBOT, groups=("a",))),
    ],
)  # fmt: skip
def test_what_means_one_thing_is_taken(fields: Fields, user: UserInfo) -> None:
    assert requested(fields) == user


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(GROUP, b"a")],
        [(UID, b"7")],
        [(USER, b"bob"), (USER, b"bob")],
        [(USER, b"bob"), (UID, b"7"), (UID, b"7")],
        [(USER, b"bob"), (UID, b"")],
        [(b"Impersonate_User", b"bob")],
        [(USER, b"bob"), (b"impersonate_group", b"a")],
        [(USER, b"bob"), (b"Impersonate-Extra_a", b"1")],
        [(USER, b"bob"), (b"Impersonate_Extra-a", b"1")],
        [(USER, b"bob"), (b"Impersonate-Extra-", b"1")],
        [(USER, b"bob"), (b"Impersonate-Extra-a%2", b"1")],
        [(USER, b"bob"), (b"Impersonate-Extra-a%zz", b"1")],
        [(USER, b"bob"), (b"Impersonate-Extra-%ff", b"1")],
        [(USER, b"bob"), (b"Impersonate-Groups", b"a")],
        [(USER, b"bob"), (b"Impersonate", b"a")],
        [(USER, b"bob"), (b"Impersonated-By", b"a")],
        [(USER, b"\xff")],
    ],
)
def test_what_could_mean_two_things_is_refused(fields: Fields) -> None:
    with pytest.raises(ImpersonationMalformed) as refused:
        requested(fields)
    assert refused.value.code == 400


def test_there_is_a_limit_before_anything_is_asked() -> None:
    groups = [(GROUP, b"g%d" % n) for n in range(63)]
    assert len(requested([(USER, b"bob"), *groups]).groups) == 63
    with pytest.raises(TooManyImpersonated):
        requested([(USER, b"bob"), *groups, (GROUP, b"one more")])


def test_every_value_is_asked_about_as_kube_apiserver_does() -> None:
    user = UserInfo("bob", "7", ("a", "b"), {"example.com/s": ("v", "w")})
    assert questions(user) == [
        Question("impersonate", resource="users", name="bob"),
        Question("impersonate", resource="groups", name="a"),
        Question("impersonate", resource="groups", name="b"),
        Question("impersonate", AUTHN, "userextras", "example.com/s", "v", version="v1"),
        Question("impersonate", AUTHN, "userextras", "example.com/s", "w", version="v1"),
        Question("impersonate", AUTHN, "uids", name="7", version="v1"),
    ]


def test_a_service_account_is_asked_about_as_one() -> None:
    account = Question("impersonate", resource="serviceaccounts", name="robot", namespace="shop")
    assert questions(requested([(USER, ROBOT.encode())])) == [account]
    assert questions(requested([(USER, ROBOT.encode()), (GROUP, b"a")])) == [
        account,
        Question("impersonate", resource="groups", name="a"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::robot",
        "system:serviceaccount:shop:robot:x",
        "system:serviceaccount:Shop:robot",
        "system:serviceaccount:shop:ro_bot",
        "system:serviceaccount:shop.x:robot",
        "system:serviceaccount:shop:.robot",
        f"system:serviceaccount:{'s' * 64}:robot",
        f"system:serviceaccount:shop:{'r' * 254}",
        "system:serviceaccount:shop:robot\n",
        "xsystem:serviceaccount:shop:robot",
    ],
)
def test_what_only_looks_like_a_service_account_is_an_ordinary_user(name: str) -> None:
    assert service_account(name) is None
    assert questions(UserInfo(name)) == [Question("impersonate", resource="users", name=name)]


def test_a_service_accounts_name_may_have_dots() -> None:
    assert service_account("system:serviceaccount:a-1:b.c-2") == ("a-1", "b.c-2")
