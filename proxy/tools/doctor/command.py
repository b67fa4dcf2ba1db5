"""The command ``doctor``: its arguments, its display, its exit status.

Standard output carries the account alone; on a terminal, what is being tried shows on standard
error while it is tried. Nothing is asked of standard input unless a file is given as ``-``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp

from proxy.config import Config
from proxy.tools.deploy.arguments import usage
from proxy.tools.doctor.causes import DEPENDS_ON_FAILED, SETTINGS_REFUSED
from proxy.tools.doctor.display import Display
from proxy.tools.doctor.examination import Asked, Examination, Known
from proxy.tools.doctor.login import login_first
from proxy.tools.doctor.settings import OWN, Request, UsageError, output_of, understood
from proxy.tools.doctor.trusts import EVERY_TRUST
from proxy.tools.doctor.verdict import Finding, Status, Verdict, failed, skipped
from proxy.tools.doctor.walk import Trust, walk

FAILED: Final = 1
USAGE: Final = 2

DETAILS: Final = f"""\
Examines the five trusts that a login rests on, in order, and says of each what was tried, what
was seen and, where it fails, the one change that mends it.

    kubectl exec deploy/headlamp -c auth-proxy -- headlamp-auth-proxy doctor
    headlamp-auth-proxy doctor --headlamp-url=https://headlamp.example.com \\
        --oidc-issuer-url=https://idp.tail1234.ts.net --oidc-client-id=4f1c... \\
        --admin-kubeconfig=$HOME/.kube/config --service-account=headlamp/headlamp \\
        --user=alice@example.com

{usage(OWN)}
Takes the flags, the environment and the --config of serve as well. What is not given is not
examined. docs/doctor.md has every cause.

Exit status: 0 nothing has failed, 1 something has, 2 usage: nothing was examined.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    try:
        request = understood(arguments)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        if output_of(arguments) == "json":
            _print_json([], error.problems, ok=False)
        return USAGE
    # What the parts of serve would log is said by the verdicts.
    logging.getLogger("proxy").addHandler(logging.NullHandler())
    display = Display(sys.stdout if request.output == "text" else None, sys.stderr)
    refused = request.settings.refused
    if request.output == "json":  # the text has each with its trust
        sys.stderr.write("".join(f"{problem}\n" for problem in refused))
    if refused and not request.settings.usable:
        findings = asyncio.run(_nothing_examined(refused, display))
    else:
        try:
            findings = asyncio.run(_examined(request, display))
        except KeyboardInterrupt:
            display.clear()
            raise
    display.finish(findings)
    ok = not refused and all(finding.worst.status is not Status.FAILED for finding in findings)
    if request.output == "json":
        _print_json(findings, refused, ok=ok)
    return 0 if ok else FAILED


async def _examined(request: Request, display: Display) -> list[Finding]:
    settings = request.settings
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"User-Agent": "headlamp-auth-proxy doctor"},
    ) as session:
        known = Known(request.asked)
        examination = Examination(settings.config, request.asked, session, _unheard, known)
        if request.asked.login:
            await login_first(examination, request.seconds, display.show)
        trusts = [
            _as_refused(trust, settings.refused, usable=settings.usable) or trust
            for trust in EVERY_TRUST
        ]
        return await walk(trusts, examination, display, request.seconds)


async def _nothing_examined(refused: Sequence[str], display: Display) -> list[Finding]:
    """Say which trust each refused setting belongs to."""

    async def waiting(_: Examination) -> AsyncIterator[Verdict]:
        yield skipped(DEPENDS_ON_FAILED, "the settings come first")

    trusts = [_as_refused(t, refused) or Trust(t.id, (waiting,)) for t in EVERY_TRUST]
    async with aiohttp.ClientSession() as session:
        asked = Asked()
        examination = Examination(Config(), asked, session, _unheard, Known(asked))
        return await walk(trusts, examination, display, math.inf)


def _as_refused(trust: Trust, refused: Sequence[str], *, usable: bool = False) -> Trust | None:
    """Return a trust that has nothing to say but which of its settings are refused."""
    mine = [
        problem
        for problem in refused
        if _trust_of(problem) == trust.id and not (usable and problem.startswith(_EXAMINED))
    ]

    async def refusing(_: Examination) -> AsyncIterator[Verdict]:
        for problem in mine:
            yield failed(SETTINGS_REFUSED, problem, f"correct {_subject_of(problem)}")

    return Trust(trust.id, (refusing,)) if mine else None


def _unheard(_: str) -> None:
    """Nobody listens before the walk has begun."""


# Files that the examiner of their trust looks into itself, and says more of.
_EXAMINED: Final = ("--kubeconfig ", "--upstream-ca-file ")
_IDENTITY: Final = ("--groups-allow", "--allow-reserved", "--reserved", "--authenticated-group")
_TOKENS: Final = ("--oidc", "--authentication-config", "--disallowed-issuer", "--token-passthrough")


def _trust_of(problem: str) -> int:
    """Return the trust that a problem of the configuration belongs to, by the flag it names."""
    if problem.startswith("--oidc-client-id"):
        return 3
    if problem.startswith(_TOKENS):
        return 2
    return 5 if problem.startswith((*_IDENTITY, "--deny-file")) else 4


def _subject_of(problem: str) -> str:
    """Return the flag of a problem, with the value that it has there and whence it comes."""
    subject, given, _ = problem.partition("): ")
    return f"{subject})" if given else problem.partition(":")[0]


def _print_json(findings: Sequence[Finding], problems: Sequence[str], *, ok: bool) -> None:
    result: dict[str, Any] = {"ok": ok, "trusts": [finding.as_json() for finding in findings]}
    if problems:
        result["error"] = "\n".join(problems)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
