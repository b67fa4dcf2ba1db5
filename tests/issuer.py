"""An identity provider for tests: real TLS, real keys, and the habits of tsidp.

    async with FakeIssuer() as issuer:
        issuer.url, issuer.ca_file, issuer.client_id      # what a proxy is configured with
        token = issuer.token(email="alice@example.com", groups=["tag:k8s-admin"])
        issuer.rotate()                                   # a new key at once, as tsidp does it
        await issuer.down()                               # connections are refused
        await issuer.up()                                 # the same port again
        assert issuer.requests == [DISCOVERY, JWKS]       # the paths that were asked for, in order

What it fakes of tsidp: the discovery document and the key set (member order, indentation, no
cache headers at all, URLs that always carry the issuer's own name whatever way it was reached);
tokens with exactly tsidp's claims and types (numbers, trailing dots, ``nbf`` 300 s before ``iat``,
no ``email_verified``, ``aud`` a string or, as older releases have it, a list); one RS256 key with
a decimal ``kid``; a rotation without any overlap.
What it leaves out: ``/authorize`` and ``/token``. Nobody logs in, tests mint their tokens. Groups
keep the order given, where tsidp shuffles them. ``tests/real/test_issuers.py`` holds what it fakes
against a genuine tsidp, of an older generation.

``SigningKey``, ``rsa_key``, ``ec_key`` and ``jwks_document`` serve tests that need no server.
Keys are made once per test process, because an RSA key costs a tenth of a second.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import random
import socket
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trustme
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.leaks import hand_out_token

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/.well-known/jwks.json"
CLIENT_ID = "4f1c0d9be27a4c5f8a36b1d2e3f40516"
TOKEN_LIFETIME = 300  # seconds, as tsidp has it; it cannot be configured there

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def b64url(data: bytes) -> str:
    """Base64url without padding, as JOSE writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _uint(number: int, length: int | None = None) -> str:
    return b64url(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name under which it is published and the algorithm it signs with."""

    kid: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    alg: str

    def jwk(self, **overrides: object) -> dict[str, Any]:
        """Return the public key as tsidp writes it; an override of None drops that member."""
        entry: dict[str, Any] = {"use": "sig", "kty": "RSA", "kid": self.kid, "alg": self.alg}
        public: rsa.RSAPublicNumbers | ec.EllipticCurvePublicNumbers
        public = self.private.public_key().public_numbers()
        if isinstance(public, rsa.RSAPublicNumbers):
            entry |= {"n": _uint(public.n), "e": _uint(public.e)}
        else:
            length = (public.curve.key_size + 7) // 8
            curve = next(n for n, known in _CURVES.items() if known.name == public.curve.name)
            x, y = _uint(public.x, length), _uint(public.y, length)
            entry |= {"kty": "EC", "crv": curve, "x": x, "y": y}
        return {name: value for name, value in (entry | overrides).items() if value is not None}

    def sign(self, message: bytes, alg: str | None = None, *, salt: int | None = None) -> bytes:
        """Sign with ``alg`` or the key's own; ``salt``: a PSS salt length of one's choice."""
        alg = alg or self.alg
        digest = _HASHES[alg[2:]]()
        if isinstance(self.private, rsa.RSAPrivateKey):
            if alg.startswith("RS"):
                return self.private.sign(message, padding.PKCS1v15(), digest)
            length = digest.digest_size if salt is None else salt
            pss = padding.PSS(padding.MGF1(digest), length)
            return self.private.sign(message, pss, digest)
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(digest)))
        length = (self.private.curve.key_size + 7) // 8
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")

    def token(
        self,
        claims: Mapping[str, object] | bytes,
        header: Mapping[str, object] | bytes | None = None,
        *,
        alg: str | None = None,
    ) -> str:
        """Sign ``claims`` into a compact JWT; bytes, for either part, are taken as they are.

        ``header`` adds to ``alg``, ``kid`` and ``typ``; a value of None drops that member.
        """
        if not isinstance(header, bytes):
            members = {"alg": alg or self.alg, "kid": self.kid, "typ": "JWT"} | dict(header or {})
            header = _json({name: value for name, value in members.items() if value is not None})
        payload = claims if isinstance(claims, bytes) else _json(claims)
        message = f"{b64url(header)}.{b64url(payload)}"
        token = f"{message}.{b64url(self.sign(message.encode(), alg))}"
        hand_out_token(token)
        return token


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def rsa_key(index: int = 0, bits: int = 2048) -> SigningKey:
    """Return the test process's RSA key of that index; its kid is a decimal uint64, as tsidp's."""
    return _rsa_key(index, bits)


def ec_key(curve: str = "P-256", index: int = 0) -> SigningKey:
    """Return the test process's key of that curve and index."""
    return _ec_key(curve, index)


@functools.cache  # here and not above: it would tell a default from the same value given
def _rsa_key(index: int, bits: int) -> SigningKey:
    kid = str(int.from_bytes(hashlib.sha256(f"rsa-{bits}-{index}".encode()).digest()[:8], "big"))
    return SigningKey(kid, rsa.generate_private_key(65537, bits), "RS256")


@functools.cache
def _ec_key(curve: str, index: int) -> SigningKey:
    alg = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[curve]
    return SigningKey(f"ec-{curve}-{index}", ec.generate_private_key(_CURVES[curve]), alg)


def jwks_document(*entries: SigningKey | Mapping[str, object]) -> bytes:
    """Return a JWK Set of keys and of entries taken as they are."""
    keys = [entry.jwk() if isinstance(entry, SigningKey) else dict(entry) for entry in entries]
    return (json.dumps({"keys": keys}, indent=2) + "\n").encode()


def tsidp_claims(
    issuer: str,
    email: str | None = "alice@example.com",
    groups: str | Sequence[str] | None = None,
    *,
    audience: str | Sequence[str] = CLIENT_ID,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the claims of a tsidp token issued at ``now`` (scopes openid, profile and email).

    ``email=None`` is a login without the scope ``email``. ``groups`` comes from an ``extraClaims``
    grant: a list, or a bare string where the grant holds one.
    """
    issued = int(time.time() if now is None else now)
    uid = 5738291046173829
    claims: dict[str, Any] = {
        "addresses": ["100.101.102.103/32", "fd7a:115c:a1e0::a01:6667/128"],
        "aud": audience if isinstance(audience, str) else list(audience),
        "exp": issued + TOKEN_LIFETIME,
        "iat": issued,
        "iss": issuer,
        "jti": random.randbytes(16).hex(),
        "key": f"nodekey:{'3f' * 32}",
        "nbf": issued - 300,
        "nid": 4821937465018273,
        "node": "alice-laptop.tail1234.ts.net.",
        "nonce": "n-0S6_WzA2Mj",
        "picture": "https://pictures.example.com/alice?size=1&shape=round",
        "sub": f"userid:{uid}",
        "tailnet": "tail1234.ts.net.",
        "uid": uid,
    }
    if email is not None:
        claims |= {"email": email, "preferred_username": email.partition("@")[0]}
    if groups is not None:
        claims["groups"] = groups if isinstance(groups, str) else list(groups)
    if len(claims["aud"]) > 1 and not isinstance(claims["aud"], str):
        claims["azp"] = claims["aud"][0]
    return claims


@functools.cache
def issuer_authority() -> trustme.CA:
    """Return the CA of this test process, which signs every issuer's certificate."""
    return trustme.CA()


class FakeIssuer:
    """A tsidp on loopback. ``host`` is the name in its URL, for tests that resolve it elsewhere."""

    def __init__(self, host: str = "localhost", *, authority: trustme.CA | None = None) -> None:
        self.host = host
        self.client_id = CLIENT_ID
        self.port = 0  # until it is entered
        self.keys: list[SigningKey] = [rsa_key(0)]  # published; the first one signs
        self.requests: list[str] = []  # paths
        self.user_agents: list[str] = []
        self.overrides: dict[str, Handler] = {}  # a path's answer, in place of the usual one
        self.discovery_overrides: dict[str, object] = {}  # members of the discovery document
        self._authority = authority or issuer_authority()
        self._rotations = 0
        self._runner: web.AppRunner | None = None
        self._placeholder: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def key(self) -> SigningKey:
        return self.keys[0]

    def token(
        self,
        email: str | None = "alice@example.com",
        groups: str | Sequence[str] | None = None,
        *,
        age: float = 0,
        without: Collection[str] = (),
        key: SigningKey | None = None,
        **claims: object,
    ) -> str:
        """Mint a token as of ``age`` seconds ago: the usual claims, ``claims``, less ``without``.

        ``key`` signs instead of the current key, published or not. Every call gives another token.
        """
        usual = tsidp_claims(self.url, email, groups, now=time.time() - age)
        merged = {name: value for name, value in (usual | claims).items() if name not in without}
        return (key or self.key).token(merged)

    def rotate(self, *, keep_old: bool = False) -> SigningKey:
        """Sign with a new key from now on and return it; tsidp would not keep the old one."""
        self._rotations += 1
        self.keys = [rsa_key(self._rotations), *(self.keys if keep_old else [])]
        return self.key

    def discovery(self) -> dict[str, object]:
        """Return tsidp's discovery document, with ``discovery_overrides`` applied."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "introspection_endpoint": f"{self.url}/introspect",
            "registration_endpoint": f"{self.url}/register",
            "jwks_uri": f"{self.url}{JWKS}",
            "scopes_supported": ["openid", "email", "profile"],
            "response_types_supported": ["id_token", "code"],
            "subject_types_supported": ["public"],
            "claims_supported": [
                *["sub", "aud", "exp", "iat", "iss", "jti", "nbf", "username", "email", "key"],
                *["addresses", "nid", "node", "tailnet", "tags", "user", "uid"],
            ],
            "id_token_signing_alg_values_supported": ["RS256"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
        } | self.discovery_overrides

    async def __aenter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="issuer-")
        self.ca_file = Path(self._directory.name, "issuer-ca.crt")
        self._authority.cert_pem.write_to_path(str(self.ca_file))
        await self.up()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.down()
        if self._placeholder is not None:
            self._placeholder.close()
        self._directory.cleanup()

    async def up(self) -> None:
        """Listen, on the port of the first time."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls())
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        """Stop listening and cut every connection; the port stays ours, and refuses."""
        if self._runner is None:
            return
        await self._runner.cleanup()
        self._runner = None
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", self.port))

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = dict.fromkeys([self.host, "localhost", "127.0.0.1"])
        self._authority.issue_cert(*names).configure_cert(context)
        return context

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        self.user_agents.append(request.headers.get("User-Agent", ""))
        if request.path in self.overrides:
            return await self.overrides[request.path](request)
        if request.path == DISCOVERY:
            body = (json.dumps(self.discovery(), indent=2) + "\n").encode()
        elif request.path == JWKS:
            body = jwks_document(*self.keys)
        else:
            return web.Response(status=404, text="Error 404: not found")
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(body=body, content_type="application/json", headers=headers)


def answering(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Handler:
    """Return an override that always gives this answer."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return handler


def hanging() -> Handler:
    """Return an override that never answers."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return handler
