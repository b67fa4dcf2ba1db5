"""Header fields: what a line of a head may be, whose name may pass, and who is asking.

Both servers behind the proxy judge values by RFC 9110, section 5.5; a control byte in one is
refused here, since it means nothing anywhere.
"""

from __future__ import annotations

import string

from tests.corpus import AUTHORIZATION, END, HOST, PROBE, Case, Refused, Seen, head, passes, refused

_TOKEN = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())

_MALFORMED = {
    "no colon": b"nonsense",
    "an empty name": b": x",
    "only a colon": b":",
    "a blank before the colon": b"Accept : x",
    "a tab before the colon": b"Accept\t: x",
    "blanks before the colon": b"Accept   : x",
    "a blank in the name": b"Acc ept: x",
    "a blank before the name": b" Accept: x",
    "a tab before the name": b"\tAccept: x",
    "a folded line, blank": b"Accept: a\r\n b",
    "a folded line, tab": b"Accept: a\r\n\tb",
    "a folded line that hides a field": b"Accept: a\r\n Impersonate-User: root",
    "a folded line of blanks alone": b"Accept: a\r\n ",
    "a value folded from the start": b"Accept:\r\n x",
    "a folded line that says nothing": b"Accept: a\r\n \r\nX: y",
    "a bare LF in a value": b"Accept: a\nb",
    "a bare LF that hides a field": b"Accept: a\nImpersonate-User: root",
    "a bare CR in a value": b"Accept: a\rb",
    "a bare CR that hides a field": b"Accept: a\rImpersonate-User: root",
    "a bare CR at the end of a value": b"Accept: a\r",
    "LF CR for CR LF": b"Accept: a\n\rX: y",
    "CR CR LF": b"Accept: a\r\r\nX: y",
    "a bare LF in a name": b"Acc\nept: a",
    "a line ended by LF": b"Accept: a\nX: y",
    "a NUL at the end of a value": b"Accept: a\0",
    "a NUL in a name": b"Accept\0: a",
    "a NUL before a hidden field": b"Accept: a\0\r\nImpersonate-User: root",
    "a head ended by LF LF": b"Accept: a\n\nGET /version HTTP/1.1\r\nHost: x",
    "a head ended by LF CR LF": b"Accept: a\n",
    "a colon in a name of UTF-8": b"Acc\xc3\xa9pt: x",
    "a name in quotes": b'"Accept": x',
    "a name in parentheses": b"(Accept): x",
    "a second request line": b"GET /version HTTP/1.1",
}

_BEFORE_THE_FIRST = {
    "a blank line of blanks": b" ",
    "a blank": b" Host: x",
    "a tab": b"\tHost: x",
    "a folded nothing": b" x: y",
    "a NUL": b"\0",
    "a bare CR": b"\rX: y",
    "a bare LF": b"\nX: y",
    "a colon": b":x",
}

_HOSTS_REFUSED = {
    "two": (b"Host: x", b"Host: y"),
    "two of the same": (b"Host: x", b"Host: x"),
    "two, far apart": (b"Host: x", b"Accept: a", b"HOST: x"),
    "two, the first empty": (b"Host:", b"Host: x"),
    "a blank before its colon": (b"Host : x",),
    "a blank before it": (b" Host: x",),
    "a folded one": (b"Host:\r\n x",),
    "one with a NUL": (b"Host: x\0",),
    "one with a bare CR": (b"Host: x\ry",),
    "one with a bare LF": (b"Host: x\nX: y",),
    "none but one with an underscore": (b"Ho_st: x",),
    "none but a forwarded one": (b"X-Forwarded-Host: x",),
    "none but an authority": (b":authority: x",),
}

# Host is not checked: the authority of what leaves is a constant.
_HOSTS_PASSING = (
    b"", b"evil.example", b"cluster.example", b"user@evil.example", b"evil.example:99999",
    b"127.0.0.1:6443", b"[::1]:6443", b"[::1", b"a/b", b"a?b", b"a#b", b"a b", b"a,b", b"*", b"..",
    b"http://evil.example/", b"x:y:z", b"X", b"\xc3\xa9.example", b"%00", b"a" * 4000,
)  # fmt: skip

