"""The tables and pictures of docs/performance.md, from the one recorded run in performance.json.

``make bench-record`` measures and records; ``make docs`` writes these from the record alone, so
that no figure in the page can differ from what was seen. A figure that was not measured is a dash.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.record import Record
from bench.subjects import AUDITED, DIRECT, OURS
from bench.windows import EVENT, SPEEDS

RECORD: Final = Path(__file__).with_name("performance.json")
SMALL, USUAL, BIG = "400 B x 32", "10 KB x 32", "5 MB x 32"
_COLOURS: Final = {"nginx": "#7f8c8d", "envoy": "#8e44ad", "naive": "#d35400", OURS: "#2471a3"}

Measured = Callable[[Record], float | None]


@dataclass(frozen=True)
class Target:
    """What is wanted, and how it is found in a record; ``least`` where more is better."""

    what: str
    wanted: float
    measured: Measured
    unit: str = ""
    least: bool = False


def _ratio(part: str, case: str, figure: str, to: str) -> Measured:
    return lambda record: record.ratio(part, case, figure, OURS, to)


def _of(part: str, ending: str, figure: str, scale: float = 1) -> Measured:
    """A figure of ours in the part's case that ends so: their names tell how many there were."""

    def found(record: Record) -> float | None:
        case = _case(record, part, ending)
        value = record.median(part, case, OURS, figure)
        return None if value is None else value * scale

    return found


def _added(audited: str) -> Measured:
    """What an audit log adds to the CPU of a small request, in microseconds."""

    def found(record: Record) -> float | None:
        ours = record.median("windows", SMALL, OURS, "cpu")
        with_log = record.median("windows", SMALL, audited, "cpu")
        return None if ours is None or with_log is None else with_log - ours

    return found


def _delay(record: Record) -> float | None:
    """What the way through the proxy adds to an event's, at the median, in milliseconds."""
    case = _case(record, "events", "every 2 ms")
    ours = record.median("events", case, OURS, "p50")
    direct = record.median("events", case, DIRECT, "p50")
    return None if ours is None or direct is None else (ours - direct) / 1000


def _steepest(record: Record) -> float | None:
    """How much faster than its cause the cost grows, at worst: 1 is linear, less is better."""
    slopes = []
    for part in (p for p in record.parts() if p.startswith("growth: ")):
        cases = record.cases(part)
        costs = [record.median(part, case, OURS, "cpu") for case in cases]
        known = [(int(c), cost) for c, cost in zip(cases, costs, strict=True) if cost and int(c)]
        if len(known) > 1:
            (first, least), (last, most) = known[0], known[-1]
            slopes.append(most / least / (last / first))
    return max(slopes, default=None)


def _at_each_speed(
    what: str, wanted: float, case: str, to: str, figure: str = "cpu", *, least: bool = False
) -> list[Target]:
    """A ratio as the machine usually was, and while nearly nobody disturbed it."""
    return [
        Target(what + speed, wanted, _ratio("windows", case + speed, figure, to), least=least)
        for speed in SPEEDS
    ]


TARGETS: Final = (
    *_at_each_speed("CPU of a 10 KB request, to nginx", 1.3, USUAL, "nginx"),
    *_at_each_speed("CPU of a 400 B request, to nginx", 2.0, SMALL, "nginx"),
    *_at_each_speed("CPU of a 400 B request, to Envoy", 0.7, SMALL, "envoy"),
    *_at_each_speed("5 MB answers a second, to nginx", 0.9, BIG, "nginx", "rate", least=True),
    Target("p99 of a 400 B request, to Envoy", 1.0, _ratio("requests", SMALL, "p99", "envoy")),
    Target("p99 of a 10 KB request, to Envoy", 1.0, _ratio("requests", USUAL, "p99", "envoy")),
    Target(
        "memory after small requests at 32 connections",
        64,
        lambda record: record.median("requests", SMALL, OURS, "resident"),
        "MiB",
    ),
    Target("memory of an idle watch", 45, _of("idle watches", "watches", "KiB"), "KiB"),
    *_at_each_speed("CPU of a watch event, to Envoy", 1.0, EVENT, "envoy"),
    Target("delay of an event added, median", 2, _delay, "ms"),
    *(
        Target(f"CPU that an audit log adds, {policy}", 15, _added(name), "us")
        for name, policy in AUDITED.items()
    ),
    Target(
        "delay of a recorded frame, to one that is not",
        1.1,
        lambda record: record.ratio(
            "recording", _case(record, "recording", "a second"), "p50", "recorded", "read"
        ),
    ),
    Target("start to the first answer", 1, _of("start", "answer", "seconds"), "s"),
    Target("growth at worst (1 is linear)", 1, _steepest),
)


