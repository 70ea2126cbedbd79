"""Own what is asked about submitted tasks: results, cancelling, failures, the queue itself.

The answers come from the control plane, or from the client's own cache of what was pushed to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastqueue.client.admin import find_attempts, iterate_dead_letters, requeue
from fastqueue.client.checks import check_ids, is_possible_id
from fastqueue.client.completion import iterate_completed
from fastqueue.client.lifecycle import ClientLifecycle
from fastqueue.client.offers import show_signatures
from fastqueue.client.requests import IDS_MAX
from fastqueue.client.results import to_task_result
from fastqueue.client.watching import watch_task
from fastqueue.client.window import WINDOW, check_window
from fastqueue.errors import ResultExpired, TaskTimeout
from fastqueue.protocol import messages as msg
from fastqueue.tasks.models import Attempt, Cancellation, DeadLetter, TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

    from fastqueue.tasks.events import WatchEvent

__all__ = ["Asking"]


class Asking(ClientLifecycle):
    """Ask about tasks, whoever submitted them."""

    # -- results

    async def get_task_result(self, task_id: str) -> TaskResult | None:
        """Return what the control plane knows of a task, or `None` if unknown or expired.

        A task that isn't finished has its current status, and `result` is `None`.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        if not is_possible_id(task_id):
            return None
        result = await connection.requests.query(task_id)
        return None if result is None else to_task_result(result)

    def get_result(self, task_id: str) -> TaskResult | None:
        """Return a task's result from this client's own cache, without asking anybody.

        Only for tasks that this client submitted; `None` for others, and for those forgotten.
        """
        known = self._connection.results.get(task_id) if self._connection else None
        if known is None:
            return None
        if isinstance(known, TaskStatus):
            return TaskResult(task_id=task_id, status=known)
        return to_task_result(known)

    def get_status(self, task_id: str) -> TaskStatus | None:
        """Return a task's status from this client's own cache; otherwise as `get_result`."""
        known = self._connection.results.get(task_id) if self._connection else None
        return known if known is None or isinstance(known, TaskStatus) else known.status

    def as_completed(
        self,
        task_ids: Iterable[str] | AsyncIterable[str],
        *,
        timeout: float | None = None,
        window: int = WINDOW,
    ) -> AsyncIterator[TaskResult]:
        """Iterate over the results of tasks in the order in which they finish.

        Args:
            task_ids: any tasks, also those that another client submitted. All of a list or another
                collection are waited for at once. An iterator, a generator or an asynchronous
                iterable is read as results come.
            timeout: how long all of it may take, in seconds; by default as long as it takes.
            window: how many tasks of such an iterable are waited for at a time, up to 100,000.

        Raises:
            TaskTimeout: not all were finished in time; the error has the id of one.
            ResultExpired: a task is unknown, or its result is evicted.
            ConfigurationError: the window can't be one.
        """
        return iterate_completed(self._started(), task_ids, timeout, check_window(window))

    def watch(self, task_id: str) -> AsyncIterator[WatchEvent]:
        """Iterate over what happens to a task, as in `async for event in client.watch(task_id)`.

        The events are those of `fastqueue.tasks.events`: first how things stand, then each change
        of the status, the latest progress, the lines that the task logs, and as the last one
        `Finished` with its result. It goes on after a reconnection, for as long as it takes.

        Args:
            task_id: any task, also one that another client submitted.

        Raises:
            ResultExpired: the task is unknown, or its result is evicted.
            ControlPlaneUnavailable: none answered within `timeout` as it began.
            Overloaded: this client watches 1,000 tasks already.
        """
        return watch_task(self._started(), task_id)

    async def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task, whether it waits or runs; one that is over is left as it is.

        A coroutine that runs is cancelled, a process killed; a plain function gets an exception
        where it next runs Python code; what goes on for 5 more seconds is given up with its
        subworker, which another one replaces. Such a task is waited for, for at most `timeout`.

        Returns:
            What came of it; truthy if the task is cancelled. One that still runs when `timeout` has
            passed is cancelled later, unless it ends by itself before.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        deadline = connection.loop.time() + self._settings.timeout_s
        if not is_possible_id(task_id):
            return Cancellation(task_id=task_id, cancelled=False, status=None)
        answer: msg.Cancelled = await connection.requests.ask(
            lambda request: msg.Cancel(request, [task_id])
        )
        cancelled, status = answer.answers[0]
        if status is TaskStatus.RUNNING:
            try:
                left_s = max(0.0, deadline - connection.loop.time())
                async for result in self.as_completed([task_id], timeout=left_s):
                    status = result.status
                    cancelled = status is TaskStatus.CANCELLED
            except TaskTimeout:
                pass
            except ResultExpired:
                status = None
        return Cancellation(task_id=task_id, cancelled=cancelled, status=status)

    def why_waits(self, task_name: str) -> str | None:
        """Return why a task of this name would wait: no connected subworker offers it.

        Asks nobody; it is what the control plane told last.

        Returns:
            Words that name what is offered, or `None` if a subworker offers it or nothing is known.
        """
        return self._started().offers.why_waits(task_name)

    # -- failures

    async def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task that failed and were followed by another, in order.

        They are kept as long as the task's result is; the last attempt is in the result.
        If there are very many, the earlier ones come without traceback and with a short error.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        if not is_possible_id(task_id):
            return []
        return await find_attempts(connection.requests, task_id)

    def dead_letters(
        self, *, name: str | None = None, queue: str | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Iterate over the tasks that failed for good, the oldest first.

        The control plane keeps the last 10,000, longer than their results.

        Args:
            name: only those of this task definition.
            queue: only those of this queue.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        return iterate_dead_letters(self._started().requests, name, queue)

    async def requeue(self, task_ids: Iterable[str]) -> dict[str, str]:
        """Queue dead letters again, with the arguments and options that they had.

        Each becomes a new task: the old id keeps its one result, which is the failure.

        Args:
            task_ids: the tasks that failed. To queue all again, or all of one kind:
                `requeue([d.task_id async for d in client.dead_letters(name="send")])`.

        Returns:
            The new ids by the old ones; what isn't a dead letter is left out.

        Raises:
            Overloaded: the control plane takes no more for now; the message says how far it came.
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        connection = self._started()
        return await requeue(connection.requests, check_ids(task_ids))

    async def inspect(self, topic: str = "stats", task_ids: Sequence[str] = ()) -> dict[str, Any]:
        """Return what the control plane tells about itself.

        Args:
            topic: `stats` (counts, lanes, subworkers, and what waits because nobody offers it),
                `offers` (what connected subworkers offer) or `tasks` (the state of `task_ids`,
                where an evicted id is told from an unknown one).
            task_ids: at most 1,000.

        Raises:
            ValueError: there is no such topic, or there are too many ids.
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        if topic not in ("stats", "offers", "tasks") or len(task_ids) > IDS_MAX:
            raise ValueError(
                f"topic is stats, offers or tasks, with up to {IDS_MAX:,} ids; not {topic!r}"
            )
        possible = check_ids(task_ids)
        answer: msg.Inspected = await self._started().requests.ask(
            lambda request: msg.Inspect(request, topic, possible)
        )
        if topic == "offers":
            show_signatures(answer.answer)
        impossible = {task_id: {"state": "unknown"} for task_id in set(task_ids) - set(possible)}
        return {**answer.answer, **impossible}
