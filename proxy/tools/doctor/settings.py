"""The arguments of ``doctor``: its own, and those of ``serve`` as far as they are given.

On another machine than the proxy's, most of what ``serve`` needs is not there: no in-cluster
account, no certificate to serve with. What is not there is then not examined, and no error.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from proxy.config import Config, ConfigError, load
from proxy.config.values import duration_between
from proxy.errors import TokenMalformed
from proxy.files import explain
from proxy.tools.deploy.arguments import (
    Arguments,
    Own,
    account_of,
    is_namespace,
    take_apart,
    with_long_output,
)
from proxy.tools.doctor.examination import Asked
from proxy.tools.doctor.running import arguments_of_running
from proxy.tools.token_file import token_in

MAX_INPUT: Final = 1 << 20  # bytes
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ISSUER: Final = re.compile("--(oidc-issuer-url|authentication-config|config)(=|$)")
_STAND_IN: Final = "--plaintext=true"  # a way to serve, where none is given
# As proxy.config words them.
_NOWHERE, _NO_CERTIFICATE = "not in a cluster", "no certificate to serve with"

OWN: Final = (
    Own("--headlamp-url", "URL", "Headlamp's address, as it is typed into a browser"),
    Own("--headlamp-scopes", "SCOPES", "the scopes that Headlamp asks for (default: asks it)"),
    Own("--headlamp-ca-file", "FILE", "what browsers trust besides the system's roots"),
    Own("--login", "", "sign in for real, in a browser, and examine the token"),
    Own("--login-callback", "URL", "where to come back to (default: Headlamp's own, or loopback)"),
    Own("--client-secret-file", "FILE|-", "Headlamp's client secret, for --login"),
    Own("--token-file", "FILE|-", "a token to examine in place of a login; - is standard input"),
    Own("--user", "NAME", "whose rights to look at, without a token; prefix included"),
    Own("--group", "NAME", "a group of that user, prefix included (repeatable)"),
    Own("--admin-kubeconfig", "FILE", "a kubeconfig that may read bindings, to say which apply"),
    Own("--service-account", "NAMESPACE/NAME", "the proxy's, to ask about with that kubeconfig"),
    Own("--namespace", "NAME", "where the user is to work (default: default, and so anywhere)"),
    Own("--timeout", "DURATION", "for all of it, but for the person at --login (default: 60s)"),
    Own("--output", "json|text", "or -o (default: text)"),
)


class UsageError(Exception):
    """Arguments that cannot be; one line for each problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the settings of ``serve`` come to; ``refused`` is what it would say of them.

    ``usable`` says that there is a configuration all the same: only what it points to is wrong.
    """

    config: Config
    refused: tuple[str, ...] = ()
    usable: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One command line, understood."""

    settings: _Settings
    asked: Asked
    seconds: float
    output: str


def output_of(arguments: Sequence[str]) -> str:
    """Return the output that was asked for, as far as that can be told."""
    return take_apart(with_long_output(arguments), OWN).one("--output", "text")


