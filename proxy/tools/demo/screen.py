"""What is printed: short, aligned, and coloured only for somebody who looks at a terminal.

Colours are given up when NO_COLOR is set (https://no-color.org) or the terminal is a dumb one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from proxy.tools.demo.people import EVERYONE
from proxy.tools.demo.stage import Stage
from proxy.tools.demo.tour import Outcome, Step

_BOLD, _DIM, _GREEN, _RED = "1", "2", "32", "31"


class Screen:
    """Writes to ``out`` and flushes, so that a reader of a pipe sees it as well."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self._coloured = out.isatty() and not plain

    def stage(self, stage: Stage) -> None:
        """Tell what is running."""
        self._heading("What is running, all of it on loopback")
        self._pairs(
            [
                ("issuer", f"{stage.sign_in.issuer_url}  as tsidp"),
                ("API server", f"{stage.cluster.url}  {stage.cluster.described}"),
                ("proxy", f"{stage.proxy.url}  metrics: {stage.proxy.admin_url}/metrics"),
                ("files", f"{stage.folder}  removed at the end"),
            ]
        )
        self._heading("Who there is, and the groups that a tailnet policy gave them")
        self._pairs((person.name, person.described) for person in EVERYONE.values())
        self._heading("The proxy was started so")
        self._lines([" \\\n      ".join(["headlamp-auth-proxy serve", *stage.proxy.flags])])

    def lines_to_copy(self, stage: Stage, steps: Iterable[Step]) -> None:
        """Print the tour for somebody to walk it."""
        self._heading("The tour: copy a line at a time into another terminal")
        self._lines([self._paint(_BOLD, f"cd {stage.folder}")])
        for step in steps:
            self._lines(["", self._paint(_DIM, f"# {step.why}")])
            self._lines([self._paint(_BOLD, step.command.line)])
            if step.meanwhile is not None:
                self._lines([self._paint(_DIM, "# meanwhile, in a third terminal:")])
                self._lines([self._paint(_BOLD, step.meanwhile.line)])

    def step(self, number: int, step: Step) -> None:
        """Print a step that is about to be taken."""
        self._write(f"\n{self._paint(_BOLD, f'{number:2}')}  {step.why}\n")
        if step.meanwhile is not None:
            self._write(f"    {self._paint(_DIM, f'$ {step.meanwhile.line}   (meanwhile)')}\n")
        self._write(f"    {self._paint(_BOLD, f'$ {step.command.line}')}\n")

    def outcome(self, outcome: Outcome) -> None:
        """Print what came of it."""
        for line in outcome.output.splitlines():
            self._write(f"    {line}\n")
        for missing in outcome.missing:
            self._write(f"    {self._paint(_RED, f'FAILED: expected {missing}')}\n")

    def verdict(self, failed: list[int], total: int, seconds: float) -> None:
        if failed:
            numbers = ", ".join(map(str, failed))
            text = self._paint(_RED, f"FAILED: step {numbers} of {total} did not end as expected")
        else:
            text = self._paint(_GREEN, f"All {total} steps ended as expected")
        self._write(f"\n{text} ({seconds:.1f} s).\n")

    def headlamp(self, stage: Stage) -> None:
        """Tell how a Headlamp would be pointed at the proxy."""
        sign_in = stage.sign_in
        self._heading("A Headlamp would be pointed at it with")
        self._pairs(
            [
                ("environment", "KUBERNETES_SERVICE_HOST=127.0.0.1"),
                ("", f"KUBERNETES_SERVICE_PORT={stage.proxy.port}"),
                ("files", f"{stage.trust}"),
                ("", "mounted at /var/run/secrets/kubernetes.io/serviceaccount"),
                ("flags", "-in-cluster -oidc-use-pkce -me-username-path=email"),
                ("", "-oidc-scopes=profile,email"),
                ("", f"-oidc-idp-issuer-url={sign_in.issuer_url}"),
                ("", f"-oidc-ca-file={sign_in.issuer_ca}"),
                ("", f"-oidc-client-id={stage.client.id}"),
                ("", f"-oidc-client-secret={stage.client.secret}"),
                ("in a browser", "http://localhost:4466"),
            ]
        )

    def note(self, text: str) -> None:
        self._write(f"\n{text}\n")

    def _heading(self, text: str) -> None:
        self._write(f"\n{self._paint(_BOLD, text)}\n")

    def _pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._lines(f"{name:14}{value}" for name, value in pairs)

    def _lines(self, lines: Iterable[str]) -> None:
        self._write("".join(f"  {line}".rstrip() + "\n" for line in lines))

    def _paint(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._coloured else text

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
