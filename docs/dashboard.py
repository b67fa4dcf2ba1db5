"""The Grafana dashboard, as a table of panels: what stands where, and by which query.

Written to the chart by ``make docs``; a test sends every query to a real Prometheus.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

UID: Final = "headlamp-auth-proxy"
_ONE: Final = '{namespace=~"$namespace",pod=~"$pod"}'
_WIDTH: Final = 24  # of Grafana's grid
_HEIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: ``queries`` are pairs of PromQL and legend; ``unit`` is Grafana's name of it.

    In a query, a metric is written without the program's prefix after ``@`` and gets the
    dashboard's selection of pods; ``@name{a="b"}`` keeps its own labels as well.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    stacked: bool = False
    description: str = ""
    width: int = 8


_HITS: Final = 'sum(rate(@token_cache_lookups_total{result="hit"}[$__rate_interval]))'
_LOOKUPS: Final = "sum(rate(@token_cache_lookups_total[$__rate_interval]))"


def _quantiles(metric: str, *quantiles: float) -> tuple[tuple[str, str], ...]:
    rate = f"sum by (le) (rate(@{metric}_bucket[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {rate})", f"p{q * 100:g}") for q in quantiles)


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Who is let in, and who is not",
        (
            Panel(
                "Requests by status",
                "reqps",
                (("sum by (code) (rate(@requests_total[$__rate_interval]))", "{{code}}"),),
                stacked=True,
            ),
            Panel(
                "Refused by the proxy, and why",
                "reqps",
                (
                    (
                        "sum by (reason) (rate(@refused_requests_total[$__rate_interval])) > 0",
                        "{{reason}}",
                    ),
                ),
                stacked=True,
                description="The reasons are those of the error table.",
            ),
            Panel(
                "Tokens",
                "reqps",
                (
                    (
                        "sum by (result) (rate(@token_results_total[$__rate_interval])) > 0",
                        "{{result}}",
                    ),
                ),
                stacked=True,
            ),
        ),
    ),
    (
        "How fast",
        (
            Panel(
                "Added by the proxy",
                "s",
                _quantiles("proxy_overhead_seconds", 0.5, 0.95, 0.99),
                description="From the request's head to its being sent on.",
            ),
            Panel(
                "Taken by the API server",
                "s",
                _quantiles("upstream_request_duration_seconds", 0.5, 0.95, 0.99),
                description="From the request being sent on to the head of the answer.",
            ),
            Panel(
                "Event loop, late by",
                "s",
                _quantiles("event_loop_lag_seconds", 0.99),
            ),
        ),
    ),
    (
        "What is open",
        (
            Panel("Streams", "short", (("sum by (kind) (@streams_open)", "{{kind}}"),), True),
            Panel(
                "Connections",
                "short",
                (
                    ("sum(@connections_open)", "clients"),
                    ("sum by (state) (@upstream_connections)", "API server, {{state}}"),
                ),
            ),
            Panel(
                "Bytes",
                "Bps",
                (
                    (
                        "sum by (direction) (rate(@bytes_total[$__rate_interval]))",
                        "{{direction}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Tokens and keys",
        (
            Panel("Keys held", "short", (("@jwks_keys", "{{pod}}"),)),
            Panel(
                "Since keys were fetched",
                "s",
                (("time() - @jwks_last_success_timestamp_seconds", "{{pod}}"),),
            ),
            Panel(
                "Verified tokens found in the cache",
                "percentunit",
                ((f"{_HITS} / {_LOOKUPS}", "hits"),),
            ),
        ),
    ),
    (
        "The proxy's own account",
        (
            Panel(
                "Its token ends in",
                "s",
                (("(@credential_expiry_timestamp_seconds > 0) - time()", "{{pod}}"),),
                width=6,
            ),
            Panel(
                "Found of its rights",
                "short",
                (("max by (finding) (@own_privileges) > 0", "{{finding}}"),),
                description="1 for what it may do besides impersonation, or could not find out.",
                width=6,
            ),
            Panel(
                "May not impersonate",
                "short",
                (("increase(@impersonation_forbidden_total[$__range])", "{{pod}}"),),
                description="Its RBAC lacks a user or a group of somebody who has signed in.",
                width=6,
            ),
            Panel(
                "The API server failed",
                "reqps",
                (
                    (
                        "sum by (reason) (rate(@upstream_errors_total[$__rate_interval])) > 0",
                        "{{reason}}",
                    ),
                ),
                stacked=True,
                width=6,
            ),
        ),
    ),
)


def queries() -> list[str]:
    """Return every query of the dashboard, with its variables still in it."""
    return [expanded(query) for _, panels in ROWS for panel in panels for query, _ in panel.queries]


def dashboard_json() -> str:
    """Return the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "gridPos": _place(0, y, _WIDTH, 1)})
        y += 1
        x = 0
        for panel in row:
            panels.append(_panel(panel, _place(x, y, panel.width, _HEIGHT)))
            x += panel.width
        y += _HEIGHT
    for number, item in enumerate(panels, start=1):
        item["id"] = number
    dashboard = {
        "uid": UID,
        "title": "headlamp-auth-proxy",
        "tags": ["headlamp", "kubernetes"],
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _variable("namespace"), _variable("pod")]},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    stacking = {"mode": "normal" if panel.stacked else "none"}
    custom = {"stacking": stacking, "fillOpacity": 30 if panel.stacked else 0}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expanded(query), "legendFormat": legend}
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }


def expanded(query: str) -> str:
    """Write out each ``@metric``: the prefix, its own labels, and the selection of pods."""
    head, *rest = query.split("@")
    parts = [head]
    for part in rest:
        name = part[: next((i for i, c in enumerate(part) if not (c.isalnum() or c == "_")), None)]
        after = part[len(name) :]
        selection = _ONE
        if after.startswith("{"):
            own, _, after = after[1:].partition("}")
            selection = f"{_ONE[:-1]},{own}}}"
        parts.append(f"headlamp_auth_proxy_{name}{selection}{after}")
    return "".join(parts)


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    known = 'headlamp_auth_proxy_build_info{namespace=~"$namespace"}'
    return {
        "name": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values({known if label == 'pod' else known.partition('{')[0]}, {label})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }
