"""Draws the dashboard's panels from a real Prometheus: docs/images/dashboard.png.

    python -m tests.deploy.panels [SECONDS]

The queries, titles and units are the dashboard's own; the drawing is not Grafana's. What is behind
them is the program under a minute of traffic from people, strangers and a failing API server.
"""

from __future__ import annotations

import random
import ssl
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib as mpl

from docs.dashboard import ROWS, Panel, expanded
from tests.deploy.helm import ROOT
from tests.deploy.prometheus import Prometheus
from tests.deploy.stage import RULES, Stage, filled_in, targets
from tests.issuer import rsa_key

PICTURE = ROOT / "docs" / "images" / "dashboard.png"
PODS = "/api/v1/namespaces/default/pods"
POD = f"{PODS}/web"
UNITS = {"s": "seconds", "reqps": "per second", "Bps": "bytes per second", "percentunit": "share"}


def main() -> int:
    seconds = float(sys.argv[1]) if sys.argv[1:] else 90.0
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        stage = Stage(stack, folder)
        proxies = targets(well=stage.well)
        prometheus = stack.enter_context(Prometheus(folder, proxies, RULES, interval="1s"))
        began = time.time()
        tokens: dict[str, str] = {}
        while time.time() < began + seconds:
            trouble(stage, tokens, (time.time() - began) / seconds, stack)
        draw(prometheus, began, time.time())
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")
    return 0


def trouble(stage: Stage, tokens: dict[str, str], share: float, stack: ExitStack) -> None:
    """One request of somebody; ``share`` is how much of the time has gone by."""
    who = f"user{random.randrange(20)}@example.com"
    match random.randrange(30):
        case 0:
            stage.well.get("/version")
        case 1 if share > 0.3:
            stage.ask(token=stage.issuer.token(who, age=600))
        case 2 if share > 0.5:
            stage.ask(token=stage.issuer.token(who, key=rsa_key(7)))
        case 3 if 0.6 < share < 0.8:
            stage.ask("/forbidden")
        case 4 if share > 0.7:
            stage.ask(token=stage.issuer.token(who, ["system:masters"]))
        case 5 if share > 0.85:
            stage.token_file.unlink(missing_ok=True)
            stage.ask(POD, tokens.get(who))
            stage.write_token(expires_in=3600)
        case 6 if share < 0.8:
            tls = ssl.create_default_context(cafile=str(stage.well.ca_file))
            headers = {"Authorization": f"Bearer {stage.issuer.token(who)}"}
            request = urllib.request.Request(f"{stage.well.url}{PODS}?watch=1", headers=headers)
            stack.enter_context(urllib.request.urlopen(request, context=tls, timeout=30))
        case _:
            token = tokens.setdefault(who, stage.issuer.token(who))
            stage.ask(POD, token)


def draw(prometheus: Prometheus, begin: float, end: float) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(15, 3 * len(ROWS)), layout="constrained")
    rows: Any = figure.subfigures(len(ROWS), 1)
    placed = [
        (axis, panel)
        for part, (_, row) in zip(rows, ROWS, strict=True)
        for axis, panel in zip(part.subplots(1, len(row)), row, strict=True)
    ]
    for axis, panel in placed:
        lines = series(prometheus, panel, begin, end)
        if panel.stacked and lines:
            times = sorted({t for _, points in lines for t, _ in points})
            stacks = [[dict(points).get(t, 0.0) for t in times] for _, points in lines]
            axis.stackplot(times, stacks, labels=[label for label, _ in lines], alpha=0.6)
        else:
            for label, points in lines:
                axis.plot([t for t, _ in points], [v for _, v in points], label=label)
        axis.set_title(panel.title, loc="left", fontsize=11)
        axis.set_ylabel(UNITS.get(panel.unit, ""), fontsize=8)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if lines:
            axis.legend(fontsize=7, loc="upper left", ncols=2)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=80)


def series(
    prometheus: Prometheus, panel: Panel, begin: float, end: float
) -> list[tuple[str, list[tuple[float, float]]]]:
    """Return what each line of a panel is called, and its points: seconds from the start, value."""
    found = []
    for query, legend in panel.queries:
        answer: Any = prometheus.api(
            "query_range",
            query=filled_in(expanded(query)),
            start=str(begin),
            end=str(end),
            step="1",
        )
        for result in answer["result"]:
            label = legend
            for key, value in result["metric"].items():
                label = label.replace(f"{{{{{key}}}}}", value)
            points = [(t - begin, float(v)) for t, v in result["values"] if v != "NaN"]
            found.append((label, points))
    return found


if __name__ == "__main__":
    sys.exit(main())
