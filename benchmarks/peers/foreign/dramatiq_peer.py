"""Submit to Dramatiq, on Redis."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from setting import STORE, WAIT_S, value, work

broker = RedisBroker(url=STORE)
broker.add_middleware(Results(backend=RedisBackend(url=STORE)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def echo(n: Any) -> Any:
    return work(n)


def submit(count: int) -> list[Any]:
    return [echo.send(value(n)) for n in range(count)]


def collect(handles: list[Any]) -> list[Any]:
    return [handle.get_result(block=True, timeout=WAIT_S * 1000) for handle in handles]