def understood(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Request:
    """Return what is asked. Raises UsageError."""
    arguments = take_apart(with_long_output(argv), OWN)
    problems = arguments.problems + [f"{word!a}: unexpected argument" for word in arguments.rest]
    output = arguments.one("--output", "text")
    if output not in {"json", "text"}:
        problems.append(f"--output {output!a}: is not an output; write json or text")
    seconds = _seconds(arguments.one("--timeout", "60s"), problems)
    asked = _asked(arguments, problems)
    if problems:
        raise UsageError(*problems)
    return Request(_settings(arguments.serve, environ), asked, seconds, output)


def _settings(given: Sequence[str], environ: Mapping[str, str]) -> _Settings:
    """Return the configuration of ``serve``, and what is wrong with it.

    Nothing to serve with is no fault here, nor is not to know of an API server. Where the settings
    are right and what they point to is not, there is a configuration as well.
    """
    if environ.get("KUBERNETES_SERVICE_HOST") and not any(_ISSUER.match(word) for word in given):
        given = [*arguments_of_running(), *given]
    as_given = _load(given, environ)
    with_a_way_to_serve = [*given, _STAND_IN]
    for settings in (as_given, _load(with_a_way_to_serve, environ)):
        if not settings.refused:
            return settings
        if all(_NOWHERE in problem or _NO_CERTIFICATE in problem for problem in settings.refused):
            return _load(given, environ, authentication_only=True)
    for words in (given, with_a_way_to_serve):
        settings = _load(words, environ, elsewhere=True)
        if not settings.refused:
            return _Settings(settings.config, _own(as_given.refused), usable=True)
    return _Settings(Config(), _own(as_given.refused))


def _own(problems: Sequence[str]) -> tuple[str, ...]:
    """Return what is wrong with the settings themselves, and not with what is not given."""
    own = [p for p in problems if _NOWHERE not in p and _NO_CERTIFICATE not in p]
    return tuple(own or problems)


def _load(
    given: Sequence[str],
    environ: Mapping[str, str],
    *,
    authentication_only: bool = False,
    elsewhere: bool = False,
) -> _Settings:
    from proxy.checked_audit import AUDIT_CHECKS
    from proxy.credentials.kubeconfig import problems_of
    from proxy.plans import problems_of_file

    try:
        config = load(
            given,
            environ,
            check_kubeconfig=problems_of,
            check_authentication=problems_of_file,
            check_audit=AUDIT_CHECKS,
            authentication_only=authentication_only,
            elsewhere=elsewhere,
        )
    except ConfigError as error:
        return _Settings(Config(), tuple(error.problems))
    if given[-1:] == [_STAND_IN]:  # how it is served is not known then
        config = replace(config, plaintext=False)
    return _Settings(config)


def _asked(arguments: Arguments, problems: list[str]) -> Asked:
    scopes = arguments.own.get("--headlamp-scopes")
    url = arguments.one("--headlamp-url", "")
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        problems.append(f"--headlamp-url {url!a}: is no address; write https://host")
    secret = _read(arguments, "--client-secret-file", problems)
    token = _token(arguments, problems)
    ca, admin = (arguments.one(f, "") for f in ("--headlamp-ca-file", "--admin-kubeconfig"))
    _check_ca(ca, problems)
    _check_readable("--admin-kubeconfig", admin, problems)
    account, namespace = (arguments.one(f, "") for f in ("--service-account", "--namespace"))
    if account and account_of(account) is None:
        problems.append(f"--service-account {account!a}: write NAMESPACE/NAME")
    if namespace and not is_namespace(namespace):
        problems.append(
            f"--namespace {namespace!a}: is no namespace's name; write up to 63 of a-z, 0-9 and -"
        )
    callback = arguments.one("--login-callback", "")
    if callback and (urlsplit(callback).scheme, urlsplit(callback).hostname in _LOOPBACK) != (
        "http",
        True,
    ):
        problems.append(f"--login-callback {callback!a}: is not here; write http://localhost:8000")
    user, groups = arguments.one("--user", ""), tuple(arguments.own.get("--group", ()))
    if groups and not user:
        problems.append("--group: needs --user as well")
    if token is not None and (user or "--login" in arguments.own):
        problems.append("--token-file: says already who the user is; remove --user and --login")
    return Asked(
        headlamp_url=url.rstrip("/"),
        headlamp_scopes=None if scopes is None else tuple(scopes[-1].replace(",", " ").split()),
        headlamp_ca_file=Path(ca) if ca else None,
        token=token,
        user=user,
        groups=groups,
        admin_kubeconfig=Path(admin) if admin else None,
        service_account=account,
        namespace=namespace,
        login="--login" in arguments.own,
        login_callback=callback,
        client_secret=(secret or b"").decode("utf-8", "replace").strip(),
    )


def _check_readable(flag: str, name: str, problems: list[str]) -> None:
    if not name:
        return
    try:
        Path(name).open("rb").close()
    except OSError as error:
        problems.append(f"{flag} {name!a}: cannot be read: {explain(error)}")


def _check_ca(name: str, problems: list[str]) -> None:
    if not name:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(name)
    except ssl.SSLError:
        problems.append(f"--headlamp-ca-file {name!a}: holds no certificate in PEM")
    except OSError as error:
        problems.append(f"--headlamp-ca-file {name!a}: cannot be read: {explain(error)}")


def _seconds(text: str, problems: list[str]) -> float:
    try:
        return duration_between(1, 3600)(text)
    except ValueError as error:
        problems.append(f"--timeout {text!a}: {error}")
        return 0


def _token(arguments: Arguments, problems: list[str]) -> bytes | None:
    content = _read(arguments, "--token-file", problems)
    try:
        return None if content is None else token_in(content)
    except TokenMalformed as error:
        problems.append(f"--token-file {arguments.one('--token-file', '')!a}: {error.detail}")
        return None


def _read(arguments: Arguments, flag: str, problems: list[str]) -> bytes | None:
    name = arguments.one(flag, "")
    if not name:
        return None
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_INPUT)
        with Path(name).open("rb") as file:
            return file.read(MAX_INPUT)
    except OSError as error:
        problems.append(f"{flag} {name!a}: cannot be read: {explain(error)}")
        return None
