"""What we say to a credential plugin, and what its answer means: client.authentication.k8s.io.

Source: k8s.io/client-go/plugin/pkg/client/auth/exec/exec.go and
k8s.io/client-go/pkg/apis/clientauthentication/v1/types.go; v1 and v1beta1 do not differ here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_SECRET_LOOKING = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_UNPRINTABLE = re.compile(r"[^ -~]")


class PluginError(Exception):
    """A plugin's answer cannot be used; the message holds nothing of the answer."""


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """The ``exec`` of a kubeconfig's user; ``cluster`` is there if the plugin is to be told it."""

    api_version: str
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cluster: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class PluginAnswer:
    """A token, or a client certificate with its key, or both; ``expires_at`` in unix seconds."""

    token: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    expires_at: float | None = None


def exec_info(config: ExecConfig, ca: bytes | None) -> str:
    """Return the value of KUBERNETES_EXEC_INFO; ``ca`` is the cluster's CA in PEM."""
    spec: dict[str, Any] = {"interactive": False}
    if config.cluster is not None:
        spec["cluster"] = dict(config.cluster)
        if ca is not None:
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(ca).decode()
    return json.dumps({"kind": "ExecCredential", "apiVersion": config.api_version, "spec": spec})


def parse_answer(stdout: bytes, api_version: str) -> PluginAnswer:
    """Return what a plugin wrote. Raises PluginError."""
    try:
        document = json.loads(stdout)
    except (ValueError, RecursionError) as error:
        raise PluginError("did not write JSON") from error
    if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
        raise PluginError("did not write an ExecCredential")
    if document.get("apiVersion") != api_version:
        raise PluginError(f"did not answer in {api_version}, as the kubeconfig's exec asks")
    status = document.get("status")
    if not isinstance(status, dict):
        raise PluginError("wrote an ExecCredential without a status")
    answer = PluginAnswer(
        token=_text(status, "token"),
        certificate=_text(status, "clientCertificateData"),
        key=_text(status, "clientKeyData"),
        expires_at=_moment(_text(status, "expirationTimestamp").decode()),
    )
    if bool(answer.certificate) != bool(answer.key):
        raise PluginError("gave only one of clientCertificateData and clientKeyData")
    if not answer.token and not answer.certificate:
        raise PluginError("gave neither a token nor a client certificate")
    return answer


def _text(status: Mapping[str, Any], name: str) -> bytes:
    value = status.get(name) or ""
    if not isinstance(value, str):
        raise PluginError(f"gave a {name} that is not a string")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise PluginError(f"gave a {name} that is not text") from error


def _moment(text: str) -> float | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PluginError("gave an expirationTimestamp that is not RFC 3339")
    return moment.timestamp()


def last_words(stderr: bytes) -> str:
    """Return the last line that a failing plugin wrote, fit for a log.

    Whatever is as long as a secret is masked, long paths included.
    """
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return ""
    masked = _SECRET_LOOKING.sub("[...]", _UNPRINTABLE.sub("?", lines[-1].strip()))
    return masked[:200]
