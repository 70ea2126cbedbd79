"""Own iterating over tasks in the order in which they finish."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fastqueue.client.checks import is_possible_id
from fastqueue.client.results import to_task_result
from fastqueue.errors import ResultExpired, TaskTimeout
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.results import Waiter
    from fastqueue.core.records import Result
    from fastqueue.tasks.models import TaskResult

__all__ = ["iterate_completed"]

_T = TypeVar("_T")


async def iterate_completed(
    connection: ClientConnection, task_ids: list[str], timeout: float | None
) -> AsyncIterator[TaskResult]:
    """Yield each task's result as it is there; see `Client.as_completed`."""
    deadline = None if timeout is None else connection.loop.time() + timeout
    finished: asyncio.Queue[tuple[str, Waiter]] = asyncio.Queue()
    waiters: dict[str, Waiter] = {}
    results = connection.results
    foreign: list[str] = []
    ready: list[Result] = []
    try:
        for task_id in task_ids:
            known = results.get(task_id)
            if known is not None and not isinstance(known, TaskStatus):
                ready.append(known)
                continue
            waiter = waiters[task_id] = results.wait(task_id)
            waiter.add_done_callback(lambda w, i=task_id: finished.put_nowait((i, w)))  # type: ignore[misc]
            if known is None and is_possible_id(task_id):
                foreign.append(task_id)
            elif known is None:
                waiter.set_result(None)
        for result in ready:
            yield to_task_result(result)
        if foreign:
            await _within(deadline, connection.watch(foreign), waiters, timeout)
        while waiters:
            if finished.empty():
                entry = await _within(deadline, finished.get(), waiters, timeout)
            else:
                # Without a timer: results come many at a time.
                entry = finished.get_nowait()
            task_id, waiter = entry
            del waiters[task_id]
            outcome = waiter.result()
            if outcome is None:
                raise ResultExpired(
                    f"task {task_id} is unknown to the control plane, or its result is evicted",
                    task_id=task_id,
                )
            yield to_task_result(outcome)
    finally:
        for task_id, waiter in waiters.items():
            results.stop_waiting(task_id, waiter)


async def _within(
    deadline: float | None,
    awaitable: Awaitable[_T],
    waiters: dict[str, Waiter],
    timeout: float | None,
) -> _T:
    try:
        async with asyncio.timeout_at(deadline) as bound:
            return await awaitable
    except TimeoutError:
        if not bound.expired():
            raise
        raise _timed_out(waiters, timeout) from None


def _timed_out(waiters: dict[str, Waiter], timeout: float | None) -> TaskTimeout:
    task_id = next(iter(waiters))
    return TaskTimeout(
        f"{len(waiters):,} tasks weren't finished within {timeout:g} s, {task_id} among them; "
        "they go on",
        task_id=task_id,
    )
