"""Fuzz targets for what an operator writes: it is understood, or all that is wrong is said.

There is one way to fail each, and whatever is said of a failure is lines that a terminal can show.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from proxy.algorithms import ALGORITHMS
from proxy.config import Config, ConfigError, load
from proxy.config.declaration import ENVIRONMENT_PREFIX
from proxy.config.files import check_kubeconfig
from proxy.credentials.exec_protocol import API_VERSIONS, PluginError, parse_answer
from proxy.credentials.kubeconfig import KubeconfigError, parse_kubeconfig
from proxy.impersonation import RESERVED_PREFIXES

FILE: Final = "/etc/headlamp-auth-proxy.yaml"
NEVER_PASSED: Final = ("authorization", "cookie", "connection", "host", "transfer-encoding")


def config_file(data: bytes) -> None:
    """Load a configuration that is all in a file."""
    _check_loading([f"--config={FILE}"], {}, data)


def config_words(data: bytes) -> None:
    """Load one from flags and variables, one on each line; a NUL ends one where a line may not."""
    argv: list[str] = []
    environ: dict[str, str] = {}
    for word in data.replace(b"\0", b"\n").split(b"\n"):
        text = word.decode("utf-8", "surrogateescape")
        name, equals, value = text.partition("=")
        if name.startswith(ENVIRONMENT_PREFIX) and equals:
            environ[name] = value.replace("\\n", "\n")
        elif text:
            argv.append(text)
    _check_loading(argv, environ, b"")


def _check_loading(argv: list[str], environ: Mapping[str, str], file: bytes) -> None:
    try:
        config = _load(argv, environ, file)
    except ConfigError as error:
        check_words(error.problems)
        return
    assert config == _load(argv, environ, file)
    _check_config(config)


def _load(argv: list[str], environ: Mapping[str, str], file: bytes) -> Config:
    def read(path: Path) -> bytes:
        if str(path) == FILE:
            return file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def load_pair(certificate: Path, key: Path) -> None:
        """Take every pair for a good one."""

    return load(argv, environ, read, load_pair, check_kubeconfig)


def _check_config(config: Config) -> None:
    assert config.oidc_issuer_url.lower().startswith("https://")
    assert all(config.oidc_client_id)
    assert set(config.oidc_signing_algs) <= set(ALGORITHMS)
    assert config.oidc_signing_algs
    assert config.authenticated_group.strip() == config.authenticated_group != ""
    assert not config.authenticated_group.startswith(RESERVED_PREFIXES)
    assert "system:masters" not in config.allow_reserved_group
    assert set(RESERVED_PREFIXES) <= set(config.reserved_prefix)
    assert not [h for h in config.pass_header if h.lower().startswith(NEVER_PASSED)]
    assert not [h for h in config.pass_header if h.lower().startswith("impersonate")]
    for seconds in (config.oidc_clock_skew, config.shutdown_grace):
        assert 0 <= seconds < math.inf


def kubeconfig(data: bytes) -> None:
    """Read a kubeconfig; one that is taken verifies its API server and is nobody but us."""
    directory = Path("/etc/kube")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        found = parse_kubeconfig(text, directory)
    except KubeconfigError as error:
        check_words(error.problems)
        return
    document: dict[str, Any] = yaml.safe_load(text)
    name = document["current-context"]
    context = next(c["context"] for c in document["contexts"] if c["name"] == name)
    cluster = next(c["cluster"] for c in document["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in document["users"] if u["name"] == context["user"])
    assert cluster["server"].lower().startswith("https://")
    assert not cluster.get("insecure-skip-tls-verify")
    assert not any(user.get(key) for key in ("as", "as-uid", "as-groups", "username", "password"))
    assert found.token or found.certificate or found.plugin
    assert found.upstream.host
    secret = user.get("token")
    assert not isinstance(secret, str) or len(secret) < 8 or secret not in repr(found)


def exec_answer(data: bytes) -> None:
    """Read what a credential plugin wrote."""
    try:
        answer = parse_answer(data, API_VERSIONS[0])
    except PluginError as error:
        check_words([str(error)])
        return
    assert answer.token or answer.certificate
    assert bool(answer.certificate) == bool(answer.key)
    assert answer.expires_at is None or math.isfinite(answer.expires_at)


def check_words(lines: list[str]) -> None:
    assert lines
    for line in lines:
        assert line.strip()
        assert not any(char < " " or "\x7f" <= char < "\xa0" for char in line), line
        line.encode()
