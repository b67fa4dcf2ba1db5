"""The audit policy in a file: an unmodified ``audit.k8s.io/v1`` Policy of kube-apiserver's.

It is decoded and validated as kube-apiserver does, in its words, but every problem is said at once.
As there, an unknown field or one that is given twice is a warning, or goes with the problems, for
it may be their cause. Sources:
k8s.io/apiserver/pkg/audit/policy/reader.go, pkg/apis/audit/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from proxy.audit.policy import LEVELS, NO_STAGES, STAGES, GroupResources, Policy, Rule, Stage
from proxy.authn.configuration import fields
from proxy.authn.configuration.decoding import NotDecodable, decoded, document_of, field_names
from proxy.authn.configuration.types import NAME
from proxy.suggestion import did_you_mean

KIND: Final = "Policy"
VERSION: Final = "audit.k8s.io/v1"

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NO_SUBDOMAIN: Final = (  # k8s.io/apimachinery/pkg/util/validation, IsDNS1123Subdomain
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    f"for validation is '{_SUBDOMAIN.pattern}')"
)
_LONGEST_SUBDOMAIN: Final = 253
_UNKNOWN: Final = re.compile(r'unknown field "(?:(.*?)(?:\[\d+\])?\.)?([^.]*)"')


class InvalidPolicy(Exception):
    """A policy that cannot be used; ``problems`` has one line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resources:
    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    level: str = ""
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[_Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = field(default=(), metadata={NAME: "nonResourceURLs"})
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    api_version: str = ""
    kind: str = ""
    rules: tuple[_Rule, ...] = ()
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False


def parse_policy(content: bytes) -> tuple[Policy, list[str]]:
    """Return the policy that a file holds, and warnings about it. Raises InvalidPolicy."""
    problems: list[str] = []
    strict: list[str] = []
    try:
        document = document_of(content, strict, KIND, [VERSION])
    except NotDecodable as error:
        raise InvalidPolicy([f"failed decoding: {problem}" for problem in error.problems]) from None
    document.pop("metadata", None)
    policy: _Policy = decoded(_Policy, document, "", problems, strict)
    strict = [f"strict decoding error: {problem}{_hint(problem)}" for problem in strict]
    if problems:
        raise InvalidPolicy([*(f"failed decoding: {problem}" for problem in problems), *strict])
    problems = _problems(policy)
    if problems:
        raise InvalidPolicy([*problems, *strict])
    rules = [_rule(rule, policy.omit_stages) for rule in policy.rules]
    return Policy(rules), [*strict, *_above_metadata(policy)]


def _hint(problem: str) -> str:
    """Say what comes of an unknown field, and what was probably meant."""
    found = _UNKNOWN.fullmatch(problem)
    if found is None:
        return ""
    path, name = found.groups()
    if path is None:
        return did_you_mean(name, field_names(_Policy))
    kind = _Resources if path.endswith(".resources") else _Rule
    ignored = "it is ignored, so the rule may match more than is meant"
    return f"; {ignored}{did_you_mean(name, field_names(kind))}"


def _above_metadata(policy: _Policy) -> list[str]:
    asked = [
        f"rules[{n}]"
        for n, rule in enumerate(policy.rules)
        if rule.level in ("Request", "RequestResponse")
    ]
    if not asked:
        return []
    return [
        (
            f"{', '.join(asked)}: bodies of requests and responses are not recorded here, so the "
            "level is taken for Metadata; the API server's own audit log can have them"
        )
    ]


def _rule(rule: _Rule, omitted: Sequence[str]) -> Rule:
    stages = frozenset(STAGES).difference(cast("Sequence[Stage]", (*omitted, *rule.omit_stages)))
    return Rule(
        stages=NO_STAGES if rule.level == "None" else stages,
        users=frozenset(rule.users),
        user_groups=frozenset(rule.user_groups),
        verbs=frozenset(rule.verbs),
        resources=tuple(
            GroupResources(r.group, r.resources, frozenset(r.resource_names))
            for r in rule.resources
        ),
        namespaces=frozenset(rule.namespaces),
        non_resource_urls=rule.non_resource_urls,
    )


def _problems(policy: _Policy) -> list[str]:
    problems = _stage_problems("omitStages", policy.omit_stages)
    for n, rule in enumerate(policy.rules):
        problems += _rule_problems(f"rules[{n}]", rule)
    if not policy.rules:
        problems.append("loaded illegal policy with 0 rules; it needs at least one under rules:")
    return problems


def _rule_problems(path: str, rule: _Rule) -> list[str]:
    problems: list[str] = []
    if not rule.level:
        problems.append(fields.required(f"{path}.level"))
    elif rule.level not in LEVELS:
        problems.append(fields.not_supported(f"{path}.level", rule.level, LEVELS))
    for n, url in enumerate(rule.non_resource_urls):
        problems += _url_problems(f"{path}.nonResourceURLs[{n}]", url)
    for resources in rule.resources:
        problems += _resource_problems(f"{path}.resources", resources)
    problems += _stage_problems(f"{path}.omitStages", rule.omit_stages)
    if rule.non_resource_urls and (rule.resources or rule.namespaces):
        detail = "rules cannot apply to both regular resources and non-resource URLs"
        urls = rule.non_resource_urls
        problems.append(fields.invalid_list(f"{path}.nonResourceURLs", urls, detail))
    return problems


def _url_problems(path: str, url: str) -> list[str]:
    if url == "*":
        return []
    problems = []
    if not url.startswith("/"):
        detail = "non-resource URL rules must begin with a '/' character"
        problems.append(fields.invalid(path, url, detail))
    if "*" in url[:-1]:
        detail = "non-resource URL wildcards '*' must be the final character of the rule"
        problems.append(fields.invalid(path, url, detail))
    return problems


def _resource_problems(path: str, resources: _Resources) -> list[str]:
    problems = []
    if resources.group not in ("", "*") and (wrong := _no_subdomain(resources.group)):
        problems.append(fields.invalid(f"{path}.group", resources.group, ",".join(wrong)))
    if resources.resource_names and not resources.resources:
        detail = "using resourceNames requires at least one resource"
        names = resources.resource_names
        problems.append(fields.invalid_list(f"{path}.resourceNames", names, detail))
    return problems


def _no_subdomain(name: str) -> list[str]:
    wrong = []
    if len(name.encode()) > _LONGEST_SUBDOMAIN:
        wrong.append(f"must be no more than {_LONGEST_SUBDOMAIN} bytes")
    if not _SUBDOMAIN.fullmatch(name):
        wrong.append(_NO_SUBDOMAIN)
    return wrong


def _stage_problems(path: str, stages: Sequence[str]) -> list[str]:
    return [
        fields.invalid(f"{path}[{n}]", stage, f"allowed stages are {','.join(STAGES)}")
        for n, stage in enumerate(stages)
        if stage not in STAGES
    ]
