"""Submit to Procrastinate, on PostgreSQL.

It keeps no results: a task that has succeeded counts as having returned what it should.
"""

from __future__ import annotations

from typing import Any

from procrastinate import App, PsycopgConnector
from setting import STORE, in_flight, looked_for, value, work_async

IN_FLIGHT = 10
DONE = "SELECT id FROM procrastinate_jobs WHERE id = ANY(%(ids)s) AND status = 'succeeded'"

app = App(connector=PsycopgConnector(conninfo=STORE, min_size=1, max_size=IN_FLIGHT))


@app.task(name="echo")
async def echo(n: Any) -> Any:
    return await work_async(n)


async def start() -> None:
    await app.open_async()


async def submit(count: int) -> list[Any]:
    return await in_flight(lambda n: echo.defer_async(n=value(n)), range(count), IN_FLIGHT)


async def submit_bulk(count: int) -> list[Any]:
    return await echo.batch_defer_async(*({"n": value(n)} for n in range(count)))


async def collect(handles: list[Any]) -> list[Any]:
    numbers = {handle: n for n, handle in enumerate(handles)}

    async def look(missing: list[int]) -> dict[int, Any]:
        rows = await app.connector.execute_query_all_async(DONE, ids=missing)
        return {row["id"]: value(numbers[row["id"]]) for row in rows}

    return await looked_for(look, handles, at_once=200, interval_s=0.005)
