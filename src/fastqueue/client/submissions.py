"""Own submissions until they are acknowledged: batching, the window, resending, giving up.

Whatever one turn of the event loop submits goes out as one frame. A frame that isn't acknowledged
when its connection ends is sent again on the next one, under the same ids, so that it is the same
submission; after `retries` such resends its callers are told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from fastqueue.errors import (
    ClientStateError,
    ControlPlaneUnavailable,
    DiskFull,
    FastQueueError,
    Overloaded,
    PayloadTooLarge,
    SubmissionRefused,
    TaskNotOffered,
)
from fastqueue.link.dialer import backoff_s
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastqueue.client.results import Results
    from fastqueue.core.records import NewTask, Refused
    from fastqueue.link.connection import Connection

__all__ = ["Submissions"]

_BATCH_TASKS_MAX = 1_000
_BATCH_BYTES_GOAL = 512 * 1024
# Unacknowledged tasks and bytes on the wire; the rest waits here. It bounds what the control
# plane has to hold for this client.
_WINDOW_TASKS = 8_000
_WINDOW_BYTES = 8 * 1024**2
# Tasks that may wait here before callers are held back.
_WAITING_TASKS_MAX = 100_000
_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
# Refusals that pass.
_RETRIED = frozenset({"overloaded", "disk_full"})

_TASK_OVERHEAD_BYTES = 100


class Waiter(Protocol):
    """Be told what came of one task: a future, or one that stands for many."""

    def done(self) -> bool:
        """Say whether nobody waits any more."""

    def set_result(self, result: None) -> None:
        """Note that the task is stored."""

    def set_exception(self, exception: BaseException) -> None:
        """Note that it isn't, and why."""


class _Batch:
    """Hold tasks that go out in one frame, and who waits for their acknowledgement."""

    __slots__ = (
        "deadline",
        "expires_at",
        "refused",
        "retries_left",
        "size_bytes",
        "tasks",
        "tries",
        "waiters",
    )

    def __init__(self, retries_left: int, expires_at: float) -> None:
        self.expires_at = expires_at
        # Why the control plane last refused it, if it did.
        self.refused: FastQueueError | None = None
        self.tasks: list[NewTask] = []
        self.waiters: list[Waiter] = []
        self.size_bytes = 0
        self.retries_left = retries_left
        self.tries = 0
        self.deadline: asyncio.TimerHandle | None = None

    def add(self, task: NewTask, waiter: Waiter) -> None:
        self.tasks.append(task)
        self.waiters.append(waiter)
        self.size_bytes += len(task.payload) + _TASK_OVERHEAD_BYTES

    @property
    def is_large(self) -> bool:
        return len(self.tasks) >= _BATCH_TASKS_MAX or self.size_bytes >= _BATCH_BYTES_GOAL


