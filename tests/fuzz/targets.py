"""Every fuzz target by name: a function of some bytes, which are anybody's.

A target returns, whatever the bytes are. Any exception is a finding: of the proxy, which may only
raise its own errors, or of an assertion, which says what must be true of what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.algorithms import ALGORITHMS
from proxy.config.model import SETTINGS
from tests.fuzz import expressions, heads, sessions, settings, tokens

FOLDER: Final = Path(__file__).parent
CORPUS: Final = FOLDER / "corpus"
REGRESSIONS: Final = FOLDER / "regressions"

HTTP: Final = (
    *(" HTTP/1.1\r\n", "\r\n", "\r\n\r\n", ": ", "GET ", "POST ", "TRACE ", "CONNECT ", "Host: x"),
    *("Connection: ", "Upgrade", "websocket", "SPDY/3.1", "keep-alive", "close", "Expect: "),
    *("Transfer-Encoding: ", "chunked", "Content-Length: ", "Authorization: Bearer ", "Cookie: "),
    *("Impersonate-User: ", "Impersonate_Group: ", "X-Remote-User: ", "Sec-WebSocket-Protocol: "),
    *("base64url.bearer.authorization.k8s.io.", "Set-Cookie: ", "%2f", "..", "\0", "\r", "\n"),
)
JOSE: Final = (
    *('"alg":', '"kid":', '"crit":["b64"]', '"b64":true', '"jku":', '"jwk":{', '"none"', '"HS256"'),
    *('"iss":', '"ISS":', '"aud":', '"exp":', '"nbf":', '"email":', '"email_verified":', "true"),
    *('"groups":[', '"tags":', '"_claim_names":{', '"_claim_sources":{', '"endpoint":', '"jti":'),
    *('"system:masters"', "\\ud800", "1e400", "NaN", "null", "\ufeff", f'"{tokens.ISSUER}"'),
)
KEYS: Final = (
    *('"keys":[', '"kty":"RSA"', '"kty":"EC"', '"crv":"P-256"', '"crv":"P-521"', '"n":"', '"e":"'),
    *('"x":"', '"y":"', '"d":"', '"kid":"', '"AQAB"', '"use":"enc"', '"kty":"oct"', '"k":"AA"'),
)
KUBECONFIG: Final = (
    *(
        "current-context: ",
        "contexts:",
        "clusters:",
        "users:",
        "name: ",
        "server: https://",
        "user:",
    ),
    *("insecure-skip-tls-verify: true", "token: ", "tokenFile: ", "as: ", "exec:", "command: "),
    *("certificate-authority-data: ", "client-key: ", "interactiveMode: Never", "apiVersion: "),
    *("!!python/object:", "&a ", "*a", "<<: ", "2001-01-01", "!!int ", "!!binary ", "{", "[", "? "),
)
AUTHENTICATION: Final = (
    *("apiVersion: apiserver.config.k8s.io/v1", "kind: AuthenticationConfiguration", "jwt:", "- "),
    *("issuer:", "url: https://", "audiences:", "audienceMatchPolicy: MatchAny", "discoveryURL: "),
    *("claimMappings:", "username:", "claim: ", "prefix: ", "expression: ", "groups:", "uid:"),
    *("extra:", "key: a.example/b", "valueExpression: ", "claimValidationRules:", "message: "),
    *("userValidationRules:", "anonymous:", "certificateAuthority: ", "&a ", "*a", "<<: ", "{"),
)
CEL: Final = (
    *("claims.", "claims.?", ".orValue(", "has(", ".map(x, ", ".filter(x, ", ".all(x, ", "dyn("),
    *(".split(", ".join(", ".matches(", ".find(", "format.", "ip(", "cidr(", "url(", "sets."),
    *("optional.of(", "? ", " : ", " in ", "&&", "||", "string(", "int(", "timestamp(", "type("),
    *("claims.g", "claims.o", "claims.n", "claims.s", "[?", "__dot__", "r'", "b'", "\\u0000"),
)
STATUS: Final = (
    *(
        '"kind":"ExecCredential"',
        '"apiVersion":',
        '"status":{',
        '"token":"',
        '"expirationTimestamp":',
    ),
    *('"clientCertificateData":', '"clientKeyData":', "client.authentication.k8s.io/v1", "\\ud800"),
)


ENDINGS: Final = (
    *('"status":"Success"', '"status":"Failure"', '"reason":"NonZeroExitCode"', '"details":{'),
    *('"causes":[{"reason":"ExitCode","message":"3"}]', '"Width":', '"Height":'),
)


@dataclass(frozen=True, slots=True)
class Target:
    """``words`` are what the fuzzer may put in, since it would hardly guess them."""

    run: Callable[[bytes], None]
    words: Iterable[str]


TARGETS: Final[dict[str, Target]] = {
    "request": Target(heads.request, HTTP),
    "response": Target(heads.response, HTTP),
    "chunked": Target(heads.chunked, ("\r\n", "0\r\n\r\n", ";", "ffffffffffffffff", ": ")),
    "credential": Target(tokens.credential, ("Bearer ", "base64url.bearer.authorization.k8s.io.")),
    "token": Target(tokens.token, ("{header}", "{payload}", "{signature}", ".", "=", "e30")),
    "signed": Target(tokens.signed, (*JOSE, *ALGORITHMS)),
    "json_object": Target(tokens.json_object, JOSE),
    "jwks": Target(tokens.jwks, KEYS),
    "config_file": Target(settings.config_file, [f"{s.key}: " for s in SETTINGS.values()]),
    "config_words": Target(
        settings.config_words, [w for s in SETTINGS.values() for w in (f"{s.flag}=", s.variable)]
    ),
    "kubeconfig": Target(settings.kubeconfig, KUBECONFIG),
    "authentication_config": Target(expressions.authentication_config, (*AUTHENTICATION, *CEL)),
    "claims_expression": Target(expressions.claims_expression, CEL),
    "exec_answer": Target(settings.exec_answer, STATUS),
    "session_websocket": Target(
        sessions.session_websocket, ("\x82\x7e", "\x02\x05", "\x80", "MTIz")
    ),
    "session_spdy": Target(sessions.session_spdy, ("\x80\x03\x00\x01", "\x80\x03\x00\x08")),
    "session_status": Target(sessions.session_status, ENDINGS),
    "recorded_output": Target(
        sessions.recorded_output, ("\x1b[", "\x1b]", "\x1b\\", "\x07", "?25h")
    ),
}
