"""What the page says to whom, and what it does not say; the API server is a stand-in in memory."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from proxy import errors
from proxy.authn import jws
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.denial import Bearer
from proxy.gate import Gate
from proxy.http.head import RequestHead
from proxy.http.service import Admission
from proxy.impersonation import Policy
from proxy.missing_rule import MissingRule
from proxy.refusals import Refusals
from proxy.review_gate import ReviewGate
from proxy.reviews.documents import Rules, TokenStatus, Unknown
from proxy.reviews.grants import Header, UserGrants
from proxy.reviews.tokens import TokenReviews
from proxy.rights import GIVEN_TO_ALL, Rule
from proxy.userinfo import UserInfo
from proxy.whoami.page import Whoami
from proxy.whoami.turns import AT_ONCE
from tests.authn.tokens import ISSUER, NOW, NOWHERE, HeldKeys, token
from tests.issuer import CLIENT_ID, ec_key, rsa_key
from tests.test_gate import OWN, Seen, head

HTML = ("Accept", "text/html,*/*;q=0.8")
SECRET_CLAIM = "the-value-that-is-required"
ROBOTS = b"a-token-of-the-api-server"


class ApiServer:
    """Stands for the API server; counts what it is asked."""

    def __init__(self) -> None:
        self.rules: Rules | Unknown = Rules(
            (*GIVEN_TO_ALL, Rule(("list",), ("",), ("pods",))), complete=True
        )
        self.rules_asked: list[tuple[str, list[Header], Header | None]] = []
        self.tokens_asked: list[bytes] = []

    async def rules_of(
        self, namespace: str, impersonating: Sequence[Header] = (), credential: Header | None = None
    ) -> Rules | Unknown:
        self.rules_asked.append((namespace, list(impersonating), credential))
        return self.rules

    async def token(self, token: bytes, audiences: object = ()) -> TokenStatus | Unknown:
        self.tokens_asked.append(token)
        return TokenStatus(UserInfo("robot", groups=("robots",)) if token == ROBOTS else None)


class Doorkeeper:
    def check(self, bearer: Bearer) -> None:
        if bearer.username == "mallory@example.com":
            raise errors.Denied


class Own:
    """The proxy's own credential."""

    error: errors.ProxyError | None = None

    def header(self, now: float) -> bytes | None:
        if self.error is not None:
            raise self.error
        return b""


class Setup:
    """The page over a gate for one issuer's users, with its parts in reach."""

    def __init__(self, *, required: Mapping[str, str] | None = None, passes: bool = False) -> None:
        self.api, self.own, self.refusals = ApiServer(), Own(), Refusals()
        self.source = HeldKeys(rsa_key())
        mapping = ClaimMapping(
            "email", groups_claims=("tags", "groups"), required_claims=required or {}
        )
        rules = TokenRules(ISSUER, frozenset([CLIENT_ID]))
        authenticator = Authenticator([TrustedIssuer(rules, mapping, self.source, NOWHERE)])
        policy = Policy(OWN, groups_allow=("dev*", "<*", "system:*"))
        cache: TokenCache[Admission] = TokenCache()
        gate = Gate(authenticator, cache, policy, Seen())
        self.review_gate = ReviewGate(
            gate,
            authenticator,
            policy,
            tokens=TokenReviews(self.api, ()) if passes else None,
            impersonators=None,
        )
        self.page = Whoami(
            self.review_gate.recall,
            authenticator,
            policy,
            denial=Doorkeeper(),
            credential=self.own,
            grants=UserGrants(self.api),
            refusals=self.refusals,
        )

    async def account(self, jwt: bytes | None = None, *fields: tuple[str, str]) -> dict[str, Any]:
        document = await self.page.show(asking(jwt, *fields), NOW)
        account: dict[str, Any] = json.loads(document.body)
        return account

    async def html(self, jwt: bytes | None = None, *fields: tuple[str, str]) -> str:
        return (await self.page.show(asking(jwt, HTML, *fields), NOW)).body.decode()


