"""Draw the chart of `make bench`: rates, latencies, and memory by length of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.svg import DARK, LIGHT, Bars, draw_bars, legend, page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TITLE = "fastqueue: tasks a second, latency, memory"
SUBTITLE = "One producer, one control plane, one subworker, unless RESULTS.md says otherwise."

_WAYS = ("one by one", "one by one, threads", "submit_batch")
_PANEL_GAP = 22


def draw(figures: dict[str, Any]) -> str:
    """Return the chart of all figures."""
    shapes: list[str] = []
    y: float = 58
    for heading, series, groups, told in _panels(figures):
        shapes.append(f'<text x="16" y="{y + 10}" font-weight="bold">{heading}</text>')
        shapes += legend(series, y)
        bars, end = draw_bars(groups, y + 26, told)
        shapes += bars
        y = end + _PANEL_GAP
    return page(TITLE, SUBTITLE, y, shapes)


def _panels(
    figures: dict[str, Any],
) -> list[tuple[str, list[tuple[str, str]], Sequence[Bars], Callable[[float], str]]]:
    return [
        (
            "Tasks a second, end to end; longer is better",
            [("full", DARK), ("normal", LIGHT)],
            _rates(figures),
            "{:,.0f}".format,
        ),
        (
            "Submit to result, ms; shorter is better",
            [("p50", DARK), ("p99", LIGHT)],
            _latencies(figures),
            "{:.2f}".format,
        ),
        (
            "Memory of the control plane, MB",
            [("resident", DARK)],
            _memory(figures),
            "{:,.0f}".format,
        ),
    ]


def _rates(figures: dict[str, Any]) -> list[Bars]:
    noops = [
        Bars(
            f"no-ops, {way}",
            [
                (figures["full"][way]["end_to_end_per_s"], DARK),
                (figures["normal"][way]["end_to_end_per_s"], LIGHT),
            ],
        )
        for way in _WAYS
    ]
    work = [
        Bars(label, [(run["end_to_end_per_s"], DARK)]) for label, run in figures["work"].items()
    ]
    return [*noops, *work]


def _latencies(figures: dict[str, Any]) -> list[Bars]:
    groups = []
    for label, key in (("one at a time", "latency_ms"), ("at half of peak", "half_of_peak")):
        for durability in ("full", "normal"):
            found = figures[durability][key]
            groups.append(
                Bars(f"{durability}: {label}", [(found["p50"], DARK), (found["p99"], LIGHT)])
            )
    return groups


def _memory(figures: dict[str, Any]) -> list[Bars]:
    idle = Bars("idle", [(figures["full"]["idle_rss_mb"], DARK)])
    return [
        idle,
        *(Bars(f"{f['tasks']:,} queued", [(f["rss_mb"], DARK)]) for f in figures["depths"]),
    ]
