"""What an examiner is given, and what it may learn for those after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from proxy.authn.configuration.plan import Plan
from proxy.authn.keyset import KeySet
from proxy.config import Config
from proxy.tools.doctor.headlamp import Seen
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
    service_account: str = ""  # NAMESPACE/NAME of the proxy's, where it cannot be asked
    namespace: str = ""  # where the user is to work; empty for anywhere
    login: bool = False
    client_secret: str = field(default="", repr=False)
    login_callback: str = ""


@dataclass(slots=True)
class Provider:
    """An issuer that was found to be what it says: its document, and its keys if they were had."""

    plan: Plan
    metadata: dict[str, Any]
    keys: KeySet | None = None


@dataclass(slots=True)
class Known:
    """What earlier trusts have learnt.

    ``account`` is that of ``explain`` for the token that was given or came from the login.
    ``user`` is who the token, or ``--user``, speaks of, with groups and prefixes as the API server
    would see them (the group that goes along with everybody included).
    """

    asked: Asked
    headlamp: Seen | None = None
    providers: list[Provider] = field(default_factory=list)
    token: bytes | None = field(default=None, repr=False)
    login: Verdict | None = None  # how the login went, if there was one
    account: dict[str, Any] | None = None
    user: UserInfo | None = None

    @property
    def scopes(self) -> tuple[str, ...] | None:
        """The scopes that Headlamp asks for, if they are known; it always adds openid."""
        if self.asked.headlamp_scopes is not None:
            return tuple(dict.fromkeys(("openid", *self.asked.headlamp_scopes)))
        if self.headlamp is not None and self.headlamp.asks is not None:
            return self.headlamp.asks.scopes
        return None


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
    known: Known


# Says all that it finds of one trust, causes before consequences; what was said stays said if it
# then fails or runs out of time.
Examiner = Callable[[Examination], AsyncIterator[Verdict]]