def asking(jwt: bytes | None, *fields: tuple[str, str]) -> RequestHead:
    given = [("Authorization", f"Bearer {jwt.decode()}")] if jwt is not None else []
    found = head(*given, *fields)
    found.target = b"/.auth-proxy/whoami"
    return found


@pytest.fixture
def setup() -> Setup:
    return Setup()


# --- Who is let in --------------------------------------------------------------------------------


async def test_it_has_the_form_of_explain_and_says_which_claim_gave_each_group(
    setup: Setup,
) -> None:
    account = await setup.account(token(tags=["dev-a"], groups=["dev-a", "dev-b", "sales"]))
    assert account["authenticated"] is True
    assert account["error"] == account["reason"] == ""
    assert account["user"]["username"] == "alice@example.com"
    assert account["user"]["groups"] == ["dev-a", "dev-b", OWN]
    assert [step["step"] for step in account["steps"]] == [
        "issuer",
        "signature",
        "mapping",
        "guard",
    ]
    assert account["groups"] == [
        {"group": "dev-a", "claims": ["tags", "groups"], "sent": True},
        {"group": "dev-b", "claims": ["groups"], "sent": True},
        {"group": "sales", "claims": ["groups"], "sent": False},
        {"group": OWN, "claims": [], "sent": True},
    ]
    assert account["token"]["issuer"] == ISSUER
    assert account["token"]["audience"] == [CLIENT_ID]
    assert account["token"]["expires_at"] == int(NOW) + 300


