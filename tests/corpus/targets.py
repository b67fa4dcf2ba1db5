"""Request targets: only the origin-form is taken, and what is taken passes to the byte."""

from __future__ import annotations

from tests.corpus import Case, Seen, head, passes, refused

_BAD_ESCAPE = "Go's net/url refuses the escape"

# target, and why an API server may refuse it
_PASSING = {
    b"/": "",
    b"//": "",
    b"///": "",
    b"//evil.example/version": "",
    b"//evil.example:443/version": "",
    b"//user@evil.example/version": "",
    b"/a/../version": "",
    b"/../version": "",
    b"/./version": "",
    b"/version/.": "",
    b"/version/..": "",
    b"/%2e%2e/version": "",
    b"/%2E./version": "",
    b"/a%2fb": "",
    b"/a%2Fb": "",
    b"/a%5cb": "",
    b"/a\\b": "",
    b"/a\\..\\b": "",
    b"/..;/version": "",
    b"/;a=b/version": "",
    b"/version;a=b": "",
    b"/version/": "",
    b"/VERSION": "",
    b"/version?": "",
    b"/version??": "",
    b"/version?a=b&a=c&a": "",
    b"/version?a=%zz": "",
    b"/version?a=%": "",
    b"/version?a;b": "",
    b"/version?a=/../b": "",
    b"/version?http://evil.example/": "",
    b"/%00": "",
    b"/a%00b": "",
    b"/%0d%0aX:%20y": "",
    b"/%0aHost:%20evil": "",
    b"/%20HTTP/1.1": "",
    b"/%23a": "",
    b"/%3fa": "",
    b"/%ff": "",
    b"/%c0%ae%c0%ae/version": "",
    b"/http://evil.example/": "",
    b"/https:/evil.example/": "",
    b"/@evil.example": "",
    b"/:443": "",
    b"/*": "",
    b"/~": "",
    b"/a:b": "",
    b"/a+b": "",
    b"/a|b": "",
    b"/a^b": "",
    b"/a`b": "",
    b"/a\"b": "",
    b"/a<b>": "",
    b"/a{b}": "",
    b"/a[b]": "",
    b"/a,b": "",
    b"/a$b!": "",
    b"/a'b": "",
    b"/api/v1/namespaces/a%2Fb//./pods?x=%20&x=1": "",
    b"/.auth-proxy": "",
    b"/" + b"a" * 8000: "",
    b"/version?" + b"a" * 8000: "",
    b"/%": _BAD_ESCAPE,
    b"/%z": _BAD_ESCAPE,
    b"/%zz": _BAD_ESCAPE,
    b"/%u002e": _BAD_ESCAPE,
    b"/a%2": _BAD_ESCAPE,
}  # fmt: skip

_REFUSED = (
    b"http://cluster.example/version", b"https://cluster.example/version",
    b"HTTP://cluster.example/version", b"http://x/version", b"http://evil.example/version",
    b"http://user:pass@evil.example/version", b"http://127.0.0.1:6443/version", b"http://[::1]/",
    b"http:/version", b"http:version", b"http://", b"http:///version", b"ws://x/version",
    b"wss://x/version", b"ftp://x/version", b"file:///etc/passwd", b"gopher://x/", b"data:,x",
    b"javascript:x", b"urn:x", b"unix:/run/x.sock", b"evil.example", b"evil.example:443",
    b"evil.example/version", b"127.0.0.1", b"127.0.0.1:6443", b"[::1]:6443", b"localhost:80",
    b"user@evil.example", b":443", b"*", b"**", b"*/version", b"?", b"?/version", b"#",
    b"#/version",
    b"/version#", b"/version#fragment", b"//x/version#y", b"/#", b"/version?a#b", b"version",
    b"./version", b"../version", b"\\version", b"\\\\evil.example\\version", b"@evil.example",
    b";/version", b"%2fversion", b"%2Fversion", b"-", b"~", b"$", b"0", b"a" * 8000,
)  # fmt: skip


def _shown(target: bytes) -> str:
    return repr(target.decode("latin-1")[:40])


def _byte(byte: int) -> Case:
    name = f"byte {byte:#04x} in the target"
    line = b"GET /ver" + bytes([byte]) + b"sion HTTP/1.1"
    if 0x21 <= byte <= 0x7E and byte != ord("#"):
        target = b"/ver" + bytes([byte]) + b"sion"
        return passes(name, head(line=line), Seen(target=target, rejected=_go_refuses(byte)))
    return refused(name, head(line=line))


def _go_refuses(byte: int) -> str:
    return _BAD_ESCAPE if byte == ord("%") else ""


CASES = [
    *(
        passes(
            f"target {_shown(target)}",
            head(line=b"GET %s HTTP/1.1" % target),
            Seen(target=target, rejected=why),
        )
        for target, why in _PASSING.items()
    ),
    *(
        refused(f"target {_shown(target)}", head(line=b"GET %s HTTP/1.1" % target))
        for target in _REFUSED
    ),
    refused("OPTIONS *", head(line=b"OPTIONS * HTTP/1.1")),
    refused("HEAD of another host", head(line=b"HEAD http://evil.example/ HTTP/1.1")),
    refused("POST to another host", head(line=b"POST //x HTTP/1.1\r\n http://evil/ HTTP/1.1")),
    *(_byte(byte) for byte in range(256)),
]
