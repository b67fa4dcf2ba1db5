"""What an examiner is given, and what it may learn for those after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.config import Config
from proxy.tools.doctor.verdict import Verdict
from proxy.userinfo import UserInfo


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of ``doctor`` itself; the other arguments are settings of ``serve``."""

    headlamp_url: str = ""
    headlamp_scopes: tuple[str, ...] | None = None  # None: ask Headlamp
    headlamp_ca_file: Path | None = None
    token: bytes | None = field(default=None, repr=False)
    user: str = ""
    groups: tuple[str, ...] = ()
    admin_kubeconfig: Path | None = None
    login: bool = False
    client_secret: str = field(default="", repr=False)


@dataclass(slots=True)
class Known:
    """What earlier trusts have learnt.

    ``user`` is who the token, or ``--user``, speaks of, with groups and prefixes as the API server
    would see them (the group that goes along with everybody included).
    """

    metadata: dict[str, Any] | None = None  # of the issuer, once it has been found to be its own
    user: UserInfo | None = None


@dataclass(slots=True)
class Examination:
    """One run of ``doctor``.

    ``config`` is that of ``serve``. Where nothing says how the API server is reached, both
    ``config.upstream`` and ``config.kubeconfig`` are None. ``session`` takes no proxy from the
    environment and follows no redirects unless told to; its TLS is given with each request
    (``ssl=``). ``say`` tells what is tried next, for the live display and the account.
    """

    config: Config
    asked: Asked
    session: aiohttp.ClientSession
    say: Callable[[str], None]
    known: Known = field(default_factory=Known)


# Says all that it finds of one trust, causes before consequences; what was said stays said if it
# then fails or runs out of time.
Examiner = Callable[[Examination], AsyncIterator[Verdict]]
