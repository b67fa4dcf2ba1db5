"""What somebody is granted, in words: the rules of a real API server in, a short list out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.reviews.documents import Rules
from proxy.reviews.rules import NOTHING, Granted, covered, granted
from proxy.rights import GIVEN_TO_ALL, Rule

# As kube-apiserver 1.36 lists them for a user whom no binding names.
DISCOVERY = (
    Rule(("create",), ("authorization.k8s.io",), ("selfsubjectaccessreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("selfsubjectrulesreviews",)),
    Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
    Rule(("get",), paths=("/healthz", "/livez", "/readyz", "/version", "/version/")),
    Rule(("get",), paths=("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")),
)
READ = ("get", "list", "watch")


def of(*rules: Rule, complete: bool = True, error: str = "") -> Granted:
    return granted(Rules((*DISCOVERY, *rules), complete, error))


def test_whom_no_binding_names_has_nothing_beyond_discovery() -> None:
    assert of().nothing
    assert str(of()) == NOTHING


def test_a_list_that_is_not_whole_does_not_say_that_nothing_is_allowed() -> None:
    found = of(complete=False, error='clusterrole "viewer" not found')
    assert found.nothing
    assert not found.complete
    assert found.error == 'clusterrole "viewer" not found'
    assert str(found) == f"{NOTHING}, as far as the API server can list it"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([Rule(READ, ("",), ("pods",))], "get, list, watch on pods"),
        (
            [Rule(("watch", "list", "get"), ("apps",), ("deployments",))],
            "get, list, watch on deployments.apps",
        ),
        ([Rule(("*",), ("*",), ("*",))], "everything on all resources"),
        (
            [Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",))],
            "everything on all resources, *",
        ),
        ([Rule(READ, ("",), ("*",))], "get, list, watch on all of the core API"),
        ([Rule(("get",), ("",), ("secrets",), ("one",))], "get on secrets (one)"),
        ([Rule(("get",), paths=("/metrics",))], "get on /metrics"),
        ([Rule(("impersonate",), ("",), ("users",), ("bob",))], "impersonate on users (bob)"),
        (
            [Rule(("get",), ("",), ("pods", "services")), Rule(("create",), ("",), ("pods",))],
            "get, create on pods; get on services",
        ),
        (
            [Rule(("get",), ("",), ("pods",)), Rule(("*",), ("apps",), ("*",))],
            "everything on all of apps; get on pods",
        ),
    ],
)
def test_what_is_granted(rules: list[Rule], words: str) -> None:
    assert str(of(*rules)) == words


def test_much_is_cut_short_and_counted() -> None:
    many = Rule(READ, ("",), tuple(f"r{n}" for n in range(20)))
    assert str(of(many)).endswith("r7 and 12 more")
    unlike = [Rule((f"verb{n:02}",), ("",), (f"r{n}",)) for n in range(20)]
    assert str(of(*unlike)).endswith("verb07 on r7; and 12 more")


@pytest.mark.parametrize("given", GIVEN_TO_ALL, ids=str)
def test_only_what_is_written_out_is_covered(given: Rule) -> None:
    assert covered(given, GIVEN_TO_ALL)
    assert not covered(replace(given, verbs=("*",)), GIVEN_TO_ALL)
    assert not covered(given, [])
