"""The second gate: which requests the API server is asked about, and what they go on with."""

from __future__ import annotations

import base64
from collections.abc import Awaitable

import pytest

from proxy import errors
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.mapping import ClaimMapping
from proxy.denial import Bearer
from proxy.gate import Gate
from proxy.http.service import Admission
from proxy.impersonation import Impersonation, Policy
from proxy.review_gate import ReviewGate
from proxy.reviews.documents import Access, Question, TokenStatus, Unknown
from proxy.reviews.impersonators import Impersonators
from proxy.reviews.tokens import TokenReviews
from proxy.speaker import PassedThrough
from proxy.userinfo import UserInfo
from tests.authn.tokens import ISSUER, NOW, NOWHERE, RULES, HeldKeys, key_set, token
from tests.issuer import rsa_key
from tests.test_gate import EXPIRED, GOOD, OWN, WEBSOCKET, Seen, authorization, head, subprotocol

ROBOT = UserInfo("system:serviceaccount:shop:robot", groups=("system:serviceaccounts",))
ROBOTS = b"a-token-of-the-api-server"
AS_BOB = ("Impersonate-User", "bob")


class ApiServer:
    """Stands for the API server: knows one token, lets alice be bob, and counts questions."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []
        self.questions: list[tuple[str, str]] = []

    async def token(self, token: bytes, audiences: object = ()) -> TokenStatus | Unknown:
        self.tokens.append(token)
        return TokenStatus(ROBOT if token == ROBOTS else None)

    async def may(self, user: UserInfo, question: Question) -> Access | Unknown:
        self.questions.append((user.username, str(question)))
        return Access(allowed=question.name == "bob")


class Setup:
    """Both gates, for one issuer's users."""

    def __init__(self, *, passthrough: bool = True, impersonation: bool = True) -> None:
        self.source = HeldKeys(rsa_key())
        self.api = ApiServer()
        mapping = ClaimMapping("email", groups_claims=("groups",))
        authenticator = Authenticator([TrustedIssuer(RULES, mapping, self.source, NOWHERE)])
        policy = Policy(OWN)
        cache: TokenCache[Admission] = TokenCache()
        first = Gate(authenticator, cache, policy, Seen(), may_impersonate=impersonation)
        self.gate = ReviewGate(
            first,
            authenticator,
            policy,
            tokens=TokenReviews(self.api, ()) if passthrough else None,
            impersonators=Impersonators(self.api) if impersonation else None,
        )

    def at_once(self, *fields: tuple[str, str]) -> Admission:
        admission = self.gate.admit(head(*fields), NOW)
        assert isinstance(admission, Admission)
        return admission

    async def asked(self, *fields: tuple[str, str]) -> Admission:
        """Admit a request, whether or not anything has to be asked."""
        admission = self.gate.admit(head(*fields), NOW)
        return admission if isinstance(admission, Admission) else await admission

    def later(self, *fields: tuple[str, str]) -> Awaitable[Admission]:
        admission = self.gate.admit(head(*fields), NOW)
        assert not isinstance(admission, Admission)
        return admission


@pytest.fixture
def setup() -> Setup:
    return Setup()


def segment(text: bytes) -> bytes:
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def jwt(payload: bytes, header: bytes = b'{"alg":"RS256"}') -> bytes:
    return b".".join((segment(header), segment(payload), b"AAAA"))


# --- Passing through ------------------------------------------------------------------------------


def test_a_users_own_token_is_nobody_elses_business(setup: Setup) -> None:
    assert setup.at_once(GOOD).identity.username == "alice@example.com"
    assert setup.api.tokens == []


async def test_a_token_of_no_configured_issuer_is_passed_through(setup: Setup) -> None:
    admission = await setup.later(authorization(ROBOTS))
    assert admission.identity == PassedThrough(
        ROBOT.username, ROBOT.groups, b"Authorization: Bearer " + ROBOTS + b"\r\n"
    )
    assert admission.bearer == Bearer(ROBOT.username, ROBOT.groups)
    assert admission.websocket_protocols is None


async def test_from_a_websocket_too_and_then_as_a_header(setup: Setup) -> None:
    admission = await setup.later(*WEBSOCKET, subprotocol(ROBOTS))
    assert isinstance(admission.identity, PassedThrough)
    assert admission.identity.credential == b"Authorization: Bearer " + ROBOTS + b"\r\n"
    assert admission.websocket_protocols == b"v5.x"


@pytest.mark.parametrize(
    "unknown",
    [
        b"nobodys",
        jwt(b'{"iss":"https://kubernetes.default.svc"}'),
        token(iss="https://another.example"),
        jwt(b'{"sub":"no issuer at all"}'),
        jwt(b'{"iss":5}'),
    ],
)
async def test_whom_the_api_server_does_not_know_is_a_401(setup: Setup, unknown: bytes) -> None:
    with pytest.raises(errors.TokenUnknown):
        await setup.later(authorization(unknown))
    assert setup.api.tokens == [unknown]


