"""What the page that says who somebody is costs in CPU, beside a refusal of the same token.

.venv/bin/python -m bench.page

Each is taken from the request's head to the bytes of the answer, as the data plane would: the gate
judges, and the page or the refusal is written. The API server's answer is held. What is printed
are ratios, since all was measured in one run on one machine; and what a page costs in itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.hostile_tokens import ISSUER, NOW, authenticator
from proxy.authn.cache import TokenCache
from proxy.errors import ProxyError
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http import answer
from proxy.http.head import RequestHead, parse_request
from proxy.http.service import Admission
from proxy.impersonation import Policy
from proxy.refusals import Refusals
from proxy.reviews.documents import Rules
from proxy.reviews.grants import UserGrants
from proxy.rights import GIVEN_TO_ALL, Rule
from proxy.whoami.page import Whoami
from proxy.whoami.turns import Turns
from tests.authn.tokens import Unseen
from tests.issuer import SigningKey, rsa_key, tsidp_claims

GROUPS: Final = 200
TIMES: Final = 5  # in one run
HTML, JSON = "text/html,*/*;q=0.8", "application/json"


class _Api:
    """The API server, whose answer is always the same."""

    rules: Final = Rules((*GIVEN_TO_ALL, Rule(("list",), ("",), ("pods",))), complete=True)

    async def rules_of(self, *_: object) -> Rules:
        return self.rules


class _Own:
    def header(self, now: float) -> bytes:
        return b""


class _Endless(Turns):
    def take(self, user: str, now: float) -> bool:
        return True


def _token(groups: int = 2, *, now: float = NOW, key: SigningKey | None = None) -> str:
    names = [f"team-{number:03d}-of-the-company" for number in range(groups)]
    return (key or rsa_key()).token(tsidp_claims(ISSUER, groups=names, now=now))


def _head(token: str, accept: str) -> RequestHead:
    fields = f"Host: x\r\nAccept: {accept}\r\n"
    if token:
        fields += f"Authorization: Bearer {token}\r\n"
    raw = f"GET /.auth-proxy/whoami HTTP/1.1\r\n{fields}\r\n".encode()
    return parse_request(raw, RequestHeaders())


class Costs:
    """The page and the gate behind it, with nothing else of a proxy."""

    def __init__(self) -> None:
        policy = Policy("headlamp-auth-proxy:authenticated")
        authenticates = authenticator()
        cache: TokenCache[Admission] = TokenCache()
        self._gate = Gate(authenticates, cache, policy, Unseen())
        self._page = Whoami(
            self._gate.admit,
            authenticates,
            policy,
            denial=None,
            credential=_Own(),
            grants=UserGrants(_Api()),
            refusals=Refusals(),
        )
        self._page._turns = _Endless()

    async def page(self, head: RequestHead) -> bytes:
        shown = await self._page.show(head, NOW)
        return answer.document(shown, audit_id="a" * 36, method=b"GET", close=False, now=NOW)

    async def refusal(self, head: RequestHead) -> bytes:
        try:
            found = self._gate.admit(head, NOW)
            if not isinstance(found, Admission):
                await found
        except ProxyError as error:
            return answer.refusal(
                error, audit_id="a" * 36, method=b"GET", close=False, now=NOW, has_page=True
            )
        raise AssertionError("it is admitted")


async def main() -> int:
    costs = Costs()
    refused = {
        "no token": "",
        "no JWT": "a.b.c",
        "another's signature": f"{_token()[:-8]}AAAAAAAA",
        "expired": _token(now=NOW - 1000),
        f"expired, of {GROUPS} groups": _token(GROUPS, now=NOW - 1000),
    }
    out = sys.stdout.write
    out(f"{'not let in':26}{'refusal':>10}{'HTML':>18}{'JSON':>18}\n")
    for name, token in refused.items():
        unit = await _seconds(costs.refusal, _head(token, JSON))
        html, json = [await _seconds(costs.page, _head(token, kind)) for kind in (HTML, JSON)]
        out(f"{name:26}{unit * 1e6:7.0f} us")
        out("".join(f"{cost * 1e6:9.0f} us {cost / unit:4.1f}x" for cost in (html, json)) + "\n")
    out(f"\n{'let in':36}{'HTML':>18}{'JSON':>18}\n")
    for groups in (2, 20, GROUPS):
        token = _token(groups)
        html, json = [await _seconds(costs.page, _head(token, kind)) for kind in (HTML, JSON)]
        out(f"of {groups:3} groups{html * 1e6:39.0f} us{json * 1e6:15.0f} us\n")
    return 0


async def _seconds(answers: Callable[[RequestHead], Awaitable[bytes]], head: RequestHead) -> float:
    """Return the CPU time of one, by the best of several runs: in the others, caches were cold."""
    times = []
    for _ in range(15):
        began = time.process_time()
        for _ in range(TIMES):
            await answers(head)
        times.append((time.process_time() - began) / TIMES)
    return min(times)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
