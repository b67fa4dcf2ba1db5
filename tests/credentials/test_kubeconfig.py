from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from proxy.credentials.endpoint import Upstream
from proxy.credentials.exec_protocol import ExecConfig
from proxy.credentials.kubeconfig import (
    KubeconfigError,
    from_kubeconfig,
    parse_kubeconfig,
    problems_of,
)
from proxy.errors import CredentialUnavailable

NOW = 1_800_000_000.0
V1 = "client.authentication.k8s.io/v1"
DIRECTORY = Path("/etc/kube")


def document(
    user: object = None, cluster: dict[str, Any] | None = None, **top: object
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "far", "user": "nobody"}},
            {"name": "here", "context": {"cluster": "near", "user": "us"}},
        ],
        "clusters": [
            {"name": "far", "cluster": {"server": "https://far.example"}},
            {"name": "near", "cluster": {"server": "https://near.example:6443", **(cluster or {})}},
        ],
        "users": [{"name": "us", "user": {"token": "abc"} if user is None else user}],
        **top,
    }


def problems(content: object) -> list[str]:
    with pytest.raises(KubeconfigError) as raised:
        parse_kubeconfig(yaml.safe_dump(content), DIRECTORY)
    return raised.value.problems


def plugin(**fields: object) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": "aws", "interactiveMode": "Never", **fields}}


def parsed_plugin(user: object, **cluster: object) -> ExecConfig:
    text = yaml.safe_dump(document(user, cluster))
    config = parse_kubeconfig(text, DIRECTORY).plugin
    assert config is not None
    return config


# --- What is taken ---


def test_the_current_context_says_where_and_who(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document(cluster={"tls-server-name": "kubernetes"})))
    upstream, credential = from_kubeconfig(path)
    assert upstream == Upstream("near.example", 6443, "kubernetes")
    assert credential.header(NOW) == b"Authorization: Bearer abc\r\n"


def test_the_files_that_it_names_are_beside_it_and_followed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one")
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    content = document({"tokenFile": "token"}, {"certificate-authority": "ca.crt"})
    (tmp_path / "config").write_text(yaml.safe_dump(content))
    _, credential = from_kubeconfig(tmp_path / "config")
    assert credential.header(NOW) == b"Authorization: Bearer one\r\n"
    (tmp_path / "token").write_text("second")
    assert credential.header(NOW + 1) == b"Authorization: Bearer second\r\n"
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialUnavailable, match=r"token \(the kubeconfig's tokenFile\)"):
        credential.header(NOW + 2)


def test_of_token_and_token_file_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file")
    content = document({"token": "given", "tokenFile": str(tmp_path / "token")})
    credential = parse_kubeconfig(yaml.safe_dump(content), DIRECTORY).credential()
    assert credential.header(NOW) == b"Authorization: Bearer from-file\r\n"


def encoded(content: bytes) -> str:
    return base64.encodebytes(content).decode()


@pytest.mark.parametrize("kind", ["data", "files"])
def test_a_client_certificate_is_a_credential(tmp_path: Path, kind: str) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("proxy@example.org")
    parts = {
        "certificate-authority": authority.cert_pem.bytes(),
        "client-certificate": leaf.cert_chain_pems[0].bytes(),
        "client-key": leaf.private_key_pem.bytes(),
    }
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    if kind == "data":
        values = {f"{name}-data": encoded(content) for name, content in parts.items()}
    else:
        values = {name: name for name in parts}
    cluster = {name: value for name, value in values.items() if "authority" in name}
    user = {name: value for name, value in values.items() if "client" in name}
    text = yaml.safe_dump(document(user, cluster))
    credential = parse_kubeconfig(text, tmp_path).credential()
    assert credential.header(NOW) == b""
    assert len(credential.ssl_context().get_ca_certs()) == 1
    assert credential.expires_at is not None


