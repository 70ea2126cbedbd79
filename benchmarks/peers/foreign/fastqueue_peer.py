"""Submit to fastqueue, on SQLite."""

from __future__ import annotations

from typing import Any

from setting import STORE, WAIT_S, in_flight, value, work_async

from fastqueue import Client, task

IN_FLIGHT = 2_000

# As many results as a measure has tasks: the default keeps 10,000.
client = Client(control_plane_address=STORE, timeout=WAIT_S, result_cache_size=50_000)


@task
async def echo(n: Any) -> Any:
    return await work_async(n)


async def start() -> None:
    await client.start()


async def submit(count: int) -> list[str]:
    return await in_flight(lambda n: client.delay("echo", value(n)), range(count), IN_FLIGHT)


async def submit_bulk(count: int) -> list[str]:
    return await client.submit_batch([("echo", (value(n),)) for n in range(count)])


async def collect(handles: list[str]) -> list[Any]:
    results = {r.task_id: r async for r in client.as_completed(handles, timeout=WAIT_S)}
    return [results[handle].result for handle in handles]
