"""Where the claims are that a token does not carry but points to."""

from __future__ import annotations

import pytest

from proxy import errors
from proxy.authn.distributed import Endpoint, endpoints
from proxy.authn.mapping import Claims

NAMES = {"groups": "s"}
THERE = "https://claims.example/groups"
WANTED = ("tags", "groups")


@pytest.mark.parametrize(
    ("source", "access_token"),
    [
        ({"endpoint": THERE}, ""),
        ({"endpoint": THERE, "access_token": "t"}, "t"),
        ({"Endpoint": THERE, "ACCESS_TOKEN": "t"}, "t"),
        ({"endpoint": "", "ENDPOINT": THERE}, ""),
        ({"endpoint": THERE, "access_token": None}, ""),
    ],
)
def test_a_claim_is_at_the_endpoint_of_its_source(source: Claims, access_token: str) -> None:
    claims = {"_claim_names": NAMES, "_claim_sources": {"s": source}}
    assert endpoints(claims, WANTED) == [Endpoint("groups", THERE, access_token)]


@pytest.mark.parametrize("groups", ["a", [], None])
def test_a_claim_that_is_there_is_nowhere_else(groups: object) -> None:
    claims = {"groups": groups, "_claim_names": NAMES, "_claim_sources": {}}
    assert endpoints(claims, WANTED) == []


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"_claim_names": None, "_claim_sources": None},
        {"_claim_names": {"other": "s"}, "_claim_sources": {"s": {"endpoint": THERE}}},
        {"_claim_names": NAMES, "_claim_sources": {"s": {"JWT": "x"}}},
        {"_claim_names": NAMES, "_claim_sources": {"s": {"endpoint": ""}}},
        {"_claim_names": NAMES, "_claim_sources": {"s": None}},
    ],
)
def test_what_kube_apiserver_would_not_fetch_is_not_fetched(claims: Claims) -> None:
    assert endpoints(claims, WANTED) == []


@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_names": NAMES},
        {"_claim_names": NAMES, "_CLAIM_SOURCES": {"s": {"endpoint": THERE}}},
        {"_claim_names": NAMES, "_claim_sources": None},
        {"_claim_names": NAMES, "_claim_sources": {}},
        {"_claim_names": NAMES, "_claim_sources": {"s": {"endpoint": THERE, "JWT": 5}}},
    ],
)
def test_a_claim_that_is_nowhere_is_no_empty_claim(claims: Claims) -> None:
    """To leave groups out without a word would make another user of the same token."""
    with pytest.raises(errors.DistributedClaimsUnavailable):
        endpoints(claims, WANTED)


def test_each_wanted_claim_has_its_own_place() -> None:
    claims = {
        "_claim_names": {"tags": "t", "groups": "s"},
        "_claim_sources": {"s": {"endpoint": THERE}, "t": {"endpoint": "https://t"}},
    }
    assert [place.claim for place in endpoints(claims, WANTED)] == ["tags", "groups"]


def test_an_access_token_is_not_shown() -> None:
    assert "secret" not in repr(Endpoint("groups", THERE, "secret"))
