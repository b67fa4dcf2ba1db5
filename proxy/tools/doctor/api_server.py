"""Trust 4, first half: the API server and this proxy's own account, in place of the issuer.

The way there, the certificate, the credential and the rights are looked at in the order in which a
request needs them; the first that fails ends it, since nothing behind it can then be seen. The
running proxy and Headlamp's side are ``serving``'s.
"""

from __future__ import annotations

import re
import shlex
import ssl
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Final

from proxy import tls
from proxy.config import Address
from proxy.credentials.credential import bearer_token
from proxy.credentials.exec_plugin import ExecCredential
from proxy.credentials.kubeconfig import Kubeconfig, KubeconfigError
from proxy.errors import CredentialUnavailable
from proxy.files import SourceError
from proxy.impersonation import Impersonation
from proxy.plans import plans_of
from proxy.reviews.documents import Unknown
from proxy.reviews.requested import service_account
from proxy.tools.doctor import causes, own_token
from proxy.tools.doctor.account import Asking, ask
from proxy.tools.doctor.admin import administrator
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.cluster import Cluster, document_of, opened, way_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.mends import renewed_token
from proxy.tools.doctor.own_rights import judged
from proxy.tools.doctor.own_token import OwnToken
from proxy.tools.doctor.person import NotAuthenticated, person
from proxy.tools.doctor.reach import reach
from proxy.tools.doctor.trouble import Kind, Peer, Trouble
from proxy.tools.doctor.verdict import Verdict, failed, noted, ok, skipped, unknown
from proxy.userinfo import UserInfo

CLOCK: Final = 30.0  # seconds; the leeway on a token's times is 60
SOON: Final = 14 * 86_400.0  # seconds until an end that is worth a word
_SIDECARS: Final = (1, 29)
_REVIEWS: Final = (1, 28)
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)")
_ANONYMOUS: Final = "system:anonymous"


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Say all that is to be said of the API server and the proxy's account there."""
    try:
        way = way_of(x.config)
    except KubeconfigError as error:
        where = f"--kubeconfig {str(x.config.kubeconfig)!a}"
        yield failed(causes.KUBECONFIG_UNUSABLE, f"{where}: {error}", _kubeconfig_mend(error))
        return
    if way is None:
        async for verdict in _from_elsewhere(x):
            yield verdict
        return
    async for verdict in _examined(x, way):
        yield verdict


async def _examined(x: Examination, way: Kubeconfig) -> AsyncIterator[Verdict]:
    """Examine what ``serve`` would use."""
    try:
        context = _context(way)
    except SourceError as error:
        yield failed(causes.API_SERVER_CA_FILE, str(error), _ca_mend(x))
        return
    found = await _reached(x, way, context)
    if isinstance(found, Verdict):
        yield found
        return
    if verdict := await _credential(x, way):
        yield verdict
        return
    async with opened(way, x.session) as cluster:
        x.say(f"as whom {_url(way)} knows our credential")
        version = await cluster.get("/version")
        for verdict in _answered(x, way, version):
            yield verdict
            if verdict.status == "failed":
                return
        ourselves = await cluster.reviewer.who_am_i()
        if isinstance(ourselves, Unknown):
            yield await _not_known(x, way, cluster, ourselves)
            return
        assert isinstance(version, Answer)
        async for verdict in _rights(x, cluster, ourselves, _git_version(version)):
            yield verdict
    yield ok(
        f"{_url(way)} ({_git_version(version)}) knows us as {ourselves.username}"
        + (f"; its certificate ends on {found.not_after:%Y-%m-%d}" if found else "")
    )