# Never on the list of what may pass, so they are lost.
_DROPPED = (
    b"TE: trailers", b"TE: trailers, gzip;q=0.5", b"Trailer: X", b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive", b"Proxy-Connection: close", b"Proxy-Authorization: Basic eA==",
    b"Proxy-Authenticate: Basic", b"Cookie: a=b", b"Cookie2: a", b"Set-Cookie: a=b",
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: http",
    b"X-Forwarded-Uri: /", b"Forwarded: for=1.2.3.4;host=evil", b"X-Real-IP: 1.2.3.4",
    b"X-Remote-User: root", b"X-Remote-Group: system:masters", b"X-Remote-Extra-Scopes: x",
    b"X_Remote_User: root", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin",
    b"X-HTTP-Method-Override: DELETE", b"X-Method-Override: PUT", b"X-HTTP-Method: PATCH",
    b"X-Authorization: Bearer x", b"Authorization_: Bearer x", b"_Authorization: Bearer x",
    b"Proxy: http://evil.example", b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Upgrade: h2c",
    b"Upgrade: websocket", b"Upgrade: foo", b"Via: 1.1 x", b"Max-Forwards: 0", b"Date: x",
    b"Age: 1", b"Warning: x", b"Referer: http://x/", b"From: x", b"Audit-Id: 1", b"X: y", b"x:",
    b"Alt-Used: x", b"Alt-Svc: clear", b"Early-Data: 1", b"Expect: 200-ok", b"Expect: ",
    b"Expect: 100-continue, 100-continue", b"Expect: \"100-continue\"", b"Expect: 100 continue",
    b"Expect: 100-continue", b"Expect: 100-CONTINUE", b"Expect:100-continue", b"Content_Length: 5",
    b"Content_Type: x", b"Transfer_Encoding: chunked", b"Transfer-Encoding_: chunked",
    b"X-Transfer-Encoding: chunked", b"Transfer.Encoding: chunked", b"Content.Length: 5",
    b"ContentLength: 5", b"Contentlength: 5", b"Content-Length-: 5", b"Content-MD5: x",
    b"Connection-: x", b"X-Connection: Impersonate-User", b"Accept_Encoding: gzip", b"Accept-: x",
    b"Sec-WebSocket-Accept: x", b"Sec-Fetch-Mode: cors", b"Impersonat: x", b"X-Impersonate-User: x",
    b"Im-Personate-User: x", b"!#$%&'*+-.^_`|~: x", b"0: x", b"Connection:", b"Connection: ,",
    b"Connection: keep-alive", b"Connection: TE, Trailer", b"Connection: x;y", b"Connection: \"x\"",
    b"Connection: Host", b"Connection: Content-Length", b"Connection: Transfer-Encoding",
    b"Connection: upgrade", b"Connection: \xff",
)  # fmt: skip

_PASSING = {
    "a value without a blank": (b"Accept:x", b"x"),
    "a value with blanks around": (b"Accept:  \t x \t ", b"x"),
    "an empty value": (b"Accept:", b""),
    "a value of blanks": (b"Accept:   ", b""),
    "a value with blanks inside": (b"Accept: a  b\tc", b"a  b\tc"),
    "a value with colons": (b"Accept: a:b: c", b"a:b: c"),
    "a value with quotes": (b'Accept: "a\\"b', b'"a\\"b'),
    "a value in UTF-8": (b"Accept: \xc3\xa9", b"\xc3\xa9"),
    "a value in Latin-1": (b"Accept: \xe9\xff", b"\xe9\xff"),
    "a value that looks like an end": (b"Accept: \\r\\n\\r\\n", b"\\r\\n\\r\\n"),
    "a value that looks like a field": (b"Accept: Cookie: x", b"Cookie: x"),
    "a value that looks like a request": (b"Accept: GET / HTTP/1.1", b"GET / HTTP/1.1"),
    "a long value": (b"Accept: " + b"a" * 30_000, b"a" * 30_000),
    "a name in capitals": (b"ACCEPT: x", b"x"),
    "a name in lower case": (b"accept: x", b"x"),
}  # fmt: skip

# Who is asking must be the token's to say, whoever might fold the name into one of these.
_IMPERSONATING = (
    b"Impersonate-User: root", b"impersonate-user: root", b"IMPERSONATE-USER: root",
    b"Impersonate-User:", b"Impersonate-User: alice", b"Impersonate-Group: system:masters",
    b"Impersonate-Uid: 0", b"Impersonate-Extra-Scopes: x", b"Impersonate-Extra-a%2fb: x",
    b"Impersonate-New: x", b"Impersonate: x", b"ImpersonateUser: root", b"Impersonate_User: root",
    b"impersonate_group: x", b"IMPERSONATE_UID: 0", b"Impersonate_Extra_a: x",
    b"Impersonate-_User: x", b"Impersonate.User: x", b"Impersonate-User-: x", b"Impersonate-: x",
)  # fmt: skip

_CONNECTION_NAMES = (
    b"Impersonate-User", b"impersonate-group", b"IMPERSONATE-UID", b"Impersonate-Extra-a",
    b"Impersonate_User", b"impersonate_group", b"Impersonate-New", b"Authorization",
    b"authorization", b"AUTHORIZATION", b"X-Remote-User", b"X_Remote_Group", b"x-remote-extra-a",
    b"Cookie",
)  # fmt: skip

