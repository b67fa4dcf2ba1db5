"""The shape of the program: who may import whom, and what a pure module may touch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "proxy").rglob("*.py"))

# Everything that decides. Clocks, loops, files, sockets and logs are for the shell around it.
PURE = {
    "proxy/account.py",
    "proxy/algorithms.py",
    "proxy/audit/event.py",
    "proxy/audit/policy.py",
    "proxy/audit/policy_file.py",
    "proxy/denial.py",
    "proxy/deny_list.py",
    "proxy/errors.py",
    "proxy/forwarded.py",
    "proxy/headers.py",
    "proxy/impersonation.py",
    "proxy/limits.py",
    "proxy/missing_rule.py",
    "proxy/outage.py",
    "proxy/refusals.py",
    "proxy/requestinfo.py",
    "proxy/rights.py",
    "proxy/speaker.py",
    "proxy/status.py",
    "proxy/suggestion.py",
    "proxy/userinfo.py",
    "proxy/authn/cel/ast.py",
    "proxy/authn/cel/bounded.py",
    "proxy/authn/cel/checks.py",
    "proxy/authn/cel/environment.py",
    "proxy/authn/cel/formats.py",
    "proxy/authn/cel/functions.py",
    "proxy/authn/cel/library.py",
    "proxy/authn/cel/lists.py",
    "proxy/authn/cel/network.py",
    "proxy/authn/cel/ordered.py",
    "proxy/authn/cel/rewrite.py",
    "proxy/authn/claims.py",
    "proxy/authn/configuration/decoding.py",
    "proxy/authn/configuration/fields.py",
    "proxy/authn/configuration/rules.py",
    "proxy/authn/configuration/types.py",
    "proxy/authn/configuration/urls.py",
    "proxy/authn/configuration/validation.py",
    "proxy/authn/credential.py",
    "proxy/authn/distributed.py",
    "proxy/authn/embedded.py",
    "proxy/authn/expression.py",
    "proxy/authn/gojson.py",
    "proxy/authn/gotext.py",
    "proxy/authn/jws.py",
    "proxy/authn/keyset.py",
    "proxy/authn/mapping.py",
    "proxy/authn/trace.py",
    "proxy/authn/verifier.py",
    "proxy/http/answer.py",
    "proxy/http/body.py",
    "proxy/http/head.py",
    "proxy/reviews/documents.py",
    "proxy/reviews/privileges.py",
    "proxy/reviews/requested.py",
    "proxy/reviews/rules.py",
    "proxy/sessions/allowance.py",
    "proxy/sessions/asciicast.py",
    "proxy/sessions/channels.py",
    "proxy/sessions/facts.py",
    "proxy/sessions/protocols.py",
    "proxy/sessions/spdy.py",
    "proxy/sessions/websocket.py",
    "proxy/config/rules.py",
    "proxy/config/values.py",
    "proxy/tools/audit/events.py",
    "proxy/tools/audit/table.py",
    "proxy/tools/audit/terminal.py",
    "proxy/whoami/asking.py",
    "proxy/whoami/html.py",
    "proxy/whoami/report.py",
    "proxy/whoami/style.py",
    "proxy/whoami/turns.py",
    "proxy/whoami/words.py",
    "proxy/tools/deploy/cel.py",
    "proxy/tools/deploy/findings.py",
    "proxy/tools/deploy/fragments.py",
    "proxy/tools/deploy/mounts.py",
    "proxy/tools/deploy/rbac.py",
    "proxy/tools/deploy/sidecar.py",
    "proxy/tools/deploy/stream.py",
    "proxy/tools/deploy/workload.py",
    "proxy/tools/demo/cluster/contents.py",
    "proxy/tools/demo/cluster/discovery.py",
    "proxy/tools/demo/cluster/identity.py",
    "proxy/tools/demo/cluster/objects.py",
    "proxy/tools/demo/cluster/programs.py",
    "proxy/tools/demo/cluster/protobuf.py",
    "proxy/tools/demo/cluster/rbac.py",
    "proxy/tools/demo/cluster/reviews.py",
    "proxy/tools/demo/cluster/selectors.py",
    "proxy/tools/demo/cluster/statuses.py",
    "proxy/tools/demo/cluster/tables.py",
    "proxy/tools/demo/issuer/authorize.py",
    "proxy/tools/demo/issuer/claims.py",
    "proxy/tools/demo/issuer/page.py",
    "proxy/tools/demo/issuer/protocol.py",
    "proxy/tools/demo/issuer/sessions.py",
    "proxy/tools/demo/issuer/signing.py",
    "proxy/tools/doctor/answer.py",
    "proxy/tools/doctor/api_server/version.py",
    "proxy/tools/doctor/authorize.py",
    "proxy/tools/doctor/bindings.py",
    "proxy/tools/doctor/causes.py",
    "proxy/tools/doctor/discovery.py",
    "proxy/tools/doctor/exchange.py",
    "proxy/tools/doctor/file_words.py",
    "proxy/tools/doctor/grants.py",
    "proxy/tools/doctor/headlamp_issuer.py",
    "proxy/tools/doctor/mends.py",
    "proxy/tools/doctor/near.py",
    "proxy/tools/doctor/own_rights/__init__.py",
    "proxy/tools/doctor/own_rights/account.py",
    "proxy/tools/doctor/own_rights/excess.py",
    "proxy/tools/doctor/own_rights/lack.py",
    "proxy/tools/doctor/own_rights/manifests.py",
    "proxy/tools/doctor/own_token.py",
    "proxy/tools/doctor/pod.py",
    "proxy/tools/doctor/readiness.py",
    "proxy/tools/doctor/scopes.py",
    "proxy/tools/doctor/token_mends.py",
    "proxy/tools/doctor/trouble.py",
    "proxy/tools/doctor/tsidp.py",
    "proxy/tools/doctor/verdict.py",
}
IMPURE = {"asyncio", "aiohttp", "logging", "os", "socket", "ssl", "subprocess", "time", "uvloop"}

# package (or module) -> what of this program it may not know
FORBIDDEN = {
    "proxy/audit": ("proxy.config",),
    "proxy/authn": ("proxy.http", "proxy.config", "proxy.credentials", "proxy.observe"),
    "proxy/http": ("proxy.authn", "proxy.config", "proxy.credentials", "proxy.observe"),
    "proxy/credentials": ("proxy.authn", "proxy.config", "proxy.http", "proxy.observe"),
    "proxy/reviews": ("proxy.authn", "proxy.config", "proxy.http", "proxy.observe"),
    "proxy/sessions": ("proxy.authn", "proxy.config", "proxy.credentials", "proxy.observe"),
    "proxy/observe": ("proxy.config", "proxy.credentials"),
    "proxy/config": ("proxy.authn", "proxy.credentials", "proxy.http", "proxy.observe"),
    "proxy/gate.py": ("proxy.config", "proxy.credentials", "proxy.observe"),
    "proxy/review_gate.py": ("proxy.config", "proxy.credentials", "proxy.gate", "proxy.observe"),
    "proxy/whoami": (
        *("proxy.config", "proxy.credentials", "proxy.observe", "proxy.server", "proxy.cli"),
        *("proxy.gate", "proxy.issuers", "proxy.review_gate", "proxy.tools"),
    ),
    "proxy/plans.py": ("proxy.credentials", "proxy.http", "proxy.observe"),
    "proxy/issuers.py": ("proxy.credentials", "proxy.http", "proxy.observe"),
}
TOP = {
    "proxy.server",
    "proxy.cli",
    "proxy.gate",
    "proxy.issuers",
    "proxy.review_gate",
    "proxy.tools",
    "proxy.whoami",
}
MAY_IMPORT_TOP = (
    *("proxy/server/", "proxy/cli.py", "proxy/__main__.py", "proxy/tools/"),
    "proxy/whoami/",  # itself; of the others see above
)


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_decides_is_pure(name: str) -> None:
    touched = {imported.split(".")[0] for imported in imports(Path(name))}
    assert not touched & IMPURE


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_nothing_imports_upward_or_sideways(module: Path) -> None:
    known = set(imports(module))
    for package, forbidden in FORBIDDEN.items():
        if str(module).startswith(package):
            for other in forbidden:
                assert not [name for name in known if within(name, other)]
    if not str(module).startswith(MAY_IMPORT_TOP):
        assert not [name for name in known if any(within(name, top) for top in TOP)]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_says_why_it_exists(module: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / module).read_text()))


def test_what_a_configuration_does_not_use_is_not_loaded() -> None:
    """Start-up and memory: the heavy or rare libraries come in only where they are needed."""
    program = "import sys, proxy.server; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(output.stdout.split())
    assert not loaded & {"aiohttp_socks", "authlib", "python_socks", "proxy.tools"}
    assert not loaded & {"opentelemetry", "requests"}
    assert not loaded & {"cel_expr_python", "google.protobuf", "proxy.authn.cel", "re2"}
