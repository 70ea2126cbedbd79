"""Measure how long one task takes from its submission to its result in hand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from typing import TYPE_CHECKING

from fastqueue import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK_S = 0.002


def percentiles_ms(times_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        "p50": ordered[len(ordered) // 2] * 1e3,
        "p99": ordered[len(ordered) * 99 // 100] * 1e3,
    }


async def one_at_a_time(client: Client, count: int = 2_000) -> dict[str, float]:
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        await client.submit_task("noop")
        times.append(time.perf_counter() - begun)
    return percentiles_ms(times)


async def at_rate(client: Client, per_s: float, seconds: float = 5.0) -> dict[str, float]:
    """Submit at a steady rate, whether or not earlier results have come.

    A task's time counts from when it was due to be submitted, so that a stall counts for all that
    it held up.
    """
    # An array, not a list: the collector of cycles looks at every float of a list, and 100,000 of
    # them would hold this process, not the system, up by 10 to 20 ms each time.
    times = array("d")
    waiting: set[asyncio.Task[None]] = set()

    async def run_one(due: float) -> None:
        await client.submit_task("noop")
        times.append(time.perf_counter() - due)

    begun = time.perf_counter()
    submitted = 0
    while (now := time.perf_counter()) < begun + seconds:
        while (due := begun + submitted / per_s) <= now:
            task = asyncio.create_task(run_one(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            submitted += 1
        await asyncio.sleep(_TICK_S)
    await asyncio.gather(*waiting)
    return {"per_s": submitted / seconds, **percentiles_ms(times)}


async def many_clients(address: str, clients: int = 100, count: int = 20_000) -> float:
    """Return the tasks a second that clients with one request each under way get accepted."""
    remaining = iter(range(count))

    async def submit_some(client: Client) -> None:
        for _ in remaining:
            await client.delay("noop")

    async with contextlib.AsyncExitStack() as stack:
        group = [
            await stack.enter_async_context(Client(control_plane_address=address, timeout=60))
            for _ in range(clients)
        ]
        begun = time.perf_counter()
        await asyncio.gather(*(submit_some(client) for client in group))
        return count / (time.perf_counter() - begun)
