"""A token's whole way, as tsidp issues it: whose it is, whether it holds, whom it speaks of."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from proxy import errors
from proxy.authn.authenticator import Authenticated, Authenticator, TrustedIssuer
from proxy.authn.mapping import ClaimMapping
from proxy.userinfo import CREDENTIAL_ID
from tests.authn.tokens import ISSUER, NOW, NOWHERE, RULES, HeldKeys, key_set, token
from tests.issuer import CLIENT_ID, rsa_key

MAPPING = ClaimMapping("email", groups_claims=("tags", "groups"))
OTHER = "https://other.example.com"


def authenticator(
    source: HeldKeys | None = None, mapping: ClaimMapping = MAPPING, **rules: Any
) -> Authenticator:
    source = source or HeldKeys(rsa_key())
    return Authenticator([TrustedIssuer(replace(RULES, **rules), mapping, source, NOWHERE)])


def authenticated(**overrides: Any) -> Authenticated:
    return authenticator().authenticate(token(**overrides), NOW)


def test_a_tsidp_token_makes_its_user() -> None:
    found = authenticated(groups=["tag:k8s-admin", "dev"], jti="a1b2")
    assert found.user.username == "alice@example.com"
    assert found.user.groups == ("tag:k8s-admin", "dev")
    assert found.user.uid == ""
    assert found.user.extra == {CREDENTIAL_ID: ("JTI=a1b2",)}
    assert found.issuer == ISSUER
    assert found.expires_at == NOW + 300
    assert found.key in key_set(rsa_key())


# Every form in which a release of tsidp, or a grant in its policy, can put it.
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="as it is now"),
        pytest.param({"aud": CLIENT_ID}, id="one audience as a string"),
        pytest.param({"aud": [CLIENT_ID]}, id="one audience in a list, as older releases"),
        pytest.param(
            {"aud": [CLIENT_ID, "https://api.example.com"], "azp": CLIENT_ID},
            id="an audience for each resource, with azp",
        ),
        pytest.param(
            {"aud": ["https://api.example.com", CLIENT_ID], "azp": "somebody"},
            id="azp is checked nowhere",
        ),
        pytest.param({"nonce": ...}, id="no nonce"),
        pytest.param({"preferred_username": ..., "picture": ...}, id="without the scope profile"),
        pytest.param({"tailnet": ..., "node": "device-of-bob-to-alice."}, id="a shared-in device"),
        pytest.param({"addresses": None}, id="a node without addresses"),
        pytest.param({"nid": 2**60 + 1}, id="a node id beyond a double"),
        pytest.param({"nbf": int(NOW)}, id="nbf is iat, as before October 2025"),
        pytest.param({"iat": int(NOW) + 30, "nbf": int(NOW) + 30}, id="its clock is ahead"),
        pytest.param({"sub": "userid:1", "uid": 1}, id="another sub"),
        pytest.param({"sub": "ci-runner"}, id="a free sub, as forks have it"),
        pytest.param({"email_verified": True}, id="email_verified from a grant"),
        pytest.param({"act": {"sub": "userid:2"}}, id="delegated"),
        pytest.param({"username": "alice@example.com"}, id="username, as the prototype had it"),
    ],
)
def test_every_form_of_a_tsidp_token_makes_the_same_user(overrides: dict[str, object]) -> None:
    assert authenticated(**overrides).user.username == "alice@example.com"


@pytest.mark.parametrize(
    ("overrides", "groups"),
    [
        ({}, ()),
        ({"groups": ["a"]}, ("a",)),
        ({"groups": "a"}, ("a",)),
        ({"groups": "a,b"}, ("a,b",)),
        ({"groups": []}, ()),
        ({"groups": None}, ()),
        ({"groups": ["42", "true"]}, ("42", "true")),
        ({"tags": ["tag:x"]}, ("tag:x",)),
        ({"tags": "tag:x", "groups": ["a", "tag:x"]}, ("tag:x", "a", "tag:x")),
    ],
)
def test_groups_come_from_both_claims_in_any_form(
    overrides: dict[str, object], groups: tuple[str, ...]
) -> None:
    assert authenticated(**overrides).user.groups == groups


@pytest.mark.parametrize("groups", list(itertools.permutations(["a", "b", "c"])))
def test_groups_come_in_any_order_since_tsidp_shuffles_them(groups: tuple[str, ...]) -> None:
    assert set(authenticated(groups=list(groups)).user.groups) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"email": ...}, errors.UsernameMissing),
        ({"email_verified": False}, errors.EmailNotVerified),
        ({"email_verified": "true"}, errors.ClaimMalformed),
        ({"groups": 42}, errors.ClaimMalformed),
        ({"groups": {"a": True}}, errors.ClaimMalformed),
        ({"groups": ["a", 5]}, errors.ClaimMalformed),
        ({"aud": "another-client"}, errors.AudienceMismatch),
        ({"aud": [f"{CLIENT_ID} "]}, errors.AudienceMismatch),
        ({"aud": []}, errors.AudienceMismatch),
        ({"aud": ...}, errors.AudienceMismatch),
        ({"iss": f"{ISSUER}/"}, errors.IssuerUnknown),
        ({"iss": ISSUER.upper()}, errors.IssuerUnknown),
        ({"iss": ...}, errors.IssuerUnknown),
        ({"iss": 5}, errors.TokenMalformed),
        ({"exp": int(NOW) - 1}, errors.TokenExpired),
        ({"exp": ...}, errors.TokenExpired),
    ],
)
def test_a_token_that_is_wrong_in_one_thing_is_refused_for_that(
    overrides: dict[str, object], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        authenticated(**overrides)


def test_an_access_token_is_not_an_id_token() -> None:
    with pytest.raises(errors.TokenMalformed):
        authenticator().authenticate(b"0123456789abcdef0123456789abcdef", NOW)


def test_required_claims_are_required() -> None:
    mapping = replace(MAPPING, required_claims={"tailnet": "tail1234.ts.net."})
    assert authenticator(mapping=mapping).authenticate(token(), NOW).user.username
    with pytest.raises(errors.RequiredClaimMismatch):
        authenticator(mapping=mapping).authenticate(token(tailnet="other.ts.net."), NOW)


# --- Several issuers -----------------------------------------------------------------------------


def two_issuers() -> tuple[Authenticator, HeldKeys, HeldKeys]:
    ours, theirs = HeldKeys(rsa_key(0)), HeldKeys(rsa_key(1))
    rules = replace(RULES, issuer=OTHER, audiences=frozenset(["them"]))
    theirs_trusted = TrustedIssuer(rules, ClaimMapping("sub", f"{OTHER}#"), theirs, NOWHERE)
    return (
        Authenticator([TrustedIssuer(RULES, MAPPING, ours, NOWHERE), theirs_trusted]),
        ours,
        theirs,
    )


def test_each_issuer_has_its_own_rules_mapping_and_keys() -> None:
    both, _, _ = two_issuers()
    assert both.authenticate(token(), NOW).user.username == "alice@example.com"
    theirs = both.authenticate(token(key=rsa_key(1), iss=OTHER, aud="them", sub="7"), NOW)
    assert theirs.user.username == f"{OTHER}#7"
    assert theirs.issuer == OTHER


@pytest.mark.parametrize(
    ("signed_by", "overrides", "error"),
    [
        (0, {"iss": OTHER, "aud": "them"}, errors.KeyUnknown),
        (1, {}, errors.KeyUnknown),
        (1, {"iss": OTHER}, errors.AudienceMismatch),
        (1, {"iss": "https://third.example.com", "aud": "them"}, errors.IssuerUnknown),
    ],
)
def test_no_issuer_can_speak_for_another(
    signed_by: int, overrides: dict[str, object], error: type[errors.ProxyError]
) -> None:
    both, _, _ = two_issuers()
    with pytest.raises(error):
        both.authenticate(token(key=rsa_key(signed_by), **overrides), NOW)


def test_of_two_issuer_claims_the_same_one_is_dispatched_on_and_verified() -> None:
    """The last of equal names wins, in any case of letters, at both looks."""
    both, _, _ = two_issuers()
    payload = b'{"iss":"%s","ISS":"%s","aud":"them","sub":"7","exp":%d}'
    for first, last, key in ((ISSUER, OTHER, rsa_key(1)), (OTHER, ISSUER, rsa_key(0))):
        raw = payload % (first.encode(), last.encode(), NOW + 10)
        forged = key.token(raw).encode()
        if last == OTHER:
            assert both.authenticate(forged, NOW).issuer == OTHER
        else:
            with pytest.raises(errors.AudienceMismatch):
                both.authenticate(forged, NOW)


# --- Keys ----------------------------------------------------------------------------------------


def test_without_keys_a_token_is_neither_good_nor_bad() -> None:
    with pytest.raises(errors.KeysUnavailable):
        authenticator(HeldKeys()).authenticate(token(), NOW)


def test_a_token_of_an_unknown_issuer_does_not_wait_for_keys() -> None:
    with pytest.raises(errors.IssuerUnknown):
        authenticator(HeldKeys()).authenticate(token(iss=OTHER), NOW)


async def test_only_the_token_s_own_issuer_is_asked_for_newer_keys() -> None:
    both, ours, theirs = two_issuers()
    theirs.coming = key_set(rsa_key(2))
    rotated = token(key=rsa_key(2), iss=OTHER, aud="them")
    with pytest.raises(errors.KeyUnknown) as missing:
        both.authenticate(rotated, NOW)
    assert (await both.resume(rotated, NOW, missing.value)).issuer == OTHER
    assert (ours.looks, theirs.looks) == (0, 1)


async def test_with_a_spent_budget_what_was_missing_stands() -> None:
    missing = errors.KeyUnknown()
    with pytest.raises(errors.KeyUnknown) as raised:
        await authenticator().resume(token(), NOW, missing)
    assert raised.value is missing


def test_nothing_that_is_found_shows_a_token() -> None:
    """Whatever ends up in a log as a repr, the token and its payload do not."""
    secret = token(jti=...).decode()
    text = repr(authenticator().authenticate(secret.encode(), NOW))
    assert not [part for part in secret.split(".") if part in text]