def record() -> Record:
    return Record.read(RECORD)


def targets_markdown() -> str:
    rows = ["| | wanted | measured | |", "|---|---|---|---|"]
    run = record()
    for target in TARGETS:
        found = target.measured(run)
        met = found is not None and (
            found >= target.wanted if target.least else found <= target.wanted
        )
        wanted = f"at {'least' if target.least else 'most'} {target.wanted:g} {target.unit}"
        said = "not measured" if found is None else "met" if met else "missed"
        shown = "-" if found is None else f"{found:.2f} {target.unit}"
        rows.append(f"| {target.what} | {wanted.strip()} | {shown.strip()} | {said} |")
    return "\n".join(rows)


def about_markdown() -> str:
    run = record()
    lines = [", ".join(f"{name} {value}" for name, value in run.about.items()) + "."]
    lines += [f"- not measured: {what.splitlines()[0]}" for what in run.missing]
    return "\n".join(lines)


def reserve_markdown() -> str:
    """What one process takes at rest, for each of what comes, and for some people together."""
    people, watches, requests, events = 10, 30, 2, 10  # the last two a second
    run = record()
    rest = _of("start", "answer", "resident")(run)
    watch = _of("idle watches", "watches", "KiB")(run)
    request = run.median("windows", USUAL, OURS, "cpu")
    event = run.median("windows", EVENT, OURS, "cpu")
    rows = ["| | memory | CPU |", "|---|---|---|"]
    if rest is None or watch is None or request is None or event is None:
        return "\n".join(rows)
    memory = rest + people * watches * watch / 1024
    busy = people * (requests * request + events * event) / 1e6
    each = f"{watches} watches, {requests} requests and {events} events a second"
    together = f"{people} people, each with {each}"
    rows += [
        f"| at rest | {rest:.0f} MiB | |",
        f"| a watch | {watch:.0f} KiB | |",
        f"| an event of a watch | | {event:.0f} us |",
        f"| a request of 10 KB | | {request:.0f} us |",
        f"| {together} | {memory:.0f} MiB | {busy:.1%} of a core |",
    ]
    return "\n".join(rows)


_SHOWN: Final = (  # part, figures with their headings and scales
    ("start", (("seconds", "s", 1.0), ("resident", "MiB", 1.0))),
    ("windows", (("cpu", "CPU us", 1.0), ("rate", "a second", 1.0), ("probe", "probe us", 1.0))),
    (
        "requests",
        (
            ("cpu", "CPU us", 1.0),
            ("rate", "a second", 1.0),
            ("p50", "p50 ms", 1e-3),
            ("p99", "p99 ms", 1e-3),
            ("p999", "p99.9 ms", 1e-3),
            ("resident", "MiB", 1.0),
        ),
    ),
    (
        "fresh connections",
        (("cpu", "CPU us", 1.0), ("p50", "p50 ms", 1e-3), ("p99", "p99 ms", 1e-3)),
    ),
    ("new tokens", (("cpu", "CPU us", 1.0), ("p50", "p50 ms", 1e-3), ("p99", "p99 ms", 1e-3))),
    ("idle watches", (("KiB", "KiB a watch", 1.0), ("resident", "MiB", 1.0))),
    ("events", (("cpu", "CPU us", 1.0), ("p50", "p50 ms", 1e-3), ("p99", "p99 ms", 1e-3))),
    (
        "tunnel",
        (("cpu", "CPU us", 1.0), ("p50", "p50 ms", 1e-3), ("rate", "MB/s", 1.0)),
    ),
    ("uploads", (("cpu", "CPU us", 1.0), ("rate", "a second", 1.0), ("p99", "p99 ms", 1e-3))),
    ("recording", (("p50", "p50 ms", 1e-3), ("p99", "p99 ms", 1e-3))),
)
_LATENCIES: Final = ("p50", "p99", "p999")


