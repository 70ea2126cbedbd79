"""Own how the figures are told: as Markdown, and where in which document."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
README = ROOT / "README.md"
CHART = ROOT / "benchmarks" / "bench.svg"

_NOOP_LABELS = ("one by one", "one by one, threads", "submit_batch")


def put(document: Path, part: str, text: str) -> None:
    """Replace what is between the marks of a part.

    Raises:
        ValueError: the document has no such part.
    """
    marks = rf"(<!-- {part} -->\n).*?(<!-- /{part} -->)"
    told, count = re.subn(
        marks, lambda m: f"{m[1]}{text}\n{m[2]}", document.read_text(), flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"{document} has no part {part!r}")
    document.write_text(told)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def to_markdown(figures: dict[str, Any]) -> str:
    """Return all figures."""
    return "\n\n".join(
        [
            _where(figures),
            "![fastqueue: tasks a second, latency, memory](bench.svg)",
            f"No-ops, {_NOOPS} a run, from the first submit to the last result in hand:",
            _noops(figures),
            "One task at a time and under load, from submit to result; and clients with one "
            "request each under way:",
            _latencies(figures),
            "Tasks that do something (durability full):",
            _work(figures),
            f"A backlog of {_NOOPS} is drained at {figures['drain_per_s']:,.0f} results/s.",
            "More producers and subworkers (durability full; producers, control plane and "
            "subworkers share the cores):",
            _scaling(figures),
            f"`import fastqueue` takes {figures['import_ms']:.0f} ms; from `fastqueue "
            f"control-plane` to the first result in hand {figures['start_s']:.2f} s.",
            "A long queue (durability full):",
            _depths(figures),
            _delayed(figures["delayed"]),
        ]
    )


_NOOPS = "20,000"


def summary(figures: dict[str, Any]) -> str:
    """Return what the README shows."""
    latency = _latencies(figures)
    return "\n\n".join([_where(figures), _noops(figures), latency, _depths(figures)])


def _where(figures: dict[str, Any]) -> str:
    return f"{figures['machine']}; {figures['versions']}; {figures['date']}."


def _noops(figures: dict[str, Any]) -> str:
    rows = []
    for durability in ("full", "normal"):
        for label in _NOOP_LABELS:
            run = figures[durability][label]
            cpu = [f"{run['cpu_us'][p]:.1f}" for p in ("client", "control plane", "subworker")]
            rates = [f"{run['submit_per_s']:,.0f}", f"{run['end_to_end_per_s']:,.0f}"]
            rows.append([f"{durability}: {label}", *rates, " / ".join(cpu)])
    return table(
        [
            "durability, way",
            "submit/s",
            "end to end/s",
            "CPU µs a task: client / control plane / subworker",
        ],
        rows,
    )


def _latencies(figures: dict[str, Any]) -> str:
    rows = []
    for durability in ("full", "normal"):
        part = figures[durability]
        one, half = part["latency_ms"], part["half_of_peak"]
        rows.append(
            [
                durability,
                f"{part['fdatasync_ms']:.2f}",
                f"{one['p50']:.2f} / {one['p99']:.2f}",
                f"{half['p50']:.1f} / {half['p99']:.1f} at {half['per_s']:,.0f}/s",
                f"{part['many_clients_per_s']:,.0f}",
                " / ".join(f"{mb:.0f}" for mb in part["idle_mb"].values()),
            ]
        )
    return table(
        [
            "durability",
            "fdatasync p50 ms",
            "one at a time p50 / p99 ms",
            "at half of peak p50 / p99 ms",
            "100 clients, accepted/s",
            "idle PSS MB: " + " / ".join(figures["full"]["idle_mb"]),
        ],
        rows,
    )


def _work(figures: dict[str, Any]) -> str:
    return table(
        ["work", "end to end/s"],
        [[label, f"{run['end_to_end_per_s']:,.0f}"] for label, run in figures["work"].items()],
    )


def _scaling(figures: dict[str, Any]) -> str:
    return table(
        ["producers", "subworkers", "end to end/s"],
        [
            [str(found["producers"]), str(found["subworkers"]), f"{found['per_s']:,.0f}"]
            for found in figures["scaling"]
        ],
    )


def _delayed(found: dict[str, Any]) -> str:
    return (
        f"Of {found['due_at_once']:,} tasks with one `eta`, a quarter of each priority, the last "
        f"starts {found['all_started_s']:.1f} s after it, "
        f"{found['out_of_priority_share']:.2%} of them before one of a higher priority and "
        f"{found['before_their_time']:,} before their time. With {found['scheduled']:,} tasks "
        f"scheduled for later the control plane has {found['scheduled_rss_mb']:.0f} MB."
    )


def _depths(figures: dict[str, Any]) -> str:
    rows = []
    for found in figures["depths"]:
        empty, deep, drained = found["empty"], found["deep"], found["drain_per_s"]
        rows.append(
            [
                f"{found['tasks']:,}",
                *(
                    f"{empty[way]:,.0f} → {deep[way]:,.0f}"
                    for way in ("one by one", "submit_batch")
                ),
                f"{found['rss_mb']:.0f}",
                f"{found['restart_to_first_lease_s']:.2f}",
                f"{drained[0]:,.0f} / {sorted(drained)[5]:,.0f} / {drained[-1]:,.0f}",
            ]
        )
    return table(
        [
            "queued",
            "submit/s one by one, into an empty queue → behind so many",
            "the same by submit_batch",
            "control plane MB",
            "restart to first lease s",
            "drained/s: first tenth / median / last",
        ],
        rows,
    )
