"""What of a kubeconfig we take: where its current context's cluster is, and who we are there.

Everything that would make us somebody else, or would trust anybody, is refused by name and not
passed over. All that is wrong is said at once. See docs/decisions/kubeconfig.md for why this is
not a library's. Source: k8s.io/client-go/tools/clientcmd/api/v1/types.go and client_config.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.credentials.client_tls import ClientTLS
from proxy.credentials.credential import Credential, HeldCredential
from proxy.credentials.endpoint import Upstream, parse_upstream
from proxy.credentials.exec_plugin import ExecCredential
from proxy.credentials.exec_protocol import API_VERSIONS, ExecConfig
from proxy.files import FollowedFile, GivenData, Source

_EXEC_EXTENSION = "client.authentication.k8s.io/exec"
_REFUSED_OF_USERS = {
    "username": "basic authentication is not supported by Kubernetes any more; use a token",
    "password": "basic authentication is not supported by Kubernetes any more; use a token",
    "auth-provider": "client-go has no auth-providers any more; use exec",
    "as": "the proxy's own identity must be its own, not an impersonated one",
    "as-uid": "the proxy's own identity must be its own, not an impersonated one",
    "as-groups": "the proxy's own identity must be its own, not an impersonated one",
    "as-user-extra": "the proxy's own identity must be its own, not an impersonated one",
}
_REFUSED_OF_CLUSTERS = {
    "insecure-skip-tls-verify": "the API server must be verified; use certificate-authority",
    "proxy-url": "the API server is reached directly or not at all",
}


# PyYAML lets through what int(), date() and its own look-ups raise, for "2001-99-99" or "!!bool x".
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # no file, argument or header can hold these


class KubeconfigError(Exception):
    """A kubeconfig cannot be used; ``problems`` has a sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The current context, resolved: paths are absolute, data is decoded."""

    upstream: Upstream
    ca: Source | None
    token: Source | None
    certificate: Source | None
    key: Source | None
    plugin: ExecConfig | None

    def credential(self) -> Credential:
        if self.plugin is not None:
            return ExecCredential(self.plugin, self.ca)
        return HeldCredential(ClientTLS(self.ca, self.certificate, self.key), self.token)


def from_kubeconfig(path: Path) -> tuple[Upstream, Credential]:
    """Return what the kubeconfig at ``path`` says. Raises KubeconfigError or OSError.

    The kubeconfig is read once; the files that it names are followed.
    """
    kubeconfig = parse_kubeconfig(_text(path.read_bytes()), path.absolute().parent)
    return kubeconfig.upstream, kubeconfig.credential()


def problems_of(content: bytes, path: Path) -> list[str]:
    """Return all that is wrong with a kubeconfig, for the check of the configuration."""
    try:
        parse_kubeconfig(_text(content), path.absolute().parent)
    except KubeconfigError as error:
        return error.problems
    return []


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise KubeconfigError(["it is not text in UTF-8"]) from error


def parse_kubeconfig(text: str, directory: Path) -> Kubeconfig:
    """Return what ``text`` says, its paths taken from ``directory``. Raises KubeconfigError."""
    return _Reader(directory).read(_document(text))


def _document(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except _YAML_ERRORS as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise KubeconfigError([f"it is not YAML{where}"]) from error


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a kubeconfig says that something is to be sent, and who we are there."""

    url: str
    server_name: str
    credential: Credential


def webhook_from_kubeconfig(path: Path) -> Webhook:
    """Return what a webhook's kubeconfig says. Raises KubeconfigError or OSError."""
    reader = _WebhookReader(path.absolute().parent)
    kubeconfig = reader.read(_document(_text(path.read_bytes())))
    url = f"https://{kubeconfig.upstream.authority.decode()}{reader.target or '/'}"
    return Webhook(url, kubeconfig.upstream.server_name, kubeconfig.credential())


