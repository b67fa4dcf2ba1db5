"""What each step of a request costs in CPU, one by one, without network; and a TLS handshake.

.venv/bin/python -m bench.parts
"""

from __future__ import annotations

import contextlib
import os
import ssl
import statistics
import sys
import time
import timeit
from collections.abc import Callable

import trustme

from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.cache import TokenCache
from proxy.authn.keyset import KeySet, parse_jwks
from proxy.authn.mapping import ClaimMapping
from proxy.authn.verifier import TokenRules
from proxy.denial import Bearer
from proxy.deny_list import parse_deny_list
from proxy.gate import Gate
from proxy.headers import RequestHeaders
from proxy.http.audit_id import new_audit_id
from proxy.http.head import ResponseHead, parse_request, parse_response, write_response
from proxy.http.known_lines import ResponseReader
from proxy.http.service import Admission
from proxy.impersonation import Policy, impersonate, verify_outgoing
from proxy.limits import MAX_REQUESTS_PER_USER, Tally
from proxy.observe.access_log import AccessLog
from proxy.observe.log_writer import LogWriter
from proxy.observe.metrics import Metrics
from proxy.observe.together import AT_ONCE
from proxy.requestinfo import resolve
from proxy.tls import server_context
from proxy.userinfo import UserInfo
from tests.authn.tokens import NOWHERE
from tests.issuer import jwks_document, rsa_key, tsidp_claims
from tests.observed import Observed
from tests.wire import write_request

ISSUER = "https://idp.tail1234.ts.net"
NOW = 1_790_000_000.0
TOKEN = rsa_key().token(tsidp_claims(ISSUER, groups=["a", "b"], now=NOW)).encode()
REQUEST = (
    b"GET /api/v1/namespaces/default/pods?limit=500 HTTP/1.1\r\nHost: 127.0.0.1:6443\r\n"
    b"User-Agent: Headlamp 0.45.0 (linux/amd64)\r\nAccept: application/json\r\n"
    b"Accept-Encoding: gzip\r\nAuthorization: Bearer " + TOKEN + b"\r\n"
    b"Cookie: headlamp-auth-main.0=" + TOKEN + b"\r\nReferer: https://headlamp.example/\r\n"
    b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: headlamp.example\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nAudit-Id: 6a1f8a9e-7a53-4f1c-a1ad-3d1f5b1b6b1e\r\n"
    b"Cache-Control: no-cache, private\r\nContent-Type: application/json\r\n"
    b"X-Kubernetes-Pf-Flowschema-Uid: 3f9e\r\nX-Kubernetes-Pf-Prioritylevel-Uid: 7c1d\r\n"
    b"Date: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Length: 400\r\n\r\n"
)


class _Keys:
    """A key source that holds what it holds."""

    keys: KeySet | None = parse_jwks(jwks_document(rsa_key()))

    async def refresh(self) -> bool:
        return False


