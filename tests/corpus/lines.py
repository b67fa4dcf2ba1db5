"""Request lines: methods, versions, blanks, what stands before them, other protocols."""

from __future__ import annotations

import string

from tests.corpus import END, HOST, PROBE, Case, Seen, head, last, passes, refused

_TOKEN = frozenset((string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode())


def _line(line: bytes) -> bytes:
    return head(line=line)


_MALFORMED = {
    "two blanks after the method": b"GET  /version HTTP/1.1",
    "two blanks after the target": b"GET /version  HTTP/1.1",
    "a tab after the method": b"GET\t/version HTTP/1.1",
    "a tab after the target": b"GET /version\tHTTP/1.1",
    "a form feed after the target": b"GET /version\x0cHTTP/1.1",
    "a no-break space after the target": b"GET /version\xa0HTTP/1.1",
    "a blank before the method": b" GET /version HTTP/1.1",
    "a tab before the method": b"\tGET /version HTTP/1.1",
    "a blank after the version": b"GET /version HTTP/1.1 ",
    "a tab after the version": b"GET /version HTTP/1.1\t",
    "a word after the version": b"GET /version HTTP/1.1 x",
    "two versions": b"GET /version HTTP/1.1 HTTP/1.1",
    "a blank in the target": b"GET /ver sion HTTP/1.1",
    "a request in the target": b"GET /version HTTP/1.1 /admin HTTP/1.1",
    "no target": b"GET HTTP/1.1",
    "no target but its blanks": b"GET  HTTP/1.1",
    "no version": b"GET /version",
    "no version but its blank": b"GET /version ",
    "no method": b"/version HTTP/1.1",
    "no method but its blank": b" /version HTTP/1.1",
    "only a method": b"GET",
    "nothing": b"",
    "a bare CR in the line": b"GET /version\rHTTP/1.1",
    "a bare LF in the line": b"GET /version\nHTTP/1.1",
    "a bare CR at the end": b"GET /version HTTP/1.1\r",
    "a line ended by LF": b"GET /version HTTP/1.1\nX: y",
    "a line ended by CR": b"GET /version HTTP/1.1\rX: y",
    "a colon after the method": b"GET: /version HTTP/1.1",
    "a method in quotes": b'"GET" /version HTTP/1.1',
    "a method in UTF-8": b"G\xc3\x89T /version HTTP/1.1",
    "a byte order mark": b"\xef\xbb\xbfGET /version HTTP/1.1",
}

_VERSIONS = (
    b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/3.0",
    b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/11", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1",
    b"HTTP/1.1.1", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.+1", b"HTTP/1,1", b"HTTP/1 .1",
    b"HTTP/ 1.1", b"HTTP /1.1", b"HTTP 1.1", b"HTTP1.1", b"HTTP//1.1", b"HTTP\\1.1", b"http/1.1",
    b"Http/1.1", b"HTTPS/1.1", b"HTTP/x.y", b"HTTP/9.9", b"HTTP/\xef\xbc\x91.1", b"HTTP/1.1\x00",
    b"HTTP/0.1", b"HTTP/1.1;x", b"ICE/1.0", b"RTSP/1.0", b"SIP/2.0", b"ICAP/1.0", b"FTP/1.1",
)  # fmt: skip

# Well-formed, and not for here (RFC 9110, section 9: nobody is owed a method).
_METHODS_NOT_SERVED = (
    b"get", b"Get", b"gET", b"post", b"TRACE", b"TRACK", b"DEBUG", b"LINK", b"UNLINK", b"PROPFIND",
    b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"SEARCH", b"PURGE", b"QUERY",
    b"M-SEARCH", b"SOURCE", b"BREW", b"GETT", b"GE", b"G", b"XGET", b"GET_", b"GET-", b"!", b"0",
    b"HTTP", b"A" * 100, b"PATCHY", b"REPORT", b"SUBSCRIBE", b"ACL", b"BIND", b"ANNOUNCE",
    b"DESCRIBE", b"SETUP", b"PLAY", b"FLUSH",
)  # fmt: skip

_OTHER_PROTOCOLS = {
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the preface of HTTP/2 and its settings": (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    ),
    "half of the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "a TLS ClientHello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "an SMTP greeting": b"EHLO x\r\n\r\n",
    "a PROXY protocol line": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
    "a PROXY protocol block": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a SPDY frame": b"\x80\x03\x00\x01\x00\x00\x00\x00\r\n\r\n",
    "a WebSocket frame": b"\x81\x85\x00\x00\x00\x00hello\r\n\r\n",
    "HTTP/0.9": b"GET /version\r\n",
    "HTTP/0.9 with a bare LF": b"GET /version\n",
    "HTTP/0.9 and an empty line": b"GET /version\r\n\r\n",
    "bytes of zero": bytes(64),
    "bytes of 255": b"\xff" * 64 + b"\r\n\r\n",
    "JSON": b'{"kind":"Status"}\r\n\r\n',
}

_SERVED = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD")


def _in_method(byte: int) -> Case:
    method = b"GE" + bytes([byte]) + b"T"
    status = 405 if byte in _TOKEN else 400
    return refused(f"byte {byte:#04x} in the method", _line(method + b" /version HTTP/1.1"), status)


CASES = [
    passes("the plainest request", head()),
    passes("one empty line first", b"\r\n" + head()),
    refused("two empty lines first", b"\r\n\r\n" + head()),
    refused("a bare LF first", b"\n" + head()),
    refused("a bare CR first", b"\r" + head()),
    refused("a NUL first", b"\0" + head()),
    refused("a blank line of blanks first", b"  \r\n" + head()),
    *(refused(f"line: {name}", _line(line)) for name, line in _MALFORMED.items()),
    *(
        refused(f"version {version.decode('latin-1')!r}", _line(b"GET /version " + version))
        for version in _VERSIONS
    ),
    *(
        refused(f"method {method.decode()[:20]}", _line(method + b" /version HTTP/1.1"), 405)
        for method in _METHODS_NOT_SERVED
    ),
    refused("method CONNECT to a host", _line(b"CONNECT cluster.example:443 HTTP/1.1"), 405),
    refused("method CONNECT to ourselves", _line(b"CONNECT 127.0.0.1:6443 HTTP/1.1"), 405),
    refused("method CONNECT to a path", _line(b"CONNECT /version HTTP/1.1"), 405),
    refused("method PRI", b"PRI * HTTP/1.1\r\nHost: x\r\n\r\nSM\r\n\r\n", 405),
    refused("method TRACE with a body", head(b"Content-Length: 3", line=b"TRACE / HTTP/1.1"), 405),
    *(
        passes(f"method {method.decode()}", _line(method + b" /version HTTP/1.1"), Seen(method))
        for method in _SERVED
    ),
    *(_in_method(byte) for byte in range(256) if byte not in b" /"),
    *(refused(f"other protocol: {name}", data) for name, data in _OTHER_PROTOCOLS.items()),
    *(
        passes(f"behind a request, {name}", head() + data, Seen(), refused("", b"").outcome[0])
        for name, data in _OTHER_PROTOCOLS.items()
    ),
    passes(
        "HTTP/1.0 ends with its answer",
        head(line=b"GET /version HTTP/1.0"),
        Seen(last=True),
    ),
    passes(
        "HTTP/1.0 without a host",
        b"GET /version HTTP/1.0\r\nAuthorization: Bearer alice" + END,
        Seen(last=True),
    ),
    passes(
        "HTTP/1.0 is not kept alive, whatever it asks",
        head(b"Connection: keep-alive", line=b"GET /version HTTP/1.0") + PROBE,
        Seen(last=True),
    ),
    passes("Connection: close", head(b"Connection: close") + PROBE, last(Seen())),
    passes("Connection: x, CLOSE", head(b"Connection: x, CLOSE") + PROBE, last(Seen())),
    passes("ten requests in a row", head() * 10, *[Seen()] * 10),
    passes("an empty line between requests", head() + b"\r\n" + head(), Seen(), Seen()),
    passes(
        "two empty lines between requests",
        head() + b"\r\n\r\n" + head(),
        Seen(),
        refused("", b"").outcome[0],
    ),
    refused("no host in HTTP/1.1", b"GET /version HTTP/1.1\r\nAuthorization: Bearer alice" + END),
    refused("an empty head", HOST + END),
]
