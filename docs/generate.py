"""Writes the tables of the documentation, and the sidecar in the manifests, from the code.

So none of them can be wrong alone.

    make docs                              # writes
    python -m docs.generate --check        # says which files are stale, and fails

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` in the files listed here, a
part of a manifest between ``# sidecar: NAME`` and ``# end``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.chart_values import values_markdown
from docs.dashboard import dashboard_json
from docs.performance import (
    about_markdown,
    measured_markdown,
    pictures,
    reserve_markdown,
    targets_markdown,
)
from proxy.config.usage import flags_markdown
from proxy.errors import every_error
from proxy.observe.metrics_markdown import metrics_markdown
from proxy.rights import SETTINGS as RIGHTS
from proxy.tools.deploy.fragments import CHART_FILES, FRAGMENTS
from proxy.tools.doctor.causes import causes_markdown

ROOT: Final = Path(__file__).parents[1]
FILES: Final = (
    "README.md",
    "deploy/helm/headlamp-auth-proxy/README.md",
    "deploy/headlamp/values-sidecar.yaml",
    "deploy/headlamp/values-sidecar-before-1.29.yaml",
    "deploy/kustomize/sidecar.yaml",
    "docs/configuration.md",
    "docs/doctor.md",
    "docs/errors.md",
    "docs/metrics.md",
    "docs/performance.md",
)
_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n)(?:.*?)(<!-- end -->)", re.DOTALL)
_FRAGMENT: Final = re.compile(r"^(# sidecar: (\w+)\n)(?:.*?)^(# end)$", re.DOTALL | re.MULTILINE)

CHART: Final = ROOT / "deploy/helm/headlamp-auth-proxy/files"


def errors_markdown() -> str:
    rows = ["| label | status | reason | message | what mends it |", "|---|---|---|---|---|"]
    rows += [
        f"| `{e.label}` | {e.code} | {e.reason} | {e.message} | {e.mend} |" for e in every_error()
    ]
    return "\n".join(rows)


def rights_markdown() -> str:
    rows = ["| setting | verb | resource | API group |", "|---|---|---|---|"]
    rows += [
        f"| `{setting}` | {', '.join(rule.verbs)} | `{resource}` | `{group}` |"
        for setting, rules in RIGHTS.items()
        for rule in rules
        for group in rule.groups
        for resource in rule.resources
    ]
    return "\n".join(rows)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "about_performance": about_markdown,
    "causes": causes_markdown,
    "errors": errors_markdown,
    "flags": flags_markdown,
    "measured": measured_markdown,
    "metrics": metrics_markdown,
    "reserve": reserve_markdown,
    "rights": rights_markdown,
    "targets": targets_markdown,
    "values": values_markdown,
}


def generated(text: str) -> str:
    """Return ``text`` with everything that is generated in it as the code has it now."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n{TABLES[found[2]]().strip()}\n\n{found[3]}"

    def fragment(found: re.Match[str]) -> str:
        return f"{found[1]}{FRAGMENTS[found[2]]()}{found[3]}"

    return _FRAGMENT.sub(fragment, _TABLE.sub(table, text))


def stale() -> dict[Path, str]:
    """Return the files that are not what the code says, with what they should be."""
    wanted = {ROOT / name: generated((ROOT / name).read_text()) for name in FILES}
    wanted |= {CHART / name: content() for name, content in CHART_FILES.items()}
    wanted[CHART / "dashboard.json"] = dashboard_json()
    wanted |= {ROOT / "docs/images" / name: text for name, text in pictures().items()}
    return {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text() != text
    }


def main() -> int:
    found = stale()
    if "--check" in sys.argv[1:]:
        sys.stderr.write("".join(f"{path} is stale; run `make docs`\n" for path in found))
        return 1 if found else 0
    for path, text in found.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
