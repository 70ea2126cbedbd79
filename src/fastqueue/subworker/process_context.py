"""Own the context of a task in a process of its own: what it tells goes to the subworker.

Two threads do it, begun by the first task that asks for its context: one sends, so that no signal
for the task's main thread can cut a message in two; the other receives, so that answers come while
the task computes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING

from fastqueue.core.records import ProgressRecord
from fastqueue.errors import LeaseLost, NotInTask, Overloaded
from fastqueue.subworker.contexts import checkpoint_error, make_context
from fastqueue.subworker.notes import NEWS_INTERVAL_S, Notes
from fastqueue.subworker.process_messages import CheckpointAnswered, Checkpointing, Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastqueue.core.records import Lease
    from fastqueue.subworker.process_messages import FromProcess
    from fastqueue.tasks.context import TaskContext
    from fastqueue.tasks.policies import TimeLimits

__all__ = ["ProcessContexts"]

Future = concurrent.futures.Future


class ProcessContexts:
    """Serve the one attempt that runs in this process.

    Args:
        send: sends a message to the subworker; raises OSError if it is gone.
        receive_beside: has messages received in a thread from now on.
    """

    def __init__(
        self, send: Callable[[FromProcess], None], receive_beside: Callable[[], None]
    ) -> None:
        self._send = send
        self._receive_beside = receive_beside
        self._limits: TimeLimits | None = None
        self._lease: Lease | None = None
        self._notes: Notes | None = None
        self._condition = threading.Condition()
        # The checkpoint that is to be sent: a later one takes its place, and stands for it.
        self._unsent: tuple[bytes, list[Future[None]]] | None = None
        self._waiting: dict[int, list[Future[None]]] = {}
        self._last_sequence = 0
        self._has_news = False
        self._is_sending = False
        self._sender: threading.Thread | None = None

    # -- what the process calls

    def begin(self, lease: Lease, limits: TimeLimits) -> None:
        """Note which attempt runs from now on, and its time limits."""
        with self._condition:
            self._lease, self._limits = lease, limits

    def end(self) -> None:
        """Tell what is left to tell of the attempt, and forget it; before its outcome is sent."""
        with self._condition:
            lease, self._lease = self._lease, None
            notes, self._notes = self._notes, None
            unsent, self._unsent = self._unsent, None
            waiting, self._waiting = self._waiting, {}
            while self._is_sending:
                self._condition.wait()
        if notes is None or lease is None:
            return
        if (news := notes.take()) is not None:
            self._send(Noted(news))
        error = checkpoint_error(lease, "the attempt has ended", is_lease_lost=True)
        for futures in (*waiting.values(), () if unsent is None else unsent[1]):
            _end(futures, error)

    def on_answer(self, answer: CheckpointAnswered) -> None:
        """Take the answer to a checkpoint; one of an attempt that has ended is nobody's."""
        with self._condition:
            futures = self._waiting.pop(answer.sequence, ())
        error: Exception | None = None
        if answer.refusal:
            error = (LeaseLost if answer.is_lease_lost else Overloaded)(answer.refusal)
        _end(futures, error)

    # -- what contexts call

    def context_of(self, lease: Lease, started_at: float) -> TaskContext:
        """Return the context of the attempt that runs."""
        with self._condition:
            limits = self._limits
            if self._lease is not lease or limits is None:
                raise NotInTask(f"task {lease.name!r} ({lease.task_id}) has ended")
            if self._notes is None:
                self._notes = Notes(lease)
            if self._sender is None:
                self._receive_beside()
                self._sender = threading.Thread(
                    target=self._run, name="fastqueue-teller", daemon=True
                )
                self._sender.start()
        return make_context(self, lease, limits, started_at)

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell how far the attempt has come."""
        notes = self._notes
        if notes is not None:
            notes.progress(ProgressRecord(done, total, message))
            self._note_news()

    def log(self, line: str) -> None:
        """Tell one line."""
        notes = self._notes
        if notes is not None:
            notes.log((line,))
            self._note_news()

    def save(self, value: bytes) -> Future[None]:
        """Have a checkpoint saved; the future is done when it is on disk."""
        future: Future[None] = Future()
        with self._condition:
            if self._notes is None:
                future.set_exception(LeaseLost("the checkpoint isn't saved: the task has ended"))
                return future
            earlier = [] if self._unsent is None else self._unsent[1]
            self._unsent = (value, [*earlier, future])
            self._condition.notify_all()
        return future

    def _note_news(self) -> None:
        if not self._has_news:
            with self._condition:
                self._has_news = True
                self._condition.notify_all()

    # -- in the sending thread

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the subworker is gone, or about to end us
            while True:
                self._send_once()
                with self._condition:
                    # News wait a little, so that they are few; a checkpoint doesn't.
                    self._condition.wait_for(lambda: self._unsent is not None, NEWS_INTERVAL_S)

    def _send_once(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._unsent is not None or self._has_news)
            unsent, self._unsent = self._unsent, None
            if unsent is not None:
                self._last_sequence += 1
                self._waiting[self._last_sequence] = unsent[1]
            sequence = self._last_sequence
            self._has_news = False
            news = None if self._notes is None else self._notes.take()
            self._is_sending = True
        try:
            if news is not None:
                self._send(Noted(news))
            if unsent is not None:
                self._send(Checkpointing(sequence, unsent[0]))
        finally:
            with self._condition:
                self._is_sending = False
                self._condition.notify_all()


def _end(futures: Iterable[Future[None]], error: Exception | None) -> None:
    for future in futures:
        # Whoever waited may have given up.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
