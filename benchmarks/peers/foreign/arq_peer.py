"""Submit to arq, on Redis."""

from __future__ import annotations

from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job
from setting import AT_ONCE, STORE, WAIT_S, in_flight, value, work_async

IN_FLIGHT = 100

pool: ArqRedis


async def echo(_context: dict[str, Any], n: Any) -> Any:
    return await work_async(n)


class WorkerSettings:
    """Be what arq's worker is told: by default it looks every 500 ms and runs 10 at one time."""

    functions = (echo,)
    redis_settings = RedisSettings.from_dsn(STORE)
    poll_delay = 0.01
    max_jobs = AT_ONCE
    log_results = False


async def start() -> None:
    global pool
    pool = await create_pool(WorkerSettings.redis_settings)


async def submit(count: int) -> list[Any]:
    return await in_flight(lambda n: pool.enqueue_job("echo", value(n)), range(count), IN_FLIGHT)


async def collect(handles: list[Any]) -> list[Any]:
    async def wait(handle: Job) -> Any:
        return await handle.result(timeout=WAIT_S, poll_delay=0.005)

    return await in_flight(wait, handles, IN_FLIGHT)
