"""Trust 5: what RBAC lets the user do, asked as the user, and who would have to be bound if not.

The question is put with the identity that ``serve`` would assert, by the proxy's own account where
that may, else by an administrator. Why nothing is granted is ``grants``' to say, where bindings may
be read; the API server's own list names roles that do not exist even where they may not.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from proxy.credentials.kubeconfig import KubeconfigError
from proxy.reviews.client import Header, asserting
from proxy.reviews.documents import Access, Question, Unknown
from proxy.reviews.rules import Granted, granted
from proxy.tools.doctor import causes
from proxy.tools.doctor.admin import administrator
from proxy.tools.doctor.bindings import Bindings, Subject
from proxy.tools.doctor.cluster import Cluster, opened, way_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.grants import Sought, bound_to, people_binding, reasons
from proxy.tools.doctor.person import NotAuthenticated, Person, person
from proxy.tools.doctor.verdict import Verdict, failed, ok, skipped, unknown

DEFAULT_NAMESPACE: Final = "default"  # where Headlamp itself asks
# Asked where the list of rules is not the whole of what is allowed.
_PROBES: Final = (
    Question("list", resource="namespaces"),
    Question("list", resource="pods"),
    Question("list", "apps", "deployments"),
)


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Say all that is to be said of what the user may do."""
    try:
        who = await person(x)
    except NotAuthenticated as error:
        yield skipped(
            causes.NOT_ASKED,
            f"the token is not let in, so it is nobody's here: {error}",
            "see `headlamp-auth-proxy explain` for each step; --user and --group need no token",
        )
        return
    if who is None:
        yield skipped(
            causes.NOT_ASKED,
            "nobody is named",
            "give --login, --token-file=FILE, or --user=NAME and --group=NAME",
        )
        return
    if who.identity is None:
        if not who.claims:  # of a token, it is said already
            yield _refused(who)
        return
    async with contextlib.AsyncExitStack() as stack:
        clusters = []
        # The proxy's own account first, for that is how it is in earnest.
        with contextlib.suppress(KubeconfigError):  # said for trust 4
            if (way := way_of(x.config)) is not None:
                clusters.append(await stack.enter_async_context(opened(way, x.session)))
        admin = await stack.enter_async_context(administrator(x))
        if isinstance(admin, Verdict):
            yield admin
        elif admin is not None:
            clusters.append(admin)
        async for verdict in _examined(x, who, clusters):
            yield verdict


async def _examined(x: Examination, who: Person, clusters: list[Cluster]) -> AsyncIterator[Verdict]:
    if not clusters:
        yield skipped(
            causes.NOT_ASKED,
            "nothing says where the API server is, or who is to ask it",
            "run it in the pod, or give --kubeconfig or --admin-kubeconfig",
        )
        return
    assert who.identity is not None
    headers = asserting(who.identity)
    namespace = x.asked.namespace or DEFAULT_NAMESPACE
    x.say(f"what {who.user.username} may do in {namespace}, asked as them")
    asking, listed = clusters[0], await clusters[0].reviewer.my_rules(namespace, headers)
    for cluster in clusters[1:]:
        if not isinstance(listed, Unknown):
            break
        asking, listed = cluster, await cluster.reviewer.my_rules(namespace, headers)
    if isinstance(listed, Unknown):
        yield _not_asked(listed)
        return
    found = granted(listed)
    bindings = await _bindings(clusters)
    if not found.nothing:
        yield ok(_granted_words(who, namespace, found, bindings))
        return
    sought = _sought(x, who)
    said = 0
    if isinstance(bindings, Bindings):
        x.say("which bindings name them, or almost do")
        for verdict in reasons(sought, bindings):
            said += 1
            yield verdict
    if said:
        return
    if not found.complete and (allowed := await _probed(asking, namespace, headers)):
        yield ok(f"the API server lists nothing for {_name(who)}, and yet allows {allowed}")
        return
    yield _nothing(sought, who, namespace, found, bindings)