async def _from_elsewhere(x: Examination) -> AsyncIterator[Verdict]:
    """Examine the account from a machine that has no credential of the proxy's."""
    async with administrator(x) as admin:
        if isinstance(admin, Verdict):
            yield admin
            return
        if admin is None:
            yield skipped(
                causes.NOT_ASKED,
                "nothing says where the API server is and who the proxy is there",
                "run it in the pod (kubectl exec), or give --kubeconfig (the proxy's own) or "
                "--admin-kubeconfig (yours, with --service-account=NAMESPACE/NAME)",
            )
            return
        namespace, _, name = x.asked.service_account.partition("/")
        account = f"system:serviceaccount:{namespace}:{name}"
        if service_account(account) is None:
            yield skipped(
                causes.NOT_ASKED,
                "nothing says which service account is the proxy's",
                "give it with --service-account=NAMESPACE/NAME",
            )
            return
        headers = [("Impersonate-User", account)]
        x.say(f"what {account} may do, asked by an administrator")
        ourselves = await admin.reviewer.who_am_i(headers)
        if isinstance(ourselves, Unknown):
            yield unknown(
                causes.ADMIN_KUBECONFIG,
                f"the account of --admin-kubeconfig may not ask as {account}: {ourselves.why}",
                "use an account that may impersonate service accounts",
            )
            return
        version = await admin.get("/version")
        git = _git_version(version) if isinstance(version, Answer) else ""
        failures = 0
        async for verdict in _rights(x, admin, ourselves, git, Asking(admin.reviewer, headers)):
            failures += verdict.status == "failed"
            yield verdict
        if not failures:
            yield ok(f"{account} may impersonate whom it must; asked by an administrator")


# --- The way -------------------------------------------------------------------------------------


def _context(way: Kubeconfig) -> ssl.SSLContext:
    """Return a context that believes whom ``serve`` would believe. Raises SourceError."""
    content = None if way.ca is None else way.ca.read()
    try:
        return tls.client_context(content)
    except (ValueError, ssl.SSLError) as error:
        origin = way.ca.origin if way.ca else "the system's roots"
        raise SourceError(f"{origin} holds no usable CA certificate in PEM") from error


async def _reached(
    x: Examination, way: Kubeconfig, context: ssl.SSLContext
) -> Peer | Verdict | None:
    url = _url(way)
    if Address(way.upstream.host, way.upstream.port).leads_to(x.config.listen):
        return failed(
            causes.API_SERVER_IS_US,
            f"{url} is where this proxy itself listens (--listen {x.config.listen})",
            _server_flag(x, "https://kubernetes.default.svc"),
        )
    x.say(f"{url}: its name, the connection, its certificate")
    try:
        reached = await reach(url, context, server_name=way.upstream.server_name)
    except Trouble as trouble:
        return failed(causes.API_SERVER_WAY[trouble.kind], trouble.saw, _way_mend(x, way, trouble))
    return reached.peer


def _way_mend(x: Examination, way: Kubeconfig, trouble: Trouble) -> str:
    match trouble.kind:
        case Kind.CA | Kind.CHAIN:
            return _ca_mend(x)
        case Kind.NAMES if trouble.peer and trouble.peer.names:
            return _name_mend(x, way, trouble.peer.names)
        case Kind.EXPIRED:
            return "renew the API server's certificate: kubeadm certs renew apiserver, on its node"
        case Kind.EARLY:
            return "set this machine's clock (timedatectl set-ntp true), or the API server's"
        case Kind.NAME | Kind.REFUSED | Kind.NOT_TLS | Kind.TLS | Kind.CLOSED:
            return (
                "give the API server's own address: "
                + _server_flag(x, "https://HOST:PORT")
                + "\nkubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes"
                " says which"
            )
        case _:
            return (
                f"let this pod reach {way.upstream.host} on TCP port {way.upstream.port} (egress "
                "in its NetworkPolicies, security groups, routes), or give another address: "
                + _server_flag(x, "https://HOST:PORT")
            )


def _name_mend(x: Examination, way: Kubeconfig, names: tuple[str, ...]) -> str:
    best = next((name for name in names if name.startswith("kubernetes.default.svc")), names[0])
    if x.config.kubeconfig is not None:
        return (
            f"kubectl config set-cluster --kubeconfig={shlex.quote(str(x.config.kubeconfig))} "
            f'"$(kubectl config view --minify --kubeconfig='
            f"{shlex.quote(str(x.config.kubeconfig))} -o jsonpath='{{.clusters[0].name}}')\" "
            f"--tls-server-name={shlex.quote(best)}"
        )
    host = f"[{best}]" if ":" in best else best
    return f"name it as its certificate does: --upstream=https://{host}:{way.upstream.port}"


def _server_flag(x: Examination, url: str) -> str:
    if x.config.kubeconfig is not None:
        return f"server: {url} in {x.config.kubeconfig}"
    return f"--upstream={url}"