def test_data_goes_before_a_file(tmp_path: Path) -> None:
    cluster = {
        "certificate-authority": "missing",
        "certificate-authority-data": encoded(trustme.CA().cert_pem.bytes()),
    }
    text = yaml.safe_dump(document(cluster=cluster))
    assert parse_kubeconfig(text, tmp_path).credential().header(NOW)


def test_a_plugin_is_taken_with_its_arguments_and_environment() -> None:
    config = parsed_plugin(
        plugin(args=["eks", "get-token"], env=[{"name": "AWS_PROFILE", "value": "prod"}])
    )
    assert config == ExecConfig(V1, "aws", ("eks", "get-token"), {"AWS_PROFILE": "prod"})


@pytest.mark.parametrize(
    ("command", "resolved"),
    [("aws", "aws"), ("./aws", "/etc/kube/aws"), ("bin/aws", "/etc/kube/bin/aws"), ("/a", "/a")],
)
def test_a_command_with_a_slash_is_relative_to_the_kubeconfig(command: str, resolved: str) -> None:
    assert parsed_plugin(plugin(command=command)).command == resolved


def test_a_plugin_that_asks_for_the_cluster_is_told_it_with_its_extension() -> None:
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    config = parsed_plugin(
        plugin(provideClusterInfo=True), extensions=extensions, **{"tls-server-name": "kubernetes"}
    )
    assert config.cluster == {
        "server": "https://near.example:6443",
        "tls-server-name": "kubernetes",
        "config": {"audience": "x"},
    }


async def test_a_plugin_makes_a_credential_that_is_obtained_first(tmp_path: Path) -> None:
    answer = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "abc"}})
    (tmp_path / "plugin").write_text(f"#!/bin/sh\necho '{answer}'\n")
    (tmp_path / "plugin").chmod(0o755)
    (tmp_path / "config").write_text(yaml.safe_dump(document(plugin(command="./plugin"))))
    _, credential = from_kubeconfig(tmp_path / "config")
    assert credential.header(NOW) is None
    await credential.renew()
    assert credential.header(NOW) == b"Authorization: Bearer abc\r\n"


# --- What is refused ---


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"username": "admin", "password": "s3cr3t"}, "user: username is refused: basic"),
        ({"token": "abc", "auth-provider": {"name": "oidc"}}, "user: auth-provider is refused"),
        ({"token": "abc", "as": "root"}, "user: as is refused: the proxy's own identity"),
        ({"token": "abc", "as-uid": "0"}, "user: as-uid is refused"),
        ({"token": "abc", "as-groups": ["system:masters"]}, "user: as-groups is refused"),
        ({"token": "abc", "as-user-extra": {"a": ["b"]}}, "user: as-user-extra is refused"),
        ({}, "user: there is no token, client certificate or exec"),
        ({"token": ["abc"]}, "user: token must be a string"),
        ({"client-certificate": "c"}, "user: client-certificate and client-key go together"),
        ({"client-key-data": "Yg=="}, "user: client-certificate and client-key go together"),
        ({"client-key-data": "s3cr3t"}, "user: client-key-data is not base64"),
        ({**plugin(), "token": "abc"}, "user: exec and another credential are set"),
        ({"exec": "aws"}, "user: exec must be a mapping"),
        (plugin(apiVersion="client.authentication.k8s.io/v1alpha1"), "apiVersion must be"),
        (plugin(apiVersion=None), "apiVersion must be"),
        (plugin(command=""), "user: exec: command is not set"),
        (plugin(args="eks"), "args must be a list of strings"),
        (plugin(args=[1]), "args must be a list of strings"),
        (plugin(env=[{"name": "A"}]), "env must be a list of name and value"),
        (plugin(interactiveMode="Always"), "interactiveMode is 'Always', and there is nobody"),
        (plugin(interactiveMode=None), "interactiveMode must be set"),
    ],
)
def test_a_user_that_we_cannot_or_must_not_be_is_refused_by_name(
    user: dict[str, Any], problem: str
) -> None:
    found = problems(document(user))
    assert any(problem in text for text in found), found
    assert "s3cr3t" not in str(found)


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ({"insecure-skip-tls-verify": True}, "cluster: insecure-skip-tls-verify is refused"),
        ({"proxy-url": "http://proxy"}, "cluster: proxy-url is refused"),
        ({"server": "http://api"}, "cluster: server: 'http://api' must begin with https://"),
        ({"server": "https://rancher/k8s/clusters/c"}, "without a path"),
        ({"server": None}, "cluster: server: '' is not a URL"),
        ({"tls-server-name": "a b"}, "is not a DNS name"),
        ({"certificate-authority-data": "%"}, "certificate-authority-data is not base64"),
    ],
)
def test_a_cluster_that_could_be_anybody_or_cannot_be_reached_is_refused(
    cluster: dict[str, Any], problem: str
) -> None:
    found = problems(document(cluster=cluster))
    assert any(problem in text for text in found), found


