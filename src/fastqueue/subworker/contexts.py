"""Own what running tasks tell the control plane, and the checkpoints they have it save.

There is an entry here for each attempt that has asked for its context, and for no other. Progress
and lines are sent on every tenth of a second, the latest of each attempt; nobody acknowledges them.
A checkpoint is sent, again on every new connection, until it is acknowledged.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastqueue.config import SerializationFormat
from fastqueue.core.records import ProgressRecord
from fastqueue.errors import LeaseLost, Overloaded
from fastqueue.protocol import messages as msg
from fastqueue.subworker.notes import NEWS_INTERVAL_S, Notes
from fastqueue.subworker.process_messages import CheckpointAnswered, Checkpointing
from fastqueue.tasks.context import TaskContext

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Container

    from fastqueue.core.records import Lease, News
    from fastqueue.subworker.process_messages import Noted
    from fastqueue.tasks.context import Teller
    from fastqueue.tasks.policies import TimeLimits

__all__ = ["Contexts", "checkpoint_error", "make_context"]

Future = concurrent.futures.Future

# One frame of news is begun anew past this.
_NEWS_BYTES_GOAL = 256 * 1024
_NEWS_MAX = 1_000


def make_context(
    teller: Teller, lease: Lease, limits: TimeLimits, started_at: float
) -> TaskContext:
    """Return the context of an attempt.

    Args:
        teller: whom it tells.
        lease: the attempt's.
        limits: its time limits.
        started_at: when it began, in seconds since the Unix epoch.
    """
    first_s = min((s for s in (limits.soft_s, limits.hard_s) if s is not None), default=None)
    return TaskContext(
        teller,
        id=lease.task_id,
        name=lease.name,
        queue=lease.queue,
        attempt=lease.attempt,
        deadline=None if first_s is None else datetime.fromtimestamp(started_at + first_s, UTC),
        format=SerializationFormat.of_code(lease.format),
        checkpoint=lease.checkpoint,
    )


def checkpoint_error(lease: Lease, refusal: str, *, is_lease_lost: bool) -> Exception:
    """Return what a checkpoint raises that isn't saved."""
    text = f"the checkpoint of task {lease.name!r} ({lease.task_id}) isn't saved: {refusal}"
    return LeaseLost(text) if is_lease_lost else Overloaded(text, retry_after_s=1.0)


def _answer(sequence: int, done: Future[None]) -> CheckpointAnswered:
    error = done.exception()
    if error is None:
        return CheckpointAnswered(sequence)
    return CheckpointAnswered(sequence, str(error), isinstance(error, LeaseLost))


class _Saving:
    """Hold one value on its way, and who waits for it: a later one has others' waiters too."""

    __slots__ = ("futures", "sequence", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.futures: list[Future[None]] = []
        self.sequence = 0

    def end(self, error: Exception | None) -> None:
        for future in self.futures:
            # Whoever waited may have given up.
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)


