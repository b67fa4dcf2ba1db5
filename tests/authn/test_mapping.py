"""From claims to a user, as kube-apiserver's --oidc-* flags would have it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy import errors
from proxy.authn.mapping import ClaimMapping, groups_by_claim, user_info
from proxy.userinfo import UserInfo

BY_EMAIL = ClaimMapping("email", groups_claims=("tags", "groups"))
BY_NAME = ClaimMapping("username", groups_claims=("groups",))
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


@pytest.mark.parametrize(
    ("value", "username"),
    [
        ("alice", "alice"),
        ("", ""),
        (None, ""),
        (" alice ", " alice "),
        ("a\0\n", "a\0\n"),
        ("system:admin", "system:admin"),
    ],
)
def test_the_username_is_the_claim_as_it_is_for_others_to_judge(value: Any, username: str) -> None:
    assert user_info({"username": value}, BY_NAME) == UserInfo(username)
    prefixed = ClaimMapping("username", username_prefix="oidc:")
    assert user_info({"username": value}, prefixed).username == f"oidc:{username}"


@pytest.mark.parametrize("value", [5, True, [], ["alice"], {}], ids=str)
def test_a_username_must_be_a_string(value: Any) -> None:
    with pytest.raises(errors.ClaimMalformed):
        user_info({"username": value}, BY_NAME)


@pytest.mark.parametrize(
    "claims", [{}, {"USERNAME": "alice"}, {"user": {"name": "alice"}}], ids=str
)
def test_the_username_claim_is_found_under_its_exact_name_only(claims: dict[str, Any]) -> None:
    with pytest.raises(errors.UsernameMissing):
        user_info(claims, BY_NAME)


@pytest.mark.parametrize("verified", [{}, {"email_verified": True}], ids=str)
def test_an_address_counts_unless_it_is_said_to_be_unverified(verified: dict[str, Any]) -> None:
    claims = {"email": "a@example.com"} | verified
    assert user_info(claims, BY_EMAIL).username == "a@example.com"


@pytest.mark.parametrize(
    ("verified", "error"),
    [
        (False, errors.EmailNotVerified),
        (None, errors.EmailNotVerified),
        ("true", errors.ClaimMalformed),
        (1, errors.ClaimMalformed),
        ([True], errors.ClaimMalformed),
    ],
    ids=str,
)
def test_an_address_with_anything_but_true_beside_it_does_not_count(
    verified: Any, error: type[errors.ProxyError]
) -> None:
    claims = {"email": "a@example.com", "email_verified": verified}
    with pytest.raises(error):
        user_info(claims, BY_EMAIL)
    assert user_info(claims | {"username": "a"}, BY_NAME).username == "a"


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ("a", ("a",)),
        ("a,b c", ("a,b c",)),
        ("", ("",)),
        ([], ()),
        (["b", "a", "b"], ("b", "a", "b")),
        (["a", None, ""], ("a", "", "")),
        (None, ()),
    ],
    ids=str,
)
def test_groups_are_one_or_several_and_stay_as_they_come(
    value: Any, groups: tuple[str, ...]
) -> None:
    claims = {"username": "u", "groups": value}
    assert user_info(claims, BY_NAME).groups == groups
    prefixed = ClaimMapping("username", groups_claims=("groups",), groups_prefix="g:")
    assert user_info(claims, prefixed).groups == tuple(f"g:{group}" for group in groups)


@pytest.mark.parametrize("value", [5, True, {}, {"a": True}, ["a", 5], [["a"]]], ids=str)
def test_groups_of_another_type_are_refused_whichever_claim_has_them(value: Any) -> None:
    for name in ("tags", "groups"):
        with pytest.raises(errors.ClaimMalformed, match=name):
            user_info({"email": "a", name: value}, BY_EMAIL)


def test_groups_are_nobodys_without_a_claim_or_without_being_asked_for() -> None:
    assert user_info({"email": "a"}, BY_EMAIL).groups == ()
    assert user_info({"email": "a", "groups": ["x"]}, ClaimMapping("email")).groups == ()


@pytest.mark.parametrize(
    ("claims", "groups", "by_claim"),
    [
        (
            {"tags": ["t"], "groups": ["g", "t"]},
            ("t", "g", "t"),
            {"tags": ("t",), "groups": ("g", "t")},
        ),
        ({"groups": "g", "tags": "t"}, ("t", "g"), {"tags": ("t",), "groups": ("g",)}),
        ({"groups": ["g"]}, ("g",), {"groups": ("g",)}),
        ({"tags": None, "groups": ["g"]}, ("g",), {"tags": (), "groups": ("g",)}),
    ],
    ids=["both", "in the order of the configuration", "one", "null"],
)
def test_several_groups_claims_are_put_together_and_told_apart(
    claims: dict[str, Any], groups: tuple[str, ...], by_claim: dict[str, tuple[str, ...]]
) -> None:
    assert user_info({"email": "a"} | claims, BY_EMAIL).groups == groups
    assert groups_by_claim(claims, BY_EMAIL) == by_claim


DISTRIBUTED = {
    "username": "u",
    "_claim_names": {"groups": "s"},
    "_claim_sources": {"s": {"endpoint": "https://claims.example.com", "access_token": "t"}},
}


def test_groups_that_would_have_to_be_fetched_are_refused_and_not_left_out() -> None:
    with pytest.raises(errors.ClaimMalformed, match="distributed"):
        user_info(DISTRIBUTED, BY_NAME)


@pytest.mark.parametrize("groups", ["a", None], ids=str)
def test_groups_that_are_in_the_token_need_no_fetching(groups: str | None) -> None:
    user_info(DISTRIBUTED | {"groups": groups}, BY_NAME)


@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_sources": {"s": {"JWT": "h.p.s"}}},  # aggregated: kube-apiserver ignores it
        {"_claim_sources": {"s": {"endpoint": ""}}},
        {"_claim_sources": {"s": None}},
        {"_claim_names": {"roles": "s"}},
        {"_claim_names": None},
    ],
    ids=str,
)
def test_sources_that_kube_apiserver_would_not_ask_do_no_harm(claims: dict[str, Any]) -> None:
    assert user_info(DISTRIBUTED | claims, BY_NAME).groups == ()


def required(**claims: str) -> ClaimMapping:
    return ClaimMapping("username", required_claims=claims)


@pytest.mark.parametrize(
    ("value", "wanted"), [("tail1234.ts.net.", "tail1234.ts.net."), ("", ""), (None, "")]
)
def test_a_required_claim_must_be_there_and_equal(value: Any, wanted: str) -> None:
    assert user_info({"username": "u", "tailnet": value}, required(tailnet=wanted)).username == "u"


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({}, errors.RequiredClaimMismatch),
        ({"Tailnet": "a"}, errors.RequiredClaimMismatch),
        ({"tailnet": "A"}, errors.RequiredClaimMismatch),
        ({"tailnet": "a "}, errors.RequiredClaimMismatch),
        ({"tailnet": None}, errors.RequiredClaimMismatch),
        ({"tailnet": ["a"]}, errors.ClaimMalformed),
        ({"tailnet": 5}, errors.ClaimMalformed),
    ],
    ids=str,
)
def test_a_required_claim_that_is_absent_or_differs_refuses_the_user(
    claims: dict[str, Any], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error) as refused:
        user_info({"username": "u"} | claims, required(tailnet="a"))
    assert "tailnet" in str(refused.value.detail)


def test_every_required_claim_is_required() -> None:
    both = required(a="1", b="2")
    user_info({"username": "u", "a": "1", "b": "2"}, both)
    with pytest.raises(errors.RequiredClaimMismatch):
        user_info({"username": "u", "a": "1", "b": "x"}, both)


def test_what_is_missing_in_the_user_is_reported_before_a_required_claim() -> None:
    with pytest.raises(errors.UsernameMissing):
        user_info({}, required(a="1"))


@pytest.mark.parametrize(
    ("jti", "extra"),
    [("9b1e", {CREDENTIAL_ID: ("JTI=9b1e",)}), ("", {}), (None, {}), (5, {}), ([], {})],
    ids=str,
)
def test_the_token_id_becomes_the_credential_id(jti: Any, extra: dict[str, Any]) -> None:
    assert user_info({"username": "u", "jti": jti}, BY_NAME).extra == extra


def test_nothing_else_of_a_token_becomes_part_of_the_user() -> None:
    claims = {"username": "u", "uid": 7, "sub": "userid:7", "extra": {"a": ["b"]}, "name": "U"}
    assert user_info(claims, BY_NAME) == UserInfo("u")
