"""Run the comparison: each round visits every peer once, so that all see the same machine."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import fastqueue
from benchmarks.peers import chart, report, standing
from benchmarks.peers.catalog import PEERS
from benchmarks.peers.rows import Row, rows_of
from benchmarks.peers.visit import Visit
from benchmarks.peers.works import ECHO, WORKS

MEASURE_S = 3.0
QUIET = 0.05
"""Up to which share of the machine other work may have for it to count as quiet."""


def visit(row: Row, tasks_max: int, measure_s: float) -> None:
    """Measure a peer once, whatever becomes of it: a failure is a finding, too."""
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        one = Visit(row, Path(folder))
        try:
            row.tasks = one.measure(
                row.tasks, min(tasks_max, row.work.tasks_max), measure_s * row.work.share
            )
        except (OSError, RuntimeError) as error:
            row.failures.append(str(error))
        row.rounds.append(one.figures)


def progress(number: int, row: Row, took_s: float) -> str:
    figures = row.rounds[-1]
    said = ", ".join(
        f"{key} {figures[key]:,.0f}"
        for key in ("end_to_end_per_s", "wrong", "missing")
        if key in figures
    )
    failed = f"; {row.failures[-1]}" if row.failures else ""
    return f"round {number}: {row.name}: {said or 'nothing measured'} ({took_s:.0f} s){failed}"


def used_s() -> tuple[float, float]:
    """Return the CPU time that was used so far, in seconds: by all, and by this run's processes."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    own = os.times()
    total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return total, own.user + own.system + own.children_user + own.children_system


def head(options: argparse.Namespace, others: float) -> dict[str, str]:
    """Return what the figures are to be read with: machine, versions, date, command."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    chosen = "".join(
        f' {name}="{" ".join(values)}"'
        for name, values in (("PEERS", options.peers), ("WORK", options.work))
        if values
    )
    was = "quiet" if others <= QUIET else "**not quiet**"
    return {
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release().split('-')[0]}",
        "versions": f"fastqueue {fastqueue.__version__}, Python {platform.python_version()}",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "load": f"The machine was {was}: other work had {others:.0%} of its CPU time meanwhile.",
        "command": f"make bench-peers{chosen} ROUNDS={options.rounds}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", help="which ones; by default all")
    parser.add_argument(
        "--work", nargs="*", choices=[w.name for w in WORKS], help="which; by default all"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--tasks", type=int, default=ECHO.tasks_max, help="at most so many a measure"
    )
    parser.add_argument("--measure-s", type=float, default=MEASURE_S, help="about so long each")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--results", type=Path, help="write the report and the chart here")
    parser.add_argument("--check", action="store_true", help="fail if a verdict isn't met")
    options = parser.parse_args()
    names = [peer.name for peer in PEERS]
    if unknown := set(options.peers) - set(names):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    chosen = [peer for peer in PEERS if not options.peers or peer.name in options.peers]
    rows = rows_of(chosen, [w for w in WORKS if not options.work or w.name in options.work])
    # What was started is in sessions of its own: end it also when this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before, start = used_s(), time.monotonic()
    for number in range(1, options.rounds + 1):
        # What failed once would take its time again.
        for row in (row for row in rows if not (row.failures or row.cannot)):
            began = time.monotonic()
            visit(row, options.tasks, options.measure_s)
            print(progress(number, row, time.monotonic() - began), file=sys.stderr, flush=True)
    total_s, own_s = (now - then for now, then in zip(used_s(), before, strict=True))
    others = (total_s - own_s) / ((time.monotonic() - start) * (os.cpu_count() or 1))
    about = head(options, max(others, 0.0))
    if options.json:
        seen = [
            {"name": r.name, "work": r.work.name, "tasks": r.tasks, "rounds": r.rounds}
            for r in rows
        ]
        options.json.write_text(json.dumps({**about, "rows": seen}, indent=2))
    part = report.text(rows, about, options.measure_s, options.tasks)
    if options.results:
        report.write(options.results, part)
        if noops := [row for row in rows if row.work is ECHO]:
            options.results.with_name("peers.svg").write_text(chart.draw(noops))
    print(part)
    if options.check:
        return 0 if all(each.is_met for each in standing.judge(rows)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
