"""The way to the API server, as ``serve`` goes it, and what mends it where it is broken."""

from __future__ import annotations

import shlex
import ssl

from proxy import tls
from proxy.config import Address
from proxy.credentials.kubeconfig import Kubeconfig, KubeconfigError
from proxy.files import SourceError
from proxy.tools.doctor import causes
from proxy.tools.doctor.examination import Examination
from proxy.tools.doctor.reach import reach
from proxy.tools.doctor.trouble import Kind, Peer, Trouble
from proxy.tools.doctor.verdict import Verdict, failed


def context_of(way: Kubeconfig) -> ssl.SSLContext:
    """Return a context that believes whom ``serve`` would believe. Raises SourceError."""
    content = None if way.ca is None else way.ca.read()
    try:
        return tls.client_context(content)
    except (ValueError, ssl.SSLError) as error:
        origin = way.ca.origin if way.ca else "the system's roots"
        raise SourceError(f"{origin} holds no usable CA certificate in PEM") from error


async def reached(
    x: Examination, way: Kubeconfig, context: ssl.SSLContext
) -> Peer | Verdict | None:
    url = url_of(way)
    if Address(way.upstream.host, way.upstream.port).leads_to(x.config.listen):
        return failed(
            causes.API_SERVER_IS_US,
            f"{url} is where this proxy itself listens (--listen {x.config.listen})",
            server_flag(x, "https://kubernetes.default.svc"),
        )
    x.say(f"{url}: its name, the connection, its certificate")
    try:
        found = await reach(url, context, server_name=way.upstream.server_name)
    except Trouble as trouble:
        return failed(causes.API_SERVER_WAY[trouble.kind], trouble.saw, _way_mend(x, way, trouble))
    return found.peer


def _way_mend(x: Examination, way: Kubeconfig, trouble: Trouble) -> str:
    match trouble.kind:
        case Kind.CA | Kind.CHAIN:
            return ca_mend(x)
        case Kind.NAMES if trouble.peer and trouble.peer.names:
            return _name_mend(x, way, trouble.peer.names)
        case Kind.EXPIRED:
            return "renew the API server's certificate: kubeadm certs renew apiserver, on its node"
        case Kind.EARLY:
            return "set this machine's clock (timedatectl set-ntp true), or the API server's"
        case Kind.NAME | Kind.REFUSED | Kind.NOT_TLS | Kind.TLS | Kind.CLOSED:
            return (
                "give the API server's own address: "
                + server_flag(x, "https://HOST:PORT")
                + "\nkubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes"
                " says which"
            )
        case _:
            return (
                f"let this pod reach {way.upstream.host} on TCP port {way.upstream.port} (egress "
                "in its NetworkPolicies, security groups, routes), or give another address: "
                + server_flag(x, "https://HOST:PORT")
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


def server_flag(x: Examination, url: str) -> str:
    if x.config.kubeconfig is not None:
        return f"server: {url} in {x.config.kubeconfig}"
    return f"--upstream={url}"


def ca_mend(x: Examination) -> str:
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


def kubeconfig_mend(error: KubeconfigError) -> str:
    first = error.problems[0]
    if "insecure-skip-tls-verify" in first:
        return "take insecure-skip-tls-verify out and put certificate-authority-data in"
    if "cannot be read" in first:
        return "give the path of a kubeconfig that is there with --kubeconfig, or mount it"
    return f"mend it there: {first}"


def url_of(way: Kubeconfig) -> str:
    host = f"[{way.upstream.host}]" if ":" in way.upstream.host else way.upstream.host
    return f"https://{host}:{way.upstream.port}"