def _ca_mend(x: Examination) -> str:
    """Return how the cluster's CA is had from somebody's kubeconfig that works."""
    view = (
        "kubectl config view --raw --minify --flatten "
        "-o jsonpath='{.clusters[0].cluster.certificate-authority-data}'"
    )
    if x.config.kubeconfig is not None:
        return (
            "put the cluster's CA into it, from a kubeconfig that works "
            "(certificate-authority-data):\n" + view
        )
    ca = x.config.upstream_ca_file
    if ca is not None and str(ca).startswith("/var/run/secrets/"):
        return (
            "mount the ConfigMap kube-root-ca.crt of this namespace there (the projected volume "
            "auth-proxy-account in deploy/headlamp/values-sidecar.yaml does), or give another file "
            "with --upstream-ca-file"
        )
    target = shlex.quote(str(ca)) if ca else "ca.crt"
    flag = "" if ca else "   # and --upstream-ca-file=ca.crt"
    return f"{view} | base64 -d > {target}{flag}"


def _kubeconfig_mend(error: KubeconfigError) -> str:
    first = error.problems[0]
    if "insecure-skip-tls-verify" in first:
        return "take insecure-skip-tls-verify out and put certificate-authority-data in"
    if "cannot be read" in first:
        return "give the path of a kubeconfig that is there with --kubeconfig, or mount it"
    return f"mend it there: {first}"


def _url(way: Kubeconfig) -> str:
    host = f"[{way.upstream.host}]" if ":" in way.upstream.host else way.upstream.host
    return f"https://{host}:{way.upstream.port}"


# --- The credential ------------------------------------------------------------------------------


async def _credential(x: Examination, way: Kubeconfig) -> Verdict | None:
    """Look at the credential alone, before anybody is shown it."""
    now = time.time()
    if way.token is not None:
        x.say(f"our token: {way.token.origin}")
        try:
            raw = way.token.read()
        except SourceError as error:
            return failed(causes.CREDENTIAL_MISSING, str(error), _missing_mend(x, way))
        try:
            token = bearer_token(raw, way.token.origin)
        except SourceError as error:
            return own_token.unusable(raw, way.token.origin, str(error))
        if verdict := own_token.expired(own_token.parsed(token), way.token.origin, now):
            return verdict
    credential = way.credential()
    try:
        if isinstance(credential, ExecCredential):
            x.say("the kubeconfig's exec plugin")
            await credential.renew()
        credential.header(now)
        credential.ssl_context()
    except CredentialUnavailable as error:
        detail = error.detail
    else:
        return None
    if way.plugin is not None:
        return failed(
            causes.CREDENTIAL_PLUGIN,
            detail,
            # Its arguments may hold secrets.
            "run it by hand, with the args and env of the kubeconfig, until it works: "
            + way.plugin.command,
        )
    if "expired" in detail:
        return failed(
            causes.CREDENTIAL_EXPIRED,
            detail,
            "put a new client certificate into the kubeconfig, or a token that renews itself "
            "(tokenFile)",
        )
    cause = causes.CREDENTIAL_MISSING if "cannot be read" in detail else causes.CREDENTIAL_MALFORMED
    return failed(cause, detail, "put a certificate and its unencrypted key there, both in PEM")


def _missing_mend(x: Examination, way: Kubeconfig) -> str:
    assert way.token is not None
    path = x.config.upstream_token_file
    if path is not None and str(path).startswith("/var/run/secrets/"):
        return (
            "mount the account's token into the proxy's container (not into Headlamp's): the "
            "volume auth-proxy-account of deploy/headlamp/values-sidecar.yaml, or "
            "automountServiceAccountToken: true for the pod"
        )
    return renewed_token(way.token.origin, None)


