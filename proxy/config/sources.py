"""What flags, environment and file say, as text; no value is understood here.

A higher source replaces a whole list: flags over environment over file. Everything that names no
setting is a problem, for it is a typing error that would otherwise go unnoticed; only the
variables that Kubernetes itself sets for a Service named like us are let be.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from proxy.config.declaration import ENVIRONMENT_PREFIX
from proxy.config.files import ReadFile
from proxy.config.model import SETTINGS
from proxy.config.report import Given, Report, shown
from proxy.suggestion import did_you_mean

# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables, for our
# own Service and for any whose name continues ours (headlamp-auth-proxy-metrics).
_SERVICE_LINK: Final = re.compile(
    r"(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def gather(
    argv: Sequence[str], environ: Mapping[str, str], read_file: ReadFile, report: Report
) -> dict[str, Given]:
    """Return what the highest source says about each setting that any of them mentions."""
    given = from_environment(environ, report) | from_flags(argv, report)
    file = given.get("config")
    if file is None or not file.texts[-1]:
        return given
    from proxy.config.settings_file import from_file  # only who has one pays for YAML

    return from_file(file, read_file, report) | given


def from_flags(argv: Sequence[str], report: Report) -> dict[str, Given]:
    """Read ``--flag value`` and ``--flag=value`` as pflag does, without abbreviations."""
    known = {setting.flag: setting for setting in SETTINGS.values()}
    given: dict[str, Given] = {}
    left = deque(argv)
    while left:
        argument = left.popleft()
        flag, equals, value = argument.partition("=")
        setting = known.get(flag)
        if setting is None:
            _unknown_argument(argument, flag, list(known), report)
            if not equals and argument.startswith("-") and left and not left[0].startswith("-"):
                left.popleft()  # what was probably its value is not one more mistake
            continue
        if not equals:
            if not setting.declared.placeholder:
                value = "true"
            elif left:
                value = left.popleft()
            else:
                report.lines.append(f"{flag}: needs a value; write {flag}=VALUE")
                report.failed.add(setting.name)
                continue
        before = given[setting.name].texts if setting.name in given else ()
        given[setting.name] = Given((*before, value), "flag")
    return given


def _unknown_argument(argument: str, flag: str, known: list[str], report: Report) -> None:
    if argument.startswith("-"):
        report.lines.append(f"{flag}: unknown flag{did_you_mean(flag, known)}")
    else:
        report.lines.append(f"{shown(argument)}: unexpected argument; settings start with --")


def from_environment(environ: Mapping[str, str], report: Report) -> dict[str, Given]:
    """Read the variables with our prefix; a repeatable setting has one value on each line."""
    known = {setting.variable: setting for setting in SETTINGS.values()}
    given: dict[str, Given] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if setting := known.get(variable):
            texts: tuple[str, ...] = (value,)
            if setting.declared.repeatable:
                texts = tuple(line for line in value.split("\n") if line) or ("",)
            given[setting.name] = Given(texts, f"environment variable {variable}")
        elif not _SERVICE_LINK.fullmatch(variable.removeprefix(ENVIRONMENT_PREFIX)):
            hint = did_you_mean(variable, list(known))
            report.lines.append(f"{variable}: unknown environment variable{hint}")
    return given