async def test_rights_are_asked_as_the_user_and_discovery_is_none_of_them(setup: Setup) -> None:
    account = await setup.account(token(groups=["dev"]))
    assert account["rbac"]["grants"] == ["list on pods"]
    assert account["rbac"]["nothing_beyond_discovery"] is False
    asked = [
        ("Impersonate-User", "alice@example.com"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", OWN),
    ]
    assert setup.api.rules_asked == [("default", asked, None)]


async def test_who_may_do_nothing_is_told_so_with_what_would_change_it(setup: Setup) -> None:
    setup.api.rules = Rules(GIVEN_TO_ALL, complete=True)
    assert (await setup.account(token()))["rbac"]["nothing_beyond_discovery"] is True
    page = text_of(await setup.html(token()))
    assert "Nothing beyond discovery" in page
    assert "kind: ClusterRoleBinding" in page
    assert '"alice@example.com"' in page


async def test_who_the_proxy_may_not_impersonate_is_not_told_that_all_is_well(
    setup: Setup,
) -> None:
    setup.api.rules = Unknown("status 403: cannot impersonate")
    page = text_of(await setup.html(token()))
    assert "You are let in here, but not by the cluster" in page
    assert "status 403" not in page


async def test_what_rbac_refused_is_shown_to_whom_it_was_refused_alone(setup: Setup) -> None:
    alice = Bearer("alice@example.com", (), ISSUER, "userid:5738291046173829")
    rule = MissingRule("get", "apps", "deployments", "scale", "web", "shop")
    setup.refusals.add(alice, rule, time.monotonic())
    (shown,) = (await setup.account(token()))["refused_requests"]
    assert {"verb": "get", "apiGroup": "apps", "resource": "deployments"}.items() <= shown.items()
    assert {"subresource": "scale", "name": "web", "namespace": "shop"}.items() <= shown.items()
    assert "kind: RoleBinding" in shown["rule"]
    assert (await setup.account(token(email="bob@example.com")))["refused_requests"] == []
    assert (await setup.account(token(sub="userid:1")))["refused_requests"] == []


# --- Who is not -----------------------------------------------------------------------------------

REFUSALS: list[tuple[str, bytes | None, tuple[tuple[str, str], ...]]] = [
    ("token_missing", None, ()),
    ("token_malformed", b"nonsense", ()),
    ("issuer_unknown", token(iss="https://elsewhere"), ()),
    ("audience_mismatch", token(aud="another-client"), ()),
    ("token_expired", token(exp=int(NOW) - 3600), ()),
    ("token_not_yet_valid", token(nbf=int(NOW) + 3600), ()),
    ("key_unknown", token(key=rsa_key(1)), ()),
    ("algorithm_not_allowed", token(key=ec_key()), ()),
    ("username_missing", token(email=...), ()),
    ("email_not_verified", token(email_verified=False), ()),
    ("claim_malformed", token(groups=[{"a": 1}]), ()),
    ("username_reserved", token(email="system:admin"), ()),
    ("group_reserved", token(groups=["system:masters"]), ()),
    ("denied", token(email="mallory@example.com"), ()),
    ("impersonation_not_allowed", token(), (("Impersonate-User", "bob"),)),
    ("multiple_credentials", token(), (("Authorization", "Bearer x"),)),
    ("connection_names_identity", token(), (("Connection", "impersonate-user"),)),
]


@pytest.mark.parametrize(("label", "jwt", "fields"), REFUSALS, ids=[r[0] for r in REFUSALS])
async def test_who_is_not_let_in_reads_why_and_nobody_is_asked_for_them(
    setup: Setup, label: str, jwt: bytes | None, fields: tuple[tuple[str, str], ...]
) -> None:
    account = await setup.account(jwt, *fields)
    assert (account["authenticated"], account["user"], account["rbac"]) == (False, None, None)
    error = next(e for e in errors.every_error() if e.label == label)
    assert (account["reason"], account["error"]) == (label, error.message)
    assert account["steps"][-1] == {
        "step": "refused",
        "status": error.code,
        "label": label,
        "message": error.message,
    }
    page = text_of(await setup.html(jwt, *fields))
    for words in (error.message, "What to do", f"reason: {label}"):
        assert words in page
    assert (setup.api.rules_asked, setup.api.tokens_asked) == ([], [])


@pytest.mark.parametrize(
    "jwt", [r[1] for r in REFUSALS if r[0] in {"token_expired", "denied", "group_reserved"}]
)
async def test_what_was_refused_is_not_refused_to_be_shown(setup: Setup, jwt: bytes) -> None:
    """Their own token is theirs to read: whom it is from and for, and when it ends."""
    account = await setup.account(jwt)
    assert account["token"]["issuer"] == ISSUER
    assert account["token"]["audience"] == [CLIENT_ID]


async def test_no_keys_yet_is_a_matter_of_waiting(setup: Setup) -> None:
    setup.source.keys = None
    account = await setup.account(token())
    assert account["reason"] == "keys_unavailable"
    assert "You cannot be let in just now" in text_of(await setup.html(token()))


async def test_a_proxy_that_may_serve_nobody_says_so_to_who_is_known(setup: Setup) -> None:
    setup.own.error = errors.ServiceAccountPrivileged()
    account = await setup.account(token())
    assert account["reason"] == "service_account_privileged"
    assert account["speaks_of"] == "alice@example.com"
    assert setup.api.rules_asked == []


@pytest.mark.parametrize(("label", "jwt", "fields"), REFUSALS, ids=[r[0] for r in REFUSALS])
async def test_nothing_that_is_expected_of_a_token_is_shown(
    label: str, jwt: bytes | None, fields: tuple[tuple[str, str], ...]
) -> None:
    """Neither the issuer, nor an audience, nor a required value, unless the token says it too."""
    setup = Setup(required={"team": SECRET_CLAIM})
    for found in (json.dumps(await setup.account(jwt, *fields)), await setup.html(jwt, *fields)):
        assert SECRET_CLAIM not in found
        if label in {"token_missing", "token_malformed", "issuer_unknown"}:
            assert ISSUER not in found
        if label in {"token_missing", "token_malformed", "audience_mismatch"}:
            assert CLIENT_ID not in found


async def test_a_claim_that_is_required_is_named_and_its_value_is_not() -> None:
    setup = Setup(required={"team": SECRET_CLAIM})
    account = await setup.account(token(team="sales"))
    assert account["reason"] == "required_claim_mismatch"
    (step,) = [s for s in account["steps"] if s["step"] == "required claim"]
    assert step == {"step": "required claim", "claim": "team", "value": "sales", "ok": False}
    assert SECRET_CLAIM not in json.dumps(account)


# --- Tokens that the API server knows -------------------------------------------------------------


async def test_a_client_that_is_passed_through_is_known_from_its_requests() -> None:
    setup = Setup(passes=True)
    unasked = await setup.account(ROBOTS)
    assert unasked["reason"] == "token_malformed"
    assert setup.api.tokens_asked == []
    admitted = setup.review_gate.admit(asking(ROBOTS), NOW)
    assert isinstance(admitted, Awaitable)
    await admitted
    account = await setup.account(ROBOTS)
    assert account["user"]["username"] == "robot"
    assert account["groups"] == [{"group": "robots", "claims": [], "sent": True}]
    credential = ("Authorization", f"Bearer {ROBOTS.decode()}")
    assert setup.api.rules_asked == [("default", [], credential)]
    assert setup.api.tokens_asked == [ROBOTS]


# --- What it costs --------------------------------------------------------------------------------


async def opened(setup: Setup, jwt: bytes | None) -> int:
    """Open the page until it has been opened too often, and return how often that was."""
    for count in range(10 * AT_ONCE):
        try:
            await setup.html(jwt)
        except errors.PageTooOften:
            return count
    raise AssertionError("there is no end to it")


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all that a test does happen within one turn."""
    monkeypatch.setattr("proxy.whoami.turns.EVERY", 60.0)


@pytest.mark.parametrize("claims", [{}, {"groups": ["system:nodes"]}], ids=["let in", "kept out"])
async def test_who_holds_a_good_token_may_not_open_it_too_often(
    setup: Setup, slow_clock: None, claims: dict[str, Any]
) -> None:
    assert await opened(setup, token(**claims)) == AT_ONCE
    assert await opened(setup, token(jti="another token", **claims)) == 0
    assert await opened(setup, token(email="bob@example.com", **claims)) == AT_ONCE


@pytest.mark.parametrize(
    "stranger",
    [
        token(key=rsa_key(1)),
        token()[:-8] + b"AAAAAAAA",
        token(exp=int(NOW) - 1000),
        token(aud="another"),
        token().rpartition(b".")[0] + b".",
        None,
    ],
    ids=["a key of their own", "changed", "ended", "for others", "not signed", "none"],
)
async def test_who_holds_none_uses_up_nobody_s_turns_and_has_no_need_of_any(
    setup: Setup, slow_clock: None, stranger: bytes | None
) -> None:
    for _ in range(2 * AT_ONCE):
        await setup.html(stranger)
    assert await opened(setup, token()) == AT_ONCE


@pytest.mark.parametrize(
    "jwt",
    [b"a.b.c", token(exp=int(NOW) - 1000), token(aud="another"), token()[:-8] + b"AAAAAAAA"],
    ids=["no token", "ended", "for others", "changed"],
)
async def test_a_strangers_token_is_looked_at_as_often_as_for_a_refusal(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, jwt: bytes
) -> None:
    parsed: list[bytes] = []
    parse = jws.parse

    def counting(given: bytes) -> jws.UnverifiedToken:
        parsed.append(given)
        return parse(given)

    monkeypatch.setattr(jws, "parse", counting)
    with contextlib.suppress(errors.ProxyError):
        admitted = setup.review_gate.admit(asking(jwt), NOW)
        if inspect.isawaitable(admitted):
            await admitted
    for_a_refusal = len(parsed)
    account = await setup.account(jwt)
    assert len(parsed) == 2 * for_a_refusal > 0
    assert (account["token"] is None) == (jwt == b"a.b.c")


# --- As an attacker -------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Every element and every text of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def text_of(page: str) -> str:
    return "".join(read(page).texts)


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("h1", "h2", "h3", "p", "dl", "dt", "dd", "code", "span", "table", "caption", "thead"),
    *("tbody", "tr", "th", "td", "ul", "ol", "li", "details", "summary", "pre", "form", "label"),
    *("input", "button"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "class", "id", "aria-labelledby", "scope", "tabindex"),
    *("for", "value", "maxlength", "type", "method"),
}
ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</code></pre></style></title><svg onload=alert(1)>",
    "'-alert(1)-'",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "javascript:alert(1)",
    "\u202e<b>",
    "`${alert(1)}`",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("claims", [{}, {"exp": 1}, {"nbf": int(NOW) + 999}])
async def test_no_claim_becomes_markup(attack: str, claims: dict[str, Any]) -> None:
    let_in, refused = Setup(), Setup(required={attack: "x"})
    extra: dict[str, Any] = {attack: attack, **claims}
    jwt = token(
        email=f"{attack}@example.com",
        groups=[f"<{attack}", f"dev{attack}"],
        aud=[CLIENT_ID, attack],
        **extra,
    )
    bearer = Bearer(f"{attack}@example.com", (), ISSUER, "userid:5738291046173829")
    rule = MissingRule("get", attack, attack, attack, attack, attack)
    let_in.refusals.add(bearer, rule, time.monotonic())
    let_in.api.rules = Rules((Rule((attack,), (attack,), (attack,)),), complete=False, error=attack)
    for page in (await let_in.html(jwt), await refused.html(jwt)):
        found = read(page)
        assert {tag for tag, _ in found.elements} <= TAGS
        assert {name for _, attributes in found.elements for name in attributes} <= ATTRIBUTES
        assert not any("\u202e" in text for text in found.texts)


async def test_an_issuers_name_that_is_not_trusted_does_not_become_markup(setup: Setup) -> None:
    for attack in ATTACKS:
        found = read(await setup.html(token(iss=attack)))
        assert {tag for tag, _ in found.elements} <= TAGS
        assert "script" not in {tag for tag, _ in found.elements}


async def test_no_asset_comes_from_anywhere(setup: Setup) -> None:
    names = {n for _, attributes in read(await setup.html(token())).elements for n in attributes}
    assert names.isdisjoint({"src", "href", "action", "style", "srcset", "poster", "data"})


async def test_numbers_that_are_no_times_and_claims_of_odd_types_do_no_harm(setup: Setup) -> None:
    for odd in (1e308, -1, "soon", None, [1], 10**400, True):
        page = await setup.page.show(asking(token(exp=odd, aud=[1, None, {}]), HTML), NOW)
        assert b"What to do" in page.body


async def test_two_users_at_once_are_each_told_of_themselves(setup: Setup) -> None:
    names = [f"user-{number}@example.com" for number in range(20)]
    found = await asyncio.gather(*(setup.account(token(email=name)) for name in names * 2))
    assert [account["user"]["username"] for account in found] == names * 2
    asked = [headers[0][1] for _, headers, _ in setup.api.rules_asked]
    assert sorted(asked) == sorted(names)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
async def test_it_can_only_be_read(setup: Setup, method: bytes) -> None:
    request = asking(token())
    request.method = method
    with pytest.raises(errors.PageMethodNotAllowed):
        await setup.page.show(request, NOW)


async def test_the_head_lets_nobody_keep_it_frame_it_or_run_anything_in_it(setup: Setup) -> None:
    for fields in ((HTML,), ()):
        header = (await setup.page.show(asking(token(), *fields), NOW)).header
        for line in (
            "Cache-Control: no-store\r\n",
            "X-Content-Type-Options: nosniff\r\n",
            "X-Frame-Options: DENY\r\n",
            "Referrer-Policy: no-referrer\r\n",
            "Content-Security-Policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'\r\n",
        ):
            assert line in header
        assert "unsafe" not in header
