"""What is said of a session: what was asked for, and how it ended.

What was asked for is in the request's query, read as Go reads it. How it ended comes as a
``Status`` on the error channel, from version 4 of the protocols on; before, and wherever it could
not be read, it is ``unknown``, which is never taken for success.

Source: k8s.io/api/core/v1, PodExecOptions, PodAttachOptions, PodPortForwardOptions;
k8s.io/apimachinery/pkg/util/remotecommand/constants.go for the exit code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from proxy.requestinfo import RequestInfo, query_values

MAX_STATUS_BYTES: Final = 64 * 1024
MAX_ARGUMENTS: Final = 256
MAX_COMMAND: Final = 4096  # characters, of all arguments
MAX_NAME: Final = 256  # characters, in a log
MAX_PORTS: Final = 32

ANNOTATION: Final = "headlamp-auth-proxy.dev/session"  # what the keys begin with
SESSIONS: Final = frozenset({"exec", "attach", "portforward"})
TERMINALS: Final = frozenset({"exec", "attach"})

ExitStatus = int | Literal["failed", "unknown"]


@dataclass(slots=True)
class Facts:
    """A session; what does not apply is empty.

    ``command`` is cut where it is very long. ``ports`` are those that the client named, each once.
    ``exit_status`` is that of the command, ``failed`` where there was none because the session
    itself failed, and None where there can be none (a port-forward). ``recording`` is the name of
    its file, and ``truncated`` why that is not whole. ``duration``, in seconds, is None while
    or where no session came about; bytes are those of the tunnel, framing included.
    """

    kind: str
    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    tty: bool = False
    ports: tuple[int, ...] = ()
    exit_status: ExitStatus | None = None
    recording: str = ""
    truncated: str = ""
    duration: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0

    def fields(self) -> Mapping[str, object]:
        """Return what a log says: of a command only the program, for logs travel far.

        Its arguments may be secrets. Duration and bytes are in every line.
        """
        return _given(
            {
                "container": self.container[:MAX_NAME],
                "program": self.command[0][:MAX_NAME] if self.command else "",
                "tty": self.tty or "",
                "ports": list(self.ports) or "",
                "exit_status": "" if self.duration is None else self.exit_status,
                "recording": self.recording,
                "recording_truncated": self.truncated,
            }
        )

    def annotations(self) -> Mapping[str, str]:
        """Return the annotations of the audit event; it has the whole command in its URI too."""
        found = {
            "container": self.container,
            "command": json.dumps(self.command) if self.command else "",
            "tty": "true" if self.tty else "",
        }
        if self.duration is not None:
            found |= {
                "ports": ",".join(map(str, self.ports)),
                "duration": f"{self.duration:.3f}s",
                "bytes-in": str(self.bytes_in),
                "bytes-out": str(self.bytes_out),
                "exit-status": "" if self.exit_status is None else str(self.exit_status),
                "recording": self.recording,
                "recording-truncated": self.truncated,
            }
        return {f"{ANNOTATION}-{name}": value for name, value in found.items() if value}

    def add_port(self, text: str) -> None:
        """Note a port; what is no port is no news."""
        port = int(text) if text.isdecimal() and len(text) <= 5 else 0
        if port and port not in self.ports and len(self.ports) < MAX_PORTS:
            self.ports = (*self.ports, port)


def is_session(info: RequestInfo) -> bool:
    """Say whether a request, if it is an upgrade, opens one."""
    return info.resource == "pods" and info.subresource in SESSIONS and not info.api_group


def reaches_kubelet(info: RequestInfo) -> bool:
    """Say whether a request goes to a node's own API, past everything that is known of pods."""
    return info.resource == "nodes" and info.subresource == "proxy" and not info.api_group


def requested(info: RequestInfo, target: bytes) -> Facts:
    """Return what the request for a session says about it."""
    query = query_values(target, ("container", "command", "stdin", "tty", "ports"))
    facts = Facts(
        info.subresource,
        container=_first(query["container"]),
        command=_cut(query["command"]),
        stdin=_is_true(query["stdin"]),
        tty=_is_true(query["tty"]),
        exit_status="unknown" if info.subresource in TERMINALS else None,
    )
    for ports in query["ports"]:
        for port in ports.split(",")[:MAX_PORTS]:
            facts.add_port(port)
    return facts


def exit_status(document: bytes) -> ExitStatus:
    """Return what a ``Status`` from the error channel says of the command's end."""
    try:
        status = json.loads(document)
        if status["status"] == "Success":
            return 0
        if status["reason"] != "NonZeroExitCode":
            return "failed"
        causes = status["details"]["causes"]
        (code,) = [cause["message"] for cause in causes if cause["reason"] == "ExitCode"]
        return int(code) if isinstance(code, str) and len(code) <= 10 else "unknown"
    except (ValueError, LookupError, TypeError, RecursionError):
        return "unknown"


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _first(values: list[str]) -> str:
    return values[0] if values else ""


def _is_true(values: list[str]) -> bool:
    """Read a switch as k8s.io/apimachinery's Convert_Slice_string_To_bool does."""
    return bool(values) and values[0] != "0" and values[0].lower() != "false"


def _cut(arguments: list[str]) -> tuple[str, ...]:
    """Return as much of a command as may be kept of it, with an ellipsis in place of the rest."""
    kept: list[str] = []
    room = MAX_COMMAND
    for argument in arguments[:MAX_ARGUMENTS]:
        if len(argument) > room:
            return (*kept, argument[:room] + "…")
        kept.append(argument)
        room -= len(argument)
    return (*kept, "…") if len(arguments) > MAX_ARGUMENTS else tuple(kept)
