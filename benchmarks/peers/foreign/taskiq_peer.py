"""Submit to taskiq, on Redis."""

from __future__ import annotations

from typing import Any

from setting import STORE, WAIT_S, in_flight, value, work_async
from taskiq import AsyncTaskiqTask
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

IN_FLIGHT = 100

broker = ListQueueBroker(STORE).with_result_backend(RedisAsyncResultBackend(STORE))


@broker.task(task_name="echo")
async def echo(n: Any) -> Any:
    return await work_async(n)


async def start() -> None:
    await broker.startup()


async def submit(count: int) -> list[Any]:
    return await in_flight(lambda n: echo.kiq(value(n)), range(count), IN_FLIGHT)


async def collect(handles: list[Any]) -> list[Any]:
    async def wait(handle: AsyncTaskiqTask[Any]) -> Any:
        # By default it looks every 200 ms.
        result = await handle.wait_result(check_interval=0.005, timeout=WAIT_S)
        return result.return_value

    return await in_flight(wait, handles, IN_FLIGHT)
