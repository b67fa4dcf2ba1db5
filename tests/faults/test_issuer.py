"""The issuer is down, slow, wrong, and back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import IssuerStage, reason
from tests.issuer import DISCOVERY, JWKS, FakeIssuer, answering, hanging

pytestmark = pytest.mark.slow


def _of_another(issuer: FakeIssuer) -> bytes:
    return json.dumps(issuer.discovery() | {"issuer": "https://x"}).encode()


# What the issuer does instead of what it should, and what the proxy's log says of it.
WRONG: list[tuple[str, Callable[[FakeIssuer], None], str]] = [
    ("500", lambda i: i.overrides.update({DISCOVERY: answering(500)}), "answers 500"),
    (
        "html",
        lambda i: i.overrides.update({DISCOVERY: answering(body=b"<html>Log in</html>")}),
        "is not a JSON object",
    ),
    (
        "another issuer",
        lambda i: i.overrides.update({DISCOVERY: answering(body=_of_another(i))}),
        "is the document of issuer 'https://x'",
    ),
    (
        "no key",
        lambda i: i.overrides.update({JWKS: answering(body=b'{"keys": []}')}),
        "none of the 0 keys",
    ),
    (
        "a redirect",
        lambda i: i.overrides.update({JWKS: answering(302, headers={"Location": "https://x"})}),
        "redirects",
    ),
]


@pytest.mark.parametrize(("wrong", "logged"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_an_issuer_that_is_wrong_at_the_start_is_a_503_that_ends_by_itself(
    with_issuer: IssuerStage, wrong: Callable[[FakeIssuer], None], logged: str
) -> None:
    issuer = with_issuer.issuer
    wrong(issuer)
    with with_issuer.serve() as serve:
        serve.wait_until(lambda: any(logged in line["event"] for line in serve.logged()), "logged")
        assert serve.probe("/readyz")[0] == 503
        assert reason(serve.get("/version", issuer.token())) == (503, "keys_unavailable")
        assert serve.metric('jwks_fetches_total{result="success"}') == 0
        issuer.overrides.clear()
        serve.wait_ready()
        assert serve.get("/version", issuer.token())[0] == 200


@pytest.mark.parametrize("wrong", [w[1] for w in WRONG], ids=[w[0] for w in WRONG])
def test_an_issuer_that_goes_wrong_later_locks_nobody_out_whose_key_is_known(
    with_issuer: IssuerStage, wrong: Callable[[FakeIssuer], None]
) -> None:
    issuer = with_issuer.issuer
    with with_issuer.serve() as serve:
        serve.wait_ready()
        known = issuer.key
        wrong(issuer)
        issuer.rotate()
        assert reason(serve.get("/version", issuer.token())) == (401, "key_unknown")
        assert serve.get("/version", issuer.token(key=known))[0] == 200
        assert serve.probe("/readyz")[0] == 200
        assert "[-]issuer failed" in serve.probe("/readyz?verbose")[1]


def test_after_an_outage_a_new_key_works_within_the_budget_of_five_seconds(
    with_issuer: IssuerStage,
) -> None:
    issuer, run = with_issuer.issuer, with_issuer.run
    with with_issuer.serve() as serve:
        serve.wait_ready()
        old = issuer.token()
        assert serve.get("/version", old)[0] == 200
        run(issuer.down())
        issuer.rotate()
        new = issuer.token()
        assert reason(serve.get("/version", new)) == (401, "key_unknown")
        assert serve.get("/version", old)[0] == 200
        run(issuer.up())
        began = time.monotonic()
        serve.wait_until(lambda: serve.get("/version", new)[0] == 200, "admitted")
        assert time.monotonic() - began < 7
        assert reason(serve.get("/version", old)) == (401, "key_unknown")  # it is withdrawn


def test_an_issuer_that_hangs_holds_up_only_those_whose_key_is_new(
    with_issuer: IssuerStage,
) -> None:
    issuer = with_issuer.issuer
    with with_issuer.serve() as serve:
        serve.wait_ready()
        known = issuer.key
        issuer.overrides[DISCOVERY] = hanging()
        issuer.rotate()
        new, answers = issuer.token(), []
        asking = threading.Thread(target=lambda: answers.append(serve.get("/version", new)))
        asking.start()
        serve.wait_until(lambda: issuer.requests[-1] == DISCOVERY, "asked")
        began = time.monotonic()
        for _ in range(20):
            assert serve.get("/version", issuer.token(key=known))[0] == 200
        assert answers == []
        asking.join()
        assert reason(answers[0]) == (401, "key_unknown")
        assert time.monotonic() - began < 13
