"""Submit to flexiq, on SQLite."""

from __future__ import annotations

from typing import Any

from flexiq import Queue
from setting import STORE, WAIT_S, value, work_async

# By default the scheduler looks every 50 ms and takes one task at a time.
queue = Queue(
    db_path=STORE,
    scheduler_poll_interval_ms=1,
    scheduler_batch_size=100,
)


@queue.task(name="echo")
async def echo(n: Any) -> Any:
    return await work_async(n)


def submit(count: int) -> list[Any]:
    return [echo.delay(value(n)) for n in range(count)]


def submit_bulk(count: int) -> list[Any]:
    return queue.enqueue_many("echo", [(value(n),) for n in range(count)])


def collect(handles: list[Any]) -> list[Any]:
    return [
        handle.result(timeout=WAIT_S, poll_interval=0.002, max_poll_interval=0.002)
        for handle in handles
    ]