def test_what_is_set_to_no_is_not_refused() -> None:
    text = yaml.safe_dump(document(cluster={"insecure-skip-tls-verify": False}))
    assert parse_kubeconfig(text, DIRECTORY).upstream.host == "near.example"


def test_the_older_version_of_exec_need_not_say_whether_it_asks() -> None:
    user = plugin(apiVersion="client.authentication.k8s.io/v1beta1", interactiveMode=None)
    assert parsed_plugin(user).api_version.endswith("v1beta1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "it is not a document of kind Config"),
        ([], "it is not a document of kind Config"),
        ({"kind": "Pod"}, "it is not a document of kind Config"),
        ({**document(), "current-context": ""}, "current-context is not set"),
        (
            {**document(), "current-context": "away"},
            "contexts has no context that is called 'away'",
        ),
        (document(contexts="x"), "contexts has no context that is called 'here'"),
        (document(clusters=None), "clusters has no cluster that is called 'near'"),
        (document(users=[{"name": "us", "user": "x"}]), "users has no user that is called 'us'"),
    ],
)
def test_a_document_that_leads_nowhere_is_refused(content: object, problem: str) -> None:
    assert problem in problems(content)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"])
@pytest.mark.parametrize(
    "user",
    [
        lambda text: {"token": text},
        lambda text: {"tokenFile": text},
        lambda text: plugin(command=text),
        lambda text: plugin(args=["a", text]),
        lambda text: plugin(env=[{"name": "A", "value": text}]),
        lambda text: plugin(env=[{"name": text, "value": "a"}]),
    ],
)
def test_what_no_file_argument_or_header_can_hold_is_refused(
    text: str, user: Callable[[str], dict[str, Any]]
) -> None:
    content = json.dumps(document(user(text)))  # which is YAML, and can say it
    with pytest.raises(KubeconfigError, match=r"must be a (string|list of)"):
        parse_kubeconfig(content, DIRECTORY)


def test_every_problem_is_said_at_once() -> None:
    user = {"token": "abc", "as": "root", "username": "admin"}
    assert len(problems(document(user, {"proxy-url": "x", "server": "http://api"}))) == 4


# What PyYAML takes for a value of its kind, and then cannot make one of.
NO_VALUES = [b"2001-99-99", b"1" * 5000, b"!!int x", b"!!float x", b"!!bool x", b"!!timestamp x"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "it is not text in UTF-8"),
        (b"users:\n- token: s3cr3t: x", "it is not YAML, line 2"),
        (b"[" * 2000, "it is not YAML"),
        *((b"s3cr3t: " + value, "it is not YAML") for value in NO_VALUES),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(KubeconfigError) as raised:
        from_kubeconfig(path)
    (found,) = raised.value.problems
    assert found.startswith(problem)
    assert "s3cr3t" not in found
    assert problems_of(content, path) == [found]
