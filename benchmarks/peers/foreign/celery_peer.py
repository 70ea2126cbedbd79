"""Submit to Celery, on Redis."""

from __future__ import annotations

from typing import Any

from celery import Celery
from setting import STORE, WAIT_S, value, work

app = Celery("peer", broker=STORE, backend=STORE)
app.conf.update(worker_prefetch_multiplier=100, broker_connection_retry_on_startup=True)


@app.task(name="echo")
def echo(n: Any) -> Any:
    return work(n)


def submit(count: int) -> list[Any]:
    return [echo.delay(value(n)) for n in range(count)]


def collect(handles: list[Any]) -> list[Any]:
    # Twice as fast as one `ResultSet`, and in half a second less for one alone.
    return [handle.get(timeout=WAIT_S) for handle in handles]
