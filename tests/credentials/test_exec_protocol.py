from __future__ import annotations

import base64
import json

import pytest

from proxy.credentials.exec_protocol import (
    ExecConfig,
    PluginAnswer,
    PluginError,
    exec_info,
    last_words,
    parse_answer,
)

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


def credential(api_version: str = V1, **status: object) -> bytes:
    document = {"apiVersion": api_version, "kind": "ExecCredential", "status": status}
    return json.dumps(document).encode()


def test_a_plugin_is_told_the_version_and_that_nobody_is_there_to_be_asked() -> None:
    assert json.loads(exec_info(ExecConfig(V1BETA1, "aws"), b"CA")) == {
        "apiVersion": V1BETA1,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }


def test_a_plugin_that_asks_for_it_is_told_the_cluster_and_its_authority() -> None:
    config = ExecConfig(V1, "aws", cluster={"server": "https://api", "config": {"a": 1}})
    assert json.loads(exec_info(config, b"CA"))["spec"]["cluster"] == {
        "server": "https://api",
        "config": {"a": 1},
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
    }


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_an_answer_holds_a_token_and_when_it_ends(version: str) -> None:
    answer = parse_answer(
        credential(version, token="t", expirationTimestamp="2027-01-15T08:00:00Z"), version
    )
    assert answer == PluginAnswer(token=b"t", expires_at=1_800_000_000.0)


def test_an_answer_may_hold_a_client_certificate_instead() -> None:
    answer = parse_answer(credential(clientCertificateData="c", clientKeyData="k"), V1)
    assert answer == PluginAnswer(certificate=b"c", key=b"k")


@pytest.mark.parametrize(
    ("stdout", "why"),
    [
        (b"", "did not write JSON"),
        (b"token", "did not write JSON"),
        (b"[" * 100_000, "did not write JSON"),
        (b"\xff", "did not write JSON"),
        (b"[]", "did not write an ExecCredential"),
        (b'{"kind": "Status"}', "did not write an ExecCredential"),
        (credential(V1BETA1, token="t"), f"did not answer in {V1}"),
        (b'{"kind": "ExecCredential", "apiVersion": "%s"}' % V1.encode(), "without a status"),
        (credential(), "neither a token nor a client certificate"),
        (credential(token=""), "neither a token nor a client certificate"),
        (credential(token=5), "a token that is not a string"),
        (credential(token="\ud800"), "a token that is not text"),
        (credential(clientCertificateData="c"), "only one of"),
        (credential(token="t", clientKeyData="k"), "only one of"),
        (credential(token="t", expirationTimestamp="soon"), "not RFC 3339"),
        (credential(token="t", expirationTimestamp="2027-01-15T08:00:00"), "not RFC 3339"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(stdout: bytes, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        parse_answer(stdout, V1)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"", ""),
        (b"Traceback\n  ...\nUnable to locate credentials.\n\n", "Unable to locate credentials."),
        (b"bad token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwcm94eSJ9.c2lnbmF0dXJlLW9mLXJzYQ",
         "bad token [...].[...].[...]"),
        (b"key AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         "key [...] [...]"),
        (b"\x1b[31mred\x1b[0m \xff", "?[31mred?[0m ?"),
        (b"long " * 100, ("long " * 40)),
    ],
)  # fmt: skip
def test_the_last_words_of_a_plugin_are_kept_without_what_might_be_a_secret(
    stderr: bytes, words: str
) -> None:
    assert last_words(stderr) == words


def test_what_a_plugin_gave_is_not_part_of_a_repr() -> None:
    config = ExecConfig(V1, "aws", args=("s3cr3t",), env={"KEY": "s3cr3t"})
    assert "s3cr3t" not in repr(config) + repr(PluginAnswer(token=b"s3cr3t"))
