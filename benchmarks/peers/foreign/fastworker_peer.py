"""Submit to FastWorker."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastworker import Client, task
from setting import DISCOVERY, value, work

GIVEN_UP_S = 10
"""What isn't there by then was seen not to come later either."""

client = Client(discovery_address=DISCOVERY, timeout=GIVEN_UP_S)


@task
def echo(n: Any) -> Any:
    return work(n)


async def start() -> None:
    await client.start()


async def submit(count: int) -> list[Any]:
    return [await client.delay("echo", value(n)) for n in range(count)]


async def collect(handles: list[Any]) -> list[Any]:
    until = time.monotonic() + GIVEN_UP_S
    for handle in handles:
        # Its client has nothing that could be waited on.
        while client.get_status(handle) == "pending" and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    return [client.get_result(handle).result for handle in handles]
