"""Submit to SAQ, on Redis."""

from __future__ import annotations

from typing import Any

from saq import Queue
from setting import STORE, in_flight, looked_for

IN_FLIGHT = 100

queue = Queue.from_url(STORE)


async def echo(_context: dict[str, Any], *, n: int) -> int:
    return n


settings = {"queue": queue, "functions": [echo], "concurrency": 100}


async def start() -> None:
    await queue.connect()


async def submit(count: int) -> list[Any]:
    return await in_flight(lambda n: queue.enqueue("echo", n=n), range(count), IN_FLIGHT)


async def collect(handles: list[Any]) -> list[Any]:
    async def look(missing: list[str]) -> dict[str, int]:
        jobs = await queue.jobs(missing)
        return {job.key: job.result for job in jobs if job and job.completed}

    # What its `map` does; there it looks every 500 ms by default.
    keys = [handle.key for handle in handles]
    return await looked_for(look, keys, at_once=100, interval_s=0.005)
