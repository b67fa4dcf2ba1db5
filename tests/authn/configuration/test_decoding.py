"""Which files are read, and what is said of those that are not."""

from __future__ import annotations

import json

import pytest

from proxy.authn.configuration.decoding import NotDecodable, decode
from proxy.authn.configuration.types import AuthenticationConfiguration, JWTAuthenticator

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
ONE = f"""{HEAD}jwt:
- issuer: {{url: "https://a", audiences: [x]}}
  claimMappings: {{username: {{claim: sub, prefix: ""}}}}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(NotDecodable) as raised:
        decode(text.encode())
    return list(raised.value.problems)


def test_every_field_is_read() -> None:
    authenticator = {
        "issuer": {
            "url": "https://a",
            "discoveryURL": "https://b",
            "certificateAuthority": "pem",
            "audiences": ["x", "y"],
            "audienceMatchPolicy": "MatchAny",
            "egressSelectorType": "cluster",
        },
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "v"},
            {"expression": "e", "message": "m"},
        ],
        "claimMappings": {
            "username": {"claim": "sub", "prefix": "p"},
            "groups": {"expression": "g"},
            "uid": {"claim": "u"},
            "extra": [{"key": "k", "valueExpression": "v"}],
        },
        "userValidationRules": [{"expression": "e", "message": "m"}],
    }
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1beta1",
        "kind": "AuthenticationConfiguration",
        "jwt": [authenticator],
        "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]},
    }
    read = decode(json.dumps(document).encode())
    (jwt,) = read.jwt
    assert (jwt.issuer.discovery_url, jwt.issuer.audiences) == ("https://b", ("x", "y"))
    assert [rule.required_value for rule in jwt.claim_validation_rules] == ["v", ""]
    assert jwt.claim_mappings.username.prefix == "p"
    assert jwt.claim_mappings.groups.prefix is None
    assert jwt.claim_mappings.extra[0].value_expression == "v"
    assert jwt.user_validation_rules[0].message == "m"
    assert read.anonymous is not None
    assert read.anonymous.conditions[0].path == "/livez"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_these_versions_are_read(version: str) -> None:
    read = decode(HEAD.replace("v1", version).encode())
    assert read == AuthenticationConfiguration(
        api_version=f"apiserver.config.k8s.io/{version}", kind="AuthenticationConfiguration"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty config data"),
        ("null", "Object 'Kind' is missing"),
        ("a: b", "Object 'Kind' is missing"),
        ("kind: AuthenticationConfiguration", "Object 'apiVersion' is missing"),
        (HEAD.replace("v1", "v2"), "is registered for version"),
        (HEAD.replace("Authentication", "Authorization"), "expected AuthenticationConfiguration"),
        ("- a", "couldn't get version/kind"),
        ("5", "couldn't get version/kind"),
        ("a: [", "neither YAML nor JSON"),
        ("{" * 100, "neither YAML nor JSON"),
        ("[" * 5000, "neither YAML nor JSON"),
        (HEAD + "jwt: {}\n", "jwt: cannot unmarshal object into a field of type list"),
        (ONE.replace("sub", "yes"), "claim: cannot unmarshal bool into a field of type string"),
        (ONE.replace("sub", "1.0"), "claim: cannot unmarshal number"),
        (ONE.replace("sub", "{}"), "claim: cannot unmarshal object"),
        (ONE.replace("[x]", "x"), "jwt[0].issuer.audiences: cannot unmarshal string"),
        (ONE.replace("[x]", "[1]"), "jwt[0].issuer.audiences[0]: cannot unmarshal number"),
        (HEAD + "jwt: []\nJWT: []\n", 'unknown field "JWT"'),
        (HEAD + "metadata: {}\n", 'unknown field "metadata"'),
        (ONE.replace("issuer", "Issuer"), 'unknown field "jwt[0].Issuer"'),
        (ONE + "jwt: []\n", 'line 6: key "jwt" already set in map'),
    ],
)
def test_what_cannot_be_read_is_named(text: str, problem: str) -> None:
    assert problem in problems_of(text)[0]


def test_everything_that_is_wrong_is_named_at_once() -> None:
    text = ONE.replace("sub", "5").replace("url:", "uri:") + "x: 1\n"
    assert problems_of(text) == [
        'strict decoding error: unknown field "x"',
        'strict decoding error: unknown field "jwt[0].issuer.uri"',
        (
            "strict decoding error: jwt[0].claimMappings.username.claim: cannot unmarshal number "
            "into a field of type string"
        ),
    ]


def test_a_field_twice_in_json_is_an_error() -> None:
    text = json.dumps({"apiVersion": "apiserver.config.k8s.io/v1", "jwt": []})
    text = text[:-1] + ', "kind": "AuthenticationConfiguration", "jwt": []}'
    assert problems_of(text) == ['strict decoding error: duplicate field "jwt"']


@pytest.mark.parametrize("value", ["null", "~", ""])
def test_null_is_absent(value: str) -> None:
    assert decode(f"{HEAD}jwt: {value}\n".encode()).jwt == ()
    assert decode(f"{HEAD}jwt:\n- {value}\n".encode()).jwt == (JWTAuthenticator(),)


def test_aliases_cost_no_more_than_what_they_stand_for() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
    )
    assert len(problems_of(HEAD + bomb)) == 40


def test_of_several_documents_the_first_counts() -> None:
    assert decode(f"{HEAD}---\nnot: read\n".encode()).jwt == ()


@pytest.mark.parametrize("text", ['"yes"', "'5'", "2020-01-01", "!!str 5", "&a b"])
def test_a_text_may_look_like_something_else(text: str) -> None:
    claim = decode(ONE.replace("sub", text).encode()).jwt[0].claim_mappings.username.claim
    assert isinstance(claim, str)
