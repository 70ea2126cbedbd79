"""Measure the smoke figures: `make bench`.

One producer (this process), one control plane, one subworker, each a process of its own; no-op
coroutines; every submission acknowledged after an fsync unless said otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import uvloop

import fastqueue
from benchmarks.processes import cpu_s, end, rss_mb, running, start_control_plane, wait_listening
from fastqueue import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.processes import System

TASKS = 20_000
IN_FLIGHT = 2_000
BACKLOG = 300_000


def fdatasync_p50_ms(folder: Path) -> float:
    """Return how long it takes this disk to keep 4 KiB: the floor of every acknowledgement."""
    path = folder / "fdatasync-probe"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(file, bytes(64 * 1024))
        os.fsync(file)
        times = []
        for n in range(300):
            os.pwrite(file, os.urandom(4096), 4096 * (n % 16))
            begun = time.perf_counter()
            os.fdatasync(file)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(times) * 1e3


async def submit_one_by_one(client: Client, name: str, count: int) -> list[str]:
    """Submit task by task, as concurrent requests of a web application would."""
    ids: list[str] = []
    remaining = iter(range(count))

    async def submit_some() -> None:
        for _ in remaining:
            ids.append(await client.delay(name))

    await asyncio.gather(*(submit_some() for _ in range(IN_FLIGHT)))
    return ids


async def collect(client: Client, ids: list[str]) -> None:
    count = 0
    async for result in client.as_completed(ids, timeout=120):
        assert result.status == "success", result
        count += 1
    assert count == len(ids), f"{count} of {len(ids)} results"


async def throughput(client: Client, system: System, name: str, *, batch: bool) -> dict[str, Any]:
    pids = {"control plane": system.control_plane.pid, "subworker": system.subworker_pid}
    cpu_before = {role: cpu_s(pid) for role, pid in pids.items()}
    own_before, begun = time.process_time(), time.perf_counter()
    if batch:
        ids = await client.submit_batch([(name, ())] * TASKS)
    else:
        ids = await submit_one_by_one(client, name, TASKS)
    submitted_s = time.perf_counter() - begun
    await collect(client, ids)
    elapsed_s, own_s = time.perf_counter() - begun, time.process_time() - own_before
    cpu = {role: cpu_s(pid) - cpu_before[role] for role, pid in pids.items()}
    return {
        "submit_per_s": TASKS / submitted_s,
        "end_to_end_per_s": TASKS / elapsed_s,
        "cpu_us": {
            "client": own_s / TASKS * 1e6,
            **{role: seconds / TASKS * 1e6 for role, seconds in cpu.items()},
        },
    }


async def latency_ms(client: Client, count: int = 500) -> dict[str, float]:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        await client.submit_task("noop")
        times.append((time.perf_counter() - begun) * 1e3)
    times.sort()
    return {"p50": times[count // 2], "p99": times[count * 99 // 100]}


async def median_of(runs: int, measure: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Return the run whose end-to-end rate is the median: all its figures belong together."""
    results = [await measure() for _ in range(runs)]
    return sorted(results, key=lambda r: r["end_to_end_per_s"])[runs // 2]


async def measure_system(folder: Path, durability: str, runs: int) -> dict[str, Any]:
    with running(folder / durability, durability=durability) as system:
        async with Client(control_plane_address=system.address, timeout=60) as client:
            for _ in range(100):
                await client.submit_task("noop")
            figures: dict[str, Any] = {
                "rss_idle_mb": rss_mb(system.control_plane.pid),
                "latency_ms": await latency_ms(client),
            }
            for label, name, batch in (
                ("one by one", "noop", False),
                ("one by one, threads", "noop_thread", False),
                ("submit_batch", "noop", True),
            ):
                figures[label] = await median_of(
                    runs,
                    lambda name=name, batch=batch: throughput(client, system, name, batch=batch),
                )
            return figures


async def measure_backlog(folder: Path) -> dict[str, Any]:
    """Queue many tasks with no subworker, then restart the control plane."""
    data_dir = folder / "backlog"
    with running(data_dir, subworkers=0) as system:
        async with Client(control_plane_address=system.address, timeout=120) as client:
            begun = time.perf_counter()
            for _ in range(BACKLOG // 10_000):
                await client.submit_batch([("noop", ())] * 10_000)
            submit_s = time.perf_counter() - begun
            rss = rss_mb(system.control_plane.pid)
        end(system.control_plane)
        begun = time.perf_counter()
        system.control_plane = start_control_plane(
            data_dir, system.address, system.discovery_address
        )
        wait_listening(system.address)
        async with Client(control_plane_address=system.address, timeout=120) as client:
            stats = await client.inspect()
            restart_s = time.perf_counter() - begun
            assert stats["queued"] == BACKLOG, stats
        return {
            "tasks": BACKLOG,
            "submit_per_s": BACKLOG / submit_s,
            "rss_mb": rss,
            "restart_s": restart_s,
            "rss_after_restart_mb": rss_mb(system.control_plane.pid),
        }


def machine() -> dict[str, str]:
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release().split('-')[0]}",
        "versions": (
            f"fastqueue {fastqueue.__version__}, Python {platform.python_version()}, "
            f"SQLite {apsw.sqlite_lib_version()}, uvloop {uvloop.__version__}"
        ),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def report(figures: dict[str, Any]) -> str:
    lines = [f"{figures['machine']}; {figures['versions']}; {figures['date']}"]
    lines.append(f"fdatasync of 4 KiB: p50 {figures['fdatasync_ms']:.2f} ms")
    for durability in ("full", "normal"):
        part = figures[durability]
        latency = part["latency_ms"]
        lines.append(
            f"\ndurability {durability}: submit to result, one at a time: "
            f"p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms; "
            f"control plane idle {part['rss_idle_mb']:.0f} MB"
        )
        lines.append(f"{TASKS:,} no-ops, submit to last result in hand:")
        for label in ("one by one", "one by one, threads", "submit_batch"):
            run = part[label]
            cpu = ", ".join(f"{role} {us:.1f}" for role, us in run["cpu_us"].items())
            lines.append(
                f"  {label:20} submit {run['submit_per_s']:>8,.0f}/s   end to end "
                f"{run['end_to_end_per_s']:>7,.0f}/s   CPU us a task: {cpu}"
            )
    backlog = figures["backlog"]
    lines.append(
        f"\n{backlog['tasks']:,} queued, no subworker: submit {backlog['submit_per_s']:,.0f}/s, "
        f"control plane {backlog['rss_mb']:.0f} MB; restart to first answer "
        f"{backlog['restart_s']:.2f} s, then {backlog['rss_after_restart_mb']:.0f} MB"
    )
    return "\n".join(lines)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of each figure; the median counts"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastqueue-bench-") as temporary:
        folder = Path(temporary)
        figures = {**machine(), "fdatasync_ms": fdatasync_p50_ms(folder)}
        for durability in ("full", "normal"):
            figures[durability] = await measure_system(folder, durability, options.runs)
        figures["backlog"] = await measure_backlog(folder)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    print(report(figures))


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