def measured_markdown() -> str:
    """Return a table for each part; latencies are what is added to the way without a proxy."""
    run, lines = record(), list[str]()
    for part, figures in _SHOWN:
        if not run.cases(part):
            lines += [f"**{part}**: not measured", ""]
            continue
        lines += [
            f"**{part}**",
            "",
            "| | " + " | ".join(["", *(heading for _, heading, _ in figures)]) + " |",
            "|---" * (len(figures) + 2) + "|",
        ]
        for case in run.cases(part):
            for subject in run.subjects(part):
                if subject == DIRECT:
                    continue
                cells = [_cell(run, part, case, subject, name, scale) for name, _, scale in figures]
                if set(cells) != {"-"}:
                    lines.append(f"| {case} | {subject} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(run: Record, part: str, case: str, subject: str, figure: str, scale: float) -> str:
    value = run.median(part, case, subject, figure)
    if value is None:
        return "-"
    if figure in _LATENCIES:
        value -= run.median(part, case, DIRECT, figure) or 0
    return f"{value * scale:.3g}" if value * scale < 1000 else f"{value * scale:,.0f}"


def pictures() -> dict[str, str]:
    """Return the pictures by file name, as SVG; the same record gives the same text."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "headlamp-auth-proxy", "svg.fonttype": "none"}
    return {"performance.svg": _bars(record()), "growth.svg": _curves(record())}


def _bars(run: Record) -> str:
    from matplotlib import pyplot as plt

    watches = _case(run, "idle watches", "watches")
    shown = (
        ("CPU of a 400 B request, us", "requests", SMALL, "cpu"),
        ("CPU of a 10 KB request, us", "requests", USUAL, "cpu"),
        ("memory of an idle watch, KiB", "idle watches", watches, "KiB"),
        ("memory in use, MiB", "requests", SMALL, "resident"),
    )
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 2.4), layout="constrained")
    names = list(_COLOURS)
    for axis, (title, part, case, name) in zip(axes, shown, strict=True):
        values = [run.median(part, case, subject, name) or 0 for subject in names]
        bars = axis.barh(names, values, color=[_COLOURS[subject] for subject in names])
        axis.bar_label(bars, fmt="%.3g", padding=2)
        axis.set_title(title, fontsize=10)
        axis.invert_yaxis()
        axis.margins(x=0.2)
        axis.tick_params(left=False, labelleft=axis is axes[0])
        axis.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _curves(run: Record) -> str:
    from matplotlib import pyplot as plt

    parts = [part for part in run.parts() if part.startswith("growth: ")]
    figure, axes = plt.subplots(1, max(1, len(parts)), figsize=(12, 3), layout="constrained")
    for axis, part in zip([axes] if len(parts) < 2 else axes, parts, strict=False):
        for subject in run.subjects(part):
            points = [(int(c), run.median(part, c, subject, "cpu")) for c in run.cases(part)]
            known = [(at, cost) for at, cost in points if cost is not None]
            axis.plot(*_columns(known), marker="o", color=_COLOURS[subject], label=subject)
        axis.set_title(f"CPU of a request, us, by {part.removeprefix('growth: ')}", fontsize=10)
        if part in ("growth: answer size", "growth: connections"):
            axis.set_xscale("log")
        if part == "growth: answer size":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return _svg(figure)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _svg(figure: object) -> str:
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _case(run: Record, part: str, ending: str) -> str:
    return next((case for case in run.cases(part) if case.endswith(ending)), "")