class Submissions:
    """Send tasks, and settle each caller's future when its task is stored or can't be.

    Args:
        results: told which tasks are queued and which weren't taken.
        timeout_s: how long a submission may take in all, in seconds.
        retries: how often a submission is sent again.
        where: says where the control plane is looked for, for errors.
    """

    def __init__(
        self, results: Results, *, timeout_s: float, retries: int, where: Callable[[], str]
    ) -> None:
        self._results = results
        self._timeout_s = timeout_s
        self._retries = retries
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._open: _Batch | None = None
        self._waiting: deque[_Batch] = deque()
        self._waiting_tasks = 0
        self._sent: dict[int, _Batch] = {}
        self._sent_tasks = 0
        self._sent_bytes = 0
        self._last_request = 0
        # What the control plane had no room for, by the timer after which it is sent again.
        self._retrying: dict[asyncio.TimerHandle, _Batch] = {}
        self._closed: Exception | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.refusal = ""

    # -- what the client calls

    async def wait_for_room(self) -> None:
        """Hold the caller back while too much waits to be sent.

        Raises:
            ControlPlaneUnavailable: there was no room for as long as a call may take.
        """
        while not self._room.is_set():
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._room.wait()
            except TimeoutError:
                raise self._unavailable("no room for another submission") from None

    @property
    def has_room(self) -> bool:
        """Say whether `wait_for_room` would return at once."""
        return self._room.is_set()

    def submit(self, task: NewTask) -> asyncio.Future[None]:
        """Submit a task; return a future that is done once the task is on disk.

        Raises:
            ClientStateError: the client was stopped.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        self.add(task, waiter)
        return waiter

    def add(self, task: NewTask, waiter: Waiter) -> None:
        """Submit a task with whatever else this turn of the loop submits; tell `waiter`.

        Raises:
            ClientStateError: the client was stopped.
        """
        batch = self._open
        if batch is None:
            # Only here, for the sake of speed: nothing is open once all have failed.
            if self._closed is not None:
                raise ClientStateError(*self._closed.args)
            batch = self._open = _Batch(self._retries, self._loop.time() + self._timeout_s)
            self._idle.clear()
            self._loop.call_soon(self._flush)
        batch.add(task, waiter)
        self._results.note_submitted(task.task_id)
        if batch.is_large:
            self._close_batch()

    def fail_all(self, error: Exception) -> None:
        """Raise `error` for everything that isn't acknowledged, and take nothing any more."""
        self._closed = error
        self._close_batch()
        for timer in self._retrying:
            timer.cancel()
        for batch in [*self._waiting, *self._sent.values(), *self._retrying.values()]:
            self._fail(batch, error)
        self._retrying.clear()
        self._waiting.clear()
        self._sent.clear()
        self._waiting_tasks = self._sent_tasks = self._sent_bytes = 0
        self._pump()

    async def flushed(self) -> None:
        """Wait until everything submitted is acknowledged or has failed."""
        self._flush()
        await self._idle.wait()

    # -- what the link calls

    def on_connected(self, connection: Connection) -> None:
        """Send what waits, beginning with what was sent before and not acknowledged."""
        self._connection = connection
        self.refusal = ""
        self._pump()

    def on_disconnected(self) -> None:
        """Take back what wasn't acknowledged; it is sent again, or fails if it was too often."""
        self._connection = None
        unacknowledged = list(self._sent.values())
        self._sent.clear()
        self._sent_tasks = self._sent_bytes = 0
        for batch in reversed(unacknowledged):
            if batch.retries_left <= 0:
                self._fail(
                    batch,
                    ControlPlaneUnavailable(
                        f"the connection to the control plane ({self._where()}) ended before the "
                        f"submission was acknowledged, and all {self._retries} retries are used "
                        "up; it may or may not be stored: submit again, or query the id"
                    ),
                )
            else:
                batch.retries_left -= 1
                self._wait_in_front(batch)
        self._pump()

    def on_submitted(self, message: msg.Submitted) -> None:
        """Settle the callers of an acknowledged frame."""
        batch = self._sent.pop(message.request, None)
        if batch is None:
            return
        self._sent_tasks -= len(batch.tasks)
        self._sent_bytes -= batch.size_bytes
        if batch.deadline is not None:
            batch.deadline.cancel()
        refused = {r.task_id: r for r in message.refused} if message.refused else None
        note_queued = self._results.note_queued
        # Before their callers go on: they ask for it.
        for task_id, same_as in message.same:
            self._results.note_same(task_id, same_as)
        again: list[tuple[NewTask, Waiter]] = []
        why: Refused | None = None
        # Not in step with everybody else who was told to come back at the same time.
        pause_s = backoff_s(batch.tries, _RETRY_FIRST_S, _RETRY_MAX_S) if refused else 0.0
        wait_s = 0.0
        for task, waiter in zip(batch.tasks, batch.waiters, strict=True):
            refusal = refused.get(task.task_id) if refused else None
            if refusal is None:
                note_queued(task.task_id)
                if not waiter.done():
                    waiter.set_result(None)
            elif self._may_retry(batch, refusal, refusal.retry_after_s + pause_s):
                again.append((task, waiter))
                wait_s, why = max(wait_s, refusal.retry_after_s + pause_s), refusal
            else:
                self._results.forget(task.task_id)
                if not waiter.done():
                    waiter.set_exception(_refusal_error(refusal))
        if why is not None:
            self._retry_later(again, batch, wait_s, why)
        self._pump()

    # -- inside

    def _may_retry(self, batch: _Batch, refusal: Refused, wait_s: float) -> bool:
        # A wait that outlasts the call's time would only hide why it failed.
        return (
            refusal.code in _RETRIED
            and batch.retries_left > 0
            and self._loop.time() + wait_s < batch.expires_at
        )

    def _flush(self) -> None:
        self._close_batch()
        self._pump()

    def _close_batch(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        self._start_deadline(batch)
        self._waiting.append(batch)
        self._waiting_tasks += len(batch.tasks)
        if self._waiting_tasks >= _WAITING_TASKS_MAX:
            self._room.clear()

    def _start_deadline(self, batch: _Batch) -> None:
        batch.deadline = self._loop.call_at(batch.expires_at, self._on_deadline, batch)

    def _wait_in_front(self, batch: _Batch) -> None:
        self._waiting.appendleft(batch)
        self._waiting_tasks += len(batch.tasks)

    def _pump(self) -> None:
        """Send what the window has room for, and let callers in or go if that changes for them."""
        if self._connection is not None:
            self._send(self._connection)
        if self._waiting_tasks < _WAITING_TASKS_MAX:
            self._room.set()
        if not (self._open or self._waiting or self._sent or self._retrying):
            self._idle.set()

    def _send(self, connection: Connection) -> None:
        frames = []
        while self._waiting and (
            not self._sent
            or (self._sent_tasks < _WINDOW_TASKS and self._sent_bytes < _WINDOW_BYTES)
        ):
            batch = self._waiting.popleft()
            self._waiting_tasks -= len(batch.tasks)
            batch.tries += 1
            self._last_request += 1
            self._sent[self._last_request] = batch
            self._sent_tasks += len(batch.tasks)
            self._sent_bytes += batch.size_bytes
            frames.append(encode(msg.Submit(self._last_request, batch.tasks)))
        if frames:
            connection.send_all(frames)

    def _retry_later(
        self,
        tasks: Sequence[tuple[NewTask, Waiter]],
        of: _Batch,
        wait_s: float,
        why: Refused,
    ) -> None:
        batch = _Batch(of.retries_left - 1, of.expires_at)
        batch.tries = of.tries
        batch.refused = _refusal_error(why)
        for task, waiter in tasks:
            batch.add(task, waiter)

        def resend() -> None:
            del self._retrying[timer]
            self._start_deadline(batch)
            self._wait_in_front(batch)
            self._pump()

        timer = self._loop.call_later(wait_s, resend)
        self._retrying[timer] = batch

    def _on_deadline(self, batch: _Batch) -> None:
        error = batch.refused or self._unavailable("the submission wasn't acknowledged")
        if batch in self._waiting:
            self._waiting.remove(batch)
            self._waiting_tasks -= len(batch.tasks)
        for request, sent in list(self._sent.items()):
            if sent is batch:
                del self._sent[request]
                self._sent_tasks -= len(batch.tasks)
                self._sent_bytes -= batch.size_bytes
        self._fail(batch, error)
        self._pump()

    def _unavailable(self, what: str) -> FastQueueError:
        because = f" ({self.refusal})" if self.refusal else ""
        return ControlPlaneUnavailable(
            f"{what} within {self._timeout_s:g} s: no control plane answered, looked for "
            f"{self._where()}{because}; is `fastqueue control-plane` running?"
        )

    def _fail(self, batch: _Batch, error: Exception) -> None:
        if batch.deadline is not None:
            batch.deadline.cancel()
        for task, waiter in zip(batch.tasks, batch.waiters, strict=True):
            self._results.forget(task.task_id)
            if not waiter.done():
                waiter.set_exception(error)


def _refusal_error(refusal: Refused) -> FastQueueError:
    match refusal.code:
        case "overloaded":
            return Overloaded(refusal.message, retry_after_s=refusal.retry_after_s)
        case "disk_full":
            return DiskFull(refusal.message, retry_after_s=refusal.retry_after_s)
        case "payload_too_large":
            return PayloadTooLarge(refusal.message)
        case "not_offered":
            return TaskNotOffered(refusal.message)
        case _:
            return SubmissionRefused(refusal.message)
