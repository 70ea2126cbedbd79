"""Measure what a long queue costs: submitting to it, holding it, starting with it, draining it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmarks.load import submit_one_by_one
from benchmarks.processes import (
    end,
    rss_mb,
    running,
    start_control_plane,
    start_subworker,
    wait_listening,
)
from fastqueue import Client

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import System

_BATCH = 10_000
_PROBE_BATCHES = 10
_PROBE_SINGLES = 20_000
_LOOK_S = 0.25
# Far past what any machine needs: a subworker that has ended drains nothing.
_FIRST_LEASE_MAX_S = 120.0
_DRAIN_MAX_S = 3_600.0


async def measure_depth(folder: Path, tasks: int) -> dict[str, Any]:
    """Return what it costs to have `tasks` queued, durably; the queue is drained at the end."""
    data_dir = folder / f"depth-{tasks}"
    with running(data_dir, subworkers=0) as system:
        async with _client(system) as client:
            empty = await _submit_rates(client)
            while (missing := tasks - (await _stats(client))["queued"]) > 0:
                await client.submit_batch([("noop", ())] * min(_BATCH, missing))
            held_mb = rss_mb(system.control_plane.pid)
            deep = await _submit_rates(client)
            queued = (await _stats(client))["queued"]
        end(system.control_plane)
        restarted = await _restart(system, queued)
        async with _client(system) as client:
            async with asyncio.timeout(_DRAIN_MAX_S):
                rates = await _drain(client, queued)
        return {
            "tasks": tasks,
            "empty": empty,
            "deep": deep,
            "rss_mb": held_mb,
            **restarted,
            "drain_per_s": rates,
            "rss_after_drain_mb": rss_mb(system.control_plane.pid),
        }


def _client(system: System) -> Client:
    return Client(control_plane_address=system.address, timeout=120)


async def _stats(client: Client) -> dict[str, Any]:
    return await client.inspect()


async def _submit_rates(client: Client) -> dict[str, float]:
    begun = time.perf_counter()
    for _ in range(_PROBE_BATCHES):
        await client.submit_batch([("noop", ())] * _BATCH)
    in_batches_s = time.perf_counter() - begun
    begun = time.perf_counter()
    await submit_one_by_one(client, "noop", _PROBE_SINGLES)
    return {
        "submit_batch": _PROBE_BATCHES * _BATCH / in_batches_s,
        "one by one": _PROBE_SINGLES / (time.perf_counter() - begun),
    }


async def _restart(system: System, queued: int) -> dict[str, float]:
    """Start control plane and subworker anew, and see when the first task has left the queue."""
    begun = time.perf_counter()
    system.control_plane = start_control_plane(
        system.data_dir, system.address, system.discovery_address
    )
    system.supervisors.append(start_subworker(system.address))
    wait_listening(system.address)
    async with _client(system) as client:
        left = queued
        async with asyncio.timeout(_FIRST_LEASE_MAX_S):
            while left >= queued:
                await asyncio.sleep(0.005)
                left = (await _stats(client))["queued"]
    return {
        "restart_to_first_lease_s": time.perf_counter() - begun,
        "rss_after_restart_mb": rss_mb(system.control_plane.pid),
    }


async def _drain(client: Client, queued: int) -> list[float]:
    """Wait until the queue is empty; return the rate of each tenth, the first one first."""
    looks: list[tuple[float, int]] = []
    tenths = [queued * n // 10 for n in range(10, -1, -1)]
    times: list[float] = []
    while tenths:
        looks.append((time.perf_counter(), (await _stats(client))["queued"]))
        while tenths and looks[-1][1] <= tenths[0]:
            tenths.pop(0)
            times.append(looks[-1][0])
        await asyncio.sleep(_LOOK_S)
    return [queued / 10 / max(later - earlier, _LOOK_S) for earlier, later in pairwise(times)]
