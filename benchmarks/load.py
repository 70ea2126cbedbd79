"""Own how a producer submits and collects in the benchmarks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue import Client

IN_FLIGHT = 2_000


async def submit_one_by_one(
    client: Client, name: str, count: int, args: Sequence[Any] = (), in_flight: int = IN_FLIGHT
) -> list[str]:
    """Submit task by task, as concurrent requests of a web application would; return the ids."""
    ids: list[str] = []
    remaining = iter(range(count))

    async def submit_some() -> None:
        for _ in remaining:
            ids.append(await client.delay(name, *args))

    await asyncio.gather(*(submit_some() for _ in range(in_flight)))
    return ids


async def collect(client: Client, ids: Sequence[str]) -> None:
    """Wait for all results; each is to be a success."""
    count = 0
    async for result in client.as_completed(ids, timeout=120):
        assert result.status == "success", result
        count += 1
    assert count == len(ids), f"{count} of {len(ids)} results"
