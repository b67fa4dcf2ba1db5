"""What there is to see, in order: who asks for what, why it ends as it does, and how one can tell.

The same steps are printed to be copied and, with ``--once``, taken and judged.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.tools.demo.children import environment, stop
from proxy.tools.demo.people import ALICE, BOB, CAROL, Person

PATIENCE: Final = 20.0  # seconds for one step
TIMED_OUT: Final = 124  # as timeout(1) has it


@dataclass(frozen=True, slots=True)
class Command:
    """kubectl, as one of the people."""

    person: Person
    words: str

    @property
    def argv(self) -> tuple[str, ...]:
        return ("./kubectl", f"--kubeconfig={self.person.name}", *self.words.split())

    @property
    def line(self) -> str:
        """What one types in the demo's folder."""
        return " ".join(self.argv)


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what must come of it: its exit status, and words in its output.

    A command that would go on for ever is ended once ``until`` was seen; ``meanwhile`` is run once
    it has begun to answer. ``in_pods``: only where pods run.
    """

    why: str
    command: Command
    says: tuple[str, ...]
    status: int = 0
    until: str = ""
    meanwhile: Command | None = None
    in_pods: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step; ``missing`` is what was expected and did not come."""

    output: str
    missing: tuple[str, ...]


STEPS: Final = (
    Step(
        "Who the API server takes alice for. Her groups came in tsidp's token.",
        Command(ALICE, "auth whoami"),
        (ALICE.email, *ALICE.groups, "headlamp-auth-proxy:authenticated"),
    ),
    Step(
        "alice's group k8s-admins is bound to cluster-admin.",
        Command(ALICE, "get pods --all-namespaces"),
        ("web", "worker"),
    ),
    Step(
        "bob's group k8s-viewers may look at the pods of this namespace...",
        Command(BOB, "get pods"),
        ("web", "worker"),
    ),
    Step(
        "... and nothing else. RBAC says so, in the API server's own words.",
        Command(BOB, "delete pod web"),
        (f'User "{BOB.email}" cannot delete resource "pods"',),
        status=1,
    ),
    Step(
        "carol has no groups. She is known, and may do nothing.",
        Command(CAROL, "get pods"),
        (f'User "{CAROL.email}" cannot list resource "pods"',),
        status=1,
    ),
    Step(
        "Nobody may pretend to be somebody else: the proxy refuses --as, even from alice.",
        Command(ALICE, "get pods --as=system:admin"),
        ("Impersonation headers are not accepted here",),
        status=1,
    ),
    Step(
        "A watch stays open, and hears of what others do.",
        Command(ALICE, "get configmaps --watch"),
        ("prices", "fruit"),
        until="fruit",
        meanwhile=Command(ALICE, "create configmap fruit --from-literal=plum=3"),
    ),
    Step(
        "Logs stream.",
        Command(BOB, "logs --follow --tail=2 web"),
        ("POST /orders 201",),
        until="POST /orders 201 12ms\nGET",
        in_pods=True,
    ),
    Step(
        "exec is a tunnel through the proxy.",
        Command(ALICE, "exec web -- echo hello from the pod"),
        ("hello from the pod",),
        in_pods=True,
    ),
    Step(
        "bob may not.",
        Command(BOB, "exec web -- echo hello from the pod"),
        (f'User "{BOB.email}" cannot create resource "pods/exec"',),
        status=1,
        in_pods=True,
    ),
)


def steps_for(*, has_nodes: bool) -> Sequence[Step]:
    return [step for step in STEPS if has_nodes or not step.in_pods]


async def take(step: Step, folder: Path) -> Outcome:
    """Take a step in the demo's folder."""
    output, status = await _run(step, folder)
    missing = [f'"{words}" in the output' for words in step.says if words not in output]
    if status is not None and status != step.status:
        missing.append(f"exit status {step.status}, not {status}")
    return Outcome(output, tuple(missing))


async def _run(step: Step, folder: Path) -> tuple[str, int | None]:
    """Return the output and the exit status, which is None for a command that was ended here."""
    process = await asyncio.create_subprocess_exec(
        *step.command.argv,
        cwd=folder,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
        env=environment(),
    )
    output: list[str] = []
    status: int | None = TIMED_OUT
    try:
        status = await asyncio.wait_for(_follow(process, step, folder, output), PATIENCE)
    except TimeoutError:
        output.append(f"(ended after {PATIENCE:.0f} s)\n")
    finally:
        await stop(process)
    return "".join(output), status


async def _follow(process: Process, step: Step, folder: Path, output: list[str]) -> int | None:
    """Collect the output as it comes; what was done meanwhile comes last."""
    assert process.stdout is not None
    meanwhile, aside = step.meanwhile, ""
    while chunk := await process.stdout.read(65536):
        output.append(chunk.decode(errors="replace"))
        if meanwhile is not None:
            aside, _ = await _run(Step("", meanwhile, ()), folder)
            meanwhile = None
        if step.until and step.until in "".join(output):
            output.append(aside)
            return None
    output.append(aside)
    return await process.wait()
