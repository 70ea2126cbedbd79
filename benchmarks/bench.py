"""Measure fastqueue: `make bench`.

One producer (this process), one control plane, one subworker, each a process of its own, unless
said otherwise; every submission acknowledged after an fsync unless said otherwise. The figures go
to standard output as Markdown, and with `--write` into `RESULTS.md` too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import chart, report, targets, verdict
from benchmarks.delayed import measure_delayed
from benchmarks.depth import measure_depth
from benchmarks.floor import measure_floor
from benchmarks.latency import at_rate, many_clients, one_at_a_time
from benchmarks.machine import describe_machine, fdatasync_p50_ms
from benchmarks.processes import pss_mb, rss_mb, running
from benchmarks.scaling import import_ms, start_to_first_task_s, with_producers
from benchmarks.throughput import drain, median_of, throughput
from fastqueue import Client

_NOOPS = (
    ("one by one", "noop", False),
    ("one by one, threads", "noop_thread", False),
    ("submit_batch", "noop", True),
)
_SLEEPS, _COMPUTATIONS, _LARGE = 5_000, 2_000, 2_000
_LARGE_BYTES = 64 * 1024
_SHARE_OF_PEAK = 0.5


async def measure_durability(folder: Path, durability: str, runs: int) -> dict[str, Any]:
    """Return the figures of no-ops for one durability."""
    with running(folder / durability, durability=durability) as system:
        async with Client(control_plane_address=system.address, timeout=60) as client:
            for _ in range(100):
                await client.submit_task("noop")
            figures: dict[str, Any] = {
                "idle_mb": {process: pss_mb(pid) for process, pid in system.pids.items()},
                "idle_rss_mb": rss_mb(system.control_plane.pid),
                "fdatasync_ms": fdatasync_p50_ms(folder),
                "latency_ms": await one_at_a_time(client),
                "many_clients_per_s": await many_clients(system.address),
            }
            for label, name, batch in _NOOPS:
                run = partial(throughput, client, system, name, batch=batch)
                figures[label] = await median_of(runs, run)
            peak_per_s = figures["one by one"]["end_to_end_per_s"]
            figures["half_of_peak"] = await at_rate(client, peak_per_s * _SHARE_OF_PEAK)
            return figures


async def measure_work(folder: Path, runs: int) -> dict[str, Any]:
    """Return the figures of tasks that do something."""
    kinds: dict[str, tuple[str, int, tuple[Any, ...], int]] = {
        "sleep 10 ms, 100 at a time": ("sleep_10_ms", _SLEEPS, (), 100),
        "1 ms of CPU": ("cpu_1_ms", _COMPUTATIONS, (), 1),
        "64 KiB there and back": ("echo", _LARGE, ("x" * _LARGE_BYTES,), 100),
    }
    figures = {}
    for label, (name, count, args, concurrency) in kinds.items():
        with running(folder / name, concurrency=concurrency) as system:
            async with Client(control_plane_address=system.address, timeout=60) as client:
                await client.submit_task(name, args)
                run = partial(throughput, client, system, name, args=args, count=count)
                figures[label] = await median_of(runs, run)
    return figures


async def measure_all(folder: Path, runs: int, depths: list[int]) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {**describe_machine(), "floor": measure_floor(folder)}
    for durability in ("full", "normal"):
        figures[durability] = await measure_durability(folder, durability, runs)
    figures["work"] = await measure_work(folder, runs)
    with running(folder / "drain", subworkers=0) as system:
        figures["drain_per_s"] = await drain(system)
    figures["scaling"] = [
        {"producers": n, "subworkers": m, "per_s": with_producers(folder, n, m)}
        for n, m in ((1, 1), (1, 2), (1, 4), (2, 1), (4, 1), (2, 2))
    ]
    figures["import_ms"] = import_ms()
    figures["start_s"] = await asyncio.to_thread(start_to_first_task_s, folder)
    figures["delayed"] = await measure_delayed(folder)
    figures["depths"] = [await measure_depth(folder, tasks) for tasks in depths]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each rate; the median counts")
    parser.add_argument(
        "--depths", type=int, nargs="*", default=[100_000, 1_000_000], help="lengths of the queue"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--write", action="store_true", help="also write RESULTS.md and the README")
    parser.add_argument("--check", action="store_true", help="fail if a must isn't met")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastqueue-bench-") as folder:
        figures = uvloop.run(measure_all(Path(folder), options.runs, options.depths))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, default=vars))
    text = report.to_markdown(figures)
    print(text)
    if options.write:
        report.put(report.RESULTS, "bench", text)
        report.put(report.README, "bench", report.summary(figures))
        report.CHART.write_text(chart.draw(figures))
    if options.check:
        verdicts = targets.judge(figures)
        print(f"\n{verdict.to_table(verdicts)}\n\n{verdict.conclusion(verdicts)}")
        return 0 if all(each.is_met for each in verdicts) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
