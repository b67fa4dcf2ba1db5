"""Headlamp's own way to this proxy, a part of trust 4: asked through Headlamp, without a token.

What answers tells where Headlamp's requests go: this proxy refuses whoever has no token, with a
label of its own; the API server lets nobody in, or lets somebody in as Headlamp.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

from proxy.errors import TokenMissing, every_error
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.verdict import Verdict, failed, ok, unknown

# Forbidden to strangers, allowed to any account: that the two differ is what tells them apart.
PATH: Final = "/api"
_OURS: Final = frozenset(error.label for error in every_error())
_POINT: Final = (
    "env KUBERNETES_SERVICE_HOST=127.0.0.1 and KUBERNETES_SERVICE_PORT=6443 on Headlamp's "
    "container (values-sidecar.yaml, or: kubectl get deploy headlamp -o yaml | "
    "headlamp-auth-proxy inject -)"
)


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Examine where Headlamp's requests go; nothing without a Headlamp."""
    seen = x.known.headlamp
    if seen is None or not seen.clusters:
        return
    url = f"{seen.url}/clusters/{quote(seen.cluster)}{PATH}"
    x.say(f"asking {url} without a token")
    try:
        answer = await ask(x.session, url, tls=seen.tls)
    except NoAnswer as error:
        yield unknown(causes.HEADLAMP_CANNOT_REACH_PROXY, str(error), "see Headlamp's log")
        return
    yield judge(answer)


def judge(answer: Answer) -> Verdict:
    """Say who has answered a request without a token that went through Headlamp."""
    label = label_of(answer.json())
    saw = f"through Headlamp, a request without a token is answered {answer.words}"
    if label == TokenMissing.label:
        return ok("Headlamp's requests come to a proxy like this one")
    if label in _OURS:
        return ok(f"Headlamp's requests come to a proxy like this one, which says {label}")
    match answer.status:
        case 200:
            mend = "config.unsafeUseServiceAccountToken: false  # in the values of Headlamp's chart"
            return failed(causes.HEADLAMP_USES_OWN_ACCOUNT, saw, mend)
        case 401 | 403:
            return failed(causes.HEADLAMP_BYPASSES_PROXY, saw, _POINT)
        case 502 | 503 | 504:
            mend = (
                "kubectl -n headlamp rollout restart deployment/headlamp  # it reads the proxy's "
                "CA once, at its start; --trust-dir must be what it has as its service account. "
                "And the proxy must run: kubectl -n headlamp logs deploy/headlamp -c auth-proxy"
            )
            return failed(causes.HEADLAMP_CANNOT_REACH_PROXY, saw, mend)
        case _:
            return unknown(causes.HEADLAMP_CANNOT_REACH_PROXY, saw, "see Headlamp's log")


def label_of(status: Any) -> str:
    """Return the label of one of our own answers, else an empty text."""
    try:
        return str(status["details"]["causes"][0]["reason"])
    except (KeyError, IndexError, TypeError):
        return ""
