"""Measure what waits for a time: many tasks due in the same second, and very many for later."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.processes import rss_mb, running
from fastqueue import Client, TaskPriority

if TYPE_CHECKING:
    from pathlib import Path

_DUE_AT_ONCE = 100_000
_SCHEDULED = 1_000_000
_BATCH = 10_000
# From the first submission until they are due; all must be there by then.
_AHEAD_S = 25.0
_ALL_DONE_MAX_S = 300.0


async def measure_delayed(folder: Path) -> dict[str, Any]:
    """Return how late and in which order many start that are due at once, and what many cost."""
    return {**await _due_at_once(folder / "due"), **await _scheduled(folder / "scheduled")}


async def _due_at_once(data_dir: Path) -> dict[str, Any]:
    with running(data_dir) as system:
        async with Client(
            control_plane_address=system.address, timeout=120, result_cache_size=_DUE_AT_ONCE
        ) as client:
            due = datetime.now(UTC) + timedelta(seconds=_AHEAD_S)
            # The least urgent are submitted first, so that the order isn't that of submission.
            ranks = sorted(TaskPriority, key=lambda priority: -priority.rank)
            ids: dict[TaskPriority, list[str]] = {priority: [] for priority in ranks}
            for priority in ranks:
                for _ in range(_DUE_AT_ONCE // len(ranks) // _BATCH + 1):
                    count = min(_BATCH, _DUE_AT_ONCE // len(ranks) - len(ids[priority]))
                    calls = [("noop", ())] * count
                    ids[priority] += await client.submit_batch(calls, priority=priority, eta=due)
            submitted_s = (datetime.now(UTC) - due).total_seconds() + _AHEAD_S
            if submitted_s >= _AHEAD_S:
                raise RuntimeError(f"{_DUE_AT_ONCE:,} tasks took {submitted_s:.0f} s to submit")
            every = [task_id for some in ids.values() for task_id in some]
            begun = {}
            async for result in client.as_completed(every, timeout=_ALL_DONE_MAX_S):
                assert result.started_at is not None
                begun[result.task_id] = result.started_at.timestamp()
        last_by_rank = {p.rank: max(begun[i] for i in ids[p]) for p in ranks}
        early = sum(
            begun[i] < max((last_by_rank[r] for r in last_by_rank if r < p.rank), default=0.0)
            for p in ranks
            for i in ids[p]
        )
        return {
            "due_at_once": _DUE_AT_ONCE,
            "all_started_s": max(begun.values()) - due.timestamp(),
            "before_their_time": sum(at < due.timestamp() for at in begun.values()),
            "out_of_priority_share": early / _DUE_AT_ONCE,
        }


async def _scheduled(data_dir: Path) -> dict[str, Any]:
    with running(data_dir, subworkers=0) as system:
        async with Client(control_plane_address=system.address, timeout=120) as client:
            begun = time.perf_counter()
            for _ in range(_SCHEDULED // _BATCH):
                await client.submit_batch([("noop", ())] * _BATCH, countdown=86_400)
            took_s = time.perf_counter() - begun
            await asyncio.sleep(1)  # what the last of them left is freed
            return {
                "scheduled": _SCHEDULED,
                "scheduled_rss_mb": rss_mb(system.control_plane.pid),
                "scheduled_per_s": _SCHEDULED / took_s,
            }
