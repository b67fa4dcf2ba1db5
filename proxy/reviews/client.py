"""Puts reviews to the API server with this proxy's own credential; every failure is a value.

A review is a question and changes nothing, so one that is refused for our credential (401) is put
once more with a credential that was looked at again. What comes back is bounded in time and size,
no redirect is followed, and no proxy is taken from the environment. A failure that lasts is logged
once for each cause and kind, and again now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import aiohttp

from proxy.bounded import read_bounded
from proxy.credentials.credential import Credential, authorization
from proxy.credentials.endpoint import Upstream
from proxy.errors import CredentialUnavailable
from proxy.impersonation import Impersonation
from proxy.outage import REMIND_EVERY, Outage
from proxy.reviews import documents
from proxy.reviews.documents import Access, Outcome, Question, Review, Rules, TokenStatus, Unknown
from proxy.userinfo import UserInfo
from proxy.version import VERSION

TIMEOUT: Final = 5.0  # seconds for one review, waiting for a connection included
CONCURRENT: Final = 16  # reviews under way; more wait their turn
MAX_ANSWER_BYTES: Final = 1 << 20
USER_AGENT: Final = f"headlamp-auth-proxy/{VERSION} (reviews)"

Header = tuple[str, str]
OnReview = Callable[[str, Outcome, float], None]  # kind, outcome, seconds

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Reviewer:
    """A client for reviews. ``on_review`` is told of each one that was put."""

    def __init__(self, upstream: Upstream, credential: Credential, on_review: OnReview) -> None:
        self._url = f"https://{upstream.authority.decode()}"
        self._server_name = upstream.server_name
        self._credential = credential
        self._on_review = on_review
        self._outages: dict[str, Outage] = {}  # by kind
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONCURRENT),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def token(self, token: bytes, audiences: Sequence[str] = ()) -> TokenStatus | Unknown:
        """Ask whose token it is; ours is nobody's, and so is one for none of ``audiences``."""
        if self._is_ours(token):
            return TokenStatus(None)
        review = documents.token_review(token, audiences)
        answer = await self._put(review, documents.token_status)
        if isinstance(answer, Unknown) or not audiences or set(audiences) & set(answer.audiences):
            return answer
        # An authenticator that knows no audiences answers for the API server's own and names none
        # (TokenReviewStatus.audiences).
        return TokenStatus(None)

    async def who_am_i(self, impersonating: Sequence[Header] = ()) -> UserInfo | Unknown:
        """Ask as whom the API server sees a request with these headers besides our credential."""
        return await self._put(documents.self_subject_review(), documents.subject, impersonating)

    async def may_i(
        self, question: Question, impersonating: Sequence[Header] = ()
    ) -> Access | Unknown:
        review = documents.self_subject_access_review(question)
        return await self._put(review, documents.access, impersonating)

    async def my_rules(
        self, namespace: str, impersonating: Sequence[Header] = ()
    ) -> Rules | Unknown:
        """Ask for all that we may do in the whole cluster and in ``namespace``, or they may."""
        review = documents.self_subject_rules_review(namespace)
        return await self._put(review, documents.rules, impersonating)

    async def rules_of(
        self, namespace: str, impersonating: Sequence[Header] = (), credential: Header | None = None
    ) -> Rules | Unknown:
        """Ask the same for whom we impersonate, or for whoever has ``credential``, in our place."""
        review = documents.self_subject_rules_review(namespace)
        return await self._put(review, documents.rules, impersonating, credential)

    async def may(self, user: UserInfo, question: Question) -> Access | Unknown:
        """Ask whether ``user`` may; ``user`` must be all that the API server would see of them."""
        return await self._put(documents.subject_access_review(user, question), documents.access)

    def _is_ours(self, token: bytes) -> bool:
        with contextlib.suppress(CredentialUnavailable):
            ours = self._credential.header(time.time()) or b""
            return hmac.compare_digest(ours, authorization(token))
        return False

    async def _put(
        self,
        review: Review,
        status_of: Callable[[Any], T],
        headers: Sequence[Header] = (),
        credential: Header | None = None,
    ) -> T | Unknown:
        began = time.perf_counter()
        answer = await self._answer(review, status_of, headers, credential)
        outcome: Outcome = "unknown" if isinstance(answer, Unknown) else "answered"
        self._on_review(review.kind, outcome, time.perf_counter() - began)
        self._report(review.kind, answer.why if isinstance(answer, Unknown) else "")
        return answer

    async def _answer(
        self,
        review: Review,
        status_of: Callable[[Any], T],
        headers: Sequence[Header],
        credential: Header | None,
    ) -> T | Unknown:
        try:
            status, body = await self._post(review, headers, credential)
            if status == 401 and credential is None:
                self._credential.reread()
                status, body = await self._post(review, headers, credential)
        except CredentialUnavailable as error:
            return Unknown(f"{review.kind}: {error.detail}")
        except TimeoutError:
            return Unknown(f"{review.kind}: no answer within {TIMEOUT:g} s")
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            return Unknown(f"{review.kind}: {_reason(error)}")
        if body is None:
            return Unknown(f"{review.kind}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
        return documents.read(status, body, review, status_of)

    async def _post(
        self, review: Review, headers: Sequence[Header], credential: Header | None
    ) -> tuple[int, bytes | None]:
        if credential is None:
            sent, tls = [*await self._authorization(), *headers], self._credential.ssl_context()
        else:  # nothing of ours may go along, a client certificate no more than a token
            sent, tls = [credential], self._credential.bare.ssl_context()
        async with (
            asyncio.timeout(TIMEOUT),
            self._session.post(
                self._url + review.path,
                data=review.document(),
                headers=sent,
                ssl=tls,
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as response,
        ):
            return response.status, await read_bounded(response.content, MAX_ANSWER_BYTES)

    async def _authorization(self) -> list[Header]:
        line = self._credential.header(time.time())
        if line is None:
            await self._credential.renew()
            line = self._credential.header(time.time())
        if line is None:
            raise CredentialUnavailable("the credential could not be renewed")
        name, _, value = line.decode("ascii").strip().partition(": ")
        return [(name, value)] if name else []

    def _report(self, kind: str, failure: str) -> None:
        outage = self._outages.setdefault(kind, Outage(REMIND_EVERY))
        if failure:
            if outage.fails(failure, time.monotonic()):
                _log.warning("a review has no answer: %s", failure, extra={"review": kind})
        elif outage.ends():
            _log.info("reviews are answered again", extra={"review": kind})


def asserting(identity: Impersonation) -> list[Header]:
    """Return the headers by which a question is put as somebody else."""
    lines = identity.header.decode().rstrip("\r\n").split("\r\n")
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def _reason(error: Exception) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return f"the API server's certificate is refused ({error.__cause__.verify_message})"
    return str(error) or type(error).__name__
