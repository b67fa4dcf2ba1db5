"""An audit policy in a file: what is taken, what is warned of, what is refused."""

from __future__ import annotations

import pytest

from proxy.audit.policy import NO_STAGES, STAGES
from proxy.audit.policy_file import InvalidPolicy, parse_policy
from proxy.requestinfo import resolve

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
POD = resolve(b"GET", b"/api/v1/namespaces/default/pods/web")


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        parse_policy(text.encode())
    return list(caught.value.problems)


def test_every_field_is_taken_and_stages_are_left_out_for_all_and_for_one() -> None:
    policy, warnings = parse_policy(
        (
            HEAD
            + """
metadata: {name: p, labels: {a: 1}}
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [tom], userGroups: [g], verbs: [get]}
- level: Metadata
  namespaces: [default]
  resources: [{group: "", resources: [pods], resourceNames: [web]}]
  omitStages: [ResponseStarted]
  omitManagedFields: false
- {level: Metadata, nonResourceURLs: ["/metrics", "/healthz*", "*"]}
"""
        ).encode()
    )
    assert warnings == []
    assert policy.stages("tim", (), POD) == {"ResponseComplete", "Panic"}
    assert policy.stages("tom", ("g",), POD) == NO_STAGES


def test_levels_with_bodies_count_as_metadata_and_say_so() -> None:
    rules = "rules: [{level: Request}, {level: Metadata}, {level: RequestResponse}]"
    policy, (warning,) = parse_policy((HEAD + rules).encode())
    assert policy.stages("tim", (), POD) == frozenset(STAGES)
    assert warning.startswith("rules[0], rules[2]: bodies of requests and responses are not")


def test_what_kube_apiserver_only_warns_of_is_a_warning() -> None:
    document = HEAD + "rules: [{level: Metadata, nameSpaces: [a]}]\nkind: Policy\n"
    _, warnings = parse_policy(document.encode())
    assert warnings == [
        'strict decoding error: yaml: line 4: key "kind" already set in map',
        (
            'strict decoding error: unknown field "rules[0].nameSpaces"; it is ignored, so the '
            "rule may match more than is meant; did you mean namespaces?"
        ),
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("verb: [get]", '"rules[0].verb"; MORE; did you mean verbs?'),
        ("resources: [{groups: a}]", '"rules[0].resources[0].groups"; MORE; did you mean group?'),
        ("x: [get]", '"rules[0].x"; MORE'),
    ],
)
def test_an_unknown_field_is_said_with_what_comes_of_it(rule: str, said: str) -> None:
    _, (warning,) = parse_policy((HEAD + "rules: [{level: Metadata, " + rule + "}]").encode())
    more = "it is ignored, so the rule may match more than is meant"
    assert warning == f"strict decoding error: unknown field {said.replace('MORE', more)}"


def test_an_unknown_field_is_said_with_what_it_has_caused() -> None:
    assert problems_of(HEAD + "rule: [{level: Metadata}]") == [
        "loaded illegal policy with 0 rules; it needs at least one under rules:",
        'strict decoding error: unknown field "rule"; did you mean rules?',
    ]
    assert problems_of(HEAD + "omitStage: [a]\nrules: {}")[1] == (
        'strict decoding error: unknown field "omitStage"; did you mean omitStages?'
    )


def test_every_problem_is_said_at_once_in_the_usual_words() -> None:
    document = (
        HEAD
        + """
omitStages: [Never]
rules:
- {users: [a]}
- {level: All}
- level: Metadata
  nonResourceURLs: [metrics, "/a*b", ""]
  resources: [{group: rbac.authorization.k8s.io/v1, resourceNames: [x]}]
  omitStages: [requestReceived]
"""
    )
    stages = "RequestReceived,ResponseStarted,ResponseComplete,Panic"
    found = problems_of(document)
    group = 'rules[2].resources.group: Invalid value: "rbac.authorization.k8s.io/v1": a lowercase'
    (about_group,) = [problem for problem in found if problem.startswith(group)]
    found.remove(about_group)
    assert found == [
        f'omitStages[0]: Invalid value: "Never": allowed stages are {stages}',
        "rules[0].level: Required value",
        (
            'rules[1].level: Unsupported value: "All": supported values: '
            '"Metadata", "None", "Request", "RequestResponse"'
        ),
        (
            'rules[2].nonResourceURLs[0]: Invalid value: "metrics": non-resource URL rules must '
            "begin with a '/' character"
        ),
        (
            "rules[2].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' "
            "must be the final character of the rule"
        ),
        (
            'rules[2].nonResourceURLs[2]: Invalid value: "": non-resource URL rules must begin '
            "with a '/' character"
        ),
        (
            'rules[2].resources.resourceNames: Invalid value: ["x"]: using resourceNames requires '
            "at least one resource"
        ),
        f'rules[2].omitStages[0]: Invalid value: "requestReceived": allowed stages are {stages}',
        (
            'rules[2].nonResourceURLs: Invalid value: ["metrics","/a*b",""]: rules cannot apply to '
            "both regular resources and non-resource URLs"
        ),
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("", "failed decoding: Object 'Kind' is missing"),
        ("kind: Policy", "failed decoding: Object 'apiVersion' is missing"),
        ("{", "failed decoding: neither YAML nor JSON"),
        ("[]", "failed decoding: couldn't get version/kind"),
        (HEAD.replace("Policy", "Event"), "failed decoding: expected Policy, got 'Event'"),
        (HEAD.replace("v1", "v1beta1"), "failed decoding: no kind"),
        (HEAD, "loaded illegal policy with 0 rules"),
        (HEAD + "rules: {}", "failed decoding: rules: cannot unmarshal object"),
        (HEAD + "rules: [{level: [a]}]", "failed decoding: rules[0].level: cannot unmarshal array"),
    ],
)
def test_what_is_no_policy_is_refused(document: str, problem: str) -> None:
    (found,) = problems_of(document)
    assert found.startswith(problem)
