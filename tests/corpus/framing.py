"""Bodies: how long one is, in every way to say so, and what stands behind it.

Every spelling of a transfer coding that is not exactly ``chunked`` is refused, alone and beside
a length, because some server reads it as chunked and another does not.
"""

from __future__ import annotations

from tests.corpus import (
    AUTHORIZATION,
    CHUNKED,
    END,
    HOST,
    JSON,
    JSON_FIELD,
    REVIEW,
    REVIEWS,
    Case,
    Refused,
    Seen,
    bare,
    chunked,
    head,
    last,
    passes,
    post,
    refused,
    sized,
)

_LENGTH = b"Content-Length: %d" % len(REVIEW)
_TE = b"Transfer-Encoding: chunked"
_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW)
_SMUGGLED = (
    b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"  # in a body, where nobody looks for a token
)
_ANOTHER = head(line=b"GET /another HTTP/1.1")
_GARBAGE = Refused(400)

_CODINGS = (
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: x chunked",
    b"Transfer-Encoding: chunked x", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: deflate", b"Transfer-Encoding: x",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding: , ,chunked, ,",
    b"Transfer-Encoding: chunked;", b"Transfer-Encoding: chunked;q=0.5",
    b"Transfer-Encoding: chunked; x=y", b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: 'chunked'", b"Transfer-Encoding: chun ked", b"Transfer-Encoding: c",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding: chunke", b"Transfer-Encoding:", b"Transfer-Encoding: ",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: \x0cchunked", b"Transfer-Encoding: chunked\0",
    b"Transfer-Encoding: \0chunked", b"Transfer-Encoding: chunked\x7f",
    b"Transfer-Encoding: \xa0chunked", b"Transfer-Encoding: chunked\xa0",
    b"Transfer-Encoding: \x85chunked", b"Transfer-Encoding: chun\xe2\x84\xaaed",
    b"Transfer-Encoding: \xef\xbb\xbfchunked", b"Transfer-Encoding: chunked\r\n ",
    b"Transfer-Encoding: chunked\r\n x", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\n chunked", b"Transfer-Encoding: chunked\n",
    b"Transfer-Encoding: chunked\r",
    b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"Transfer-Encoding\0: chunked", b"Transfer-Encoding;: chunked", b"Transfer-Encoding:: chunked",
    b"Transfer Encoding: chunked", b"Transfer-Encod\xc4\xb1ng: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: x",
    b"Transfer-Encoding: x\r\nTRANSFER-ENCODING: chunked",
    b"Transfer-Encoding: chunked\r\nX: y\r\nTransfer-Encoding:",
)  # fmt: skip

_LENGTHS = (
    b"+71", b"-71", b"-0", b"-1", b"+0", b"0x47", b"0X47", b"0b1", b"0o7", b"71.0", b"7.1e1",
    b"71e0",
    b"71,", b",71", b"71,71", b"71, 71", b"71,0", b"0, 71", b"71 71", b"7 1", b"7_1", b"7\t1",
    b"71;", b"71;x", b"\"71\"", b"'71'", b"(71)", b"", b" ", b"x", b"seventy-one", b"NaN", b"inf",
    b"71x", b"x71", b"71\0", b"\x0071", b"71\x0b", b"\x0b71", b"71\x0c", b"71\x7f", b"71\xa0",
    b"\xa071", b"\xd9\xa7\xd9\xa1", b"\xef\xbc\x97\xef\xbc\x91", b"9" * 19, b"9" * 20, b"9" * 400,
    b"18446744073709551687", b"9223372036854775879", b"0" * 17 + b"71", b"71\r\n ", b"71\r\n 0",
    b"\r\n 71", b"7\r\n 1", b"71\n", b"71\r", b"\n71", b"7\r1", b"71\r\nContent-Length: 71",
    b"71\r\nContent-Length: 0", b"0\r\nContent-Length: 71", b"71\r\ncontent-length: 72",
    b"71\r\nX: y\r\nCONTENT-LENGTH: 71", b"71\r\nContent-Length:", b"71\r\nContent-Length: x",
)  # fmt: skip

_LENGTH_LINES = (
    b"Content-Length : 71", b"Content-Length\t: 71", b" Content-Length: 71",
    b"Content-Length\0: 71",
    b"Content-Length:: 71", b"Content Length: 71", b"Content-Length: 71\nX: y",
    b"X: y\nContent-Length: 71", b"X: y\rContent-Length: 71", b"Content-L\xc3\xa9ngth: 71",
)  # fmt: skip

