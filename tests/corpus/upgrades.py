"""Upgrades: to what, from what, and what becomes of the bytes behind the head.

The API server of the tests switches when it is asked for a target under ``/switch`` and answers
an upgrade to any other with an ordinary response.
"""

from __future__ import annotations

from tests.corpus import PROBE, REVIEW, Case, Seen, head, last, passes, refused

_GET = b"GET /version HTTP/1.1"
_SWITCH = b"GET /switch HTTP/1.1"
_CONNECTION = b"Connection: Upgrade"
_WEBSOCKET = b"Upgrade: websocket"
_ASKING = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"))
_SPDY = ((b"connection", b"Upgrade"), (b"upgrade", b"SPDY/3.1"))
_ANOTHER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n"

_OTHERS = (
    b"h2c", b"h2", b"H2C", b"HTTP/2.0", b"TLS/1.0", b"TLS/1.2", b"foo", b"", b" ", b"websocket2",
    b"xwebsocket", b"websocket/13", b"websocket, SPDY/3.1", b"websocket,", b",websocket", b"SPDY/3",
    b"SPDY/3.2", b"SPDY", b"spdy/2", b"websocket h2c", b"websocket;x", b"\"websocket\"",
    b"websocket\r\nUpgrade: websocket", b"websocket\r\nUpgrade: h2c", b"h2c\r\nUpgrade: websocket",
    b"connect-udp", b"IRC/6.9", b"web\xc2\xa0socket",
)  # fmt: skip

_BODIES = (
    (b"Content-Length: 71", REVIEW),
    (b"Content-Length: 1", b"a"),
    (b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    (b"Transfer-Encoding: chunked", b"1\r\na\r\n0\r\n\r\n"),
)

_ASKED_FOR = {
    "websocket": (_CONNECTION, _WEBSOCKET),
    "WEBSOCKET": (b"connection: UPGRADE", b"UPGRADE: WEBSOCKET"),
    "websocket, the fields the other way round": (_WEBSOCKET, _CONNECTION),
    "websocket among other options": (b"Connection: keep-alive, x ,upgrade", _WEBSOCKET),
    "websocket in a second Connection": (b"Connection: x", _CONNECTION, _WEBSOCKET),
}

_BEHIND = {
    "a request": _ANOTHER,
    "a frame": b"\x81\x05hello",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "zeros": bytes(16),
    "an empty line": b"\r\n",
}


def _shown(data: bytes) -> str:
    return repr(data.decode("latin-1"))


CASES: list[Case] = [
    *(
        refused(f"upgrade to {_shown(to)}", head(_CONNECTION, b"Upgrade: " + to) + _ANOTHER)
        for to in _OTHERS
    ),
    refused(
        "upgrade to h2c as RFC 7540 says",
        head(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
    ),
    *(
        refused(
            f"upgrade with {field.decode()} and {_shown(body)}",
            head(_CONNECTION, _WEBSOCKET, field) + body,
        )
        for field, body in _BODIES
    ),
    *(
        passes(f"asked for {name}", head(*lines), last(Seen(fields=_ASKING)))
        for name, lines in _ASKED_FOR.items()
    ),
    passes(
        "asked for spdy/3.1",
        head(_CONNECTION, b"Upgrade: spdy/3.1"),
        last(Seen(fields=_SPDY)),
    ),
    passes(
        "asked for SPDY by POST",
        head(
            _CONNECTION,
            b"Upgrade: SPDY/3.1",
            b"Content-Length: 0",
            line=b"POST /version HTTP/1.1",
        ),
        last(Seen(b"POST", fields=((b"content-length", b"0"), *_SPDY))),
    ),
    *(
        passes(
            f"{name} behind an upgrade that is refused",
            head(_CONNECTION, _WEBSOCKET) + data,
            last(Seen(fields=_ASKING)),
        )
        for name, data in _BEHIND.items()
    ),
    *(
        passes(
            f"{name} behind an upgrade that comes about",
            head(_CONNECTION, _WEBSOCKET, line=_SWITCH) + data,
            Seen(target=b"/switch", fields=_ASKING, last=True, tunnel=data + PROBE),
        )
        for name, data in _BEHIND.items()
    ),
    *(
        passes(
            f"an upgrade that is none: {name}",
            head(*lines) + _ANOTHER,
            Seen(),
            Seen(target=b"/smuggled"),
        )
        for name, lines in {
            "no Connection": (_WEBSOCKET,),
            "no Upgrade": (_CONNECTION,),
            "Connection without upgrade": (b"Connection: keep-alive", _WEBSOCKET),
            "Connection: upgrades": (b"Connection: upgrades", _WEBSOCKET),
            "Connection in quotes": (b'Connection: "upgrade"', _WEBSOCKET),
            "an underscore": (_CONNECTION, b"Up_grade: websocket"),
            "Proxy-Connection": (b"Proxy-Connection: upgrade", _WEBSOCKET),
        }.items()
    ),
    passes(
        "an upgrade in HTTP/1.0 is none",
        head(_CONNECTION, _WEBSOCKET, line=_GET[:-1] + b"0"),
        Seen(last=True),
    ),
    refused(
        "an upgrade that names an identity",
        head(b"Connection: Upgrade, Impersonate-User", _WEBSOCKET) + _ANOTHER,
    ),
    refused(
        "an upgrade that impersonates", head(_CONNECTION, _WEBSOCKET, b"Impersonate-User: x"), 403
    ),
    refused(
        "an upgrade with two tokens",
        head(
            _CONNECTION,
            _WEBSOCKET,
            b"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.YWxpY2U, x",
        ),
    ),
    passes(
        "an upgrade with all that belongs to it",
        head(
            b"Connection: Upgrade, Sec-WebSocket-Extensions-Not",
            _WEBSOCKET,
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io",
            b"Sec-WebSocket-Accept: forged",
            b"Cookie: a=b",
            b"Expect: 100-continue",
        ),
        last(
            Seen(
                fields=(
                    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                    (b"sec-websocket-version", b"13"),
                    (b"sec-websocket-protocol", b"v5.channel.k8s.io, v4.channel.k8s.io"),
                    *_ASKING,
                )
            )
        ),
    ),
]
