"""Submit to Huey, on Redis or SQLite."""

from __future__ import annotations

from typing import Any

from huey import RedisHuey, SqliteHuey
from setting import CHOICE, STORE, WAIT_S, value, work

if STORE.startswith("redis://"):
    huey = RedisHuey("peer", url=STORE, notify_result=CHOICE == "pushed")
else:
    huey = SqliteHuey("peer", filename=STORE, fsync=CHOICE == "fsync")


@huey.task()
def echo(n: Any) -> Any:
    return work(n)


def submit(count: int) -> list[Any]:
    return [echo(value(n)) for n in range(count)]


def collect(handles: list[Any]) -> list[Any]:
    # By default it looks after 50 ms, and then less and less often.
    return [h.get(blocking=True, timeout=WAIT_S, backoff=1, max_delay=0.002) for h in handles]