_BAD_SIZES = (
    b"-5", b"+5", b"0x5", b"0X5", b" 5", b"5 ", b"\t5", b"5\t", b"5 ;a", b"5\t;a", b"", b" ", b";a",
    b"g", b"5g", b"g5", b"5,5", b"5.", b"5.0", b"5 5", b"\"5\"", b"5:", b"5\0", b"\x005", b"5\x0b",
    b"5\x7f", b"5\xa0", b"\xef\xbc\x95", b"f" * 16, b"1" + b"0" * 16, b"0" * 15 + b"5", b"5\n",
    b"5\r",
    b"5;a\n", b"5;a\r", b"5;a\nb", b"5;a\rb", b"5;\n", b"5;a=\"\n\"", b"5;a\0", b"5;a\x1f",
    b"5;a\x7f",
    b"5;" + b"x" * 300, b"five", b"5h", b"0005 0", b"5_0", b"-0", b"+0", b"0x0", b"00x5",
)  # fmt: skip

_BAD_CHUNKS = {
    "a chunk shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk without its end": b"5\r\nhello0\r\n\r\n",
    "a chunk ended by LF": b"5\r\nhello\n0\r\n\r\n",
    "a chunk ended by CR": b"5\r\nhello\r0\r\n\r\n",
    "a chunk ended by LF CR": b"5\r\nhello\n\r0\r\n\r\n",
    "a chunk ended by two CR LF": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "a chunk ended by two bytes": b"5\r\nhelloXX0\r\n\r\n",
    "a chunk ended by a blank and CR LF": b"5\r\nhello \r\n0\r\n\r\n",
    "a size ended by LF": b"5\nhello\r\n0\r\n\r\n",
    "a size ended by CR": b"5\rhello\r\n0\r\n\r\n",
    "a last chunk ended by LF": b"0\n\r\n",
    "a last chunk and LF": b"0\r\n\n",
    "a last chunk and a blank": b"0\r\n \r\n\r\n",
    "a request instead of a size": _SMUGGLED,
}

_BAD_TRAILERS = (
    b"no colon", b" folded: x", b"\tfolded: x", b"A: b\r\n folded", b"A : b", b"A\t: b", b": b",
    b":",
    b"A\0: b", b"A: b\0", b"A: b\x1f", b"A: b\x7f", b"A b: c", b"A: b\nC: d", b"A: b\rC: d",
    b"A: b\n",
    b"A: b\r", b"A(: b", b"\xc3\xa9: b", b"A: " + b"b" * 9000, b"\r\n".join([b"A: b"] * 3000),
    b"GET /smuggled HTTP/1.1",
)  # fmt: skip

_TRAILERS = (
    b"A: b", b"A:b", b"A:", b"A: \xc3\xa9", b"Impersonate-User: root",
    b"Impersonate-Group: system:masters", b"Authorization: Bearer bob", b"Host: evil.example",
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close",
    b"Expect: 100-continue",
    b"Upgrade: websocket", b"Cookie: a=b", b"A: b\r\nA: c\r\nB: d", b"Trailer: A",
    b"X-Remote-User: x",
)  # fmt: skip

_HALF = len(REVIEW) // 2
_FIRST, _SECOND = REVIEW[:_HALF], REVIEW[_HALF:]
_GOOD_CHUNKS = {
    "one chunk": _CHUNKS,
    "two chunks": b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (_HALF, _FIRST, len(_SECOND), _SECOND),
    "a chunk for each byte": b"".join(b"1\r\n%c\r\n" % byte for byte in REVIEW) + b"0\r\n\r\n",
    "capital digits": b"%X\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW),
    "leading zeros": b"0000%x\r\n%s\r\n000\r\n\r\n" % (len(REVIEW), REVIEW),
    "extensions": b"%x;a\r\n%s\r\n0;b\r\n\r\n" % (len(REVIEW), REVIEW),
    "an empty extension": b"%x;\r\n%s\r\n0;\r\n\r\n" % (len(REVIEW), REVIEW),
    "extensions with values": b"%x;a=b;c=\"d;e\"\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW),
    "an extension with blanks": b"%x; a = b\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW),
    "an extension that looks like a chunk": b"%x;0\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW),
    "a quote that does not end": b"%x;a=\"\r\n%s\r\n0\r\n\r\n" % (len(REVIEW), REVIEW),
}  # fmt: skip

