"""Own what the client knows of results: its own cache, and who waits for which task.

Results are pushed by the control plane; nothing here polls.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastqueue.client.recency import Recency
from fastqueue.config import SerializationFormat
from fastqueue.errors import ClientStateError
from fastqueue.tasks.models import TaskProgress, TaskResult, TaskStatus
from fastqueue.tasks.serializer import decode_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.records import Result

__all__ = ["Results", "to_task_result"]

# Values are kept encoded, as they came.
_BYTES_MAX = 64 * 1024**2

# Whose callers haven't been told; as many as one `submit_batch` may have.
_SAME_MAX = 1_000_000

# What is known of a task before its result is there: a number, so that the collector of cycles has
# nothing to look at (`Recency`).
_PENDING, _QUEUED = 1, 2
_STATUSES = {_PENDING: TaskStatus.PENDING, _QUEUED: TaskStatus.QUEUED}

Waiter = asyncio.Future["Result | None"]


def to_task_result(result: Result) -> TaskResult:
    """Return what the user sees of a result; decodes its value.

    Raises:
        SerializationError: the value is pickled and this process may not unpickle.
    """
    value = None
    if result.result is not None:
        value = decode_result(result.result, SerializationFormat.of_code(result.format))
    told = result.progress
    return TaskResult(
        task_id=result.task_id,
        status=result.status,
        result=value,
        error=result.error,
        started_at=_utc(result.started_at),
        completed_at=_utc(result.completed_at),
        name=result.name,
        attempt=result.attempt,
        traceback=result.traceback,
        worker_id=result.worker_id,
        progress=None
        if told is None
        else TaskProgress(done=told.done, total=told.total, message=told.message),
        waits_for=result.waits_for,
    )


def _utc(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        # A subworker's clock says what no calendar can: the result itself is as good.
        return None


class Results:
    """Hold the status of submitted tasks (the most recent ones) and the waiters of any task.

    Args:
        size_max: how many tasks are remembered; the least recently touched are forgotten.
        bytes_max: the same bound in bytes of results.
    """

    def __init__(self, size_max: int, bytes_max: int = _BYTES_MAX) -> None:
        self._size_max = size_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: Recency[int | Result] = Recency()
        # The control plane may not have these yet: it would call them unknown. They are kept apart
        # from the cache, which forgets.
        self._unacknowledged: set[str] = set()
        self._waiters: dict[str, list[Waiter]] = {}
        # Submissions that turned out to be the same as another task, which the caller is yet to be
        # told.
        self._same_as: dict[str, str] = {}
        self._closed: Exception | None = None

    # -- the cache

    def note_submitted(self, task_id: str) -> None:
        """Remember a task as pending."""
        self._unacknowledged.add(task_id)
        self._known[task_id] = _PENDING
        if len(self._known) > self._size_max:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._uncount(self._known.pop_oldest())

    def _uncount(self, known: int | Result | None) -> None:
        if known is not None and not isinstance(known, int):
            self._bytes -= known.size_bytes

    def note_queued(self, task_id: str) -> None:
        """Note that the control plane has it, unless more is known already."""
        self._unacknowledged.discard(task_id)
        if self._known.get(task_id) == _PENDING:
            self._known[task_id] = _QUEUED

    def forget(self, task_id: str) -> None:
        """Forget a task that wasn't taken."""
        self._unacknowledged.discard(task_id)
        self._uncount(self._known.pop(task_id))

    def get(self, task_id: str) -> TaskStatus | Result | None:
        """Return what is known of a task, or None if nothing is."""
        if task_id not in self._known:
            return None
        known = self._known.touch(task_id)
        return _STATUSES[known] if isinstance(known, int) else known

    def unfinished(self) -> list[str]:
        """Return the ids whose result is still to come: those remembered and those awaited."""
        queued = (i for i in self._known if self._known.get(i) == _QUEUED)
        awaited = (i for i in self._waiters if i not in self._unacknowledged)
        return list(dict.fromkeys((*queued, *awaited)))

    def note_same(self, task_id: str, same_as: str) -> None:
        """Note that a submission is the same as another task: that one's result is waited for."""
        self.forget(task_id)
        self._same_as[task_id] = same_as
        if len(self._same_as) > _SAME_MAX:
            del self._same_as[next(iter(self._same_as))]
        if waiters := self._waiters.pop(task_id, None):
            self._waiters.setdefault(same_as, []).extend(waiters)

    def take_same(self, task_id: str) -> str:
        """Return the id of the task that a submission is, its own or another's."""
        return self._same_as.pop(task_id, task_id) if self._same_as else task_id

    # -- waiting

    def wait(self, task_id: str) -> Waiter:
        """Return a future of the task's result; None if it turns out that there is none.

        Raises:
            ClientStateError: the client was stopped.
        """
        if self._closed is not None:
            raise ClientStateError(*self._closed.args)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(task_id, []).append(waiter)
        return waiter

    def stop_waiting(self, task_id: str, waiter: Waiter) -> None:
        """Drop a waiter that isn't interested any more."""
        task_id = self.take_same(task_id)
        waiters = self._waiters.get(task_id)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[task_id]

    def push(self, results: Iterable[Result]) -> None:
        """Take results from the control plane."""
        known, waiters = self._known, self._waiters
        for result in results:
            task_id = result.task_id
            if isinstance(known.get(task_id), int):
                known[task_id] = result
                self._bytes += result.size_bytes
            if waiters:
                for waiter in waiters.pop(task_id, ()):
                    if not waiter.done():
                        waiter.set_result(result)
        while self._bytes > self._bytes_max:
            self._forget_oldest()

    def give_up(self, task_ids: Iterable[str]) -> None:
        """Tell the waiters of these tasks that their results can't be had any more."""
        for task_id in task_ids:
            self.forget(task_id)
            for waiter in self._waiters.pop(task_id, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def fail_all(self, error: Exception) -> None:
        """Raise `error` in every waiter, and let nobody wait any more."""
        self._closed = error
        waiters, self._waiters = self._waiters, {}
        for waiting in waiters.values():
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(error)
                    waiter.exception()  # whoever awaits it sees it; nobody else needs a warning