async def _bindings(clusters: list[Cluster]) -> Bindings | Unknown:
    """Read the bindings as whoever may, the administrator first."""
    answer: Bindings | Unknown = Unknown("")
    for cluster in reversed(clusters):
        answer = await cluster.bindings()
        if isinstance(answer, Bindings):
            return answer
    return answer


async def _probed(cluster: Cluster, namespace: str, headers: list[Header]) -> str:
    """Return something that the user may do after all, or nothing."""
    for probe in _PROBES:
        where = "" if probe.resource == "namespaces" else namespace
        question = Question(probe.verb, probe.group, probe.resource, namespace=where)
        answer = await cluster.reviewer.may_i(question, headers)
        if isinstance(answer, Access) and answer.allowed:
            return str(question)
    return ""


# --- Words ---------------------------------------------------------------------------------------


def _refused(who: Person) -> Verdict:
    assert who.refused is not None
    return failed(
        causes.TOKEN_CAUSES[who.refused.label],
        f"the proxy answers 403 {who.refused.label}: {who.refused.detail or who.refused.message}",
        "have only those groups pass that RBAC knows (--groups-allow=GLOB), or give the group "
        "another name at the issuer; a reserved one, but never system:masters, may be let in with "
        "--allow-reserved-group"
        if "group" in who.refused.label
        else "have another claim name the user (--oidc-username-claim), or put a prefix before it "
        "(--oidc-username-prefix)",
    )


def _not_asked(listed: Unknown) -> Verdict:
    if listed.status == 403:
        return unknown(
            causes.USER_NOT_IMPERSONATED,
            listed.why,
            "let the proxy's account impersonate them: see trust 4, or give --admin-kubeconfig",
        )
    return unknown(causes.RULES_UNKNOWN, listed.why, "see trust 4 first")


def _granted_words(
    who: Person, namespace: str, found: Granted, bindings: Bindings | Unknown
) -> str:
    by = ""
    if isinstance(bindings, Bindings):
        names = [
            f"{bound.binding} ({bound.subject})"
            for bound in bound_to(who.user, bindings)
            if not bound.binding.namespace or bound.binding.namespace == namespace
        ]
        by = f"; by {', '.join(dict.fromkeys(names))}" if names else ""
    return f"{_name(who)} may, in {namespace}: {found}{by}"


def _nothing(
    sought: Sought, who: Person, namespace: str, found: Granted, bindings: Bindings | Unknown
) -> Verdict:
    subject = Subject("User", who.user.username)
    saw = f"{_name(who)}, in {namespace}: {found}"
    if "not found" in found.error:
        return failed(
            causes.ROLE_MISSING,
            f"{saw}; a role that is bound to them does not exist: {found.error}",
            people_binding(subject, namespace=sought.namespace),
        )
    if sought.unread:
        read = ", ".join(sought.groups_claims)
        return failed(
            causes.GROUPS_NOT_READ,
            f"{saw}; groups are read from {read}, and the token has them in {sought.unread}",
            f"--oidc-groups-claim={sought.unread}",
        )
    if isinstance(bindings, Unknown):
        saw += (
            "; which bindings almost name them cannot be seen by this account (--admin-kubeconfig)"
        )
    else:
        saw += "; no binding names them, or almost does"
    if not found.complete:
        return unknown(
            causes.RULES_UNKNOWN,
            f"{saw}; the list is not whole{f' ({found.error})' if found.error else ''}",
            people_binding(subject, namespace=sought.namespace),
        )
    return failed(causes.NOTHING_GRANTED, saw, people_binding(subject, namespace=sought.namespace))


def _sought(x: Examination, who: Person) -> Sought:
    assert who.identity is not None
    sent = set(who.identity.groups)
    dropped = tuple(group for group in who.raw.groups if group not in sent)
    read = () if x.config.authentication_config else x.config.oidc_groups_claim
    return Sought(who.user, dropped, who.claims, x.asked.namespace, read)


def _name(who: Person) -> str:
    groups = [repr(group)[1:-1] for group in who.raw.groups]
    return f"{who.user.username!a} (groups: {', '.join(groups) or 'none'})"
