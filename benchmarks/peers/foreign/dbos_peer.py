"""Submit to DBOS, on SQLite; run as a program it is the worker."""

from __future__ import annotations

import signal
from typing import Any

from dbos import DBOS, DBOSClient
from setting import AT_ONCE, STORE, value, work

URL = f"sqlite:///{STORE}"
POLL_S = 0.005

client: DBOSClient


@DBOS.workflow(name="echo")
def echo(n: Any) -> Any:
    return work(n)


def start() -> None:
    global client
    client = DBOSClient(system_database_url=URL)


def submit(count: int) -> list[Any]:
    options: Any = {"queue_name": "peer", "workflow_name": "echo"}
    return [client.enqueue(options, value(n)) for n in range(count)]


def collect(handles: list[Any]) -> list[Any]:
    # By default it looks every second.
    return [handle.get_result(polling_interval_sec=POLL_S) for handle in handles]


def serve() -> None:
    DBOS(config={"name": "peer", "system_database_url": URL, "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue("peer", worker_concurrency=AT_ONCE, polling_interval_sec=POLL_S)
    signal.pause()


if __name__ == "__main__":
    serve()
