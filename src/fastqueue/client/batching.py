"""Own what of `Client` is about many tasks at once: options for them, map, gather, batches."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Unpack

from fastqueue.client.batches import cancel_batch, find_batch, iterate_batches
from fastqueue.client.completion import gather_results
from fastqueue.client.mapping import MapCall, MappedTasks
from fastqueue.client.optioned import OptionedClient
from fastqueue.client.options import check_batch_id
from fastqueue.client.submitting import Submitting
from fastqueue.client.window import WINDOW, retold
from fastqueue.errors import FastQueueError
from fastqueue.tasks.models import TaskPriority

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from fastqueue.client.options import SubmitOptions
    from fastqueue.tasks.models import Batch, BatchCancellation, TaskResult

__all__ = ["Batching"]

# Submissions that `gather` awaits at one time.
_AWAITED_AT_ONCE = 1_000


class Batching(Submitting):
    """Submit tasks with the same options, or one for each of many items; deal with many as one."""

    def options(
        self,
        *,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> OptionedClient:
        """Return what submits tasks with options, as in `client.options(countdown=60).delay(...)`.

        The options never collide with a task's own keyword arguments.

        Args:
            priority: a `TaskPriority` or its name in any letter case.
            options: `queue`, where the task waits. `eta` (an aware datetime) or `countdown`
                (seconds or a timedelta): not to be started before. `expires` (either): cancelled if
                not started by then. `retries`, `backoff`, `backoff_max`: in place of what the
                task's definition says. `batch`: an id of your choice, under which tasks are
                counted and can be cancelled together; see `batch`. `require_worker`: refused with
                `TaskNotOffered` if no connected subworker offers it; without that it waits for one.

        Raises:
            ConfigurationError: an option can't be what it is; the message names it.
            TypeError: there is no such option.
            ValueError: the priority is none of the four.
        """
        return OptionedClient(self, priority, options)

    def map(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        window: int = WINDOW,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> MappedTasks:
        """Submit a task for each item; `async for` over the results, or await a list of them.

        The results come in the order of the items, each a `TaskResult`, also of those that failed.
        The items are read as results are taken: at most `window` tasks are submitted and not handed
        out, whatever their number. Whoever breaks out of the loop submits nothing more; what is
        submitted goes on, and `cancel_batch(mapped.batch_id)` ends it.

        Args:
            task: the task's name, or the function that `@task` was put on.
            items: any iterable, or an asynchronous one; each item is the one positional argument.
            window: how many tasks may be unfinished at a time, up to 100,000.
            priority: of all of them.
            options: those of `options`, for all of them. Without a `batch` they are in one of their
                own, whose id is `batch_id`.

        Raises:
            ConfigurationError: the window or an option can't be what it is.
            FastQueueError: as for `delay`, while it is iterated over; the message says how far it
                came. What the items raise is raised as it is.
        """
        call = MapCall(task, window, priority, options, spread=False)
        return MappedTasks(self, call, items)

    def starmap(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        window: int = WINDOW,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> MappedTasks:
        """Do as `map` does, with each item a tuple (or list) of all the positional arguments."""
        call = MapCall(task, window, priority, options, spread=True)
        return MappedTasks(self, call, items)

    async def gather(
        self, *tasks: str | Awaitable[str], timeout: float | None = None
    ) -> list[TaskResult]:
        """Wait for tasks, and return their results in the order in which they were given.

        Args:
            tasks: task ids, or calls of `delay` that aren't awaited, in any mixture:
                `await client.gather(client.delay("add", 1, 2), task_id)`.
            timeout: how long all of it may take, in seconds; by default as long as it takes.

        Raises:
            TaskTimeout: not all were finished in time; the error has the id of one.
            ResultExpired: a task is unknown, or its result is evicted.
            FastQueueError: what `delay` raises; the message says how many were submitted. Those
                that are go on.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        connection = self._started()
        task_ids: list[str] = []
        for start in range(0, len(tasks), _AWAITED_AT_ONCE):
            task_ids += await _submitted(tasks, start)
        left_s = None if deadline is None else max(0.0, deadline - loop.time())
        return await gather_results(connection, task_ids, left_s)

    async def batch(self, batch_id: str) -> Batch | None:
        """Return how far the tasks of a batch are, or `None` if there is none.

        The counts are exact, whatever crashed meanwhile, and outlast the results: a batch is
        remembered for a week after it was last unfinished, unless 10,000 others are younger.

        Raises:
            ConfigurationError: no batch can have this id.
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        return await find_batch(self._started().requests, check_batch_id(batch_id))

    async def cancel_batch(self, batch_id: str) -> BatchCancellation:
        """Cancel all tasks of a batch that aren't over: those that wait, and those that run.

        They are cancelled 1,000 at a time, in the order of their ids. What is submitted to the
        batch meanwhile is cancelled too, or comes too late for it: stop submitting before. Those
        that run are then waited for, as `cancel` does, for at most `timeout`.

        Raises:
            ConfigurationError: no batch can have this id.
            ControlPlaneUnavailable: none answered within `timeout`; those before are cancelled.
        """
        connection = self._started()
        return await cancel_batch(connection, check_batch_id(batch_id), self._settings.timeout_s)

    def batches(self) -> AsyncIterator[Batch]:
        """Iterate over the batches that are remembered, the youngest first.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        return iterate_batches(self._started().requests)


async def _submitted(tasks: tuple[str | Awaitable[str], ...], start: int) -> list[str]:
    """Return the ids of some tasks of a `gather`, once those that weren't are submitted."""
    some = tasks[start : start + _AWAITED_AT_ONCE]
    outcomes = await asyncio.gather(
        *(one for one in some if not isinstance(one, str)), return_exceptions=True
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            for rest in tasks[start + len(some) :]:
                if inspect.iscoroutine(rest):
                    rest.close()
            if not isinstance(outcome, FastQueueError):
                raise outcome
            done = start + len(some) - sum(isinstance(o, BaseException) for o in outcomes)
            how_far = f"of {len(tasks):,} tasks of the gather {done:,} were submitted, and go on"
            raise retold(outcome, how_far) from outcome
    submitted = iter(outcomes)
    return [one if isinstance(one, str) else str(next(submitted)) for one in some]
