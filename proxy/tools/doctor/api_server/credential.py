"""The proxy's own credential: whether it can be used, and why the API server does not know it."""

from __future__ import annotations

import time
from typing import Final

from proxy.credentials.credential import bearer_token
from proxy.credentials.exec_plugin import ExecCredential
from proxy.credentials.kubeconfig import Kubeconfig
from proxy.errors import CredentialUnavailable
from proxy.files import SourceError
from proxy.plans import plans_of
from proxy.reviews.documents import Unknown
from proxy.tools.doctor import causes, own_token
from proxy.tools.doctor.admin import administrator
from proxy.tools.doctor.answer import Answer
from proxy.tools.doctor.api_server.version import git_version, release
from proxy.tools.doctor.api_server.way import server_flag
from proxy.tools.doctor.cluster import Cluster
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.mends import renewed_token
from proxy.tools.doctor.own_token import OwnToken
from proxy.tools.doctor.verdict import Verdict, failed, unknown

_REVIEWS: Final = (1, 28)
_ANONYMOUS: Final = "system:anonymous"


async def unusable(x: Examination, way: Kubeconfig) -> Verdict | None:
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


async def not_known(x: Examination, way: Kubeconfig, cluster: Cluster, refusal: Unknown) -> Verdict:
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
            f"server's own address: {server_flag(x, 'https://HOST:PORT')}",
        )
    version = await cluster.get("/version")
    if refusal.status == 404 and isinstance(version, Answer) and release(version) < _REVIEWS:
        return unknown(
            causes.API_SERVER_OLD,
            f"Kubernetes {git_version(version)} has no SelfSubjectReview, so nothing can be told "
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
