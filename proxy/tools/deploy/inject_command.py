"""The command ``inject``: manifests in, the same manifests with the sidecar out."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from proxy.tools.deploy.arguments import Arguments, Own, check_serve, take_apart, usage
from proxy.tools.deploy.findings import obstacles, remarks
from proxy.tools.deploy.mounts import parse_mounts
from proxy.tools.deploy.sidecar import (
    CERT_DIR,
    FIXED_FLAGS,
    SERVICE_ACCOUNT,
    TRUST_DIR,
    Sidecar,
    default_image,
    fixed_flag,
)
from proxy.tools.deploy.stream import SEPARATOR, Document, StreamError, documents
from proxy.tools.deploy.workload import (
    Mapping,
    UnfitError,
    headlamp_container,
    inject,
    objects,
    pod_spec,
    value,
)

OWN: Final = (
    Own("--image", "IMAGE", "the proxy's image"),
    Own("--container", "NAME", "the container that is Headlamp, where that cannot be seen"),
    Own(
        "--oidc-secret",
        "NAME",
        "the Secret of Headlamp's chart with OIDC_ISSUER_URL and _CLIENT_ID",
    ),
    Own(
        "--mount",
        "KIND/NAME:FOLDER",
        "a configmap, secret or claim, for files that flags name (repeatable)",
    ),
    Own("--before-1.29", "", "for Kubernetes without native sidecars"),
)
DETAILS: Final = f"""\
Reads manifests from files, or from standard input (-), adds the proxy to Headlamp's pod and writes
them all to standard output. What is not Headlamp's workload passes as it came. A stream that has
been injected before comes out the same.

    helm template headlamp headlamp/headlamp --namespace headlamp --values yours.yaml \\
        --set clusterRoleBinding.create=false |
        headlamp-auth-proxy inject --oidc-issuer-url=https://idp.tail1234.ts.net \\
            --oidc-client-id=CLIENT_ID - | kubectl -n headlamp apply -f -
    headlamp-auth-proxy rbac --mode=named --user=alice@example.com | kubectl apply -f -

    # audited by the policy.yaml of a ConfigMap, to the container's standard output
    headlamp-auth-proxy inject --oidc-secret=headlamp-oidc \\
        --mount=configmap/headlamp-auth-proxy-audit:/run/auth-proxy/audit-policy \\
        --audit-policy-file=/run/auth-proxy/audit-policy/policy.yaml --audit-log-path=- -

{usage(OWN)}
All flags of serve are taken as well, and end up in the sidecar, but for
{", ".join(FIXED_FLAGS)}, around which the pod is built.
"""


class InjectError(Exception):
    """The stream cannot be injected; the message says what to change."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return the exit status: 0, 1 for manifests, 2 for usage."""
    arguments = take_apart(argv, OWN)
    sidecar = _sidecar(arguments)
    if not arguments.rest:
        arguments.problems.append("name the files with the manifests, or - for standard input")
    if arguments.problems:
        return _say(arguments.problems, 2)
    try:
        texts = [_read(name) for name in arguments.rest]
        stream = [
            document
            for name, text in zip(arguments.rest, texts, strict=True)
            for document in documents(text, name)
        ]
        output, said = injected(stream, sidecar, arguments.own.get("--container", [None])[-1])
    except (InjectError, StreamError) as error:
        return _say([str(error)], 1)
    sys.stdout.write(output)
    return _say(said, 0)


def injected(
    stream: Sequence[Document], sidecar: Sidecar, container: str | None
) -> tuple[str, list[str]]:
    """Return the stream with the sidecar, and what its operator should know.

    Raises InjectError where nothing in it is Headlamp, or the pod is not fit for the proxy, and
    StreamError where its document cannot be changed.
    """
    everything = [item for document in stream for item in objects(document.content)]
    said: list[str] = []
    found = 0
    for item in everything:
        with _named(item):
            spec = pod_spec(item)
            headlamp = headlamp_container(spec, container) if spec is not None else None
            if spec is not None and headlamp is not None:
                found += 1
                if in_the_way := obstacles(spec, headlamp):
                    raise UnfitError("; ".join(in_the_way))
                said += remarks(everything, spec, headlamp)
                said += _replicas(item)
    if not found:
        wanted = f"called {container}" if container else "called headlamp, or with such an image"
        raise InjectError(f"nothing to inject: no workload has a container {wanted}")
    change = functools.partial(_inject_all, sidecar=sidecar, container=container)
    texts = [document.changed(change) for document in stream]
    return _joined(texts), said


def _inject_all(content: Any, *, sidecar: Sidecar, container: str | None) -> None:
    for item in objects(content):
        with _named(item):
            spec = pod_spec(item)
            headlamp = headlamp_container(spec, container) if spec is not None else None
            if spec is not None and headlamp is not None:
                inject(spec, headlamp, sidecar)


@contextlib.contextmanager
def _named(item: Mapping) -> Iterator[None]:
    """Say of which object an UnfitError is."""
    try:
        yield
    except UnfitError as error:
        name = value(item.get("metadata"), "name")
        raise InjectError(f"{item.get('kind')} {name}: {error}") from error


def _replicas(item: Mapping) -> list[str]:
    replicas = value(item.get("spec"), "replicas")
    if not isinstance(replicas, int) or replicas < 2:
        return []
    return [
        (
            f"Headlamp has {replicas} replicas, each with sign-ins of its own in memory, and "
            "tsidp's refresh tokens are for one use: users will be signed out at random; set "
            "replicas to 1"
        )
    ]


def _sidecar(arguments: Arguments) -> Sidecar:
    secret = arguments.own.get("--oidc-secret", [None])[-1]
    stand_in = {"--trust-dir": TRUST_DIR, "--cert-dir": CERT_DIR}
    if secret is not None:
        stand_in |= {"--oidc-issuer-url": "https://issuer.invalid", "--oidc-client-id": "client"}
    if flag := fixed_flag(arguments.serve):
        arguments.problems.append(f"{flag}: is fixed in the sidecar; leave it out")
    check_serve(arguments, stand_in)
    taken = (TRUST_DIR, CERT_DIR, SERVICE_ACCOUNT)
    mounts = parse_mounts(arguments.own.get("--mount", []), taken, arguments.problems)
    return Sidecar(
        image=arguments.one("--image", default_image()),
        flags=tuple(arguments.serve),
        secret=secret,
        native="--before-1.29" not in arguments.own,
        mounts=tuple(mounts),
    )


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode()
        return Path(name).read_bytes().decode()
    except OSError as error:
        raise StreamError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StreamError(f"{name}: is not UTF-8 text") from error


def _joined(texts: Sequence[str]) -> str:
    """Join documents of several files: each but the first begins with its separator."""
    joined = ""
    for text in texts:
        if joined and not joined.endswith("\n"):
            joined += "\n"
        joined += text if not joined or SEPARATOR.match(text) else f"---\n{text}"
    return joined


def _say(lines: Sequence[str], status: int) -> int:
    prefix = "" if status else "warning: "
    sys.stderr.write("".join(f"{prefix}{line}\n" for line in lines))
    return status
