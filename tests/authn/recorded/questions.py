"""What kube-apiserver was asked, and how its answers are kept and asked for again.

``answers.json`` holds what kube-apiserver 1.36's own packages answered: run
``python -m tests.authn.recorded.questions`` to ask again (needs Go; see tests/kube/record, which
checks everything of a token but its signature). The questions are the lines of the files beside
this one, each an expression in one place of a configuration, and the tables below.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ANSWERS: Final = HERE / "answers.json"
RECORDER: Final = Path(__file__).parents[2] / "kube"
ISSUER: Final = "https://a"
FAR: Final = 4102444800  # 2100-01-01

Question = dict[str, Any]

CLAIMS: Final[Mapping[str, Any]] = {
    "iss": ISSUER,
    "aud": "x",
    "sub": "jane",
    "exp": FAR,
    "jti": "J1",
    "s": "a,b",
    "roles": "r1 r2",
    "e": "",
    "n": 5,
    "f": 1.5,
    "neg": -3,
    "big": 12345678901234567890,
    "b": True,
    "nul": None,
    "g": ["x", "y"],
    "el": [],
    "mix": ["a", 1, None],
    "L": list(range(200)),
    "o": {
        "k": "v",
        "a.b": "dot",
        "a-b": "dash",
        "a/b": "slash",
        "__foo__": "nf",
        "in": "IN",
        "n": {"m": ["p", "q"]},
    },
    "objs": [{"name": "n1", "r": ["a"]}, {"name": "n2", "r": ["b"]}],
    "deep": {"a": {"b": {"c": ["d1", "d2"]}}},
    "email": "e@x",
    "email_verified": True,
    "ip": "10.0.0.1",
    "url": "https://h.example:8443/p/a?q=1&q=2",
    "ver": "v1.2.3",
    "ts": "2024-01-02T03:04:05Z",
    "ünï": "u",
    "namespace": "ns",
}

# Where an expression can stand; what is said of it is what comes of it there.
PLACES: Final[Mapping[str, Sequence[str]]] = {
    "groups": ("claims_expressions.txt",),
    "username": ("claims_expressions.txt",),
    "claim rule": ("claims_expressions.txt", "format_rules.txt"),
    "user rule": ("user_expressions.txt",),
}


def questions() -> Iterator[tuple[str, Question]]:
    """Yield every question under its name."""
    for place, files in PLACES.items():
        for name in files:
            for expression in (HERE / name).read_text().splitlines():
                yield f"{place}: {expression}", _expression(place, expression)
    for name, changes in _configurations():
        yield f"configuration: {name}", {"config": json.dumps(configuration(**changes))}
    for name, payload in _payloads():
        question = {"config": json.dumps(configuration(uid={"claim": "u"})), "payload": payload}
        yield f"token: {name}", question


def configuration(
    issuer: Mapping[str, Any] | None = None,
    claimValidationRules: Sequence[Any] = (),  # noqa: N803 - the field's name
    userValidationRules: Sequence[Any] = (),  # noqa: N803 - the field's name
    **mappings: Any,
) -> dict[str, Any]:
    """Return a configuration that is sound but for what is given; None drops a mapping."""
    claim_mappings = {
        "username": {"claim": "sub", "prefix": ""},
        "groups": {"claim": "g", "prefix": ""},
    } | mappings
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [
            {
                "issuer": {"url": ISSUER, "audiences": ["x"], **(issuer or {})},
                "claimValidationRules": list(claimValidationRules),
                "userValidationRules": list(userValidationRules),
                "claimMappings": {k: v for k, v in claim_mappings.items() if v is not None},
            }
        ],
    }


def _expression(place: str, expression: str) -> Question:
    rule = [{"expression": expression, "message": "it says so"}]
    match place:
        case "groups":
            config = configuration(groups={"expression": expression})
        case "username":
            config = configuration(username={"expression": expression})
        case "claim rule":
            config = configuration(claimValidationRules=rule)
        case _:
            extra = [{"key": "example.org/foo", "valueExpression": "['a', 'b']"}]
            config = configuration(userValidationRules=rule, extra=extra)
    return {"config": json.dumps(config), "payload": json.dumps(CLAIMS)}


def _configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    for url in (
        *("http://a", "https://u:p@a", "https://a?x=1", "https://a#f", "https://a?", "https://a#"),
        *("HTTPS://a", "https://", "https:a", "a", "//a", "https://a:b", "https://a:99999", ""),
        *("https://[::1", "https://a b", "https://a/%zz", "https://a%20b", "https:///x", ":foo"),
        *("1http://a", "https://a:", "https://@a", "https://a\\b", "http s://a", "foo:bar"),
        *("https://a/ b", "https://ä", "https://[::1]x", "https://[fe80::1%25en0]/", "https://a%"),
        *("https://a<b", "ht_tp://x"),
    ):
        yield f"url {url}", {"issuer": {"url": url}}
        yield f"discovery url {url}", {"issuer": {"discoveryURL": url}}
    yield "discovery url like the issuer's", {"issuer": {"discoveryURL": "https://a//"}}
    for key in (
        *("foo", "example.org/foo", "Example.org/foo", "example.org/", "/foo", "a.k8s.io/x", ""),
        *("k8s.io/x", "example.org/a b", "example_org/a", "example.org/a/b", "example.org/FOO"),
        *(
            "kubernetes.io/x",
            "example.org/a?b",
            f"{'x' * 260}/a",
            "example.org/%41",
            "exämple.org/a",
        ),
        *("example.org/é", "xk8s.io/a", "kubernetes.io.example.org/a"),
    ):
        yield f"extra key {key}", {"extra": [{"key": key, "valueExpression": "'a'"}]}
    mapping = {"key": "a.b/c", "valueExpression": "'a'"}
    yield "extra twice", {"extra": [mapping, mapping]}
    yield "extra without value", {"extra": [{"key": "a.b/c"}]}
    for audiences, policy in (
        ([], ""),
        ([""], ""),
        (["a", "b"], ""),
        (["a", "b"], "MatchAny"),
        (["a", "a", ""], "MatchAll"),
        (["a"], "MatchAny"),
        (["a"], "MatchAll"),
    ):
        name = f"audiences {audiences} {policy}"
        yield name, {"issuer": {"audiences": audiences, "audienceMatchPolicy": policy}}
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for authority in ("x", broken):
        yield f"authority {authority!r}", {"issuer": {"certificateAuthority": authority}}
    yield "egress etcd", {"issuer": {"egressSelectorType": "etcd"}}
    for username in (
        {"expression": "claims.a", "prefix": ""},
        {"expression": "claims.a", "claim": "b"},
        {"claim": "b"},
        {"prefix": ""},
        {},
        {"expression": "claims.email"},
        {"expression": "claims['email']"},
        {"expression": "claims.?email.orValue('a')"},
        {"expression": "claims.email_verified == true ? claims.email : 'nobody'"},
        {"expression": "claims.?email_verified.orValue(true) == true ? claims.email : 'nobody'"},
        {"expression": "['a'].exists(x, x == claims.email) ? 'a' : 'b'"},
        {"expression": "{'a': claims.email}.a"},
    ):
        yield f"username {username}", {"username": username}
    by_email = {"username": {"expression": "claims.email"}}
    yield (
        "email seen in extra",
        {
            **by_email,
            "extra": [{"key": "a.b/c", "valueExpression": "string(claims.email_verified)"}],
        },
    )
    yield (
        "email seen in a rule",
        {
            **by_email,
            "claimValidationRules": [{"expression": "claims.email_verified == true"}],
        },
    )
    yield (
        "email required only",
        {
            **by_email,
            "claimValidationRules": [{"claim": "email_verified", "requiredValue": "true"}],
        },
    )
    for groups in ({"prefix": "x"}, {"claim": "x"}, {"claim": "x", "expression": "y"}):
        yield f"groups {groups}", {"groups": groups}
    yield "uid both ways", {"uid": {"claim": "x", "expression": "claims.x"}}
    yield (
        "claim rules",
        {
            "claimValidationRules": [
                {},
                {"claim": "a", "expression": "b"},
                {"claim": "a", "message": "m"},
                {"claim": "a"},
                {"expression": "claims.a == 1", "requiredValue": "x"},
                {"expression": "claims.a == 1"},
                {"expression": "claims.a"},
                {"expression": "foo"},
            ]
        },
    )
    yield (
        "user rules",
        {
            "userValidationRules": [
                {},
                {"expression": "user.foo == 1"},
                {"expression": "user.username == 'a'"},
                {"expression": "user.username == 'a'"},
                {"expression": "user.uid"},
            ]
        },
    )
    yield (
        "everything wrong at once",
        {
            "issuer": {"url": "", "audiences": [], "discoveryURL": "http://b"},
            "username": {"claim": "a", "expression": "b"},
            "groups": {"claim": "g"},
            "uid": {"expression": "nothing"},
        },
    )


def _payloads() -> Iterator[tuple[str, str]]:
    usual = {"iss": f'"{ISSUER}"', "aud": '"x"', "sub": '"jane"', "exp": str(FAR), "u": '"1"'}
    numbers = [
        *(str(FAR), f'"{FAR}"', f"{FAR}.9", "4.1024448e9", '"4.1e9"', "1", "null", '"x"', "true"),
        *("[]", "{}", "-1", "0", "1e400", "9223372036854775807", "9223372036854775808", "1e19"),
        *('"9223372036854775808"', '""', f'" {FAR}"', '"0x10"', '"+5"', '"-1"'),
    ]
    texts = ['"a"', '""', "null", "5", "true", "[]", "{}", '" "', '"\\u0000"', '"\\ud800"', '"é"']
    values = {
        "exp": numbers,
        "iat": ["1", '"1"', "null", '"x"', "1.5", "true", "[]", "1e400"],
        "nbf": ["1", '"1"', "null", '"x"', str(FAR), "true", "{}"],
        "aud": [
            *('"x"', '["x"]', '["y","x"]', '["y"]', "null", "[null]", '[null,"x"]', "5", "{}"),
            *("[5]", '["x",5]', '[["x"]]', '"X"', '"x "', "[]", '""'),
        ],
        "iss": ['"https://a/"', '"HTTPS://a"', "null", '""', '"accounts.google.com"'],
        "sub": texts,
        "nonce": texts[:7],
        "at_hash": texts[:7],
        "azp": texts[:7],
        "jti": texts[:7],
        "u": texts[:7],
        "g": [
            *('"a"', '["a","b"]', "[]", "null", '""', '[""]', "[null]", '["a",null]', "5"),
            *("[5]", "{}", '["a",["b"]]', '"a,b"', '["a","a"]', "true"),
        ],
        "EXP": ["1"],
        "AUD": ['"q"'],
        "ISS": ['"https://b"'],
        "iſſ": ['"https://b"'],
        "SUB": ['"joe"', "5"],
        "_claim_names": ['"a"', "null", "{}", '{"g":"s"}', '{"g":""}', '{"q":5}'],
        "_claim_sources": ["5", "null", "{}", '{"s":5}', '{"s":{"endpoint":5}}'],
    }
    for claim, all_values in values.items():
        for value in all_values:
            yield f"{claim} {value}", _object(usual | {claim: value})
    for claim in ("exp", "aud", "iss", "sub", "u"):
        without = {name: value for name, value in usual.items() if name != claim}
        yield f"without {claim}", _object(without)
    twice = _object(usual)[:-1]
    for claim, value in (("exp", "1"), ("aud", '"q"'), ("sub", '"joe"')):
        yield f"{claim} twice", f'{twice},"{claim}":{value}}}'


def _object(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def ask(asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Have kube-apiserver's own code answer."""
    lines = "".join(json.dumps(question) + "\n" for question in asked)
    done = subprocess.run(
        ["go", "run", "./record"], cwd=RECORDER, input=lines, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    names, asked = zip(*questions(), strict=True)
    answers = dict(zip(names, ask(asked), strict=True))
    ANSWERS.write_text(json.dumps(answers, indent=0, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
