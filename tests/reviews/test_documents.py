"""What is asked of the API server, and that only a whole and plain answer is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.reviews import documents
from proxy.reviews.documents import Access, Question, Review, Rules, TokenStatus, Unknown
from proxy.rights import Rule
from proxy.userinfo import UserInfo

ACCESS = documents.self_subject_access_review(Question("list", resource="secrets"))
RULES = documents.self_subject_rules_review("default")
SUBJECT = documents.self_subject_review()
TOKEN = documents.token_review(b"t", ())

USER = {"username": "bob", "uid": "7", "groups": ["a", "b"], "extra": {"k": ["v", "w"]}}
BOB = UserInfo("bob", "7", ("a", "b"), {"k": ("v", "w")})


MEMBERS = [
    *("allowed", "denied", "evaluationError", "authenticated", "user", "userInfo", "username"),
    *("uid", "groups", "extra", "audiences", "resourceRules", "nonResourceRules", "incomplete"),
    *("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"),
]


def answered(review: Review, status: object, code: int = 201) -> tuple[int, bytes]:
    return code, json.dumps({"kind": review.kind, "status": status}).encode()


def test_each_review_is_a_document_of_its_group_with_a_path_of_its_own() -> None:
    question = Question("get", "apps", "deployments", "scale", "web", "shop")
    review = documents.subject_access_review(BOB, question)
    assert review.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert json.loads(review.document()) == {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": "bob",
            "uid": "7",
            "groups": ["a", "b"],
            "extra": {"k": ["v", "w"]},
            "resourceAttributes": {
                "verb": "get",
                "group": "apps",
                "resource": "deployments",
                "subresource": "scale",
                "name": "web",
                "namespace": "shop",
            },
        },
    }
    assert SUBJECT.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert "spec" not in json.loads(SUBJECT.document())


def test_a_token_is_sent_and_never_shown() -> None:
    review = documents.token_review(b"s3cret", ["here"])
    assert json.loads(review.document())["spec"] == {"token": "s3cret", "audiences": ["here"]}
    assert "s3cret" not in repr(review)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question("*", "*", "*"), "* *.*"),
        (Question("create", resource="pods", subresource="exec"), "create pods/exec"),
        (Question("impersonate", resource="groups", name="x"), "impersonate groups x"),
    ],
)
def test_a_question_in_words(question: Question, words: str) -> None:
    assert str(question) == words


Reader = Callable[[Any], Any]
GOOD: list[tuple[Review, Reader, object, object]] = [
    (ACCESS, documents.access, {"allowed": True}, Access(allowed=True)),
    (ACCESS, documents.access, {"allowed": False}, Access(allowed=False)),
    (ACCESS, documents.access, {"allowed": True, "denied": True}, Access(allowed=False)),
    (
        ACCESS,
        documents.access,
        {"allowed": False, "evaluationError": "webhook is away"},
        Access(allowed=False, error="webhook is away"),
    ),
    (SUBJECT, documents.subject, {"userInfo": USER}, BOB),
    (SUBJECT, documents.subject, {"userInfo": {"username": "x"}}, UserInfo("x")),
    (TOKEN, documents.token_status, {}, TokenStatus(None)),
    (
        TOKEN,
        documents.token_status,
        {"authenticated": False, "error": "e"},
        TokenStatus(None, error="e"),
    ),
    (
        TOKEN,
        documents.token_status,
        {"authenticated": True, "user": USER, "audiences": ["here"]},
        TokenStatus(BOB, ("here",)),
    ),
    (
        RULES,
        documents.rules,
        {
            "resourceRules": [
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}
            ],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}],
            "incomplete": False,
        },
        Rules(
            (
                Rule(("get",), ("",), ("pods",), ("p",)),
                Rule(("get",), paths=("/version",)),
            ),
            complete=True,
        ),
    ),
    (
        RULES,
        documents.rules,
        {"resourceRules": None, "nonResourceRules": [], "incomplete": True},
        Rules((), complete=False),
    ),
    (
        RULES,
        documents.rules,
        {"resourceRules": [], "incomplete": False, "evaluationError": "a role is missing"},
        Rules((), complete=False, error="a role is missing"),
    ),
]


@pytest.mark.parametrize(("review", "reader", "status", "meaning"), GOOD)
def test_a_whole_answer_is_taken(
    review: Review, reader: Reader, status: object, meaning: object
) -> None:
    assert documents.read(*answered(review, status), review, reader) == meaning


MALFORMED: list[tuple[Review, Reader, object]] = [
    (ACCESS, documents.access, None),
    (ACCESS, documents.access, []),
    (ACCESS, documents.access, {}),
    (ACCESS, documents.access, {"allowed": "true"}),
    (ACCESS, documents.access, {"allowed": 1}),
    (ACCESS, documents.access, {"allowed": True, "denied": "no"}),
    (ACCESS, documents.access, {"allowed": False, "evaluationError": ["e"]}),
    (SUBJECT, documents.subject, {}),
    (SUBJECT, documents.subject, {"userInfo": {}}),
    (SUBJECT, documents.subject, {"userInfo": "bob"}),
    (SUBJECT, documents.subject, {"userInfo": {"username": ""}}),
    (SUBJECT, documents.subject, {"userInfo": {"username": ["bob"]}}),
    (SUBJECT, documents.subject, {"userInfo": {"username": "bob", "groups": "a"}}),
    (SUBJECT, documents.subject, {"userInfo": {"username": "bob", "groups": [1]}}),
    (SUBJECT, documents.subject, {"userInfo": {"username": "bob", "extra": {"k": "v"}}}),
    (TOKEN, documents.token_status, {"authenticated": True}),
    (TOKEN, documents.token_status, {"authenticated": "yes", "user": USER}),
    (TOKEN, documents.token_status, {"authenticated": True, "user": USER, "audiences": "a"}),
    (RULES, documents.rules, {"resourceRules": [1]}),
    (RULES, documents.rules, {"resourceRules": [{"verbs": "get"}]}),
    (RULES, documents.rules, {"resourceRules": [], "incomplete": "no"}),
    (RULES, documents.rules, {"resourceRules": [], "evaluationError": ["e"]}),
]


@pytest.mark.parametrize(("review", "reader", "status"), MALFORMED)
def test_whatever_else_there_is_is_unknown(review: Review, reader: Reader, status: object) -> None:
    answer = documents.read(*answered(review, status), review, reader)
    assert isinstance(answer, Unknown)
    assert review.kind in answer.why


@pytest.mark.parametrize(
    ("code", "body", "why"),
    [
        (200, b"", "no JSON"),
        (200, b"[" * 100_000, "no JSON"),
        (200, b"[1]", "malformed"),
        (200, b'{"kind":"Status"}', "another kind"),
        (403, b'{"message":"you may not"}', "status 403: you may not"),
        (404, b"{}", "status 404"),
        (500, b'{"message":["x"]}', "status 500"),
        (302, b"{}", "status 302"),
    ],
)
def test_what_is_no_answer_says_why(code: int, body: bytes, why: str) -> None:
    answer = documents.read(code, body, ACCESS, documents.access)
    assert isinstance(answer, Unknown)
    assert why in answer.why


def test_a_yes_under_another_status_is_none() -> None:
    answer = documents.read(*answered(ACCESS, {"allowed": True}, 403), ACCESS, documents.access)
    assert isinstance(answer, Unknown)
    assert answer.status == 403


def test_what_the_api_server_says_is_cut_before_it_is_logged() -> None:
    body = json.dumps({"message": "x" * 10_000}).encode()
    answer = documents.read(500, body, ACCESS, documents.access)
    assert isinstance(answer, Unknown)
    assert len(answer.why) < 500


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(MEMBERS) | st.text(), inner),
)


@settings(max_examples=50)
@given(anything, st.sampled_from([ACCESS, SUBJECT, TOKEN, RULES]))
def test_no_answer_whatever_it_is_breaks_anything(status: object, review: Review) -> None:
    for reader in (documents.access, documents.subject, documents.token_status, documents.rules):
        answer = documents.read(*answered(review, status), review, reader)
        assert isinstance(answer, Access | UserInfo | TokenStatus | Rules | Unknown)


@given(st.binary(), st.integers(200, 599))
def test_nor_do_bytes(body: bytes, code: int) -> None:
    assert isinstance(documents.read(code, body, ACCESS, documents.access), Unknown)
