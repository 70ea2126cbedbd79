"""Measure how many tasks a second go through, and what each costs every process in CPU time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from benchmarks.load import collect, submit_one_by_one
from benchmarks.processes import cpu_s, start_subworker
from fastqueue import Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.processes import System

TASKS = 20_000


async def throughput(
    client: Client,
    system: System,
    name: str,
    *,
    args: Sequence[Any] = (),
    count: int = TASKS,
    batch: bool = False,
) -> dict[str, Any]:
    """Submit tasks and collect their results: rates, and CPU time a task by process."""
    pids = {"control plane": system.control_plane.pid, "subworker": system.subworker_pid}
    cpu_before = {process: cpu_s(pid) for process, pid in pids.items()}
    own_before, begun = time.process_time(), time.perf_counter()
    if batch:
        ids = await client.submit_batch([(name, tuple(args))] * count)
    else:
        ids = await submit_one_by_one(client, name, count, args)
    submitted_s = time.perf_counter() - begun
    await collect(client, ids)
    elapsed_s, own_s = time.perf_counter() - begun, time.process_time() - own_before
    used = {process: cpu_s(pid) - cpu_before[process] for process, pid in pids.items()}
    return {
        "submit_per_s": count / submitted_s,
        "end_to_end_per_s": count / elapsed_s,
        "cpu_us": {
            "client": own_s / count * 1e6,
            **{process: seconds / count * 1e6 for process, seconds in used.items()},
        },
    }


async def drain(system: System, count: int = TASKS) -> float:
    """Return the results a second that come in from a backlog, from the first to the last.

    The system has no subworker when it begins, and one afterwards.
    """
    async with Client(control_plane_address=system.address, timeout=60) as client:
        ids = await client.submit_batch([("noop", ())] * count)
        waiting = asyncio.create_task(_times(client, ids))
        system.supervisors.append(start_subworker(system.address))
        first, last = await waiting
    return (count - 1) / (last - first)


async def _times(client: Client, ids: list[str]) -> tuple[float, float]:
    first = last = 0.0
    async for _ in client.as_completed(ids, timeout=120):
        last = time.perf_counter()
        first = first or last
    return first, last


async def median_of(runs: int, measure: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Return the run whose end-to-end rate is the median: all its figures belong together."""
    results = [await measure() for _ in range(runs)]
    return sorted(results, key=lambda r: r["end_to_end_per_s"])[runs // 2]