def webhook_problems_of(content: bytes, path: Path) -> list[str]:
    """Return all that is wrong with a webhook's kubeconfig, for the check of the configuration."""
    try:
        _WebhookReader(path.absolute().parent).read(_document(_text(content)))
    except KubeconfigError as error:
        return error.problems
    return []


class _Reader:
    """Reads on after a problem, so that all are found."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._problems: list[str] = []

    def read(self, document: object) -> Kubeconfig:
        if not isinstance(document, dict) or document.get("kind", "Config") != "Config":
            raise KubeconfigError(["it is not a document of kind Config"])
        context = self._named(document, "contexts", "context", document.get("current-context"))
        cluster = self._named(document, "clusters", "cluster", context.get("cluster"))
        user = self._named(document, "users", "user", context.get("user"))
        if self._problems:
            raise KubeconfigError(self._problems)
        self._refuse(cluster, "cluster", _REFUSED_OF_CLUSTERS)
        self._refuse(user, "user", _REFUSED_OF_USERS)
        upstream = self._upstream(cluster)
        ca = self._source(cluster, "cluster", "certificate-authority")
        kubeconfig = Kubeconfig(
            upstream=upstream,
            ca=ca,
            token=self._token(user),
            certificate=self._source(user, "user", "client-certificate"),
            key=self._source(user, "user", "client-key"),
            plugin=self._plugin(user, cluster),
        )
        self._check_credential(kubeconfig)
        if self._problems:
            raise KubeconfigError(self._problems)
        return kubeconfig

    # --- Pieces of the document ---

    def _named(self, document: Mapping[str, Any], part: str, kind: str, name: object) -> Any:
        """Return the entry of ``part`` that is called ``name``, or an empty one and a problem."""
        if not name or not isinstance(name, str):
            setting = "current-context" if part == "contexts" else f"the current context's {kind}"
            self._problems.append(f"{setting} is not set")
            return {}
        entries = document.get(part)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                body = entry.get(kind) or {}
                if isinstance(body, dict):
                    return body
        self._problems.append(f"{part} has no {kind} that is called {name!r}")
        return {}

    def _text(self, body: Mapping[str, Any], where: str, name: str) -> str:
        value = body.get(name)
        if value is None or _is_text(value):
            return value or ""
        self._problems.append(f"{where}: {name} must be a string")
        return ""

    def _refuse(self, body: Mapping[str, Any], where: str, refused: Mapping[str, str]) -> None:
        for name, why in refused.items():
            if body.get(name):
                self._problems.append(f"{where}: {name} is refused: {why}")

    def _path(self, name: str) -> Path:
        return self._directory / name

    # --- The cluster ---

    def _upstream(self, cluster: Mapping[str, Any]) -> Upstream:
        server = self._text(cluster, "cluster", "server")
        server_name = self._text(cluster, "cluster", "tls-server-name")
        try:
            return parse_upstream(server, server_name)
        except ValueError as error:
            self._problems.append(f"cluster: server: {error}")
            return Upstream("", 0, "")

    def _source(self, body: Mapping[str, Any], where: str, name: str) -> Source | None:
        """Return ``name``-data, which goes before, or the file ``name``."""
        data = self._text(body, where, f"{name}-data")
        if data:
            try:
                content = base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                self._problems.append(f"{where}: {name}-data is not base64")
                content = b""
            return GivenData(f"the kubeconfig's {name}-data", content)
        path = self._text(body, where, name)
        return FollowedFile(self._path(path), f"the kubeconfig's {name}") if path else None

    # --- The user ---

    def _token(self, user: Mapping[str, Any]) -> Source | None:
        path = self._text(user, "user", "tokenFile")
        token = self._text(user, "user", "token")
        if path:
            return FollowedFile(self._path(path), "the kubeconfig's tokenFile")
        return GivenData("the kubeconfig's token", token.encode()) if token else None

    def _check_credential(self, kubeconfig: Kubeconfig) -> None:
        held = kubeconfig.token or kubeconfig.certificate or kubeconfig.key
        if kubeconfig.plugin is not None and held:
            self._problems.append("user: exec and another credential are set; keep one of them")
        if kubeconfig.plugin is None and not held:
            self._problems.append("user: there is no token, client certificate or exec")
        if bool(kubeconfig.certificate) != bool(kubeconfig.key):
            self._problems.append("user: client-certificate and client-key go together")

    def _plugin(self, user: Mapping[str, Any], cluster: Mapping[str, Any]) -> ExecConfig | None:
        body = user.get("exec")
        if body is None:
            return None
        if not isinstance(body, dict):
            self._problems.append("user: exec must be a mapping")
            return None
        return ExecConfig(
            api_version=self._api_version(body),
            command=self._command(body),
            args=self._args(body),
            env=self._env(body),
            cluster=_cluster_info(cluster) if body.get("provideClusterInfo") else None,
        )

    def _api_version(self, body: Mapping[str, Any]) -> str:
        version = self._text(body, "user: exec", "apiVersion")
        mode = self._text(body, "user: exec", "interactiveMode")
        if version not in API_VERSIONS:
            self._problems.append(f"user: exec: apiVersion must be {' or '.join(API_VERSIONS)}")
        elif not mode and version == API_VERSIONS[0]:
            self._problems.append("user: exec: interactiveMode must be set; Never is right here")
        if mode and mode not in {"Never", "IfAvailable"}:
            self._problems.append(
                f"user: exec: interactiveMode is {mode!r}, and there is nobody to ask; "
                "use a plugin that can do with Never or IfAvailable"
            )
        return version

    def _command(self, body: Mapping[str, Any]) -> str:
        """Return the command; one with a slash is relative to the kubeconfig, as in client-go."""
        command = self._text(body, "user: exec", "command")
        if not command:
            self._problems.append("user: exec: command is not set")
        return str(self._path(command)) if "/" in command else command

    def _args(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(self._list(body, "args", _is_text))

    def _env(self, body: Mapping[str, Any]) -> dict[str, str]:
        def is_variable(item: Any) -> bool:
            return (
                isinstance(item, dict)
                and _is_text(item.get("name"))
                and _is_text(item.get("value"))
            )

        return {item["name"]: item["value"] for item in self._list(body, "env", is_variable)}

    def _list(
        self, body: Mapping[str, Any], name: str, is_good: Callable[[Any], bool]
    ) -> list[Any]:
        items = body.get(name) or []
        if isinstance(items, list) and all(map(is_good, items)):
            return items
        what = "strings" if name == "args" else "name and value, both strings"
        self._problems.append(f"user: exec: {name} must be a list of {what}")
        return []


class _WebhookReader(_Reader):
    """Reads a webhook's kubeconfig: its URL may have a path, and it may know nobody."""

    target = ""

    def _upstream(self, cluster: Mapping[str, Any]) -> Upstream:
        scheme, mark, rest = self._text(cluster, "cluster", "server").partition("://")
        host, slash, path = rest.partition("/")
        self.target = slash + path
        return super()._upstream({**cluster, "server": scheme + mark + host})

    def _named(self, document: Mapping[str, Any], part: str, kind: str, name: object) -> Any:
        return {} if part == "users" and not name else super()._named(document, part, kind, name)

    def _check_credential(self, kubeconfig: Kubeconfig) -> None:
        if kubeconfig.token or kubeconfig.certificate or kubeconfig.key or kubeconfig.plugin:
            super()._check_credential(kubeconfig)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _NO_TEXT.search(value)


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Cluster of an ExecCredential's spec, but for the CA, which may be in a file."""
    info: dict[str, Any] = {"server": cluster.get("server")}
    if cluster.get("tls-server-name"):
        info["tls-server-name"] = cluster["tls-server-name"]
    for extension in cluster.get("extensions") or []:
        if isinstance(extension, dict) and extension.get("name") == _EXEC_EXTENSION:
            info["config"] = extension.get("extension")
    return info