class Attempt:
    """Tell of one attempt, and have its checkpoints saved; from any thread."""

    __slots__ = ("_contexts", "is_over", "lease", "next", "notes", "under_way")

    def __init__(self, contexts: Contexts, lease: Lease) -> None:
        self._contexts = contexts
        self.lease = lease
        self.notes = Notes(lease)
        # At most one value is on its way and one waits: a later one takes its place.
        self.under_way: _Saving | None = None
        self.next: _Saving | None = None
        self.is_over = False

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell how far the attempt has come."""
        self.notes.progress(ProgressRecord(done, total, message))
        self._contexts.wake()

    def log(self, line: str) -> None:
        """Tell one line."""
        self.notes.log((line,))
        self._contexts.wake()

    def save(self, value: bytes) -> Future[None]:
        """Have a checkpoint saved; the future is done when it, or a later one, is on disk."""
        future: Future[None] = Future()
        self._contexts.save(self, value, future)
        return future


class Contexts:
    """Serve the attempts of one subworker.

    Args:
        loop: the subworker's.
        running: the fencing tokens of what runs.
        limits_of: returns the time limits of a lease's attempt.
        send: sends a message to the control plane, if there is a connection.
        is_writable: says whether the control plane takes what is sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        running: Container[int],
        limits_of: Callable[[Lease], TimeLimits],
        send: Callable[[object], None],
        is_writable: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._running = running
        self._limits_of = limits_of
        self._send = send
        self._is_writable = is_writable
        self._lock = threading.Lock()
        # Set for good by the first attempt that asks for its context: until then nothing is to do.
        self.is_used = False
        self._attempts: dict[int, Attempt] = {}
        self._is_woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._next_news_at = 0.0
        self._savings: dict[int, Attempt] = {}
        self._last_sequence = 0

    def context_of(self, lease: Lease, started_at: float) -> TaskContext:
        """Return the context of an attempt; called from its own thread."""
        attempt = self.attempt_of(lease)
        return make_context(attempt, lease, self._limits_of(lease), started_at)

    def attempt_of(self, lease: Lease) -> Attempt:
        """Return what tells of the attempt under a lease; one that has ended tells nobody."""
        # Before the look at what runs: whoever ends it then looks here.
        self.is_used = True
        with self._lock:
            attempt = self._attempts.get(lease.token)
            if attempt is None:
                attempt = Attempt(self, lease)
                if lease.token in self._running:
                    self._attempts[lease.token] = attempt
                else:
                    attempt.is_over = True
            return attempt

    def end(self, token: int) -> None:
        """Tell what is left to tell of an attempt that has ended, and forget it."""
        with self._lock:
            attempt = self._attempts.pop(token, None)
            if attempt is None:
                return
            attempt.is_over = True
            savings = [one for one in (attempt.under_way, attempt.next) if one is not None]
            attempt.under_way = attempt.next = None
        news = attempt.notes.take()
        if news is not None and self._is_writable():
            self._send(msg.Tell([news]))
        error = checkpoint_error(attempt.lease, "the attempt has ended", is_lease_lost=True)
        for saving in savings:
            self._savings.pop(saving.sequence, None)
            saving.end(error)

    # -- news

    def wake(self) -> None:
        """Have news sent soon; safe from any thread."""
        with self._lock:
            if self._is_woken:
                return
            self._is_woken = True
        with contextlib.suppress(RuntimeError):  # the loop has ended; so does the process
            self._loop.call_soon_threadsafe(self._schedule)

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_news_at, self._send_news)

    def _send_news(self) -> None:
        """Send what there is, if the control plane takes it; else it waits for that."""
        self._timer = None
        if not self._is_writable():
            return
        self._next_news_at = self._loop.time() + NEWS_INTERVAL_S
        with self._lock:
            self._is_woken = False
            attempts = list(self._attempts.values())
        chunk: list[News] = []
        size = 0
        for attempt in attempts:
            news = attempt.notes.take()
            if news is None:
                continue
            chunk.append(news)
            size += sum(map(len, news.lines)) + 100
            if size > _NEWS_BYTES_GOAL or len(chunk) >= _NEWS_MAX:
                self._send(msg.Tell(chunk))
                chunk, size = [], 0
        if chunk:
            self._send(msg.Tell(chunk))

    def on_writable(self) -> None:
        """Go on telling."""
        if self._is_woken:
            self._schedule()

    def on_connected(self) -> None:
        """Say again what a new control plane doesn't know: checkpoints on their way, progress."""
        if not self.is_used:
            return
        for sequence, attempt in self._savings.items():
            saving = attempt.under_way
            if saving is not None and saving.sequence == sequence:
                self._send_saving(attempt, saving)
        with self._lock:
            for attempt in self._attempts.values():
                attempt.notes.again()
        self.wake()
        self.on_writable()

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    # -- what the process of a task says

    def on_process(
        self,
        lease: Lease,
        message: Noted | Checkpointing,
        answer: Callable[[CheckpointAnswered], None],
    ) -> None:
        """Tell what a task in a process of its own tells, and have its checkpoint saved."""
        attempt = self.attempt_of(lease)
        if isinstance(message, Checkpointing):
            sequence = message.sequence
            future = attempt.save(message.value)
            future.add_done_callback(lambda done: answer(_answer(sequence, done)))
            return
        news = message.news
        if news.progress is not None:
            attempt.notes.progress(news.progress)
        attempt.notes.log(news.lines, news.dropped)
        self.wake()

    # -- checkpoints

    def save(self, attempt: Attempt, value: bytes, future: Future[None]) -> None:
        """Have a checkpoint of an attempt saved; safe from any thread."""
        with self._lock:
            if not attempt.is_over:
                waiting = attempt.next
                attempt.next = _Saving(value)
                if waiting is not None:
                    # The later one stands for it as well: it comes after it.
                    attempt.next.futures += waiting.futures
                attempt.next.futures.append(future)
        if attempt.is_over and not future.done():
            error = checkpoint_error(attempt.lease, "the attempt has ended", is_lease_lost=True)
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended; so does the process
            self._loop.call_soon_threadsafe(self._send_next, attempt)

    def _send_next(self, attempt: Attempt) -> None:
        with self._lock:
            if attempt.under_way is not None or attempt.next is None:
                return
            saving = attempt.under_way = attempt.next
            attempt.next = None
            self._last_sequence += 1
            saving.sequence = self._last_sequence
        self._savings[saving.sequence] = attempt
        self._send_saving(attempt, saving)

    def _send_saving(self, attempt: Attempt, saving: _Saving) -> None:
        lease = attempt.lease
        self._send(msg.SaveCheckpoint(saving.sequence, lease.task_id, lease.token, saving.value))

    def on_saved(self, message: msg.CheckpointSaved) -> None:
        """Take the answer to a checkpoint."""
        attempt = self._savings.pop(message.sequence, None)
        if attempt is None:
            return
        with self._lock:
            saving, attempt.under_way = attempt.under_way, None
        if saving is not None:
            error = None
            if message.refusal:
                error = checkpoint_error(
                    attempt.lease, message.refusal, is_lease_lost=message.is_lease_lost
                )
            saving.end(error)
        self._send_next(attempt)
