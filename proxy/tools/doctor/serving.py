"""Trust 4, second half: what Headlamp meets, and whether the running proxy is well.

Only what is configured is looked at, and only where it can be: on another machine than the
proxy's there is neither its directory nor its listener, and that is no fault.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

from proxy import tls
from proxy.config import Config
from proxy.errors import every_error
from proxy.files import SERVICE_ACCOUNT
from proxy.tools.doctor import causes
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.ask import NoAnswer, ask
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.reach import reach
from proxy.tools.doctor.readiness import judged_readiness
from proxy.tools.doctor.through_headlamp import label_of
from proxy.tools.doctor.trouble import Kind, Trouble
from proxy.tools.doctor.trust_directory import content_of, judged_directory
from proxy.tools.doctor.verdict import Status, Verdict, failed, noted, ok

_LABELS: Final = frozenset(error.label for error in every_error())
_LOOPBACK: Final = "127.0.0.1"


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Say all that is to be said of the running proxy, as Headlamp meets it."""
    config = x.config
    if not (config.trust_dir or config.tls_cert_file or config.plaintext):
        return  # nothing says how it is served
    trouble = await _listens(x)
    is_here = _is_here(config)
    made = config.trust_dir is not None or config.tls_cert_file is not None
    if trouble is not None and not (made and is_here):
        yield noted(
            causes.PROXY_NOT_SEEN,
            f"{trouble.saw}: the running proxy is not looked at",
            "run it where the proxy runs: kubectl exec, in the proxy's container",
        )
        return
    worst = Status.OK
    if config.trust_dir is not None:
        x.say(f"what Headlamp mounts: {config.trust_dir}")
        for verdict in judged_directory(config.trust_dir, config.cert_dir):
            worst = verdict.status
            yield verdict
    if trouble is not None:
        yield failed(
            causes.PROXY_UNREACHABLE,
            f"--listen: {trouble.saw}",
            "start serve with these settings, and see why it ended: "
            "kubectl logs POD -c auth-proxy --previous",
        )
        return
    if worst is Status.FAILED:
        return
    async for verdict in _met(x):
        yield verdict


def _is_here(config: Config) -> bool:
    """Say whether this is the proxy's own pod or machine, as far as can be seen."""
    own = config.trust_dir or config.tls_cert_file
    return SERVICE_ACCOUNT.exists() or (own is not None and own.exists())


async def _met(x: Examination) -> AsyncIterator[Verdict]:
    """Meet the listener as Headlamp does, and ask the admin listener how it is."""
    config = x.config
    where = _where(config)
    context: ssl.SSLContext | None = None
    if not config.plaintext and config.listen.unix is None:
        x.say(f"the certificate that Headlamp meets at {where}")
        context = _context(config)
        try:
            await reach(f"https://{where}", context, server_name=_name(config))
        except Trouble as trouble:
            yield _refused(config, trouble)
            return
    x.say(f"whether it is this proxy that answers at {where}")
    try:
        answer = await _asked(x, context)
    except NoAnswer as error:
        yield failed(
            causes.PROXY_NOT_OURS,
            f"--listen {config.listen}: {error}",
            f"have nothing but serve listen there: ss -ltnp 'sport = :{config.listen.port}'",
        )
        return
    if not _is_ours(answer):
        yield failed(
            causes.PROXY_NOT_OURS,
            f"--listen {config.listen}: what answers there says {answer.words[:100]}, not what "
            "this proxy says to a request without a token",
            f"have nothing but serve listen there: ss -ltnp 'sport = :{config.listen.port}'",
        )
        return
    yield ok(f"Headlamp meets this proxy at {where}, with a certificate that it trusts")
    async for verdict in _ready(x):
        yield verdict


async def _ready(x: Examination) -> AsyncIterator[Verdict]:
    listen = x.config.admin_listen
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    url = f"http://{_LOOPBACK if listen.is_everywhere else host}:{listen.port}/readyz?verbose"
    x.say(f"how the running proxy is: {url}")
    try:
        answer = await ask(x.session, url)
    except NoAnswer as error:
        yield noted(
            causes.PROXY_NOT_SEEN,
            f"--admin-listen {listen}: {error}",
            "give the --admin-listen that serve runs with",
        )
        return
    for verdict in judged_readiness(answer.status, answer.text):
        yield verdict


