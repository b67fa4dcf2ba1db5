"""What cannot be built is said, with the flag and what to change."""

from __future__ import annotations

import sys

import pytest

from proxy.config import load
from proxy.server.building import StartError, tracing_of

ENDPOINT = "--tracing-otlp-endpoint=http://localhost:4318"
FLAGS = (
    "--oidc-issuer-url=https://idp.example",
    "--oidc-client-id=headlamp",
    "--upstream=https://127.0.0.1:6444",
    "--upstream-token-file=/dev/null",
    "--plaintext",
)


def test_spans_without_their_libraries_name_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StartError, match=r"install headlamp-auth-proxy\[tracing\]"):
        tracing_of(load([*FLAGS, ENDPOINT], {}))


def test_without_an_endpoint_there_are_no_spans() -> None:
    assert tracing_of(load(FLAGS, {})) is None