CLAIM = f'"iss":"{ISSUER}"'.encode()
CLAIMING_OURS = {
    "expired": (EXPIRED[1].removeprefix("Bearer ").encode(), errors.TokenExpired),
    "another audience": (token(aud="another"), errors.AudienceMismatch),
    "no signature": (token().rsplit(b".", 1)[0] + b".", errors.SignatureInvalid),
    "a header member twice": (
        jwt(b"{%s}" % CLAIM, b'{"alg":"RS256","alg":"none"}'), errors.TokenMalformed,
    ),
    "four parts": (jwt(b"{%s}" % CLAIM) + b".x", errors.TokenMalformed),
    "two parts": (jwt(b"{%s}" % CLAIM).rsplit(b".", 1)[0], errors.TokenMalformed),
    "padding": (b"a." + base64.b64encode(b"{%s }" % CLAIM), errors.TokenMalformed),
    "the other alphabet": (
        b"a." + base64.b64encode(b'{"a":"??>>~~",%s}' % CLAIM).rstrip(b"=") + b".b",
        errors.TokenMalformed,
    ),
    "a broken header": (b"a." + segment(b"{%s}" % CLAIM) + b".AAAA", errors.TokenMalformed),
    "ours, then another": (
        jwt(b'{%s,"iss":"https://another.example"}' % CLAIM), errors.IssuerUnknown,
    ),
    "in capitals": (jwt(b'{"ISS":"%s","iss":5}' % ISSUER.encode()), errors.TokenMalformed),
}  # fmt: skip


def test_the_spellings_above_are_what_they_are_called() -> None:
    assert CLAIMING_OURS["padding"][0].endswith(b"=")
    assert set(b"+/") & set(CLAIMING_OURS["the other alphabet"][0])


@pytest.mark.parametrize(("wrong", "error"), CLAIMING_OURS.values(), ids=CLAIMING_OURS)
async def test_what_claims_a_configured_issuer_is_never_passed_through(
    setup: Setup, wrong: bytes, error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        await setup.asked(authorization(wrong))
    assert setup.api.tokens == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((), errors.TokenMissing),
        ((("Authorization", "Bearer a b"),), errors.TokenMalformed),
        ((("Authorization", "Basic YTpi"),), errors.TokenMissing),
        ((authorization(ROBOTS), GOOD), errors.MultipleCredentials),
        ((authorization(b"x" * 20_000),), errors.TokenTooLarge),
        ((("Connection", "Authorization"), authorization(ROBOTS)), errors.ConnectionNamesIdentity),
    ],
)
def test_what_is_no_single_token_is_not_asked_about(
    setup: Setup, fields: tuple[tuple[str, str], ...], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        setup.gate.admit(head(*fields), NOW)
    assert setup.api.tokens == []


async def test_a_client_that_is_passed_through_may_not_impersonate(setup: Setup) -> None:
    for spelt in (AS_BOB, ("impersonate_user", "bob"), ("Impersonate-Extra-x", "")):
        with pytest.raises(errors.ImpersonationNotAllowed):
            await setup.later(authorization(ROBOTS), spelt)
    assert setup.api.questions == []


def test_without_the_setting_nothing_is_passed_through() -> None:
    setup = Setup(passthrough=False)
    with pytest.raises(errors.TokenMalformed):
        setup.gate.admit(head(authorization(ROBOTS)), NOW)
    assert setup.api.tokens == []


# --- Impersonation --------------------------------------------------------------------------------


async def test_a_user_may_be_whom_the_api_server_lets_them_be(setup: Setup) -> None:
    for _ in range(2):
        admission = await setup.later(GOOD, AS_BOB)
        assert isinstance(admission.identity, Impersonation)
        assert admission.identity.username == "bob"
        assert admission.identity.original == "alice@example.com"
        assert admission.bearer.username == "alice@example.com"  # who is counted, and may be denied
    assert setup.api.questions == [("alice@example.com", "impersonate users bob")]
    assert setup.at_once(GOOD).identity.username == "alice@example.com"


async def test_after_a_look_for_newer_keys_as_well(setup: Setup) -> None:
    setup.source.coming = key_set(rsa_key(1))
    admission = await setup.later(authorization(token(key=rsa_key(1))), AS_BOB)
    assert admission.identity.username == "bob"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((("Impersonate-User", "eve"),), errors.ImpersonationDenied),
        ((AS_BOB, ("Impersonate-Group", "a")), errors.ImpersonationDenied),
        ((AS_BOB, ("Impersonate-Group", "system:masters")), errors.ImpersonationDenied),
        ((("Impersonate-Group", "a"),), errors.ImpersonationMalformed),
        ((AS_BOB, ("impersonate_uid", "7")), errors.ImpersonationMalformed),
        ((("Impersonate-User", ""),), errors.ImpersonationMalformed),
        ((AS_BOB, *[("Impersonate-Group", "a")] * 64), errors.TooManyImpersonated),
    ],
)
async def test_nothing_else(
    setup: Setup, fields: tuple[tuple[str, str], ...], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        await setup.later(GOOD, *fields)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((AS_BOB,), errors.TokenMissing),
        ((EXPIRED, AS_BOB), errors.TokenExpired),
        ((authorization(token(email="system:admin")), AS_BOB), errors.UsernameReserved),
        ((("Connection", "Impersonate-User"), GOOD, AS_BOB), errors.ConnectionNamesIdentity),
    ],
)
def test_who_asks_must_pass_the_first_gate_themselves(
    setup: Setup, fields: tuple[tuple[str, str], ...], error: type[errors.ProxyError]
) -> None:
    with pytest.raises(error):
        setup.gate.admit(head(*fields), NOW)
    assert setup.api.questions == []


def test_without_the_setting_nobody_impersonates() -> None:
    setup = Setup(impersonation=False)
    for _ in range(2):
        with pytest.raises(errors.ImpersonationNotAllowed):
            setup.gate.admit(head(GOOD, AS_BOB), NOW)
        setup.at_once(GOOD)
    assert setup.api.questions == []