async def _listens(x: Examination) -> Trouble | None:
    """Return why there is nothing to connect to at --listen, if there is nothing."""
    listen = x.config.listen
    if listen.unix is not None:
        return _no_socket(listen.unix)
    try:
        await reach(f"http://{_where(x.config)}", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except Trouble as trouble:
        return trouble
    return None


def _no_socket(path: str) -> Trouble | None:
    return None if Path(path).is_socket() else Trouble(Kind.REFUSED, f"there is no socket {path}")


async def _asked(x: Examination, context: ssl.SSLContext | None) -> Answer:
    """Make a request without a token. Raises NoAnswer."""
    listen = x.config.listen
    scheme = "http" if x.config.plaintext else "https"
    if listen.unix is None:
        name = None if context is None else _name(x.config)
        return await ask(
            x.session, f"{scheme}://{_where(x.config)}/version", tls=context, server_name=name
        )
    unverified = None if x.config.plaintext else _any_ca()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(listen.unix)) as session:
        return await ask(session, f"{scheme}://localhost/version", tls=unverified)


def _is_ours(answer: Answer) -> bool:
    return label_of(answer.json()) in _LABELS


def _refused(config: Config, trouble: Trouble) -> Verdict:
    where = f"--listen {config.listen}"
    match trouble.kind:
        case Kind.CA | Kind.CHAIN if config.trust_dir is None:
            return failed(
                causes.PROXY_CERTIFICATE,
                f"{where}: {trouble.saw}, and it is not the one in {config.tls_cert_file}",
                "give doctor the --tls-cert-file that serve runs with, or have nothing else listen "
                "there",
            )
        case Kind.CA | Kind.CHAIN:
            return failed(
                causes.TRUST_DIR_STALE,
                f"{where}: {trouble.saw}, by {config.trust_dir}/ca.crt, which Headlamp reads",
                "restart the whole pod, so that the proxy writes its CA there before Headlamp "
                "reads it; give serve this --trust-dir and --cert-dir, and no other serve the same",
            )
        case Kind.NAMES:
            name = _name(config)
            return failed(
                causes.PROXY_CERTIFICATE,
                f"{where}: {trouble.saw}",
                f"--serving-name={name}" if config.trust_dir else f"a certificate for {name}",
            )
        case Kind.EXPIRED | Kind.EARLY:
            return failed(
                causes.PROXY_CERTIFICATE,
                f"{where}: {trouble.saw}",
                "set the clock (timedatectl set-ntp true), or restart serve"
                if config.trust_dir
                else "put a valid certificate into --tls-cert-file; serve takes it up by itself",
            )
        case Kind.NOT_TLS | Kind.TLS | Kind.CLOSED:
            return failed(
                causes.PROXY_NOT_OURS,
                f"{where}: {trouble.saw}",
                "run serve without --plaintext, for Headlamp speaks TLS to its API server; and "
                "have nothing else listen there",
            )
        case _:
            return failed(causes.PROXY_UNREACHABLE, f"{where}: {trouble.saw}", "start serve")


def _context(config: Config) -> ssl.SSLContext:
    """Return a context that believes what Headlamp does, or the very certificate that is served.

    Whom Headlamp believes where the certificate is given is not known here.
    """
    if config.trust_dir is not None:
        return tls.client_context(content_of(config.trust_dir / "ca.crt"))
    assert config.tls_cert_file is not None
    return tls.client_context(content_of(config.tls_cert_file))


def _any_ca() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent that anybody may not see
    return context


def _where(config: Config) -> str:
    """Return where to connect, from the same machine."""
    listen = config.listen
    if listen.unix is not None:
        return str(listen)
    host = _LOOPBACK if listen.is_everywhere else listen.host
    return f"[{host}]:{listen.port}" if ":" in host else f"{host}:{listen.port}"


def _name(config: Config) -> str:
    """Return the name under which Headlamp looks for the proxy."""
    listen = config.listen
    if not listen.is_everywhere:
        return listen.host
    return config.serving_name[0] if config.serving_name else _LOOPBACK
