"""Submit to PgQueuer, on PostgreSQL; run as a program it is the worker.

It keeps no results: a task that has succeeded counts as having returned what it should.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from setting import AT_ONCE, CHOICE, STORE, WORK, in_flight, looked_for, value, work_async

IN_FLIGHT = 10
BATCH = 500

queries: Queries


async def work() -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(STORE)))

    @pgq.entrypoint("echo")
    async def echo(job: Job) -> Any:
        return await work_async(json.loads(job.payload or b""))

    if WORK == "sleep":
        # It wants this to be at least two batches.
        await pgq.run(batch_size=AT_ONCE // 2, max_concurrent_tasks=AT_ONCE)
    else:
        await pgq.run(batch_size=int(CHOICE))


async def start() -> None:
    global queries
    pool = await asyncpg.create_pool(STORE, min_size=1, max_size=IN_FLIGHT)
    queries = Queries(AsyncpgPoolDriver(pool))


def _payload(n: int) -> bytes:
    return json.dumps(value(n)).encode()


async def submit(count: int) -> list[Any]:
    async def enqueue(n: int) -> Any:
        [handle] = await queries.enqueue("echo", _payload(n))
        return handle

    return await in_flight(enqueue, range(count), IN_FLIGHT)


async def submit_bulk(count: int) -> list[Any]:
    handles: list[Any] = []
    for begin in range(0, count, BATCH):
        some = range(begin, min(begin + BATCH, count))
        payloads = [_payload(n) for n in some]
        handles += await queries.enqueue(["echo"] * len(some), payloads, [0] * len(some))
    return handles


async def collect(handles: list[Any]) -> list[Any]:
    numbers = {handle: n for n, handle in enumerate(handles)}

    async def look(missing: list[Any]) -> dict[Any, Any]:
        found = await queries.job_status(missing)
        return {
            handle: value(numbers[handle]) for handle, status in found if status == "successful"
        }

    return await looked_for(look, handles, at_once=1_000, interval_s=0.002)


if __name__ == "__main__":
    asyncio.run(work())
