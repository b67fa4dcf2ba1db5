from __future__ import annotations

import base64
import json

import pytest

from proxy.observe.redaction import MASK, redact


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


CLAIMS = b64(b'{"email":"alice@example.com"}')
SIGNATURE = b64(b"s" * 256)
HEADERS = {
    "compact": b'{"alg":"RS256","kid":"1"}',
    "blank": b'{ "alg": "RS256" }',
    "indented": b'{\n  "alg": "RS256"}',
    "crlf": b'{\r\n"alg": "RS256"}',
    "tab": b'{\t"alg": "RS256"}',
}
TOKENS = {name: f"{b64(header)}.{CLAIMS}.{SIGNATURE}" for name, header in HEADERS.items()}
TOKEN = TOKENS["compact"]
SECRETS = {
    **TOKENS,
    "unsigned": f"{b64(HEADERS['compact'])}.{CLAIMS}.",
    "encrypted": f"{b64(HEADERS['compact'])}.{SIGNATURE}.{CLAIMS}.{CLAIMS}.{SIGNATURE}",
    "in a sentence": f"the token {TOKEN} was refused",
    "in a URL": f"https://example.com/?id_token=a%20{TOKEN}&x",
    "after a line break": f"a\n{TOKEN}",
    "after a control character": f"\x01{TOKEN}",
    "in quotes": f"b'{TOKEN}'",
    "cut short": TOKEN[:120],
}


@pytest.mark.parametrize("text", ["eyJ" * 300_000, "eyJ" * 300_000 + ".a.b", "eyJ." * 200_000])
def test_what_only_looks_like_the_beginning_of_a_token_costs_little(text: str) -> None:
    """Were the cost to grow with the square of the length, this would not end in an hour."""
    assert redact(text) == text


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_a_json_web_token_is_masked_wherever_it_stands(text: str) -> None:
    line = redact(json.dumps({"field": text, text: "key", "nested": {"list": [text]}}))
    assert CLAIMS[:20] not in line
    assert SIGNATURE[:20] not in line
    assert MASK in json.dumps(json.loads(line))


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_token_is_known_by_its_header_alone(header: bytes) -> None:
    token = f"{b64(header)}.{SIGNATURE}.{SIGNATURE}"
    assert redact(json.dumps({"field": token})) == json.dumps({"field": MASK})


@pytest.mark.parametrize("text", ["", "a ", "Authorization: ", "a\n", "b'"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  ", "Bearer\t", "Bearer%20"])
@pytest.mark.parametrize("secret", ["x", "opaque-token/with+all~of.it==", "token-123", "tokens2"])
def test_what_follows_bearer_is_masked(text: str, scheme: str, secret: str) -> None:
    fields = json.loads(redact(json.dumps({"field": f"{text}{scheme}{secret}"})))
    assert fields["field"].rstrip("'") == f"{text}{scheme}{MASK}"


def test_the_subprotocol_that_carries_a_token_is_masked() -> None:
    name = "base64url.bearer.authorization.k8s.io."
    line = redact(json.dumps({"field": f"{name}{b64(b'opaque')}, v4.channel.k8s.io"}))
    assert json.loads(line)["field"] == f"{name}{MASK}, v4.channel.k8s.io"


@pytest.mark.parametrize(
    "text",
    [
        "No bearer token was sent. Sign in first.",
        "The bearer token is too large.",
        "two bearer tokens; Bearer token",
        "/api/v1/namespaces/monkey-business/pods/keycloak-operator-0",
        "newkubernetes-cluster.production-namespace.svc.cluster.local",
        "registry.example.com/team/eye-of-the-beholder:1.2.3",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    line = json.dumps({"field": text})
    assert redact(line) == line
