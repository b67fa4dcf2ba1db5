"""What the worst token of a stranger costs in CPU, beside a good one that was not seen before.

.venv/bin/python -m bench.hostile_tokens

Each is taken the whole way of a refusal: its request's head is read, the gate judges, and looks
for newer keys where that is what the token asks for (the budget for that is spent). What is
printed are ratios, since all was measured in one run on one machine.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from proxy.algorithms import ALGORITHMS
from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.keyset import KeySet, parse_jwks
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.errors import ProxyError
from proxy.gate import Gate
from proxy.headers import BEARER_PROTOCOL_PREFIX, RequestHeaders
from proxy.http.head import parse_request
from proxy.http.service import Admission
from proxy.impersonation import Policy
from proxy.limits import DEFAULTS, MAX_TOKEN_BYTES
from tests.authn.tokens import NOWHERE, Unseen
from tests.issuer import (
    CLIENT_ID,
    SigningKey,
    b64url,
    ec_key,
    jwks_document,
    rsa_key,
    tsidp_claims,
)

ISSUER: Final = "https://idp.tail1234.ts.net"
NOW: Final = 1_800_000_000.0
KEYS: Final = (rsa_key(0), rsa_key(1), ec_key(), ec_key("P-384"), ec_key("P-521"))
GOOD: Final = rsa_key().token(tsidp_claims(ISSUER, groups=["a", "b"], now=NOW))
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
NAMED: Final = f'{{"iss":"{ISSUER}","x":'
ROOM: Final = (MAX_TOKEN_BYTES - len(HEADER) - len(SIGNATURE) - 2) * 3 // 4  # bytes of payload


class _Held:
    keys: KeySet | None = parse_jwks(jwks_document(*KEYS))

    async def refresh(self) -> bool:
        return False


def payloads() -> Iterator[tuple[str, bytes]]:
    """Yield what a payload of the greatest length could hold that is dear to read."""

    def filled(opening: bytes, piece: bytes, closing: bytes) -> bytes:
        return opening + piece * ((ROOM - len(opening) - len(closing)) // len(piece)) + closing

    named = NAMED.encode()
    yield "brackets", filled(b"", b"[", b"")
    yield "brackets in a string", filled(named + b'"', b"[", b'"}')
    yield "lists, 200 deep and many", filled(named + b"[", b"[" * 100 + b"]" * 100 + b",", b"0]}")
    yield (
        "objects, 100 deep and many",
        filled(named + b"[", b'{"":' * 99 + b"0" + b"}" * 99 + b",", b"0]}"),
    )
    yield "empty objects", filled(named + b"[", b"{},", b"0]}")
    yield "numbers", filled(named + b"[", b"1,", b"0]}")
    yield "exponents", filled(named + b"[", b"1e9,", b"0]}")
    yield "a long number", filled(named, b"9", b"}")
    yield "long numbers", filled(named + b"[", b"9" * 4000 + b",", b"0]}")
    yield "a long fraction", filled(named + b"0.", b"9", b"}")
    yield "long expiry", filled(b'{"iss":"' + ISSUER.encode() + b'","exp":"', b"9", b'"}')
    yield "escapes", filled(named + b'"', b"\\n", b'"}')
    yield "lone surrogates", filled(named + b'"', b"\\ud800", b'"}')
    yield "no UTF-8", filled(named + b'"', b"\xff", b'"}')
    yield "one member many times", filled(b"{", b'"iss":"",', b'"iss":"x"}')
    yield "its issuer many times", filled(b"{", b'"I\xc5\xbfS":"",', f'"iss":"{ISSUER}"}}'.encode())
    yield "250 of its issuers", b"{" + b'"I\xc5\xbfS":"",' * 250 + NAMED.encode()[1:] + b"0}"
    yield "strings", filled(named + b"[", b'"",', b"0]}")
    yield "blanks", filled(b"{", b" ", b"}")
    yield "blanks and no end", filled(b"{", b" ", b" ")
    yield "a string and no end", filled(b'{"', b"a", b"a")
    yield "backslashes and no end", filled(b'{"', b"\\\\", b"a")


def tokens() -> Iterator[tuple[str, str]]:
    """Yield tokens, all of which are refused."""
    for name, payload in payloads():
        yield f"payload: {name}", f"{HEADER}.{b64url(payload)}.{SIGNATURE}"
        yield f"header: {name}", f"{b64url(payload)}.{PAYLOAD}.{SIGNATURE}"
    yield "expired", rsa_key().token(tsidp_claims(ISSUER, now=NOW - 1000))
    yield "signature of another", f"{HEADER}.{PAYLOAD}.{SIGNATURE[::-1]}"
    for key in (*KEYS, SigningKey("", rsa_key().private, "RS256")):
        for alg in ALGORITHMS:
            header = b64url(json.dumps({"alg": alg, "kid": key.kid}).encode())
            for length in (0, 64, 132, 256, 8000):
                yield (
                    f"{alg}, kid {key.kid[:9]}, {length}",
                    f"{header}.{PAYLOAD}.{b64url(bytes([1]) * length)}",
                )
    yield "dots", "." * MAX_TOKEN_BYTES
    yield "letters", "a" * MAX_TOKEN_BYTES
    yield "beyond the limit", "a" * (DEFAULTS.head_bytes - 200)


def heads() -> Iterator[tuple[str, bytes]]:
    """Yield whole request heads."""
    groups = [f"g{number}" for number in range(1000)]
    wide = rsa_key().token(tsidp_claims(ISSUER, groups=groups, now=NOW))
    yield "genuine: 1000 groups", _head(f"Authorization: Bearer {wide}\r\n".encode())
    for name, token in tokens():
        yield name, _head(f"Authorization: Bearer {token}\r\n".encode())
    prefix = BEARER_PROTOCOL_PREFIX
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: "
    room = DEFAULTS.head_bytes - 200
    good = base64.urlsafe_b64encode(GOOD.encode()).rstrip(b"=")
    yield "subprotocol: commas", _head(upgrade + b"," * room + b"\r\n")
    yield "subprotocol: two", _head(upgrade + prefix + good + b"," + prefix + b"\r\n")
    yield "subprotocol: many", _head(upgrade + (prefix + b",") * (room // 40) + b"\r\n")
    yield "subprotocol: long", _head(upgrade + prefix + b"A" * (room - 100) + b",x\r\n")
    yield "connection: commas", _head(b"Connection: " + b"," * room + b"\r\n")
    yield "connection: names", _head(b"Connection: " + b"a," * (room // 2) + b"\r\n")
    yield "authorization: blanks", _head(b"Authorization: Bearer" + b" " * room + b"x\r\n")
    yield "fields", _head(b"".join(b"a%d: b\r\n" % n for n in range(190)))
    yield "long names", _head(b"".join(b"%d%s: b\r\n" % (n, b"a_" * 150) for n in range(190)))


def _head(fields: bytes) -> bytes:
    return b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"


def authenticator() -> Authenticator:
    """Return one that accepts every algorithm, and holds a key for each."""
    rules = TokenRules(ISSUER, frozenset([CLIENT_ID]), frozenset(ALGORITHMS))
    mapping = ClaimMapping("email", groups_claims=("tags", "groups"))
    return Authenticator([TrustedIssuer(rules, mapping, _Held(), NOWHERE)])


def main() -> int:
    policy = Policy("headlamp-auth-proxy:authenticated")
    headers = RequestHeaders()
    authenticates = authenticator()

    def judged(head: bytes) -> type[ProxyError] | None:
        cache: TokenCache[Any] = TokenCache()
        gate = Gate(authenticates, cache, policy, Unseen())
        try:
            admission = gate.admit(parse_request(head, headers), NOW)
            if not isinstance(admission, Admission):
                admission.__await__().send(None)
        except ProxyError as error:
            return type(error)
        return None

    good = _head(f"Authorization: Bearer {GOOD}\r\n".encode())
    assert judged(good) is None, "the good token is not good"
    unit = _seconds(partial(judged, good))
    worst = []
    for name, head in heads():
        assert judged(head) is not None, f"{name} is admitted"
        worst.append((_seconds(partial(judged, head)) / unit, name, len(head)))
    worst.sort(reverse=True)
    sys.stdout.write(
        f"a good token: {unit * 1e6:.0f} us; {len(worst)} hostile ones, the dearest:\n"
    )
    for ratio, name, size in worst[:20]:
        sys.stdout.write(f"{ratio:8.1f} times  {name} ({size} bytes)\n")
    return 0


def _seconds(judge: Callable[[], object]) -> float:
    """Return the CPU time of the best of several runs: in the others, caches were cold."""
    number = 5
    return min(timeit.repeat(judge, timer=time.process_time, number=number, repeat=9)) / number


if __name__ == "__main__":
    sys.exit(main())
