"""Own waiting for many tasks: their results in the order in which they finish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

from fastqueue.client.checks import is_possible_id
from fastqueue.client.results import to_task_result
from fastqueue.client.sources import Source
from fastqueue.errors import ResultExpired, TaskTimeout
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.results import Waiter
    from fastqueue.core.records import Result
    from fastqueue.tasks.models import TaskResult

__all__ = ["Completion", "gather_results", "iterate_completed"]

_T = TypeVar("_T")
# Tasks that `gather` waits for at one time.
_GATHERED_AT_ONCE = 1_000


class Completion:
    """Wait for tasks, and hand out the result of each as it is there.

    Args:
        connection: the client's.
        timeout: how long all of it may take, in seconds; None is as long as it takes.
    """

    def __init__(self, connection: ClientConnection, timeout: float | None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._deadline = None if timeout is None else connection.loop.time() + timeout
        # What isn't handed out; a task whose result was known when it was added has no waiter.
        self._waiters: dict[str, Waiter | None] = {}
        # What is finished, and None for whatever else `next` is to return for.
        self._finished: deque[tuple[str, Result | None] | None] = deque()
        self._is_there = asyncio.Event()
        self._foreign: list[str] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, task_id: str) -> None:
        """Wait for another task, unless it is waited for already.

        Raises:
            TypeError: the id isn't text.
            ClientStateError: the client was stopped.
        """
        if task_id in self._waiters:
            return
        results = self._connection.results
        known = results.get(task_id)
        if known is not None and not isinstance(known, TaskStatus):
            self._waiters[task_id] = None
            self._put((task_id, known))
            return
        is_possible = known is not None or is_possible_id(task_id)
        waiter = self._waiters[task_id] = results.wait(task_id)
        waiter.add_done_callback(lambda w: self._finish(task_id, w))
        if not is_possible:
            waiter.set_result(None)
        elif known is None:
            self._foreign.append(task_id)

    def _finish(self, task_id: str, waiter: Waiter) -> None:
        if waiter.cancelled():
            return
        # One that failed raises in `next`, when its turn comes.
        failed = waiter.exception() is not None
        self._put((task_id, None if failed else waiter.result()))

    def _put(self, entry: tuple[str, Result | None] | None) -> None:
        self._finished.append(entry)
        self._is_there.set()

    def interrupt(self, _: object = None) -> None:
        """Let `next` return None, once."""
        self._put(None)

    async def next(self) -> TaskResult | None:
        """Return the next result; None if it was interrupted.

        Raises:
            TaskTimeout: the time is over.
            ResultExpired: a task is unknown, or its result is evicted.
            ClientStateError: the client was stopped.
        """
        # Mostly without a timer: results come many at a time.
        if not self._finished and self._foreign:
            foreign, self._foreign = self._foreign, []
            await self._within_time(self._connection.watch(foreign))
        while not self._finished:
            self._is_there.clear()
            await self._within_time(self._is_there.wait())
        entry = self._finished.popleft()
        if entry is None:
            return None
        task_id, outcome = entry
        waiter = self._waiters.pop(task_id)
        if outcome is not None:
            return to_task_result(outcome)
        if waiter is not None:
            self._connection.results.stop_waiting(task_id, waiter)
            waiter.result()
        raise ResultExpired(
            f"task {task_id} is unknown to the control plane, or its result is evicted",
            task_id=task_id,
        )

    def close(self) -> None:
        """Wait for nothing more."""
        for task_id, waiter in self._waiters.items():
            if waiter is not None:
                self._connection.results.stop_waiting(task_id, waiter)
        self._waiters.clear()

    async def _within_time(self, awaitable: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout_at(self._deadline) as bound:
                return await awaitable
        except TimeoutError:
            if not bound.expired():
                raise
            raise self._timed_out() from None

    def _timed_out(self) -> TaskTimeout:
        task_id = next(iter(self._waiters), "")
        among = f", {task_id} among them; they go on" if task_id else ""
        return TaskTimeout(
            f"{len(self):,} tasks weren't finished within {self._timeout:g} s{among}",
            task_id=task_id,
        )


async def iterate_completed(
    connection: ClientConnection,
    task_ids: Iterable[str] | AsyncIterable[str],
    timeout: float | None,
    window: int,
) -> AsyncIterator[TaskResult]:
    """Yield each task's result as it is there; see `Client.as_completed`."""
    waits = Completion(connection, timeout)
    if isinstance(task_ids, Collection):
        # All of them are waited for at once, and nothing is read meanwhile.
        try:
            for task_id in task_ids:
                waits.add(task_id)
            while waits:
                result = await waits.next()
                assert result is not None
                yield result
        finally:
            waits.close()
        return
    source = Source(task_ids)
    asked: Any = None
    try:
        while True:
            while len(waits) < window and not source.is_over:
                if (waiting := source.ask()) is not None:
                    if waiting is not asked:
                        waiting.add_done_callback(waits.interrupt)
                    asked = waiting
                    break
                for task_id in source.take():
                    waits.add(task_id)
            if source.is_over and not waits:
                return
            result = await waits.next()
            if result is not None:
                yield result
    finally:
        waits.close()
        await source.close()


async def gather_results(
    connection: ClientConnection, task_ids: list[str], timeout: float | None
) -> list[TaskResult]:
    """Return the results of tasks in the order of their ids; see `Client.gather`."""
    found: dict[str, TaskResult] = {}
    waits = Completion(connection, timeout)
    try:
        for start in range(0, len(task_ids), _GATHERED_AT_ONCE):
            for task_id in task_ids[start : start + _GATHERED_AT_ONCE]:
                if task_id not in found:
                    waits.add(task_id)
            while waits:
                result = await waits.next()
                assert result is not None
                found[result.task_id] = result
    finally:
        waits.close()
    return [found[task_id] for task_id in task_ids]
