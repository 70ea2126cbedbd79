"""Submit to streaQ, on Redis."""

from __future__ import annotations

from typing import Any

from setting import AT_ONCE, STORE, WAIT_S, in_flight, value, work_async
from streaq import Worker

IN_FLIGHT = 100
WAITING = 32

worker = Worker(redis_url=STORE, concurrency=AT_ONCE)


@worker.task
async def echo(n: Any) -> Any:
    return await work_async(n)


async def start() -> None:
    await worker.__aenter__()


async def submit(count: int) -> list[Any]:
    async def enqueue(n: int) -> Any:
        return await echo.enqueue(value(n))

    return await in_flight(enqueue, range(count), IN_FLIGHT)


async def submit_bulk(count: int) -> list[Any]:
    tasks = [echo.enqueue(value(n)) for n in range(count)]
    await worker.enqueue_many(tasks)
    return tasks


async def collect(handles: list[Any]) -> list[Any]:
    async def wait(handle: Any) -> Any:
        return (await handle.result(timeout=WAIT_S)).result

    return await in_flight(wait, handles, WAITING)
