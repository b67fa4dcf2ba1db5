"""Makes the page: asks the gate, asks the API server for whom it lets in, and writes it down.

Who is not let in has nobody asked for them: neither about their token nor about their rights. A
stranger's token is looked at once, by the gate, so for them the page costs what any refusal costs,
and its text; who holds a good one has it looked at twice, but only so often (``turns``).
"""

from __future__ import annotations

import contextlib
import inspect
import json
import time
from collections.abc import Awaitable
from typing import Final, Protocol

from proxy.account import guarded
from proxy.authn.authenticator import Authenticator
from proxy.authn.credential import extract
from proxy.authn.distributed import ClaimsElsewhere
from proxy.authn.trace import Trace
from proxy.denial import Bearer
from proxy.errors import (
    KeyUnknown,
    PageMethodNotAllowed,
    PageTooOften,
    ProxyError,
    SignatureInvalid,
    TokenMalformed,
    TokenTooLarge,
)
from proxy.http.answer import Document
from proxy.http.head import RequestHead
from proxy.http.service import Admission, Denial
from proxy.impersonation import Impersonation, Policy
from proxy.limits import MAX_TOKEN_BYTES
from proxy.refusals import Refusals
from proxy.reviews.grants import UserGrants
from proxy.userinfo import UserInfo
from proxy.whoami import asking
from proxy.whoami.html import CONTENT_SECURITY_POLICY, html
from proxy.whoami.report import Verdict, report
from proxy.whoami.turns import Turns

_COMMON: Final = (
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Vary: Accept\r\n"
    f"Content-Security-Policy: {CONTENT_SECURITY_POLICY}\r\n"
)
_HTML: Final = f"Content-Type: text/html; charset=utf-8\r\n{_COMMON}"
_JSON: Final = f"Content-Type: application/json\r\n{_COMMON}"


class Recall(Protocol):
    """The gate, which must not ask the API server anything for this."""

    def __call__(
        self, head: RequestHead, now: float, trace: Trace | None = None
    ) -> Admission | Awaitable[Admission]: ...


class OwnCredential(Protocol):
    """Who this proxy is towards the API server; see ``http.service.Credential``."""

    def header(self, now: float) -> bytes | None: ...


class Whoami:
    """The page; satisfies ``http.service.Page``."""

    path: Final = asking.PATH

    def __init__(
        self,
        recall: Recall,
        authenticator: Authenticator,
        policy: Policy,
        *,
        denial: Denial | None,
        credential: OwnCredential,
        grants: UserGrants,
        refusals: Refusals,
        max_token_bytes: int = MAX_TOKEN_BYTES,
    ) -> None:
        self._recall = recall
        self._authenticator = authenticator
        self._policy = policy
        self._denial = denial
        self._credential = credential
        self._grants = grants
        self._refusals = refusals
        self._max_token_bytes = max_token_bytes
        self._turns = Turns()

    def is_at(self, target: bytes) -> bool:
        return asking.is_at(target)

    async def show(self, head: RequestHead, now: float) -> Document:
        """Return the page; ``now`` in unix seconds.

        Raises PageMethodNotAllowed, or PageTooOften for somebody who is known.
        """
        if head.method not in {b"GET", b"HEAD"}:
            raise PageMethodNotAllowed
        verdict = await self._judge(head, now)
        grants, refusals, clock = None, [], time.monotonic()
        if verdict.admission is not None and verdict.error is None:
            namespace = asking.namespace_of(head.target)
            grants = await self._grants.of(verdict.admission.identity, namespace)
            refusals = self._refusals.of(verdict.admission.bearer, clock)
        account = report(verdict, grants, refusals, clock)
        if asking.prefers_html(head.header(b"accept")):
            return Document(html(account, verdict.error, now).encode(), _HTML)
        return Document(json.dumps(account, indent=2).encode() + b"\n", _JSON)

    async def _judge(self, head: RequestHead, now: float) -> Verdict:
        verdict = Verdict(Trace())
        waited = False
        try:
            admitted = self._recall(head, now, verdict.trace)
            waited = inspect.isawaitable(admitted)
            admission = await admitted if inspect.isawaitable(admitted) else admitted
        except ProxyError as error:
            verdict.error = error.with_traceback(None)
            self._take_turn(error.bearer)
            if not _is_looked_at(error, verdict.trace, waited=waited):
                self._look_at_token(head, now, verdict)
            verdict.token = verdict.trace.token
            return verdict
        self._take_turn(admission.bearer)
        verdict.admission = admission
        self._look_at_token(head, now, verdict)
        verdict.token = verdict.trace.token
        try:
            if self._denial is not None:
                self._denial.check(admission.bearer)
            if isinstance(admission.identity, Impersonation):
                self._credential.header(now)
        except ProxyError as error:
            verdict.error = error.with_traceback(None)
        return verdict

    def _take_turn(self, bearer: Bearer | None) -> None:
        if bearer is not None and not self._turns.take(bearer.username, time.monotonic()):
            raise PageTooOften

    def _look_at_token(self, head: RequestHead, now: float, verdict: Verdict) -> None:
        """Note what the token says, and go its way again step by step; the verdict stands."""
        verdict.trace = Trace()
        with contextlib.suppress(ProxyError):
            websocket = head.websocket_protocols if head.upgrade == b"websocket" else None
            token = extract(head.authorization, websocket, self._max_token_bytes).token
            with contextlib.suppress(ClaimsElsewhere):
                verdict.user = self._authenticator.authenticate(
                    token, now, trace=verdict.trace
                ).user
        if (admission := verdict.admission) is not None:
            if not isinstance(admission.identity, Impersonation):
                verdict.trace.note("token review", known=True)
                return
            if verdict.user is None:  # its claims are elsewhere, or its key has just gone
                bearer = admission.bearer
                verdict.user = UserInfo(bearer.username, groups=bearer.groups)
        if verdict.user is not None:
            with contextlib.suppress(ProxyError):
                guarded(verdict.user, self._policy, verdict.trace)


def _is_looked_at(error: ProxyError, trace: Trace, *, waited: bool) -> bool:
    """Say whether the gate, which refused a token, has seen all that there is to see of it."""
    if isinstance(error, KeyUnknown | SignatureInvalid | TokenMalformed | TokenTooLarge):
        return True  # nobody's token is worth trying all keys twice
    return trace.token is not None and error.bearer is None and not waited