_EVERY_BODY = {
    "a length": (post(_LENGTH) + REVIEW, sized()),
    "a length of nothing": (post(b"Content-Length: 0"), sized(b"")),
    "chunks": (post(_TE) + _CHUNKS, chunked()),
    "no chunks": (post(_TE) + b"0\r\n\r\n", chunked(b"")),
    "chunks and a trailer": (post(_TE) + _CHUNKS[:-2] + b"A: b\r\n\r\n", chunked()),
    "nothing said": (post(), bare()),
    "a GET with a body": (
        head(b"Content-Length: 5") + b"hello",
        Seen(fields=((b"content-length", b"5"),), body=b"hello"),
    ),
    "a GET with chunks": (
        head(_TE) + b"5\r\nhello\r\n0\r\n\r\n",
        Seen(fields=(CHUNKED,), body=b"hello"),
    ),
    "a body that looks like a request": (
        post(b"Content-Length: %d" % len(_SMUGGLED)) + _SMUGGLED,
        sized(_SMUGGLED),
    ),
    "a chunk that looks like a request": (
        post(_TE) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_SMUGGLED), _SMUGGLED),
        chunked(_SMUGGLED),
    ),
    "a chunk that looks like the last": (
        post(_TE) + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
        chunked(b"0\r\n\r\n"),
    ),
    "a DELETE with a body": (
        post(_LENGTH, line=b"DELETE %s HTTP/1.1" % REVIEWS) + REVIEW,
        Seen(b"DELETE", REVIEWS, (JSON_FIELD, (b"content-length", b"71")), REVIEW),
    ),
    "bytes that are no text": (
        post(b"Content-Length: 256") + bytes(range(256)),
        sized(bytes(range(256))),
    ),
}  # fmt: skip


def _shown(data: bytes) -> str:
    return repr(data.decode("latin-1")[:60])


def _codings() -> list[Case]:
    cases = []
    for coding in _CODINGS:
        shown = _shown(coding)
        cases += [
            refused(f"coding {shown}", post(coding) + _CHUNKS),
            refused(f"coding {shown}, then a length", post(coding, _LENGTH) + REVIEW),
            refused(f"coding {shown} after a length", post(_LENGTH, coding) + REVIEW),
        ]
    return cases


def _both() -> list[Case]:
    """A length and chunks: whichever is believed, somebody else believes the other."""
    bodies = {
        "the length's": REVIEW,
        "the chunks'": _CHUNKS,
        "CL.TE": b"0\r\n\r\n" + _SMUGGLED,
        "TE.CL": b"%x\r\n%s\r\n0\r\n\r\n" % (len(_SMUGGLED), _SMUGGLED),
    }
    cases = []
    for name, body in bodies.items():
        for length in sorted({b"0", b"3", b"5", b"71", b"%d" % len(body)}):
            field = b"Content-Length: " + length
            shown = f"{name} body, length {length.decode()}"
            cases += [
                refused(f"both, coding first, {shown}", post(_TE, field) + body),
                refused(f"both, length first, {shown}", post(field, _TE) + body),
            ]
    return cases


