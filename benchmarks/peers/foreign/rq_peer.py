"""Submit to RQ, on Redis."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq_tasks import echo
from setting import STORE, WAIT_S, value

queue = Queue("peer", connection=Redis.from_url(STORE))


def submit(count: int) -> list[Any]:
    return [queue.enqueue(echo, value(n)) for n in range(count)]


def submit_bulk(count: int) -> list[Any]:
    return queue.enqueue_many([Queue.prepare_data(echo, (value(n),)) for n in range(count)])


def collect(handles: list[Any]) -> list[Any]:
    results = [handle.latest_result(timeout=WAIT_S) for handle in handles]
    return [result and result.return_value for result in results]
