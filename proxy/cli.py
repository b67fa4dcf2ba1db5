"""The command line: one table of commands, and nothing that a command needs until it runs.

Standard output carries only a command's result and standard error everything else. A wrong use
or a wrong configuration says all that is wrong and exits 2; it never shows a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NoReturn

from proxy.config import Config, ConfigError, load
from proxy.config.files import CheckAudit
from proxy.config.model import AUDIT, IDENTITY, SESSIONS, TOKENS
from proxy.config.usage import flags_help
from proxy.version import VERSION, is_compiled

PROGRAM: Final = "headlamp-auth-proxy"
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT
UNREAD: Final = 128 + signal.SIGPIPE
UNWRITTEN: Final = 1
# So writing fails. What else does is caught where it is done; with a name, it is a file.
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``run`` takes the arguments after its name and returns the exit status."""

    summary: str
    run: Callable[[Sequence[str]], int]
    details: Callable[[], str] = str  # what its help says about its arguments
    operands: str = ""  # what its usage line has after the flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's own arguments) names.

    Ctrl-C, and a reader who has seen enough (``| head``), end it as they end any other program:
    without a word, and with the status that a shell gives to their signals. A disk that takes no
    more of the output is named.
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return UNREAD
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _discard_output()
        with contextlib.suppress(OSError):  # it may be the same disk
            sys.stderr.write(f"standard output: {os.strerror(error.errno).lower()}\n")
        return UNWRITTEN
    return status


def _discard_output() -> None:
    """Let what is left of it vanish, or the interpreter's own flush fails, and says so."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(_usage())
        return USAGE_ERROR
    name, *rest = arguments
    if _asks_help([name]):
        sys.stdout.write(_usage())
        return 0
    if name == "--version":
        name = "version"
    command = COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return _wrong(f"unknown command {name!a}; {hint}the commands are {', '.join(COMMANDS)}")
    if _asks_help(rest):
        sys.stdout.write(_command_usage(name, command))
        return 0
    return command.run(rest)


def _serve(arguments: Sequence[str]) -> int:
    return _with_config(arguments, "serve")


def _prepare(arguments: Sequence[str]) -> int:
    return _with_config(arguments, "prepare")


def _with_config(arguments: Sequence[str], name: str) -> int:
    # As process 1 of a container, a program without a handler does not notice SIGTERM at all.
    signal.signal(signal.SIGTERM, _leave)
    from proxy.slim_aiohttp import load_aiohttp

    load_aiohttp()  # before anything below imports it
    try:
        config = load(
            arguments,
            os.environ,
            check_kubeconfig=_kubeconfig_problems,
            check_authentication=_authentication_problems,
            check_audit=_audit_checks(name),
        )
    except ConfigError as error:
        return _wrong(*error.problems)
    from proxy import server

    run: Callable[[Config], int] = getattr(server, name)
    return run(config)


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def _kubeconfig_problems(content: bytes, path: Path) -> list[str]:
    from proxy.credentials.kubeconfig import problems_of

    return problems_of(content, path)


def _authentication_problems(content: bytes, config: Config) -> list[str]:
    from proxy.plans import problems_of_file

    return problems_of_file(content, config)


def _audit_checks(name: str) -> CheckAudit:
    from proxy.checked_audit import AUDIT_CHECKS, AUDIT_CHECKS_BEFOREHAND

    return AUDIT_CHECKS_BEFOREHAND if name == "prepare" else AUDIT_CHECKS


def _explain(arguments: Sequence[str]) -> int:
    from proxy.tools.explain.command import main as explain

    return explain(arguments)


def _explain_details() -> str:
    from proxy.tools.explain.command import DETAILS

    return f"{DETAILS}\n{flags_help(TOKENS, IDENTITY)}"


def _check_config(arguments: Sequence[str]) -> int:
    from proxy.tools.explain.command import check

    return check(arguments)


def _check_config_details() -> str:
    from proxy.tools.explain.command import CHECK_DETAILS

    return f"{CHECK_DETAILS}\n{flags_help(TOKENS, IDENTITY, AUDIT, SESSIONS)}"


def _version(arguments: Sequence[str]) -> int:
    if arguments:
        return _wrong(f"version takes no arguments, but got {arguments[0]!a}")
    form = " (compiled)" if is_compiled() else ""
    sys.stdout.write(f"{PROGRAM} {VERSION}{form}\n")
    return 0


def _demo(arguments: Sequence[str]) -> int:
    from proxy.tools.demo.command import main as demo

    return demo(arguments)


def _demo_details() -> str:
    from proxy.tools.demo.command import DETAILS

    return DETAILS


def _inject(arguments: Sequence[str]) -> int:
    from proxy.tools.deploy.inject_command import main as inject

    return inject(arguments)


def _inject_details() -> str:
    from proxy.tools.deploy.inject_command import DETAILS

    return DETAILS


def _rbac(arguments: Sequence[str]) -> int:
    from proxy.tools.deploy.rbac_command import main as rbac

    return rbac(arguments)


def _rbac_details() -> str:
    from proxy.tools.deploy.rbac_command import DETAILS

    return DETAILS


def _doctor(arguments: Sequence[str]) -> int:
    from proxy.tools.doctor.command import main as doctor

    return doctor(arguments)


def _doctor_details() -> str:
    from proxy.tools.doctor.command import DETAILS

    return DETAILS


def _audit(arguments: Sequence[str]) -> int:
    from proxy.tools.audit.command import main as audit

    return audit(arguments)


def _audit_details() -> str:
    from proxy.tools.audit.command import DETAILS

    return DETAILS


COMMANDS: Final[Mapping[str, Command]] = {
    "serve": Command("Run the proxy.", _serve, flags_help),
    "doctor": Command("Say why a login does not work.", _doctor, _doctor_details),
    "explain": Command("Say what is made of a token, and why.", _explain, _explain_details),
    "check-config": Command(
        "Check the settings about tokens, identities, the audit and recordings.",
        _check_config,
        _check_config_details,
    ),
    "prepare": Command(
        "Write the certificate and what Headlamp trusts, and exit: for an init container.",
        _prepare,
        flags_help,
    ),
    "inject": Command(
        "Put the proxy into Headlamp's manifests.", _inject, _inject_details, "FILE...|-"
    ),
    "rbac": Command("Print the rights that the proxy needs.", _rbac, _rbac_details),
    "audit": Command(
        "Say who did what, from audit logs, or play a session (audit play FILE).",
        _audit,
        _audit_details,
        "FILE...",
    ),
    "demo": Command("Try it all on this machine, with people to be.", _demo, _demo_details),
    "version": Command("Print the version, and whether it is compiled.", _version),
}


def _asks_help(arguments: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(arguments)


def _wrong(*problems: str) -> int:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return USAGE_ERROR


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "".join(f"  {name:{width}}  {c.summary}\n" for name, c in COMMANDS.items())
    return (
        f"Usage: {PROGRAM} COMMAND [FLAG...]\n\nCommands:\n{lines}\n"
        f"'{PROGRAM} COMMAND --help' says more about one of them.\n"
    )


def _command_usage(name: str, command: Command) -> str:
    details = command.details()
    arguments = f" [FLAG...] {command.operands}".rstrip() if details else ""
    usage = f"Usage: {PROGRAM} {name}{arguments}\n\n{command.summary}\n"
    return f"{usage}\n{details}" if details else usage