CASES = [
    *_codings(),
    *_both(),
    *(
        refused(f"length {_shown(value)}", post(b"Content-Length: " + value) + REVIEW)
        for value in _LENGTHS
    ),
    *(refused(f"length line {_shown(line)}", post(line) + REVIEW) for line in _LENGTH_LINES),
    *(
        passes(f"length {_shown(value)}", post(b"Content-Length:" + value) + REVIEW, sized())
        for value in (
            b"71",
            b" 71",
            b"\t71",
            b"  71",
            b"71 ",
            b"71\t",
            b" 71 \t ",
            b"071",
            b"00071",
        )
    ),
    passes("length, its name in capitals", post(b"CONTENT-LENGTH: 71") + REVIEW, sized()),
    *(
        passes(f"coding {_shown(line)}", post(line) + _CHUNKS, chunked())
        for line in (
            b"Transfer-Encoding:chunked",
            b"transfer-encoding: chunked",
            b"Transfer-Encoding: CHUNKED",
            b"TRANSFER-ENCODING: cHuNkEd",
            b"Transfer-Encoding: chunked ",
            b"Transfer-Encoding:\tchunked",
        )
    ),
    *(
        passes(f"not a length: {_shown(line)}", post(line) + b"hello\r\n\r\n", bare(), _GARBAGE)
        for line in (
            b"Content_Length: 5",
            b"X-Content-Length: 5",
            b"Content-Length_: 5",
            b"Content.Length: 5",
        )
    ),
    *(
        passes(
            f"not a coding: {_shown(line)}",
            post(line) + b"5\r\nhello\r\n0\r\n\r\n",
            bare(),
            _GARBAGE,
        )
        for line in (b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked", b"TE: chunked")
    ),
    *(
        passes(f"a length beside {_shown(line)}", post(line, _LENGTH) + REVIEW, sized())
        for line in (
            b"Transfer_Encoding: chunked",
            b"X-Transfer-Encoding: chunked",
            b"TE: chunked",
            b"Connection: Content-Length",
            b"Content_Length: 5",
            b"Trailer: Content-Length",
            b"Expect: 100-continue",
            b"Expect: x",
        )
    ),
    passes(
        "a content coding is not a transfer coding",
        post(b"Content-Encoding: chunked", _LENGTH) + REVIEW,
        Seen(
            b"POST",
            REVIEWS,
            (JSON_FIELD, (b"content-encoding", b"chunked"), (b"content-length", b"71")),
            REVIEW,
        ),
    ),
    passes(
        "chunks beside Connection: Transfer-Encoding",
        post(b"Connection: Transfer-Encoding", _TE) + _CHUNKS,
        chunked(),
    ),
    refused("chunks in HTTP/1.0", post(_TE, line=b"POST %s HTTP/1.0" % REVIEWS) + _CHUNKS),
    passes(
        "a length in HTTP/1.0",
        post(_LENGTH, line=b"POST %s HTTP/1.0" % REVIEWS) + REVIEW,
        last(sized()),
    ),
    *(
        refused(f"chunk size {_shown(size)}", post(_TE) + size + b"\r\nhello\r\n0\r\n\r\n")
        for size in _BAD_SIZES
    ),
    *(
        refused(
            f"second chunk's size {_shown(size)}",
            post(_TE) + b"1\r\nx\r\n" + size + b"\r\nhello\r\n0\r\n\r\n",
        )
        for size in _BAD_SIZES
    ),
    *(refused(name, post(_TE) + body) for name, body in _BAD_CHUNKS.items()),
    *(
        refused(f"trailer {_shown(line)}", post(_TE) + b"0\r\n" + line + b"\r\n\r\n")
        for line in _BAD_TRAILERS
    ),
    *(
        passes(f"trailer {_shown(line)}", post(_TE) + _CHUNKS[:-2] + line + b"\r\n\r\n", chunked())
        for line in _TRAILERS
    ),
    *(
        passes(f"chunked with {name}", post(_TE) + body, chunked())
        for name, body in _GOOD_CHUNKS.items()
    ),
    *(passes(f"body: {name}", data, seen) for name, (data, seen) in _EVERY_BODY.items()),
    *(
        passes(f"three times {name}", data * 3, seen, seen, seen)
        for name, (data, seen) in _EVERY_BODY.items()
    ),
    *(
        passes(f"garbage behind {name}", data + b"garbage\r\n\r\n", seen, _GARBAGE)
        for name, (data, seen) in _EVERY_BODY.items()
    ),
    *(
        passes(f"zeros behind {name}", data + bytes(8) + END, seen, _GARBAGE)
        for name, (data, seen) in _EVERY_BODY.items()
    ),
    *(
        passes(
            f"Connection: close with {name}",
            data.replace(b"Host: x", b"Connection: close\r\nHost: x", 1),
            last(seen),
        )
        for name, (data, seen) in _EVERY_BODY.items()
    ),
    *(
        passes(
            f"a body behind a refusal, with {name}",
            data.replace(AUTHORIZATION, b"X: y", 1),
            Refused(401, closed=None),
        )
        for name, (data, _) in _EVERY_BODY.items()
    ),
    passes(
        "a body longer than said",
        post(b"Content-Length: 70") + REVIEW + END,
        sized(REVIEW[:-1]),
        _GARBAGE,
    ),
    passes(
        "a body with a whole request behind what was said",
        post(b"Content-Length: 0") + _ANOTHER,
        sized(b""),
        Seen(target=b"/another"),
    ),
    passes(
        "not a length, and a whole request behind it",
        post(b"Content_Length: %d" % len(_ANOTHER)) + _ANOTHER,
        bare(),
        Seen(target=b"/another"),
    ),
    refused("a body and no host", b"POST / HTTP/1.1\r\n" + JSON + b"\r\n" + _LENGTH + END + REVIEW),
    refused(
        "a body and two hosts",
        b"POST / HTTP/1.1\r\n" + HOST + b"\r\n" + HOST + b"\r\n" + _LENGTH + END + REVIEW,
    ),
]
