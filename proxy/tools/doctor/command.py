"""The command ``doctor``: its arguments, its display, its exit status.

Standard output carries the account alone; on a terminal, what is being tried shows on standard
error while it is tried. Nothing is asked of standard input unless a file is given as ``-``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Final

import aiohttp

from proxy.tools.deploy.arguments import usage
from proxy.tools.doctor.causes import DEPENDS_ON_FAILED, SETTINGS_REFUSED, TRUSTS
from proxy.tools.doctor.display import Display
from proxy.tools.doctor.examination import Examination, Known
from proxy.tools.doctor.login import login_first
from proxy.tools.doctor.settings import OWN, Request, UsageError, output_of, understood
from proxy.tools.doctor.trusts import EVERY_TRUST
from proxy.tools.doctor.verdict import Finding, Status, failed, skipped
from proxy.tools.doctor.walk import walk

FAILED: Final = 1
USAGE: Final = 2

DETAILS: Final = f"""\
Examines the five trusts that a login rests on, in order, and says of each what was tried, what
was seen and, where it fails, the one change that mends it.

    kubectl exec deploy/headlamp -c auth-proxy -- headlamp-auth-proxy doctor
    headlamp-auth-proxy doctor --headlamp-url=https://headlamp.example.com \\
        --oidc-issuer-url=https://idp.tail1234.ts.net --oidc-client-id=4f1c... \\
        --kubeconfig=$HOME/.kube/config

{usage(OWN)}
Takes the flags, the environment and the --config of serve as well. What is not given is not
examined. docs/doctor.md has every cause.

Exit status: 0 nothing has failed, 1 something has, 2 usage, or settings that serve would refuse.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    try:
        request = understood(arguments)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        if output_of(arguments) == "json":
            _print_json([], error.problems)
        return USAGE
    display = Display(sys.stdout if request.output == "text" else None, sys.stderr)
    if request.refused:
        return _refuse(request, display)
    try:
        findings = asyncio.run(_examined(request, display))
    except KeyboardInterrupt:
        display.clear()
        return FAILED
    display.finish(findings)
    if request.output == "json":
        _print_json(findings)
    return 0 if _is_well(findings) else FAILED


async def _examined(request: Request, display: Display) -> list[Finding]:
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"User-Agent": "headlamp-auth-proxy doctor"},
    ) as session:
        known = Known(request.asked)
        examination = Examination(request.config, request.asked, session, lambda _what: None, known)
        if request.asked.login:
            await login_first(examination, request.seconds, display.show)
        return await walk(EVERY_TRUST, examination, display, request.seconds)


def _refuse(request: Request, display: Display) -> int:
    """Say which trust each refused setting belongs to; nothing is examined with such settings."""
    sys.stderr.write("".join(f"{problem}\n" for problem in request.refused))
    findings = []
    for id_, name in TRUSTS.items():
        mine = [problem for problem in request.refused if _trust_of(problem) == id_]
        verdicts = [failed(SETTINGS_REFUSED, problem, problem) for problem in mine]
        others = skipped(DEPENDS_ON_FAILED, "the settings come first")
        findings.append(Finding(id_, name, verdicts or [others]))
    display.finish(findings)
    if request.output == "json":
        _print_json(findings, request.refused)
    return USAGE


def _trust_of(problem: str) -> int:
    return 4 if problem.startswith(("--upstream", "--kubeconfig", "--listen")) else 2


def _is_well(findings: Sequence[Finding]) -> bool:
    return all(finding.worst.status is not Status.FAILED for finding in findings)


def _print_json(findings: Sequence[Finding], problems: Sequence[str] = ()) -> None:
    result = {
        "ok": not problems and _is_well(findings),
        "trusts": [finding.as_json() for finding in findings],
    }
    if problems:
        result["error"] = "\n".join(problems)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
