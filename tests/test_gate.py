"""The gate: the order of its checks, and what a request goes on with."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from proxy import errors
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.mapping import ClaimMapping
from proxy.denial import Bearer
from proxy.gate import Gate
from proxy.headers import BEARER_PROTOCOL_PREFIX, RequestHeaders
from proxy.http.head import RequestHead, parse_request
from proxy.http.known import HeadReader
from proxy.http.service import Admission
from proxy.impersonation import Impersonation, Policy
from proxy.observe.series import Number
from proxy.rights import TOKEN_ADDRESSES, TOKEN_FACTS, TOKEN_NODE
from tests.authn.tokens import ISSUER, NOW, NOWHERE, RULES, HeldKeys, key_set, token
from tests.issuer import rsa_key

OWN = "headlamp-auth-proxy:authenticated"
WEBSOCKET = (("Connection", "Upgrade"), ("Upgrade", "websocket"))
SPDY = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"))

Fields = tuple[tuple[str, str], ...]


class Seen:
    """What the observer was told."""

    def __init__(self) -> None:
        self.cache_hits, self.cache_misses = Number(), Number()
        self.validated = 0
        self.dropped: list[int] = []

    @property
    def hits_and_misses(self) -> tuple[float, float]:
        return self.cache_hits.value, self.cache_misses.value

    def token_validated(self, seconds: float) -> None:
        assert seconds >= 0
        self.validated += 1

    def groups_dropped(self, count: int) -> None:
        self.dropped.append(count)


class Setup:
    """A gate for one issuer's users, with its parts in reach."""

    def __init__(self, *groups_allow: str, send_token_facts: bool = False) -> None:
        self.source = HeldKeys(rsa_key())
        self.cache: TokenCache[Admission] = TokenCache()
        self.seen = Seen()
        mapping = ClaimMapping("email", groups_claims=("groups",))
        authenticator = Authenticator([TrustedIssuer(RULES, mapping, self.source, NOWHERE)])
        policy = Policy(OWN, groups_allow, send_token_facts=send_token_facts)
        self.gate = Gate(authenticator, self.cache, policy, self.seen)

    def admit(self, *fields: tuple[str, str], now: float = NOW) -> Admission:
        """Admit a request for which nothing has to be fetched."""
        admission = self.gate.admit(head(*fields), now)
        assert isinstance(admission, Admission)
        return admission

    def later(self, *fields: tuple[str, str]) -> Awaitable[Admission]:
        """Admit a request for which something has to be fetched."""
        admission = self.gate.admit(head(*fields), NOW)
        assert not isinstance(admission, Admission)
        return admission


@pytest.fixture
def setup() -> Setup:
    return Setup()


