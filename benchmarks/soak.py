"""Look for leaks: many tasks through one control plane and one subworker; `make soak`.

Each is a process of its own. Once warm, resident memory may grow by hardly anything with the number
of tasks, and descriptors and threads by nothing at all.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import rss_mb, running
from fastqueue import Client

SLOPE_MAX_MB = 1.0
"""What resident memory may grow by with every 100,000 tasks."""

_BATCH = 2_500
_BATCHES_IN_FLIGHT = 2


@dataclass(frozen=True)
class Sample:
    """Be what one process held after so many tasks."""

    tasks: int
    rss_mb: float
    descriptors: int
    threads: int


def sample(pid: int, tasks: int) -> Sample:
    process = Path(f"/proc/{pid}")
    descriptors = len(list((process / "fd").iterdir()))
    threads = len(list((process / "task").iterdir()))
    return Sample(tasks, rss_mb(pid), descriptors, threads)


def slope_mb(samples: list[Sample]) -> float:
    """Return by how much memory grows with 100,000 tasks, in MB: the least-squares line."""
    line = statistics.linear_regression(
        [s.tasks / 1e5 for s in samples], [s.rss_mb for s in samples]
    )
    return line.slope


async def run_tasks(client: Client, count: int) -> None:
    remaining = iter(range(0, count, _BATCH))

    async def run_some() -> None:
        for start in remaining:
            calls = [("noop", ())] * min(_BATCH, count - start)
            ids = await client.submit_batch(calls)
            async for result in client.as_completed(ids, timeout=120):
                assert result.status == "success", result

    await asyncio.gather(*(run_some() for _ in range(_BATCHES_IN_FLIGHT)))


def leaks(role: str, samples: list[Sample]) -> list[str]:
    """Return what grows with the number of tasks and shouldn't, a line each."""
    found = []
    if (slope := slope_mb(samples)) > SLOPE_MAX_MB:
        found.append(f"{role}: memory grows by {slope:.2f} MB with every 100,000 tasks")
    for what in ("descriptors", "threads"):
        # The first half against the second: one that comes and goes is no leak.
        counts = [getattr(s, what) for s in samples]
        before, after = counts[: len(counts) // 2], counts[len(counts) // 2 :]
        if min(after) > max(before):
            found.append(f"{role}: {what} grew from {max(before)} to {min(after)}")
    return found


async def soak(folder: Path, tasks: int, warm_up: int, every: int) -> list[str]:
    """Run the tasks and print the samples; return what leaks."""
    print(f"{'tasks':>10}  {'':14}{'RSS MB':>8}{'descriptors':>13}{'threads':>9}")
    with running(folder / "data") as system:
        pids = {"control plane": system.control_plane.pid, "subworker": system.subworker_pid}
        samples: dict[str, list[Sample]] = {role: [] for role in pids}
        begun = time.perf_counter()
        async with Client(control_plane_address=system.address, timeout=120) as client:
            await run_tasks(client, warm_up)
            for done in range(warm_up, tasks + 1, every):
                if done > warm_up:
                    await run_tasks(client, every)
                for role, pid in pids.items():
                    one = sample(pid, done)
                    samples[role].append(one)
                    print(
                        f"{done:>10,}  {role:14}{one.rss_mb:8.1f}{one.descriptors:13}"
                        f"{one.threads:9}",
                        flush=True,
                    )
        took_s = time.perf_counter() - begun
    found = []
    for role, of_role in samples.items():
        print(f"{role}: {slope_mb(of_role):+.2f} MB with every 100,000 tasks once warm")
        found += leaks(role, of_role)
    print(f"{tasks:,} tasks in {took_s:.0f} s")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    options = parser.parse_args()
    tasks = options.tasks
    # Until the results kept and the caches are full, growth is as intended.
    warm_up, every = min(200_000, tasks // 3), min(50_000, tasks // 10)
    with tempfile.TemporaryDirectory(prefix="fastqueue-soak-") as temporary:
        found = asyncio.run(soak(Path(temporary), tasks, warm_up, every))
    for line in found:
        print(f"LEAK: {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
