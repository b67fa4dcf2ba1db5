"""Where a bearer token may be, and every way in which it may not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import errors
from proxy.authn.credential import extract
from proxy.headers import BEARER_PROTOCOL_PREFIX
from proxy.limits import MAX_TOKEN_BYTES
from tests.authn.tokens import token

TOKEN = b"eyJh.eyJp.c2ln"


def bearer(value: bytes) -> bytes:
    return BEARER_PROTOCOL_PREFIX + base64.urlsafe_b64encode(value).rstrip(b"=")


IN_PROTOCOL = bearer(TOKEN)


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_taken_in_any_case(scheme: bytes) -> None:
    found = extract([scheme + b" " + TOKEN], None)
    assert (found.token, found.protocols) == (TOKEN, None)


def test_a_token_of_every_character_of_rfc_6750_is_taken_whole() -> None:
    assert extract([b"Bearer aZ09-._~+/=="], None).token == b"aZ09-._~+/=="


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", errors.TokenMissing),
        (b"Bearer", errors.TokenMissing),
        (b"Basic dXNlcjpwYXNz", errors.TokenMissing),
        (b"Basic " + TOKEN, errors.TokenMissing),
        (b"Bearers " + TOKEN, errors.TokenMissing),
        (b'"Bearer" ' + TOKEN, errors.TokenMissing),
        (TOKEN, errors.TokenMissing),
        (b"Bearer  " + TOKEN, errors.TokenMalformed),
        (b"Bearer\t" + TOKEN, errors.TokenMalformed),
        (b"Bearer \t" + TOKEN, errors.TokenMalformed),
        (b"Bearer:" + TOKEN, errors.TokenMalformed),
        (b"Bearer," + TOKEN, errors.TokenMalformed),
        (b"Bearer " + TOKEN + b" extra", errors.TokenMalformed),
        (b"Bearer " + TOKEN + b"," + TOKEN, errors.TokenMalformed),
        (b"Bearer " + TOKEN + b", Basic x", errors.TokenMalformed),
        (b'Bearer "' + TOKEN + b'"', errors.TokenMalformed),
        (b"Bearer " + TOKEN + b"\n", errors.TokenMalformed),
        (b"Bearer " + TOKEN + b"\0", errors.TokenMalformed),
        (b"Bearer \xe2\x80\x8b" + TOKEN, errors.TokenMalformed),
        (b"Bearer a=b", errors.TokenMalformed),
        (b"Bearer =", errors.TokenMalformed),
        (b"Bearer " + b"a" * (MAX_TOKEN_BYTES + 1), errors.TokenTooLarge),
    ],
)
def test_authorization_has_one_form(value: bytes, error: type[errors.ProxyError]) -> None:
    with pytest.raises(error):
        extract([value], None)


def test_a_token_of_just_the_limit_is_taken() -> None:
    assert len(extract([b"Bearer " + b"a" * MAX_TOKEN_BYTES], None).token) == MAX_TOKEN_BYTES


def test_how_large_is_too_large_is_a_setting_for_both_places() -> None:
    assert extract([b"Bearer " + b"a" * 2000], None, 2000).token == b"a" * 2000
    for authorization, protocols in (
        ([b"Bearer " + b"a" * 2001], None),
        ([], [bearer(b"a" * 2001) + b", v5.x"]),
    ):
        with pytest.raises(errors.TokenTooLarge):
            extract(authorization, protocols, 2000)


@pytest.mark.parametrize("protocols", [None, [], [b"v5.channel.k8s.io"], [b""]])
def test_without_any_credential_the_token_is_missing(protocols: list[bytes] | None) -> None:
    with pytest.raises(errors.TokenMissing):
        extract([], protocols)


@pytest.mark.parametrize(
    "authorization",
    [
        [b"Bearer " + TOKEN, b"Bearer " + TOKEN],
        [b"Bearer " + TOKEN, b"Basic x"],
        [b"", b"Bearer " + TOKEN],
        [b"Bearer " + TOKEN, b""],
    ],
)
def test_several_authorization_values_are_refused_even_if_equal(
    authorization: list[bytes],
) -> None:
    with pytest.raises(errors.MultipleCredentials):
        extract(authorization, None)


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ([IN_PROTOCOL + b", v4.channel.k8s.io"], b"v4.channel.k8s.io"),
        ([b"v4.channel.k8s.io," + IN_PROTOCOL], b"v4.channel.k8s.io"),
        ([b"a , b", b"\t" + IN_PROTOCOL + b" ", b"c"], b"a,b,c"),
        ([IN_PROTOCOL, b""], b""),  # an empty one counts, as in kube-apiserver
        ([IN_PROTOCOL + b","], b""),
        ([IN_PROTOCOL, b"Base64url.bearer.x"], b"Base64url.bearer.x"),  # the prefix is exact
    ],
)
def test_a_bearer_subprotocol_is_taken_and_stripped(values: list[bytes], left: bytes) -> None:
    found = extract([], values)
    assert (found.token, found.protocols) == (TOKEN, left)


def test_a_bearer_subprotocol_counts_on_an_upgrade_to_websocket_only() -> None:
    assert extract([b"Bearer " + TOKEN], None).protocols is None
    with pytest.raises(errors.TokenMissing):
        extract([], None)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([IN_PROTOCOL], errors.TokenMalformed),
        ([IN_PROTOCOL + b", x", IN_PROTOCOL], errors.MultipleCredentials),
        ([BEARER_PROTOCOL_PREFIX + b", x, " + IN_PROTOCOL], errors.MultipleCredentials),
        ([BEARER_PROTOCOL_PREFIX + b"ZXlK!, x"], errors.TokenMalformed),
        ([BEARER_PROTOCOL_PREFIX + b"ZXlKaA==, x"], errors.TokenMalformed),
        ([BEARER_PROTOCOL_PREFIX + b"ZXlKaA+/, x"], errors.TokenMalformed),
        ([BEARER_PROTOCOL_PREFIX + b"ZXlKa, x"], errors.TokenMalformed),
        ([bearer(b"a b") + b", x"], errors.TokenMalformed),
        ([bearer(b"\xff\xfe") + b", x"], errors.TokenMalformed),
        ([bearer(b"a\r\nb") + b", x"], errors.TokenMalformed),
        ([bearer(b"a" * (MAX_TOKEN_BYTES + 1)) + b", x"], errors.TokenTooLarge),
        ([b"\xc2\xa0" + IN_PROTOCOL + b", x"], errors.TokenMalformed),  # Go trims this blank
        ([b"y " + IN_PROTOCOL + b", x"], errors.TokenMalformed),
        ([BEARER_PROTOCOL_PREFIX + b", x"], errors.TokenMissing),
        ([BEARER_PROTOCOL_PREFIX.upper() + b"ZXlKaA, x"], errors.TokenMissing),
    ],
)
def test_a_bearer_subprotocol_has_one_form(
    values: list[bytes], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        extract([], values)


@pytest.mark.parametrize("authorization", [b"Bearer " + TOKEN, b"Basic x", b""])
def test_a_credential_in_both_places_is_refused(authorization: bytes) -> None:
    with pytest.raises(errors.MultipleCredentials):
        extract([authorization], [IN_PROTOCOL + b", x"])
    with pytest.raises(errors.TokenMalformed):
        extract([authorization], [b"\xc2\x85" + IN_PROTOCOL + b", x"])


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN.decode() not in repr(extract([b"Bearer " + TOKEN], None))


@given(st.lists(st.binary(max_size=60), max_size=3), st.lists(st.binary(max_size=120), max_size=3))
def test_whatever_comes_is_a_token_or_a_refusal(
    authorization: list[bytes], protocols: list[bytes]
) -> None:
    try:
        found = extract([b"Bearer " + value for value in authorization], protocols)
    except errors.ProxyError:
        return
    assert found.token
    assert found.protocols is None or BEARER_PROTOCOL_PREFIX not in found.protocols


def test_a_real_token_comes_through_both_places_unchanged() -> None:
    real = token()
    assert extract([b"Bearer " + real], None).token == real
    assert extract([], [bearer(real) + b",x"]).token == real
