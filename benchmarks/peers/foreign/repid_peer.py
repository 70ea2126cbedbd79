"""Submit to repid, on Redis; run as a program it is the worker.

repid keeps no results: the task writes its own into a hash of the same Redis.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from repid import RedisServer, Repid, Router
from setting import AT_ONCE, STORE, WORK, in_flight, looked_for, value, work_async

IN_FLIGHT = 100

redis = Redis.from_url(STORE)
app = Repid(title="peer", version="1")
app.servers.register_server("default", RedisServer(STORE, batch_size=100), is_default=True)
router = Router()


@router.actor(channel="default")
async def echo(n: Any, key: str) -> None:
    await redis.hset("results", key, json.dumps(await work_async(n)))


app.include_router(router)


async def start() -> None:
    await app.servers.default.connect()


async def submit(count: int) -> list[Any]:
    async def send(n: int) -> str:
        key = uuid4().hex
        await app.send_message_json(
            channel="default", payload={"n": value(n), "key": key}, headers={"topic": "echo"}
        )
        return key

    return await in_flight(send, range(count), IN_FLIGHT)


async def collect(handles: list[Any]) -> list[Any]:
    async def look(missing: list[str]) -> dict[str, Any]:
        found = await redis.hmget("results", missing)
        return {key: json.loads(n) for key, n in zip(missing, found, strict=True) if n}

    return await looked_for(look, handles, at_once=200, interval_s=0.001)


async def work() -> None:
    async with app.servers.default.connection():
        # By default 1,000 run at one time.
        await app.run_worker(tasks_limit=AT_ONCE if WORK == "sleep" else 1_000)


if __name__ == "__main__":
    asyncio.run(work())