def head(*fields: tuple[str, str]) -> RequestHead:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return parse_request(f"GET /a HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode(), RequestHeaders())


def authorization(value: bytes) -> tuple[str, str]:
    return ("Authorization", f"Bearer {value.decode()}")


def subprotocol(value: bytes) -> tuple[str, str]:
    encoded = base64.urlsafe_b64encode(value).rstrip(b"=")
    return ("Sec-WebSocket-Protocol", (BEARER_PROTOCOL_PREFIX + encoded + b", v5.x").decode())


GOOD_TOKEN = token().decode()
GOOD = authorization(token())
EXPIRED = authorization(token(exp=int(NOW) - 1))
RESERVED = authorization(token(email="system:admin"))
NAMELESS = authorization(token(email="", groups=[]))
IMPERSONATING = ("Impersonate-User", "root")
NAMING = ("Connection", "close, Impersonate-User")


def test_a_user_goes_on_with_an_identity_header_block(setup: Setup) -> None:
    admission = setup.admit(authorization(token(groups=["dev"])))
    assert admission.identity.header == (
        b"Impersonate-User: alice@example.com\r\n"
        b"Impersonate-Group: dev\r\n"
        b"Impersonate-Group: headlamp-auth-proxy:authenticated\r\n"
    )
    assert admission.websocket_protocols is None


def test_what_the_token_says_of_its_bearer_goes_along_before_anything_is_dropped() -> None:
    setup = Setup("dev")
    device: dict[str, Any] = {
        "node": "laptop.tail1234.ts.net.",
        "addresses": ["100.64.1.2/32", 7, ""],
    }
    asking = authorization(token(groups=["dev", "ops"], sub="userid:1", jti="0e1f", **device))
    about = (ISSUER, "userid:1", "0e1f", "laptop.tail1234.ts.net.", ("100.64.1.2/32",))
    bearer = Bearer("alice@example.com", ("dev", "ops"), *about)
    assert setup.admit(asking).bearer == bearer
    assert setup.admit(asking).bearer == bearer  # and is remembered
    assert setup.seen.hits_and_misses == (1, 1)


def test_claims_that_a_token_lacks_are_empty(setup: Setup) -> None:
    bearer = setup.admit(authorization(token(sub=None, jti=7))).bearer
    assert (bearer.subject, bearer.token_id) == ("", "")


def test_how_large_a_token_may_be_is_a_setting(setup: Setup) -> None:
    setup.gate._max_token_bytes = 20
    with pytest.raises(errors.TokenTooLarge):
        setup.admit(GOOD)


# Each request is wrong in all that follows as well, so the order of the rows is the contract.
@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ((NAMING, EXPIRED, GOOD, IMPERSONATING), errors.ConnectionNamesIdentity, 400),
        ((NAMING,), errors.ConnectionNamesIdentity, 400),
        ((EXPIRED, GOOD, IMPERSONATING), errors.MultipleCredentials, 400),
        ((*WEBSOCKET, EXPIRED, subprotocol(token())), errors.MultipleCredentials, 400),
        ((IMPERSONATING,), errors.TokenMissing, 401),
        ((EXPIRED, IMPERSONATING), errors.TokenExpired, 401),
        ((RESERVED, IMPERSONATING), errors.ImpersonationNotAllowed, 403),
        ((GOOD, IMPERSONATING), errors.ImpersonationNotAllowed, 403),
        ((GOOD, ("impersonate_group", "a")), errors.ImpersonationNotAllowed, 403),
        ((GOOD, ("IMPERSONATE-EXTRA-x", "")), errors.ImpersonationNotAllowed, 403),
        ((RESERVED,), errors.UsernameReserved, 403),
        ((NAMELESS,), errors.UsernameMalformed, 403),
        ((*WEBSOCKET, NAMING, GOOD), errors.ConnectionNamesIdentity, 400),
        ((*SPDY, NAMING, GOOD), errors.ConnectionNamesIdentity, 400),
    ],
)
def test_the_first_thing_that_is_wrong_is_the_answer(
    setup: Setup, fields: Fields, error: type[errors.ProxyError], code: int
) -> None:
    with pytest.raises(error) as refused:
        setup.admit(*fields)
    assert refused.value.code == code
    assert len(setup.cache) == 0


@pytest.mark.parametrize(
    "name",
    ["authorization", "Cookie", "Impersonate-User", "impersonate-extra-a", "impersonate_user",
     "X-Remote-User", "x-remote-extra-b"],
)  # fmt: skip
def test_connection_may_name_no_header_that_carries_identity(setup: Setup, name: str) -> None:
    with pytest.raises(errors.ConnectionNamesIdentity):
        setup.admit(("Connection", f"keep-alive, {name}"), GOOD)


