"""Submit to SAQ, on Redis."""

from __future__ import annotations

from typing import Any

from saq import Queue
from setting import AT_ONCE, STORE, in_flight, looked_for, value, work_async

IN_FLIGHT = 100

queue = Queue.from_url(STORE)


async def echo(_context: dict[str, Any], *, n: Any) -> Any:
    return await work_async(n)


settings = {"queue": queue, "functions": [echo], "concurrency": AT_ONCE}


async def start() -> None:
    await queue.connect()


async def submit(count: int) -> list[Any]:
    return await in_flight(lambda n: queue.enqueue("echo", n=value(n)), range(count), IN_FLIGHT)


async def collect(handles: list[Any]) -> list[Any]:
    async def look(missing: list[str]) -> dict[str, Any]:
        jobs = await queue.jobs(missing)
        return {job.key: job.result for job in jobs if job and job.completed}

    # What its `map` does; there it looks every 500 ms by default.
    keys = [handle.key for handle in handles]
    return await looked_for(look, keys, at_once=100, interval_s=0.005)
