"""From claims to the user that kube-apiserver would see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy import errors
from proxy.authn.mapping import ClaimMapping, Claims, groups_by_claim, user_info
from proxy.userinfo import CREDENTIAL_ID, UserInfo

SUB = ClaimMapping("sub")
EMAIL = ClaimMapping("email")
GROUPS = ClaimMapping("sub", groups_claims=("tags", "groups"))


@pytest.mark.parametrize(
    ("value", "username"),
    [("alice", "alice"), ("", ""), (" a ", " a "), (None, ""), ("a\0b", "a\0b"), ("Ä", "Ä")],
)
def test_a_username_is_taken_as_it_is(value: object, username: str) -> None:
    assert user_info({"sub": value}, SUB).username == username
    prefixed = replace(SUB, username_prefix="oidc:")
    assert user_info({"sub": value}, prefixed).username == f"oidc:{username}"


@pytest.mark.parametrize(
    "email",
    ["a@b@evil.example", "Alice@Example.COM", "alice", "@", "a@b ", '"a@b"@c', "a@b,c@d",
     "\u0430lice@example.com", "ALI\u00c7E@x", "ALIC\u0327E@x", "alice@ex\u00adample.com"],
)  # fmt: skip
def test_an_email_is_a_name_and_nothing_is_concluded_from_its_parts(email: str) -> None:
    """Neither folded nor normalised: two names that are not the same bytes are two people."""
    assert user_info({"email": email}, EMAIL).username == email


@pytest.mark.parametrize("value", [5, True, [], ["alice"], {}])
def test_a_username_is_a_string(value: object) -> None:
    with pytest.raises(errors.ClaimMalformed):
        user_info({"sub": value}, SUB)


@pytest.mark.parametrize("claims", [{}, {"SUB": "alice"}, {"a.b": "x", "a": {"b": "x"}}])
def test_a_claim_is_found_by_its_exact_name_only(claims: Claims) -> None:
    with pytest.raises(errors.UsernameMissing):
        user_info(claims, SUB)
    with pytest.raises(errors.UsernameMissing):
        user_info(claims, ClaimMapping("a.c"))


@pytest.mark.parametrize(
    ("verified", "error"),
    [
        (False, errors.EmailNotVerified),
        (None, errors.EmailNotVerified),
        ("true", errors.ClaimMalformed),
        ("", errors.ClaimMalformed),
        (1, errors.ClaimMalformed),
        ([], errors.ClaimMalformed),
    ],
)
def test_an_email_that_is_said_not_to_be_verified_is_nobody(
    verified: object, error: type[errors.ProxyError]
) -> None:
    claims = {"email": "a@b", "sub": "a", "email_verified": verified}
    with pytest.raises(error):
        user_info(claims, EMAIL)
    assert user_info(claims, SUB).username == "a"  # only of the claim email is that asked


@pytest.mark.parametrize("claims", [{}, {"email_verified": True}, {"EMAIL_VERIFIED": False}])
def test_an_email_of_which_nothing_or_good_is_said_is_taken(claims: Claims) -> None:
    assert user_info({"email": "a@b", **claims}, EMAIL).username == "a@b"


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({}, ()),
        ({"groups": None}, ()),
        ({"groups": []}, ()),
        ({"groups": ""}, ("",)),
        ({"groups": "a b,c"}, ("a b,c",)),
        ({"groups": ["b", "a", "b", "", None]}, ("b", "a", "b", "", "")),
        ({"groups": ["a"], "tags": ["t"]}, ("t", "a")),  # in the order of the configuration
        ({"Groups": ["a"]}, ()),
    ],
)
def test_groups_keep_their_order_and_repetitions(claims: Claims, groups: tuple[str, ...]) -> None:
    claims = {"sub": "alice", **claims}
    assert user_info(claims, GROUPS).groups == groups
    prefixed = replace(GROUPS, groups_prefix="-")
    assert user_info(claims, prefixed).groups == tuple(f"-{group}" for group in groups)
    assert user_info(claims, SUB).groups == ()


@pytest.mark.parametrize("value", [5, False, {}, [5], [["a"]], ["a", {}]])
def test_groups_are_a_string_or_a_list_of_strings(value: object) -> None:
    for name in ("tags", "groups"):
        with pytest.raises(errors.ClaimMalformed, match=name):
            user_info({"sub": "alice", name: value}, GROUPS)


def test_each_claim_s_groups_can_be_told_apart() -> None:
    claims = {"tags": "t", "groups": ["a"]}
    prefixed = replace(GROUPS, groups_prefix="p:")
    assert groups_by_claim(claims, prefixed) == {"tags": ("t",), "groups": ("a",)}
    assert groups_by_claim({"groups": None}, prefixed) == {"groups": ()}


@pytest.mark.parametrize(
    ("value", "wanted", "passes"),
    [
        ("x", "x", True),
        ("X", "x", False),
        ("x ", "x", False),
        (None, "", True),
        (None, "x", False),
        (["x"], "", False),
    ],
)
def test_a_required_claim_is_compared_exactly(value: object, wanted: str, passes: bool) -> None:
    mapping = replace(SUB, required_claims={"hd": wanted})
    if passes:
        user_info({"sub": "a", "hd": value}, mapping)
    else:
        with pytest.raises((errors.RequiredClaimMismatch, errors.ClaimMalformed)):
            user_info({"sub": "a", "hd": value}, mapping)


def test_a_required_claim_must_be_there_even_if_it_may_be_empty() -> None:
    with pytest.raises(errors.RequiredClaimMismatch):
        user_info({"sub": "a"}, replace(SUB, required_claims={"hd": ""}))


def test_every_required_claim_is_required_and_named_if_it_is_not_met() -> None:
    mapping = replace(SUB, required_claims={"a": "1", "b": "2"})
    user_info({"sub": "x", "a": "1", "b": "2"}, mapping)
    with pytest.raises(errors.RequiredClaimMismatch, match="claim b"):
        user_info({"sub": "x", "a": "1", "b": "3"}, mapping)


def test_what_is_required_is_asked_last() -> None:
    with pytest.raises(errors.UsernameMissing):
        user_info({}, replace(SUB, required_claims={"hd": "x"}))


@pytest.mark.parametrize(
    ("claims", "extra"),
    [
        ({"jti": "1"}, {CREDENTIAL_ID: ("JTI=1",)}),
        ({"jti": ""}, {}),
        ({"jti": None}, {}),
        ({"jti": 5}, {}),
        ({}, {}),
    ],
)
def test_the_credential_s_id_comes_from_jti(
    claims: Claims, extra: dict[str, tuple[str, ...]]
) -> None:
    assert user_info({"sub": "a", **claims}, SUB).extra == extra


def test_nothing_else_of_a_token_becomes_part_of_the_user() -> None:
    claims = {"sub": "a", "uid": 7, "username": "b", "extra": {"a": ["b"]}, "name": "A"}
    assert user_info(claims, SUB) == UserInfo("a")