@pytest.mark.parametrize(
    "target",
    ["/healthz", "/livez", "/readyz", "/metrics", "/version", "/openapi/v2", "/%2e/healthz", "/",
     "//healthz", "/healthz/..", "/.well-known/openid-configuration", "/healthz?access_token={t}"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "field",
    ["Cookie: token={t}; headlamp-auth-main.0={t}", "X-Forwarded-Access-Token: {t}",
     "User-Agent: kube-probe/1.36", "Authorization: Basic {t}", "Proxy-Authorization: Bearer {t}",
     "X-Remote-User: alice", "Origin: https://localhost"],
)  # fmt: skip
def test_there_is_one_place_for_a_token_and_no_path_without(
    setup: Setup, method: str, target: str, field: str
) -> None:
    text = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".replace("{t}", GOOD_TOKEN)
    with pytest.raises(errors.TokenMissing):
        setup.gate.admit(parse_request(text.encode(), RequestHeaders()), NOW)


def test_connection_may_name_others(setup: Setup) -> None:
    setup.admit(("Connection", "keep-alive, X-Something"), GOOD)


@pytest.mark.parametrize("fields", [(GOOD,), (GOOD, IMPERSONATING)])
def test_without_keys_nobody_is_let_in_or_refused(setup: Setup, fields: Fields) -> None:
    setup.source.keys = None
    with pytest.raises(errors.KeysUnavailable) as refused:
        setup.admit(*fields)
    assert (refused.value.code, refused.value.retry_after) == (503, 5)


# --- Websockets ----------------------------------------------------------------------------------


def test_a_websocket_may_bring_its_token_as_a_subprotocol_which_is_stripped(setup: Setup) -> None:
    admission = setup.admit(*WEBSOCKET, subprotocol(token()))
    assert admission.identity.username == "alice@example.com"
    assert admission.websocket_protocols == b"v5.x"


def test_it_is_stripped_from_a_known_token_s_request_too(setup: Setup) -> None:
    known = token()
    setup.admit(authorization(known))
    assert setup.admit(*WEBSOCKET, subprotocol(known)).websocket_protocols == b"v5.x"
    assert setup.seen.hits_and_misses == (1, 1)


@pytest.mark.parametrize("upgrade", [(), SPDY, (("Upgrade", "websocket"),)])
def test_on_any_other_request_a_subprotocol_is_no_credential(setup: Setup, upgrade: Fields) -> None:
    with pytest.raises(errors.TokenMissing):
        setup.admit(*upgrade, subprotocol(token()))


# --- Known tokens --------------------------------------------------------------------------------


def test_a_token_is_verified_once(setup: Setup) -> None:
    first = setup.admit(GOOD)
    assert setup.admit(GOOD).identity is first.identity
    assert setup.seen.hits_and_misses == (1, 1)
    assert setup.seen.validated == 1


def test_a_known_token_needs_no_keys(setup: Setup) -> None:
    setup.admit(GOOD)
    setup.source.keys = None
    setup.admit(GOOD)


def test_a_known_token_still_may_not_impersonate(setup: Setup) -> None:
    setup.admit(GOOD)
    for wrong, error in (
        (IMPERSONATING, errors.ImpersonationNotAllowed),
        (NAMING, errors.ConnectionNamesIdentity),
        (GOOD, errors.MultipleCredentials),
    ):
        with pytest.raises(error):
            setup.admit(GOOD, wrong)


def test_a_known_token_dies_all_the_same(setup: Setup) -> None:
    setup.admit(GOOD)
    setup.admit(GOOD, now=NOW + 300)
    with pytest.raises(errors.TokenExpired):
        setup.admit(GOOD, now=NOW + 300.5)


async def test_a_known_token_goes_with_its_key(setup: Setup) -> None:
    setup.admit(GOOD)
    setup.source.keys = key_set(rsa_key(1))
    setup.cache.keep_only(ISSUER, setup.source.keys)
    with pytest.raises(errors.KeyUnknown):
        await setup.later(GOOD)


def test_a_refused_identity_is_judged_each_time(setup: Setup) -> None:
    for _ in range(2):
        with pytest.raises(errors.UsernameReserved):
            setup.admit(RESERVED)
    assert setup.seen.hits_and_misses == (0, 2)


def test_dropped_groups_are_counted_for_a_token_once() -> None:
    setup = Setup("dev-*")
    asking = authorization(token(groups=["dev-a", "ops", "system:masters"]))
    assert setup.admit(asking).identity.groups == ("dev-a", OWN)
    setup.admit(asking)
    assert setup.seen.dropped == [2]


# --- Unknown keys --------------------------------------------------------------------------------

ROTATED = authorization(token(key=rsa_key(1)))


async def test_a_token_of_a_new_key_waits_for_one_look(setup: Setup) -> None:
    setup.source.coming = key_set(rsa_key(1))
    admission = await setup.later(ROTATED)
    assert admission.identity.username == "alice@example.com"
    assert setup.source.looks == 1
    assert setup.admit(ROTATED).identity is admission.identity


async def test_its_subprotocol_is_stripped_too(setup: Setup) -> None:
    setup.source.coming = key_set(rsa_key(1))
    admission = await setup.later(*WEBSOCKET, subprotocol(token(key=rsa_key(1))))
    assert admission.websocket_protocols == b"v5.x"


async def test_a_key_under_an_old_name_is_looked_for_as_well(setup: Setup) -> None:
    """A new key that kept its ``kid`` shows only in that signatures fail."""
    new = rsa_key(1)
    setup.source.coming = key_set(new.jwk(kid=rsa_key(0).kid))
    renamed = authorization(token({"kid": rsa_key(0).kid}, key=new))
    await setup.later(renamed)


async def test_a_key_that_stays_unknown_is_refused_after_one_look(setup: Setup) -> None:
    with pytest.raises(errors.KeyUnknown):
        await setup.later(ROTATED)
    assert setup.source.looks == 1


async def test_a_forged_signature_is_refused_after_one_look(setup: Setup) -> None:
    forged = token({"kid": rsa_key(0).kid}, key=rsa_key(1))
    with pytest.raises(errors.SignatureInvalid):
        await setup.later(authorization(forged))
    assert setup.source.looks == 1


async def test_after_the_look_the_order_of_checks_is_the_same(setup: Setup) -> None:
    setup.source.coming = key_set(rsa_key(1))
    reserved = token(key=rsa_key(1), email="system:admin")
    with pytest.raises(errors.ImpersonationNotAllowed):
        await setup.later(authorization(reserved), IMPERSONATING)
    assert len(setup.cache) == 0
    with pytest.raises(errors.UsernameReserved):
        setup.admit(authorization(reserved))


async def test_a_token_that_ends_while_its_key_is_looked_for_has_ended(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.source.coming = key_set(rsa_key(1))
    seconds = itertools.count(step=5)
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    with pytest.raises(errors.TokenExpired):
        await setup.later(authorization(token(key=rsa_key(1), exp=int(NOW) + 1)))


@pytest.mark.parametrize("fields", [(EXPIRED,), (authorization(token(iss="https://x")),)])
def test_nothing_is_looked_up_for_a_token_that_is_wrong_otherwise(
    setup: Setup, fields: Fields
) -> None:
    with pytest.raises(errors.AuthenticationError):
        setup.admit(*fields)
    assert setup.source.looks == 0


def known_head(reader: HeadReader, *fields: tuple[str, str]) -> RequestHead:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return reader.read(f"GET /a HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())


def test_a_known_header_block_is_good_for_no_longer_than_its_token(setup: Setup) -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    for _ in range(3):
        admission = setup.gate.admit(known_head(reader, GOOD), NOW)
        assert isinstance(admission, Admission)
    assert setup.seen.hits_and_misses == (2, 1)
    for _ in range(2):
        with pytest.raises(errors.TokenExpired):
            setup.gate.admit(known_head(reader, GOOD), NOW + 300.5)


async def test_a_known_header_block_is_judged_anew_once_the_token_is_forgotten(
    setup: Setup,
) -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    setup.gate.admit(known_head(reader, GOOD), NOW)
    setup.source.keys = key_set(rsa_key(1))
    setup.cache.keep_only(ISSUER, setup.source.keys)
    waiting = setup.gate.admit(known_head(reader, GOOD), NOW)
    assert not isinstance(waiting, Admission)
    with pytest.raises(errors.KeyUnknown):
        await waiting


def test_what_connection_names_is_looked_at_for_a_known_header_block_too(setup: Setup) -> None:
    reader = HeadReader(RequestHeaders(), b"api")
    for _ in range(2):
        with pytest.raises(errors.ConnectionNamesIdentity):
            setup.gate.admit(known_head(reader, GOOD, NAMING), NOW)


@pytest.mark.parametrize("asking", [(GOOD, IMPERSONATING), (RESERVED,)])
def test_a_refusal_of_somebody_who_is_known_says_who_it_was(
    setup: Setup, asking: tuple[tuple[str, str], ...]
) -> None:
    for _ in range(2):  # new here, and remembered
        with pytest.raises(errors.IdentityError) as refused:
            setup.admit(*asking)
        assert refused.value.bearer is not None
        assert refused.value.bearer.username in ("alice@example.com", "system:admin")


def test_where_a_token_came_from_goes_along_where_that_is_wanted() -> None:
    setup = Setup(send_token_facts=True)
    addresses = ["100.64.1.2/32", "fd7a::2/128"]
    asking = authorization(token(jti="0e1f", node="laptop.", addresses=addresses))
    identity = setup.admit(asking).identity
    assert isinstance(identity, Impersonation)
    extra = dict(identity.extra)
    assert extra[TOKEN_NODE] == "laptop."
    assert extra[TOKEN_ADDRESSES] == "fd7a::2/128"  # the last of two
    assert extra.keys() == set(TOKEN_FACTS)