_CREDENTIALS = {
    "no credential": (b"", 401),
    "an empty one": (b"Authorization:", 401),
    "Basic": (b"Authorization: Basic YTpi", 401),
    "Bearer without a token": (b"Authorization: Bearer", 401),
    "Bearer and a blank": (b"Authorization: Bearer ", 401),
    "two blanks": (b"Authorization: Bearer  alice", 401),
    "a tab": (b"Authorization: Bearer\talice", 401),
    "two words": (b"Authorization: Bearer alice bob", 401),
    "a list": (b"Authorization: Bearer alice, Bearer bob", 401),
    "a comma": (b"Authorization: Bearer alice,bob", 401),
    "a bad token": (b"Authorization: Bearer nobody", 401),
    "no scheme": (b"Authorization: alice", 401),
    "another header": (b"X-Authorization: Bearer alice", 401),
    "a proxy's": (b"Proxy-Authorization: Bearer alice", 401),
    "an underscore": (b"Authorization_: Bearer alice", 401),
    "two": (b"Authorization: Bearer alice\r\nAuthorization: Bearer bob", 400),
    "two of the same": (b"Authorization: Bearer alice\r\nauthorization: Bearer alice", 400),
    "one and an empty one": (b"Authorization: Bearer alice\r\nAuthorization:", 400),
    "one in UTF-8": (b"Authorization: Bearer \xc3\xa9", 401),
}


def _first(line: bytes) -> bytes:
    return b"GET /version HTTP/1.1\r\n" + line + b"\r\n" + HOST + b"\r\n" + AUTHORIZATION + END


def _with_host(lines: tuple[bytes, ...]) -> bytes:
    return b"\r\n".join((b"GET /version HTTP/1.1", *lines, AUTHORIZATION)) + END


def _with_credential(line: bytes) -> bytes:
    lines = [line] if line else []
    return b"\r\n".join([b"GET /version HTTP/1.1", HOST, *lines]) + END


def _in_value(byte: int) -> Case:
    name = f"byte {byte:#04x} in a value"
    data = head(b"Accept: a" + bytes([byte]) + b"b")
    if byte == 0x09 or byte == 0x20 or (byte > 0x20 and byte != 0x7F):
        return passes(name, data, Seen(fields=((b"accept", b"a" + bytes([byte]) + b"b"),)))
    return refused(name, data)


def _in_name(byte: int) -> Case:
    name = f"byte {byte:#04x} in a name"
    data = head(b"X-" + bytes([byte]) + b"y: z")
    if byte in _TOKEN or byte == ord(":"):
        return passes(name, data)  # a token, so it is a name, and on no list
    return refused(name, data)


CASES = [
    *(refused(f"field: {name}", head(line)) for name, line in _MALFORMED.items()),
    *(
        refused(f"before the first field: {name}", _first(line))
        for name, line in _BEFORE_THE_FIRST.items()
    ),
    *(refused(f"hosts: {name}", _with_host(lines)) for name, lines in _HOSTS_REFUSED.items()),
    *(
        passes(f"host {host.decode('latin-1')[:30]!r}", _with_host((b"Host: " + host,)))
        for host in _HOSTS_PASSING
    ),
    *(passes(f"lost: {line.decode('latin-1')}", head(line)) for line in _DROPPED),
    *(
        passes(f"field: {name}", head(line), Seen(fields=((b"accept", value),)))
        for name, (line, value) in _PASSING.items()
    ),
    passes(
        "a field several times",
        head(b"Accept: a", b"accept: b", b"ACCEPT: a"),
        Seen(fields=((b"accept", b"a"), (b"accept", b"b"), (b"accept", b"a"))),
    ),
    passes("what Connection names is lost", head(b"Accept: a", b"Connection: keep-alive, ACCEPT")),
    passes(
        "and in a second Connection", head(b"Connection: x", b"Accept: a", b"connection:accept")
    ),
    *(
        refused(f"impersonating: {line.decode()}", head(line), 403, closed=False)
        for line in _IMPERSONATING
    ),
    *(
        refused(f"Connection names {n.decode()}", head(b"Connection: " + n), closed=False)
        for n in _CONNECTION_NAMES
    ),
    *(
        refused(
            f"Connection also names {n.decode()}",
            head(b"Connection: a", b"Connection: b ,\t" + n),
            closed=False,
        )
        for n in _CONNECTION_NAMES
    ),
    *(
        refused(f"credential: {name}", _with_credential(line), status, closed=False)
        for name, (line, status) in _CREDENTIALS.items()
    ),
    *(
        passes(f"credential: {value.decode()}", _with_credential(b"Authorization: " + value))
        for value in (b"bearer alice", b"BEARER alice", b"bEaReR alice", b"Bearer alice \t")
    ),
    *(_in_value(byte) for byte in range(256)),
    *(_in_name(byte) for byte in range(256)),
    refused("201 fields", head(*[b"X: y"] * 199), 431),
    passes("200 fields", head(*[b"X: y"] * 198)),
    refused("a head of 64 KiB and more", head(b"X: " + b"a" * 65536), 431),
    refused("a field without an end", head(b"X: " + b"a" * 70_000)[:-4], 431),
    refused("a name without an end", head(b"x" * 70_000), 431),
    refused("a target without an end", head(line=b"GET /" + b"a" * 70_000), 431),
    passes(
        "a refusal does not end what is behind it",
        head(b"Impersonate-User: root") + PROBE,
        Refused(403, closed=False),
        Seen(target=b"/version?probe"),
    ),
]
