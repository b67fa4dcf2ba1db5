"""A `serve` has loaded what its configuration uses, and nothing of what only others use."""

from __future__ import annotations

from pathlib import Path

from tests.process import free_port
from tests.serving import Serve, issuer_in_thread

# Each loaded only where something is configured, or by tools: memory and start for nobody.
UNUSED = {
    "aiohttp.web": "tools",
    "aiohttp.web_app": "tools",
    "aiohttp_socks": "--oidc-http-proxy",
    "authlib": "tools",
    "cel_expr_python": "expressions",
    "google": "expressions",
    "opentelemetry": "tracing",
    "proxy.audit": "--audit-policy-file",
    "proxy.authn.cel": "expressions",
    "proxy.authn.configuration.decoding": "--authentication-config",
    "proxy.authn.configuration.planning": "--authentication-config",
    "proxy.authn.configuration.types": "--authentication-config",
    "proxy.authn.configuration.validation": "--authentication-config",
    "proxy.config.settings_file": "--config",
    "proxy.credentials.exec_plugin": "--kubeconfig",
    "proxy.credentials.kubeconfig": "--kubeconfig",
    "proxy.deny_file": "--deny-file",
    "proxy.deny_list": "--deny-file",
    "proxy.server.auditing": "--audit-policy-file",
    "proxy.tools": "tools",
    "re2": "expressions",
    "ruamel": "inject",
    "tests": "tests",
    "yaml": "what is in a file of settings, identities or denials, or a kubeconfig",
}


def test_a_minimal_serve_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("ours")
    with issuer_in_thread() as (issuer, _):
        flags = [
            f"--oidc-issuer-url={issuer.url}",
            f"--oidc-client-id={issuer.client_id}",
            f"--oidc-ca-file={issuer.ca_file}",
            f"--upstream=https://127.0.0.1:{free_port()}",
            f"--upstream-token-file={tmp_path / 'token'}",
        ]
        # Python then writes a line for each module that it loads, beside the log.
        telling = {"PYTHONPROFILEIMPORTTIME": "1"}
        with Serve(tmp_path, *flags, env=telling, every_sink=False) as serve:
            serve.wait_ready()
            lines = serve.log.read_text().splitlines()
    told = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    # Loaded with nothing gathered (proxy/slim_aiohttp.py), before it is for the first module here.
    assert told.index("aiohttp.connector") < told.index("proxy.gate")
    loaded = set(told)
    assert "proxy.server" in loaded
    used = {name for name in loaded if any(name == u or name.startswith(u + ".") for u in UNUSED)}
    assert used == set()