async def _not_known(
    x: Examination, way: Kubeconfig, cluster: Cluster, refusal: Unknown
) -> Verdict:
    """Say why the API server does not tell who we are."""
    if refusal.status == 401:
        token, origin = OwnToken(), ""
        if way.plugin is not None:
            origin = f"the answer of {way.plugin.command}"
        if way.token is not None:
            token, origin = own_token.parsed(way.token.read().strip()), way.token.origin
        return own_token.rejected(token, origin, _issuers(x), await _told_to_admin(x, way))
    if refusal.status == 403 and _ANONYMOUS in refusal.why:
        return failed(
            causes.CREDENTIAL_LOST,
            f"the API server sees {_ANONYMOUS}: {refusal.why}",
            "something before the API server ends TLS or takes Authorization out; give the API "
            f"server's own address: {_server_flag(x, 'https://HOST:PORT')}",
        )
    version = await cluster.get("/version")
    if refusal.status == 404 and isinstance(version, Answer) and _number(version) < _REVIEWS:
        return unknown(
            causes.API_SERVER_OLD,
            f"Kubernetes {_git_version(version)} has no SelfSubjectReview, so nothing can be told "
            "of the account",
            "upgrade the cluster to 1.29 or later",
        )
    if refusal.status >= 500 or not refusal.status:
        return failed(
            causes.API_SERVER_FAILING, refusal.why, "see the API server's own log and /readyz"
        )
    return unknown(
        causes.RIGHTS_UNKNOWN,
        refusal.why,
        "bind the ClusterRole system:basic-user to system:authenticated, as Kubernetes does",
    )


def _issuers(x: Examination) -> list[str]:
    """Return the issuers of users' tokens."""
    path = x.config.authentication_config
    try:
        content = None if path is None else path.read_bytes()
        return [plan.rules.issuer for plan in plans_of(x.config, content)]
    except Exception:  # noqa: BLE001 - a wrong file is trust 2's matter; this is only a hint
        return []


async def _told_to_admin(x: Examination, way: Kubeconfig) -> str:
    """Return what the API server says of our token to one who may ask (TokenReview)."""
    if way.token is None:
        return ""
    async with administrator(x) as admin:
        if not isinstance(admin, Cluster):
            return ""
        return await admin.why_not(way.token.read().strip())


# --- The API server ------------------------------------------------------------------------------


def _answered(x: Examination, way: Kubeconfig, answer: Answer | Unknown) -> list[Verdict]:
    """Judge what came from /version: whether it is an API server, its clock, its age."""
    if isinstance(answer, Unknown):
        return [
            failed(
                causes.API_SERVER_NO_ANSWER,
                f"{_url(way)}: {answer.why}",
                "see the API server's own log and /readyz",
            )
        ]
    if answer.status == 401:
        return []  # the credential; said when it is asked who we are
    if answer.status >= 500:
        return [
            failed(
                causes.API_SERVER_FAILING,
                f"{_url(way)}/version answers {answer.status}",
                "see the API server's own log and /readyz",
            )
        ]
    if not _git_version(answer) and document_of(answer).get("kind") != "Status":
        return [
            failed(
                causes.NOT_AN_API_SERVER,
                f"{_url(way)}/version answers {answer.status}, and not as Kubernetes does",
                "give the API server's own address, without a path: "
                + _server_flag(x, "https://HOST:PORT"),
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
    number = _number(answer)
    if not number or number >= _SIDECARS:
        return []
    return [
        noted(
            causes.API_SERVER_OLD,
            f"Kubernetes {_git_version(answer)} has no native sidecars (1.29)",
            "use deploy/headlamp/values-sidecar-before-1.29.yaml, or inject --before-1.29",
        )
    ]


def _git_version(answer: Answer) -> str:
    version = document_of(answer).get("gitVersion")
    return version if isinstance(version, str) else ""


def _number(answer: Answer) -> tuple[int, ...]:
    found = _VERSION.match(_git_version(answer))
    return tuple(map(int, found.groups())) if found else ()


# --- The rights ----------------------------------------------------------------------------------


async def _rights(
    x: Examination,
    cluster: Cluster,
    ourselves: UserInfo,
    version: str,
    asking: Asking | None = None,
) -> AsyncIterator[Verdict]:
    x.say(f"what {ourselves.username} may do, and whether it can impersonate")
    async with administrator(x) as admin:
        reading = admin if isinstance(admin, Cluster) else cluster
        bindings = await reading.bindings()
        account, open_ = await ask(
            asking or Asking(cluster.reviewer),
            ourselves,
            await _wanted(x),
            x.config,
            None if isinstance(bindings, Unknown) else bindings,
            version,
        )
    for verdict in judged(account, x.config):
        yield verdict
    if open_:
        yield noted(causes.RIGHTS_UNKNOWN, "; ".join(open_))


async def _wanted(x: Examination) -> Impersonation | None:
    try:
        found = await person(x)
    except NotAuthenticated:
        return None
    return found.identity if found else None
