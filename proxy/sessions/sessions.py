"""Which requests are sessions, which of them are recorded, and which are refused therefore.

With a recorder that is ``required``, what cannot be recorded does not come about: a terminal over
SPDY, one whose file cannot be made, and whatever reaches a node's own API, where the same commands
are run past everything that is known of pods (``nodes/proxy``: but for plain GET and HEAD, which
run nothing there).
"""

from __future__ import annotations

import time
from http import HTTPMethod
from typing import TYPE_CHECKING, Final

from proxy.errors import RecordingFailed, SessionNotRecordable
from proxy.sessions.asciicast import Encoder
from proxy.sessions.facts import TERMINALS, Facts, is_session, reaches_kubelet, requested
from proxy.sessions.session import Session

if TYPE_CHECKING:
    from proxy.http.exchange import Exchange
    from proxy.sessions.recorder import Recorder, Recording

MAX_GROUPS: Final = 32  # in the header of a recording
MAX_NAME: Final = 256  # characters of a name there
_READING: Final = frozenset({HTTPMethod.GET.encode(), HTTPMethod.HEAD.encode()})


class Sessions:
    """Satisfies ``http.service.Sessions``."""

    def __init__(self, recorder: Recorder | None = None, *, required: bool = False) -> None:
        self._recorder = recorder
        self._required = required and recorder is not None

    def open(self, exchange: Exchange) -> Session | None:
        info, head = exchange.info, exchange.head
        if reaches_kubelet(info):
            if self._required and (head.upgrade or head.method not in _READING):
                raise SessionNotRecordable("a node's own API")
            return None
        if not is_session(info) or head.upgrade is None:
            return None
        facts = requested(info, head.target)
        recording = None
        if self._recorder is not None and facts.kind in TERMINALS:
            recording = self._record(self._recorder, exchange, facts)
        return Session(facts, recording, required=self._required, end=exchange.stop)

    def _record(self, recorder: Recorder, exchange: Exchange, facts: Facts) -> Recording | None:
        if exchange.head.upgrade != b"websocket":
            if not self._required:
                return None
            if recorder.failing:  # kubectl tries SPDY when WebSocket was refused
                raise RecordingFailed("and it was asked for over SPDY")
            raise SessionNotRecordable("SPDY")
        now = time.time()
        began = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now))
        encoder = _encoder(exchange, facts, now)
        return recorder.start(f"{began}-{exchange.audit_id}", encoder, time.monotonic())


def _encoder(exchange: Exchange, facts: Facts, now: float) -> Encoder:
    assert exchange.admission is not None
    identity, info = exchange.admission.identity, exchange.info
    session: dict[str, object] = {
        "auditID": exchange.audit_id,
        "user": identity.username[:MAX_NAME],
        "groups": [group[:MAX_NAME] for group in identity.groups[:MAX_GROUPS]],
        "client": exchange.client.address,
        "namespace": info.namespace[:MAX_NAME],
        "pod": info.name[:MAX_NAME],
        "container": facts.container[:MAX_NAME],
        "subresource": facts.kind,
        "command": list(facts.command),
        "tty": facts.tty,
    }
    if identity.original:
        session["originalUser"] = identity.original[:MAX_NAME]
    title = f"{session['user']}: {session['namespace']}/{session['pod']} {facts.container}".rstrip()
    return Encoder(now, title, facts.command, session)
