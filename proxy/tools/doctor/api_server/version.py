"""What came from ``/version``: whether it is an API server, its clock, its age."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Final

from proxy.credentials.kubeconfig import Kubeconfig
from proxy.reviews.documents import Unknown
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.api_server.way import server_flag, url_of
from proxy.tools.doctor.cluster import document_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.verdict import Verdict, failed, noted

CLOCK: Final = 30.0  # seconds; the leeway on a token's times is 60
_SIDECARS: Final = (1, 29)
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)")


def answered(x: Examination, way: Kubeconfig, answer: Answer | Unknown) -> list[Verdict]:
    """Judge what came from /version: whether it is an API server, its clock, its age."""
    if isinstance(answer, Unknown):
        return [
            failed(
                causes.API_SERVER_NO_ANSWER,
                f"{url_of(way)}: {answer.why}",
                "see the API server's own log and /readyz",
            )
        ]
    if answer.status == 401:
        return []  # the credential; said when it is asked who we are
    if answer.status >= 500:
        return [
            failed(
                causes.API_SERVER_FAILING,
                f"{url_of(way)}/version answers {answer.status}",
                "see the API server's own log and /readyz",
            )
        ]
    if not git_version(answer) and document_of(answer).get("kind") != "Status":
        return [
            failed(
                causes.NOT_AN_API_SERVER,
                f"{url_of(way)}/version answers {answer.status}, and not as Kubernetes does",
                "give the API server's own address, without a path: "
                + server_flag(x, "https://HOST:PORT"),
            )
        ]
    return [*_clock(answer), *_age(answer)]


def _clock(answer: Answer) -> list[Verdict]:
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError):
        return []
    ahead = answer.at - there
    if abs(ahead) <= CLOCK:
        return []
    which = "ahead of" if ahead > 0 else "behind"
    return [
        failed(
            causes.API_SERVER_CLOCK,
            f"this machine's clock is {abs(ahead):.0f} s {which} the API server's; tokens are "
            "judged by it",
            "set the clock of the machine that is wrong: timedatectl set-ntp true",
        )
    ]


def _age(answer: Answer) -> list[Verdict]:
    found = release(answer)
    if not found or found >= _SIDECARS:
        return []
    return [
        noted(
            causes.API_SERVER_OLD,
            f"Kubernetes {git_version(answer)} has no native sidecars (1.29)",
            "use deploy/headlamp/values-sidecar-before-1.29.yaml, or inject --before-1.29",
        )
    ]


def git_version(answer: Answer) -> str:
    version = document_of(answer).get("gitVersion")
    return version if isinstance(version, str) else ""


def release(answer: Answer) -> tuple[int, ...]:
    found = _VERSION.match(git_version(answer))
    return tuple(map(int, found.groups())) if found else ()
