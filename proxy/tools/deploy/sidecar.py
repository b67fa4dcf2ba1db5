"""The sidecar, once: what is added to Headlamp's pod, whoever adds it.

Three things must stay true in every pod that is made from this. Headlamp's container sees the
proxy where it looks for the API server, and finds the proxy's CA, and no token, where its service
account would be. The account's token and the proxy's keys are mounted into the proxy's container
and into no other. And Headlamp does not start before the proxy's files are there, because client-go
reads the CA once (client-go, rest/config.go, InClusterConfig).

Everything here is plain data, in the order in which it should be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxy.tools.deploy.mounts import Mount
from proxy.version import VERSION

Object = dict[str, Any]

NAME: Final = "auth-proxy"  # the container's
PREPARE: Final = f"{NAME}-files"  # the init container that writes the files where none may stay
IMAGE: Final = "ghcr.io/headlamp-auth-proxy/headlamp-auth-proxy"
ADMIN_PORT: Final = 9090
SERVING_PORT: Final = 6443
USER: Final = 65532  # the image's

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
TRUST, KEYS, ACCOUNT = "auth-proxy-trust", "auth-proxy-keys", "auth-proxy-account"
TRUST_DIR, CERT_DIR = "/run/auth-proxy/trust", "/run/auth-proxy/keys"

# The proxy drains for 25 s at most; Kubernetes counts Headlamp's own end in as well.
GRACE_SECONDS: Final = 45

# What stock Headlamp lacks for the Pod Security Standard "restricted".
HEADLAMP_USER, HEADLAMP_GROUP = 100, 101

# Set by every way to deploy, because the pod is built around them.
FIXED_FLAGS: Final = ("--listen", "--trust-dir", "--cert-dir", "--admin-listen")


def default_image() -> str:
    return f"{IMAGE}:{VERSION}"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What differs from one sidecar to another.

    ``flags`` are those of ``serve``, and ``mounts`` for the files that they name. ``secret`` names
    the Secret that Headlamp's chart takes its OIDC settings from; the issuer and the client id are
    then taken from the same place. ``native`` sidecars need Kubernetes 1.29; without, an init
    container writes the files and the proxy runs as an ordinary container.
    """

    image: str
    flags: tuple[str, ...] = ()
    secret: str | None = None
    native: bool = True
    mounts: tuple[Mount, ...] = ()

    @property
    def volumes(self) -> list[Object]:
        return [*volumes(), *(m.volume(n) for n, m in enumerate(self.mounts, 1))]

    @property
    def writes_to_claim(self) -> bool:
        return any(mount.written for mount in self.mounts)

    @property
    def init_containers(self) -> list[Object]:
        return [self._proxy()] if self.native else [self._files()]

    @property
    def containers(self) -> list[Object]:
        return [] if self.native else [self._proxy()]

    def _proxy(self) -> Object:
        return {
            "name": NAME,
            "image": self.image,
            **({"restartPolicy": "Always"} if self.native else {}),
            "args": ["serve", *self._arguments()],
            **self._environment(),
            "ports": [{"name": "auth-metrics", "containerPort": ADMIN_PORT}],
            # /livez, and never /readyz: a user whom the proxy cannot serve yet shall meet its
            # explanation, and not a pod that is missing from the Service.
            "startupProbe": {**_livez(), "periodSeconds": 1, "failureThreshold": 60},
            "livenessProbe": {**_livez(), "periodSeconds": 10, "timeoutSeconds": 5},
            "resources": {
                "requests": {"cpu": "50m", "memory": "96Mi"},
                "limits": {"memory": "512Mi"},
            },
            "securityContext": restricted(USER, USER),
            "volumeMounts": self._mounts(),
        }

    def _files(self) -> Object:
        return {
            "name": PREPARE,
            "image": self.image,
            "args": ["prepare", *self._arguments()],
            **self._environment(),
            "securityContext": restricted(USER, USER),
            "volumeMounts": self._mounts(),
        }

    def _arguments(self) -> list[str]:
        return [f"--trust-dir={TRUST_DIR}", f"--cert-dir={CERT_DIR}", *self.flags]

    def _environment(self) -> Object:
        if self.secret is None:
            return {}
        variables = {"OIDC_ISSUER_URL": "OIDC_ISSUER_URL", "OIDC_CLIENT_ID": "OIDC_CLIENT_ID"}
        return {
            "env": [
                {
                    "name": f"HEADLAMP_AUTH_PROXY_{variable}",
                    "valueFrom": {"secretKeyRef": {"name": self.secret, "key": key}},
                }
                for variable, key in variables.items()
            ]
        }

    def _mounts(self) -> list[Object]:
        return [
            {"name": TRUST, "mountPath": TRUST_DIR},
            {"name": KEYS, "mountPath": CERT_DIR},
            {"name": ACCOUNT, "mountPath": SERVICE_ACCOUNT, "readOnly": True},
            *(m.mount(n) for n, m in enumerate(self.mounts, 1)),
        ]


def headlamp_environment() -> list[Object]:
    """Return the variables by which client-go finds the API server: here, the proxy."""
    return [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": str(SERVING_PORT)},
    ]


def headlamp_mounts() -> list[Object]:
    """Return the mount that stands where the service account's token would be.

    The admission plugin leaves a container alone that mounts something there
    (plugin/pkg/admission/serviceaccount/admission.go, mountServiceAccountToken).
    """
    return [{"name": TRUST, "mountPath": SERVICE_ACCOUNT, "readOnly": True}]


def volumes() -> list[Object]:
    """Return the pod's volumes: what Headlamp trusts, the proxy's keys, the account's token."""
    return [
        {"name": TRUST, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": KEYS, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": ACCOUNT, "projected": {"sources": _account_sources()}},
    ]


def pod_settings() -> Object:
    """Return what the pod as a whole must say."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
    }


def writing_group() -> Object:
    """Return what of a pod's security context lets the proxy write to a claim.

    What is on it stays as it is if the group may write there already, and so owner-only.
    """
    return {"fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}


def restricted(user: int, group: int) -> Object:
    """Return a container's security context within the Pod Security Standard "restricted"."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def fixed_flag(arguments: Sequence[str]) -> str | None:
    """Return the first of ``arguments`` that sets what the pod is built around, or None."""
    return next((flag for flag in FIXED_FLAGS for a in arguments if a.split("=")[0] == flag), None)


def _livez() -> Object:
    return {"httpGet": {"path": "/livez", "port": ADMIN_PORT}}


def _account_sources() -> list[Object]:
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    ca = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": ca},
        {"downwardAPI": {"items": [namespace]}},
    ]
