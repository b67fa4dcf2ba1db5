"""Two thousand answers of kube-apiserver's own code, and ours: the same user, or the same refusal.

What was asked, and how to ask again, is in ``recorded/questions.py``. Whether a configuration is
refused, a token is refused, or a user comes out, and which one, must be the same everywhere but in
``DIFFERENT``, which is held to be true as well and so can only become shorter; the words of a
refusal everywhere but in ``OTHER_WORDS``. docs/kube-apiserver-parity.md gives reasons.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from proxy.authn.authenticator import Authenticator, TrustedIssuer
from proxy.authn.configuration.plan import InvalidConfiguration
from proxy.authn.configuration.planning import plans_of_file
from proxy.authn.distributed import ClaimsElsewhere
from proxy.errors import IssuerUnknown, ProxyError
from proxy.userinfo import as_claims
from tests.authn.recorded.questions import ANSWERS, Question, questions
from tests.authn.tokens import NOW, NOWHERE, HeldKeys
from tests.issuer import rsa_key

Answer = dict[str, Any]

RECORDED: Final[dict[str, Answer]] = json.loads(ANSWERS.read_text())
ASKED: Final = dict(questions())
PLACES: Final = sorted({name.partition(":")[0] for name in ASKED})

# Details that are those of Go's JSON reader, or of the moment.
_GO_DETAILS: Final = re.compile(
    r"(failed to unmarshal claims|Token Expiry|current time|parse [^:]*: json):? .*"
)

DIFFERENT: Final = frozenset(
    {
        "groups: '%s'.format([claims.o.n])",
        "user rule: kubernetes.UserInfo{username: 'a'} == user",
        "user rule: user.extra['example.org/foo'][0] == 1",
        "username: '%s'.format([claims.o.n])",
    }
)
# Whatever place the expression is in.
OTHER_WORDS: Final = frozenset(
    {
        "'a'.reverse()",
        "'abc'.charAt(9)",
        "'abc'.reverse()",
        "'abc'.substring(9)",
        "[1].join()",
        "cel.bind(a, 1, a)",
        "cel.bind(x,1,x)",
        "claims == {}",
        "claims.b.x",
        "claims.g.sum()",
        "claims.g.x",
        "claims.g['a']",
        "claims.g[1.5]",
        "claims.mix.join()",
        "claims.n.foo",
        "claims.n.x",
        "claims.nul.x",
        "claims.s.charAt(99)",
        "claims.s.find('(')",
        "claims.s.s",
        "claims.s.substring(99)",
        "claims.s[0]",
        "claims.size()",
        "claims.sub == 'a'",
        "dyn(claims.L).map(x, dyn(claims.L).map(y, x))",
        "dyn(claims.o.n).transformMap(k, v, 'x')",
        "google.protobuf.Any{}",
        "has('a'.b)",
        "has(claims)",
        "has(claims['o'])",
        "int('x')",
        "int(claims.big)",
        "ip('x')",
        "kubernetes.URL{}",
        "kubernetes.UserInfo{username: 'a'}",
        "math.max(1,2)",
        "net.IP{}",
        "size(claims)",
        "string(claims.o)",
        "uint(claims.neg)",
        "url('x')",
        "user.extra == 'a'",
        "user.extra['a'] == 'a'",
        "user.username",
        "{'a':1, 'a':2}",
    }
)


def our_answer(question: Question) -> Answer:
    try:
        plans = plans_of_file(
            question["config"].encode(), leeway=0, proxy=None, disallowed_issuers=()
        )
    except InvalidConfiguration as error:
        return {"validation": error.problems}
    if "payload" not in question:
        return {}
    authenticator = Authenticator(
        TrustedIssuer(plan.rules, plan.mapping, HeldKeys(rsa_key()), NOWHERE) for plan in plans
    )
    token = rsa_key().token(question["payload"].encode())
    try:
        user = authenticator.authenticate(token.encode(), NOW).user
    except IssuerUnknown:
        return {"skip": True}
    except (ProxyError, ClaimsElsewhere) as error:
        return {"error": str(error)}
    # No kind of text of an expression's own: compiled, nothing else than text is taken for it.
    extra = [text for key, values in user.extra.items() for text in (key, *values)]
    assert {type(text) for text in (user.username, user.uid, *user.groups, *extra)} == {str}
    assert type(user.groups) is tuple
    return {"user": as_claims(user)}


def comparable(answer: Answer) -> Answer:
    """Return an answer with Go's nil and empty made the same."""
    if user := answer.get("user"):
        return {"user": {**user, "groups": user["groups"] or [], "extra": user["extra"] or {}}}
    if error := answer.get("error"):
        return {"error": _GO_DETAILS.sub(r"\1", error)}
    return answer


def outcome(answer: Answer) -> Any:
    """Return what an answer comes to, without its words."""
    return answer.get("user") or sorted(answer)


@pytest.mark.parametrize("place", PLACES)
def test_our_answers_are_kube_apiservers(place: str) -> None:
    different, other_words = set(), set()
    for name in (name for name in ASKED if name.startswith(f"{place}:")):
        ours, theirs = comparable(our_answer(ASKED[name])), comparable(RECORDED[name])
        if outcome(ours) != outcome(theirs):
            different.add(name)
        elif ours != theirs:
            other_words.add(name.partition(": ")[2])
    assert different == {name for name in DIFFERENT if name.startswith(f"{place}:")}
    assert other_words <= OTHER_WORDS


def test_every_question_has_its_answer() -> None:
    assert RECORDED.keys() == ASKED.keys()
