"""Which bearer token a request carries, in either place, and which requests carry none or two."""

from __future__ import annotations

import pytest

from proxy import errors
from proxy.authn.credential import Credential, extract
from proxy.authn.jws import MAX_TOKEN_BYTES
from tests.issuer import b64url

PREFIX = b"base64url.bearer.authorization.k8s.io."
BEARER = PREFIX + b64url(b"h.p.s").encode()


@pytest.mark.parametrize(
    "value", [b"Bearer h.p.s", b"bearer h.p.s", b"BEARER h.p.s", b"bEaReR h.p.s"]
)
def test_the_scheme_may_be_written_in_any_case(value: bytes) -> None:
    assert extract([value], None) == Credential(b"h.p.s")


def test_a_token_of_every_character_of_rfc_6750_is_taken_whole() -> None:
    assert extract([b"Bearer aZ09-._~+/=="], None).token == b"aZ09-._~+/=="


@pytest.mark.parametrize(
    "authorization",
    [[], [b""], [b"Bearer"], [b"Basic aDpw"], [b"Bearerh.p.s x"], [b"Negotiate h.p.s"], [b" x"]],
    ids=str,
)
def test_without_a_bearer_token_the_credential_is_missing(authorization: list[bytes]) -> None:
    with pytest.raises(errors.TokenMissing):
        extract(authorization, None)


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer  h.p.s",
        b"Bearer\th.p.s",
        b"Bearer \th.p.s",
        b"Bearer h.p.s extra",
        b"Bearer h.p.s,Bearer h.p.s",
        b"Bearer =",
        b"Bearer a=b",
        b'Bearer "h.p.s"',
        b"Bearer,h.p.s",
        b"Bearer h.p.s\x00",
        b"Bearer h.p.s\n",
        b"Bearer h.p.\xc3\xa4",
    ],
    ids=str,
)
def test_anything_but_one_space_and_one_token_is_malformed(value: bytes) -> None:
    with pytest.raises(errors.TokenMalformed):
        extract([value], None)


@pytest.mark.parametrize(
    "values",
    [[b"Bearer h.p.s", b"Bearer h.p.s"], [b"", b"Bearer h.p.s"], [b"Basic aDpw", b"Bearer h.p.s"]],
    ids=str,
)
def test_a_second_authorization_value_is_refused_whatever_it_says(values: list[bytes]) -> None:
    with pytest.raises(errors.MultipleCredentials):
        extract(values, None)


def test_a_token_of_exactly_the_limit_passes_and_one_more_byte_does_not() -> None:
    longest = b"a" * MAX_TOKEN_BYTES
    assert extract([b"Bearer " + longest], None).token == longest
    with pytest.raises(errors.TokenTooLarge):
        extract([b"Bearer a" + longest], None)
    with pytest.raises(errors.TokenTooLarge):
        extract([], [PREFIX + b64url(b"a" + longest).encode() + b",v4.channel.k8s.io"])


@pytest.mark.parametrize(
    ("protocols", "rest"),
    [
        ([BEARER + b", v5.channel.k8s.io"], b"v5.channel.k8s.io"),
        ([b"v5.channel.k8s.io ,\t" + BEARER], b"v5.channel.k8s.io"),
        ([b"a, " + BEARER + b" ,b,  c"], b"a,b,c"),
        ([b"a", BEARER, b"b, c"], b"a,b,c"),
        ([BEARER, b""], b""),  # an empty value counts as another protocol
        ([BEARER + b",,"], b","),
        ([BEARER, b"Base64url.bearer.x"], b"Base64url.bearer.x"),  # the prefix is exact
    ],
    ids=str,
)
def test_a_bearer_subprotocol_is_taken_and_left_out_of_what_goes_on(
    protocols: list[bytes], rest: bytes
) -> None:
    assert extract([], protocols) == Credential(b"h.p.s", rest)


@pytest.mark.parametrize(
    "protocols",
    [None, [], [b""], [b"v4.channel.k8s.io"], [PREFIX], [PREFIX + b",a"], [BEARER.upper() + b",a"]],
    ids=str,
)
def test_without_a_bearer_subprotocol_or_with_an_empty_one_only_authorization_counts(
    protocols: list[bytes] | None,
) -> None:
    assert extract([b"Bearer x"], protocols) == Credential(b"x", None)
    with pytest.raises(errors.TokenMissing):
        extract([], protocols)


@pytest.mark.parametrize(
    "protocol",
    [
        PREFIX + b"aC5wLnM=",  # padded
        PREFIX + b"aC5wLnM!",
        PREFIX + b"aC5wL",  # no length of base64
        PREFIX + b"+/+/",  # the other alphabet
        PREFIX + b64url(b"h.p.\xff").encode(),  # not UTF-8
        PREFIX + b64url(b"h p s").encode(),
    ],
    ids=str,
)
def test_a_bearer_subprotocol_that_cannot_be_read_is_malformed(protocol: bytes) -> None:
    with pytest.raises(errors.TokenMalformed):
        extract([], [protocol + b",a"])


def test_a_bearer_subprotocol_needs_another_one_that_the_server_can_choose() -> None:
    with pytest.raises(errors.TokenMalformed):
        extract([], [BEARER])


@pytest.mark.parametrize(
    ("authorization", "protocols"),
    [
        ([b"Bearer h.p.s"], [BEARER + b",a"]),
        ([b"Basic aDpw"], [BEARER + b",a"]),
        ([b""], [BEARER + b",a"]),
        ([], [BEARER + b"," + BEARER + b",a"]),
        ([], [BEARER + b",a", BEARER]),
        ([], [PREFIX + b"," + BEARER + b",a"]),
    ],
    ids=str,
)
def test_credentials_in_two_places_are_refused(
    authorization: list[bytes], protocols: list[bytes]
) -> None:
    with pytest.raises(errors.MultipleCredentials):
        extract(authorization, protocols)


def test_no_repr_shows_the_token() -> None:
    assert "h.p.s" not in repr(extract([b"Bearer h.p.s"], None))
