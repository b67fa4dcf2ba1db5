"""Many conversations, each played to its end in memory, and all that was said in them.

``python -m tests.http.played [--as-written]`` prints a line for each, so that the two forms
of the program can be compared byte for byte. What is another each time (IDs, clocks) is made the
same: nothing else may differ.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice

from tests import forms

if __name__ == "__main__":
    time.time = lambda: 1_700_000_000.25  # before anybody takes it by its name
    if "--as-written" in sys.argv:
        forms.as_written()

from proxy.version import is_compiled
from tests.corpus import PROBE, head
from tests.corpus.every import CASES
from tests.http.memory import Wire, World

_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN = head()
_WATCH = _PLAIN.replace(b"/version", b"/api/v1/pods?watch=1")
_SIZED = head(b"Content-Length: 5", line=b"POST /api HTTP/1.1") + b"12345"
_OLD = _PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0")
_OK = b"HTTP/1.1 200 OK\r\n"
_FORBIDDEN = b'{"message":"is forbidden: User \\"x\\" cannot impersonate'
_EXEC = head(
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: x",
    line=b"GET /api/v1/namespaces/a/pods/b/exec HTTP/1.1",
)
REQUESTS = [
    _PLAIN,
    _PLAIN.replace(b"GET", b"HEAD"),
    _WATCH,
    _SIZED,
    _OLD,
    _EXEC,
    b"",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    _PLAIN.replace(b"Bearer alice", b"Bearer nobody"),
    _PLAIN.replace(b"Bearer alice", b"Bearer slow"),
    head(b"Impersonate-User: bob"),
    head(b"X: " + b"x" * 70_000),
    head(*[b"X: y"] * 201),
]
LENGTHS = [-1, 0, 5, 2**31 - 1, 2**31, 2**32, 2**53, 10**18 - 1, 2**63 - 1, 2**63, 2**64, 2**64 + 5]
STATUSES = [-200, 0, 99, 100, 101, 103, 200, 204, 304, 401, 403, 500, 599, 999, 1000, 2**16 + 200]
STATUSES += [2**31, 2**32 + 200, 2**63, 2**64 + 200]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    _OK + b"Audit-Id: 01234567-89ab-cdef-0123-456789abcdef\r\nContent-Length: 2\r\n\r\nok",
    _OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x\r\nyes\r\n0\r\nT: t\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ntunnel",
    b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s" % (len(_FORBIDDEN), _FORBIDDEN),
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    b"nonsense\r\n\r\n",
    b"\0",
    b"",
    *(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n12345" % n for n in LENGTHS),
    *(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n12345" % abs(n)
        for n in LENGTHS
    ),
    *(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in STATUSES),
]
SIZED = [
    *(head(b"Content-Length: %d" % n, line=b"POST /api HTTP/1.1") + b"12345" for n in LENGTHS),
    *(
        head(b"Transfer-Encoding: chunked", line=b"POST /api HTTP/1.1") + b"%x\r\n12345" % abs(n)
        for n in LENGTHS
    ),
]
PIECES = (3, 1 << 20)  # bytes that arrive at once


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


def conversations() -> Iterator[tuple[bytes, Iterable[bytes], int]]:
    """Yield what a client says, what it is answered, in turn, and in pieces of what size."""
    for case in CASES[::4]:
        yield case.stream, cycle(ANSWERS[:1]), 1 << 20
    for case in CASES[::16]:
        if len(case.stream) < 2000:
            yield case.stream, cycle(ANSWERS[:3]), 3
    for request in SIZED:
        yield request, cycle(ANSWERS[:1]), 1 << 20
    for answer in ANSWERS:
        for request in REQUESTS[:6]:
            for size in PIECES if len(answer) < 2000 else PIECES[1:]:
                yield request + PROBE, (answer, ANSWERS[0], ANSWERS[1]), size
    for request in REQUESTS:
        yield request * 2 + PROBE, cycle(ANSWERS[:2]), 1 << 20


def play(said: bytes, answers: Iterable[bytes], size: int) -> list[object]:
    """Return all that there is to see of a conversation, from either side and from outside."""
    world, coming = World(), iter(answers)
    stood: list[Wire] = []
    sent: list[bytes] = []

    def stands(wire: Wire) -> None:
        stood.append(wire)
        wire.on_receive = lambda: answered(wire)

    def answered(wire: Wire) -> None:
        if wire.received.endswith(b"\r\n\r\n") or b"\r\n\r\n12345" in wire.received:
            sent.append(bytes(wire.received))
            wire.received.clear()
            for piece in pieces(next(coming, b""), size):
                if not wire.ended:
                    wire.feed(piece)
            if sent[-1].startswith(b"GET /version?probe") and not wire.ended:
                wire.finish(clean=True)

    world.loop.on_dial = lambda dial: dial.succeed(stands)
    client = world.client()
    for piece in pieces(said, size):
        if not client.ended:
            world.loop.do(client.feed, piece)
    for waiting in list(world.users.waiting):
        world.loop.do(waiting.set_result, True)
    world.loop.advance(40)  # what is late is given up
    world.loop.advance(400)
    seen: list[object] = [_ID.sub(b"ID", bytes(client.received)), client.ended]
    seen += [_ID.sub(b"ID", data) for data in sent]
    seen += [(_ID.sub(b"ID", bytes(wire.received)), wire.ended) for wire in stood]
    for each in world.seen.exchanges:
        seen.append(
            (
                *(each.kind, each.status, repr(each.error), each.truncated, each.client_left),
                *(each.bytes_received, each.bytes_sent, each.missing, each.impersonation_forbidden),
            )
        )
    seen += [repr(error) for error in world.seen.errors]
    seen += [world.seen.retries, world.seen.limits, [repr(e) for e in world.loop.unexpected]]
    world.close()
    return seen


def main() -> int:
    sys.stdout.write("compiled\n" if is_compiled() else "as written\n")
    for said, answers, size in conversations():
        known = list(islice(answers, 4))
        sys.stdout.write(f"{said[:200]!r} {known[0][:60]!r} {size} {play(said, known, size)!r}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