def main() -> int:
    headers = RequestHeaders()
    head = parse_request(REQUEST, headers)
    response = parse_response(RESPONSE)
    rules = TokenRules(ISSUER, frozenset([str(tsidp_claims(ISSUER)["aud"])]))
    mapping = ClaimMapping("email", groups_claims=("tags", "groups"))
    authenticator = Authenticator([TrustedIssuer(rules, mapping, _Keys(), NOWHERE)])
    user = UserInfo("alice@example.com", groups=("a", "b"))
    identity = impersonate(user, Policy("headlamp-auth-proxy:authenticated"))
    credential = b"Authorization: Bearer " + b"x" * 1000 + b"\r\n"

    def written() -> bytes:
        return write_request(
            head,
            authority=b"10.96.0.1",
            credential=credential,
            identity=identity.header,
            audit_id="0f8fad5b-d9cb-469f-a165-70867728950e",
        )

    outgoing = written()
    cache: TokenCache[object] = TokenCache()
    cache.put(
        cache.key(TOKEN), identity, expires_at=NOW, issuer=ISSUER, key_identity="", now=NOW - 60
    )
    metrics = Metrics("bench")
    policy = Policy("headlamp-auth-proxy:authenticated")
    gate = Gate(authenticator, TokenCache(), policy, metrics)
    gate.admit(head, NOW)

    denied = parse_deny_list(b"users: [mallory]\ngroups: [contractors]\nsubjects: [userid:1]")
    bearer = Bearer("alice@example.com", ("a", "b"), ISSUER, "userid:2", "0e1f")
    tally = Tally(MAX_REQUESTS_PER_USER)

    def counted_in_and_out() -> None:
        tally.enter("alice@example.com")
        tally.leave("alice@example.com")

    def counted() -> None:
        metrics.unary_answered([0.0001] * AT_ONCE, [0.001] * AT_ONCE)
        metrics.requests_ended([(200, "unary")] * AT_ONCE, received=0, sent=400)

    writer = LogWriter(os.open(os.devnull, os.O_WRONLY))
    exchange = Observed(
        Admission(identity, bearer),
        head.method,
        head.target,
        head.user_agent,
        kind="unary",
        forwarded_for=head.forwarded_for,
        bytes_received=0,
        bytes_sent=400,
    ).exchange()
    log = AccessLog(writer)
    reader = ResponseReader()

    def read_lines() -> ResponseHead:
        reader._heads.clear()
        return reader.read(RESPONSE)

    parts: dict[str, Callable[[], object]] = {
        "read a request head": lambda: parse_request(REQUEST, headers),
        "resolve verb and resource": lambda: resolve(head.method, head.target),
        "verify a token, first sight": lambda: authenticator.authenticate(TOKEN, NOW),
        "admit a known token": lambda: gate.admit(head, NOW),
        "look a known token up": lambda: cache.get(cache.key(TOKEN), NOW - 1),
        "make an audit ID": new_audit_id,
        "write the outgoing head": written,
        "check the outgoing head": lambda: verify_outgoing(outgoing, identity),
        "count a user's request": counted_in_and_out,
        "look through the deny list": lambda: denied.denies(bearer),
        "read a response head": lambda: parse_response(RESPONSE),
        "read one whose lines are known": read_lines,
        "read one that is known": lambda: reader.read(RESPONSE),
        "write the response head": lambda: write_response(response, b""),
        "count many requests": counted,
        "log a request": lambda: log.write([exchange]),
    }
    for name, part in parts.items():
        sys.stdout.write(f"{name:34}{_microseconds(part):8.2f} us\n")
    for tickets, took in _handshakes().items():
        name = f"shake hands, session tickets: {tickets}"
        sys.stdout.write(f"{name:34}{took:8.2f} us\n")
    writer.close()
    return 0


def _handshakes() -> dict[int, float]:
    """Return what a handshake takes the server, by the tickets that it gives; in turn, medians."""
    ca = trustme.CA()
    issued = ca.issue_cert("upstream", key_type=trustme.KeyType.ECDSA)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    servers = {tickets: server_context() for tickets in (0, 2)}
    for tickets, server in servers.items():
        issued.configure_cert(server)
        server.num_tickets = tickets
    took: dict[int, list[float]] = {tickets: [] for tickets in servers}
    for _ in range(400):
        for tickets, server in servers.items():
            took[tickets].append(_shake_hands(client, server))
    return {tickets: statistics.median(each) * 1e6 for tickets, each in took.items()}


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> float:
    """Shake hands in TLS 1.3, and return the server's CPU seconds."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="upstream")
    with contextlib.suppress(ssl.SSLWantReadError):
        theirs.do_handshake()  # their hello
    began = time.thread_time()
    with contextlib.suppress(ssl.SSLWantReadError):
        ours.do_handshake()
    took = time.thread_time() - began
    theirs.do_handshake()
    began = time.thread_time()
    ours.do_handshake()
    return took + time.thread_time() - began


def _microseconds(part: Callable[[], object]) -> float:
    """Return the best of several runs: the others were disturbed."""
    number = 2000
    return min(timeit.repeat(part, number=number, repeat=7)) / number * 1e6


if __name__ == "__main__":
    sys.exit(main())
