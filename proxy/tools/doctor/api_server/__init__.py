"""Trust 4, first half: the API server and this proxy's own account, in place of the issuer.

The way there (``way``), the certificate, the credential (``credential``), what answers
(``version``) and the rights (``own_rights``) are looked at in the order in which a request needs
them; the first that fails ends it, since nothing behind it can then be seen. The running proxy and
Headlamp's side are ``serving``'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from proxy.credentials.kubeconfig import Kubeconfig, KubeconfigError
from proxy.files import SourceError
from proxy.impersonation import Impersonation
from proxy.reviews.documents import Unknown
from proxy.reviews.requested import service_account
from proxy.tools.doctor import causes
from proxy.tools.doctor.admin import administrator
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.api_server.credential import not_known, unusable
from proxy.tools.doctor.api_server.version import answered, git_version
from proxy.tools.doctor.api_server.way import (
    ca_mend,
    context_of,
    kubeconfig_mend,
    reached,
    url_of,
)
from proxy.tools.doctor.cluster import Cluster, opened, way_of
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.own_rights import judged
from proxy.tools.doctor.own_rights.asking import Asking, ask
from proxy.tools.doctor.person import NotAuthenticated, person
from proxy.tools.doctor.verdict import Verdict, failed, noted, ok, skipped, unknown
from proxy.userinfo import UserInfo


async def examine(x: Examination) -> AsyncIterator[Verdict]:
    """Say all that is to be said of the API server and the proxy's account there."""
    try:
        way = way_of(x.config)
    except KubeconfigError as error:
        where = f"--kubeconfig {str(x.config.kubeconfig)!a}"
        yield failed(causes.KUBECONFIG_UNUSABLE, f"{where}: {error}", kubeconfig_mend(error))
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
        context = context_of(way)
    except SourceError as error:
        yield failed(causes.API_SERVER_CA_FILE, str(error), ca_mend(x))
        return
    found = await reached(x, way, context)
    if isinstance(found, Verdict):
        yield found
        return
    if verdict := await unusable(x, way):
        yield verdict
        return
    async with opened(way, x.session) as cluster:
        x.say(f"as whom {url_of(way)} knows our credential")
        version = await cluster.get("/version")
        for verdict in answered(x, way, version):
            yield verdict
            if verdict.status == "failed":
                return
        ourselves = await cluster.reviewer.who_am_i()
        if isinstance(ourselves, Unknown):
            yield await not_known(x, way, cluster, ourselves)
            return
        assert isinstance(version, Answer)
        async for verdict in _rights(x, cluster, ourselves, git_version(version)):
            yield verdict
    yield ok(
        f"{url_of(way)} ({git_version(version)}) knows us as {ourselves.username}"
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
        git = git_version(version) if isinstance(version, Answer) else ""
        failures = 0
        async for verdict in _rights(x, admin, ourselves, git, Asking(admin.reviewer, headers)):
            failures += verdict.status == "failed"
            yield verdict
        if not failures:
            yield ok(f"{account} may impersonate whom it must; asked by an administrator")


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
