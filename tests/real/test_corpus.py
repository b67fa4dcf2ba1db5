"""The corpus through the program to a real kube-apiserver: what its audit log says it was asked.

Each case has a user of its own, so the audit log tells whose requests are whose; a request that
reached the API server without an identity would be there under the proxy's own name.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.corpus import REVIEW, REVIEWS, Case, Seen
from tests.corpus.every import CASES
from tests.differential import Answers, Observation, methods
from tests.issuer import FakeIssuer
from tests.real.cluster import AUDIT_TIMEOUT, AuditEvent, Cluster, asks_about_itself
from tests.serving import Serve, issuer_in_thread

ACCOUNT = "system:serviceaccount:corpus:proxy"
RIGHTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: proxy, namespace: corpus}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: corpus-impersonates-anybody}
rules: [{apiGroups: [""], resources: [users, groups], verbs: [impersonate]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: corpus-impersonates-anybody}
roleRef:
  {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: corpus-impersonates-anybody}
subjects: [{kind: ServiceAccount, name: proxy, namespace: corpus}]
"""
AT_ONCE = 60  # connections; most of their time is the proxy's lingering after a refusal
PATIENCE = 60.0  # seconds for one case, all others going on beside it


@dataclass(frozen=True)
class Stage:
    cluster: Cluster
    issuer: FakeIssuer
    serve: Serve
    token: str  # the proxy's own


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("corpus")
    cluster.kubectl("create", "namespace", "corpus")
    cluster.apply(RIGHTS)
    token = cluster.service_account_token("corpus", "proxy")
    (folder / "token").write_text(token)
    with issuer_in_thread() as (issuer, _):
        serve = Serve(
            folder,
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            f"--upstream={cluster.url}",
            f"--upstream-ca-file={cluster.ca_file}",
            f"--upstream-token-file={folder / 'token'}",
        )
        with serve:
            serve.wait_ready()
            yield Stage(cluster, issuer, serve, token)


@pytest.mark.timeout(300)
def test_the_api_server_sees_the_requests_of_every_case_and_no_other(stage: Stage) -> None:
    users = {f"case-{number}@example.com": case for number, case in enumerate(CASES)}
    before = len(stage.cluster.audit_events())
    observations = asyncio.run(_send_all(stage, users))
    expected = {
        user: [_shown(seen) for seen in _audited(case, observations[user])]
        for user, case in users.items()
    }
    seen = _wait_for(stage.cluster, before, expected)
    assert ACCOUNT not in seen  # nothing was done as the proxy itself
    assert {
        users[user].name: (seen.get(user, []), expected[user])
        for user in users
        if seen.get(user, []) != expected[user]
    } == {}
    assert {
        users[user].name: (observed.answers, observed.unreadable)
        for user, observed in observations.items()
        if not _answered(users[user], observed)
    } == {}


async def _send_all(stage: Stage, users: dict[str, Case]) -> dict[str, Observation]:
    tls = ssl.create_default_context(cafile=str(stage.serve.ca_file))
    free = asyncio.Semaphore(AT_ONCE)

    async def send(user: str, case: Case) -> Observation:
        token = stage.issuer.token(user, ["developers"]).encode()
        async with free, asyncio.timeout(PATIENCE):
            return await _send(stage.serve.port, tls, case, case.stream.replace(b"alice", token))

    observations = await asyncio.gather(*(send(user, case) for user, case in users.items()))
    return dict(zip(users, observations, strict=True))


async def _send(port: int, tls: ssl.SSLContext, case: Case, stream: bytes) -> Observation:
    observed = Observation()
    answers = Answers(observed, methods(case))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost"
    )
    writer.write(stream)
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            answers.receive(data)
            if not case.closes and len(observed.answers) >= len(case.expected(ended=False)):
                break
        else:
            observed.ended = True
    writer.transport.abort()
    return observed


def _audited(case: Case, observed: Observation) -> list[Seen]:
    """What of a case the API server's audit log must know, in order."""
    return [
        outcome
        for outcome in case.expected(ended=observed.ended)
        if isinstance(outcome, Seen) and not outcome.rejected
    ]


def _shown(seen: Seen) -> tuple[str, bytes, bool]:
    """What is compared of a request: verb, target, and whether its body came as it was."""
    verb = "create" if (seen.method, seen.target) == (b"POST", REVIEWS) else ""
    if not seen.target.startswith((b"/api", b"/apis")):
        verb = seen.method.decode().lower()
    return verb, _canonical(seen.target), seen.body == REVIEW and verb == "create"


def _canonical(target: bytes) -> bytes:
    """A target as it means the same: Go writes some characters of a path as escapes."""
    path, mark, query = target.partition(b"?")
    return unquote_to_bytes(path) + mark + query


def _as_seen(event: AuditEvent) -> tuple[str, bytes, bool]:
    target = event["requestURI"].encode()
    resource = target.startswith((b"/api", b"/apis"))
    verb = event["verb"] if not resource or event["verb"] == "create" else ""
    return verb, _canonical(target), verb == "create" and event["responseStatus"]["code"] == 201


def _answered(case: Case, observed: Observation) -> bool:
    """Whether each request had its answer, the refused ones the proxy's."""
    expected = case.expected(ended=observed.ended)
    return (
        not observed.unreadable
        and len(observed.answers) == len(expected)
        and all(
            isinstance(outcome, Seen) or answer.status == outcome.status
            for answer, outcome in zip(observed.answers, expected, strict=True)
        )
    )


def _wait_for(
    cluster: Cluster, before: int, expected: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Return what the audit log says was asked, by user, once it says enough or in vain."""
    deadline = time.monotonic() + AUDIT_TIMEOUT
    while True:
        events = [
            e
            for e in cluster.audit_events()[before:]
            if e["user"]["username"] == ACCOUNT and not asks_about_itself(e)
        ]
        events.sort(key=lambda event: event["requestReceivedTimestamp"])
        seen = defaultdict(list)
        for event in events:
            who = event.get("impersonatedUser") or event["user"]
            seen[who["username"]].append(_as_seen(event))
        if len(events) >= sum(map(len, expected.values())) or time.monotonic() > deadline:
            return dict(seen)
        time.sleep(0.1)


def _ask_directly(stage: Stage, *fields: tuple[str, str]) -> tuple[int, dict[str, Any]]:
    """Ask the API server, with the proxy's own credential, who is asking."""
    connection = http.client.HTTPSConnection(
        stage.cluster.host,
        stage.cluster.port,
        context=ssl.create_default_context(cafile=stage.cluster.ca_file),
    )
    with contextlib.closing(connection):
        connection.putrequest("POST", REVIEWS.decode())
        for name, value in (
            ("Authorization", f"Bearer {stage.token}"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(REVIEW))),
            *fields,
        ):
            connection.putheader(name, value)
        connection.endheaders(REVIEW)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_a_lost_user_is_a_400_as_long_as_a_group_is_left(stage: Stage) -> None:
    """The last line of defence: it is the API server's own, and so it is tested there."""
    group = ("Impersonate-Group", "headlamp-auth-proxy:authenticated")
    status, document = _ask_directly(stage, ("Impersonate-User", "alice@example.com"), group)
    assert status == 201
    assert document["status"]["userInfo"]["username"] == "alice@example.com"
    status, document = _ask_directly(stage, group)
    assert (status, document["reason"]) == (400, "BadRequest")
    status, document = _ask_directly(stage)  # and this is what it defends from
    assert document["status"]["userInfo"]["username"] == ACCOUNT
