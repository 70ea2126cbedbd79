"""Own what a running task may ask and tell: `current_task()` and the context that it returns.

What a task tells goes through a `Teller`, which whoever runs the task provides: the subworker for
coroutines and threads, the process of its own for tasks that have one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from fastqueue.errors import NotInTask, PayloadTooLarge
from fastqueue.tasks.events import (
    CHECKPOINT_BYTES_MAX,
    LINE_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    NUMBER_MAX,
)
from fastqueue.tasks.serializer import TaskSerializer

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime

    from fastqueue.config import SerializationFormat

__all__ = [
    "ContextMaker",
    "TaskContext",
    "Teller",
    "current_task",
    "running_task",
]

# A thread that waits for a checkpoint looks up so often, for then it can be interrupted.
_LOOK_UP_S = 0.05


class Teller(Protocol):
    """Say what a context asks of whoever runs the task; each may be called from any thread."""

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell how far the attempt has come."""

    def log(self, line: str) -> None:
        """Tell one line."""

    def save(self, value: bytes) -> concurrent.futures.Future[None]:
        """Have a checkpoint saved; the future is done when it is on disk."""


class ContextMaker(Protocol):
    """Say what `current_task` asks of whoever runs the task."""

    def context_of(self, lease: Any, started_at: float) -> TaskContext:
        """Return the context of the attempt that runs under a lease."""


# Set for every task, so it holds what is there anyway; the context is made when it is asked for.
running_task: ContextVar[tuple[ContextMaker, Any, float] | None] = ContextVar(
    "fastqueue_running_task", default=None
)


# How often this process, or one that it is a fork of, has been forked from.
_forks = 0


def _on_fork() -> None:
    """Have no task run in a fork: whoever runs it is in the process that was forked."""
    global _forks
    _forks += 1
    running_task.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_on_fork)


class _Told:
    """Be awaited or not: what it stands for has been done already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_TOLD = _Told()


class _Saving:
    """Be awaited until a checkpoint is on disk; it is saved in any case."""

    __slots__ = ("_future",)

    def __init__(self, future: concurrent.futures.Future[None]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()


class TaskContext:
    """Know the task that runs, tell of it, and save how far it has come.

    Each method can be called with `await` and without, in a coroutine and in a thread or process of
    the task: `progress` and `log` never wait. `checkpoint` without `await` waits all the same where
    no event loop runs (a plain function); on an event loop it doesn't, and the value is saved some
    time later.

    Attributes:
        id: the id under which the task was submitted.
        name: the task definition's name.
        queue: where the task waited.
        attempt: the number of this attempt; 1 is the first.
        deadline: when its first time limit, the soft or the hard one, interrupts it; aware, UTC.
            None without a limit.
    """

    __slots__ = (
        "_checkpoint",
        "_forks",
        "_format",
        "_its_teller",
        "attempt",
        "deadline",
        "id",
        "name",
        "queue",
    )

    def __init__(
        self,
        teller: Teller,
        *,
        id: str,  # noqa: A002 - the word users know it by
        name: str,
        queue: str,
        attempt: int,
        deadline: datetime | None,
        format: SerializationFormat,  # noqa: A002 - the word of the vocabulary
        checkpoint: bytes | None,
    ) -> None:
        self._its_teller = teller
        self._forks = _forks
        self._format = format
        self._checkpoint = checkpoint
        self.id = id
        self.name = name
        self.queue = queue
        self.attempt = attempt
        self.deadline = deadline

    def __repr__(self) -> str:
        return f"<task {self.name} ({self.id}), attempt {self.attempt}>"

    @property
    def _teller(self) -> Teller:
        if self._forks != _forks:
            raise NotInTask(
                f"task {self.name!r} ({self.id}) runs in another process, of which this is a fork"
            )
        return self._its_teller

    @property
    def checkpointed(self) -> Any:
        """Return the value that an earlier attempt saved last; None if none did.

        Raises:
            SerializationError: it is pickled and this process may not unpickle.
        """
        if self._checkpoint is None:
            return None
        return TaskSerializer.deserialize(self._checkpoint, self._format)

    def progress(self, done: float, total: float | None = None, message: str = "") -> _Told:
        """Tell how far this attempt has come.

        Whoever watches the task sees the latest; it costs little to say it often, for at most some
        ten a second are sent on.

        Args:
            done: how much is done, in any unit.
            total: how much there is to do, in the same unit.
            message: a few words; at most 500 characters of them are shown.

        Raises:
            ValueError: a number isn't finite.
            TypeError: a number is none.
        """
        done = _finite("done", done)
        total = None if total is None else _finite("total", total)
        self._teller.progress(done, total, str(message)[:MESSAGE_CHARS_MAX])
        return _TOLD

    def log(self, text: object, *args: object) -> _Told:
        """Tell a line, or several, to whoever watches the task.

        An attempt can log 1,000 lines and 256 KiB; of what comes after that only the number is
        told. A line over 2,000 characters is cut. None of it is kept once the task has ended.

        Args:
            text: what to tell.
            args: what is put into it in place of `%s` and the like, as in `logging`.
        """
        shown = str(text) % args if args else str(text)
        for line in shown.splitlines() or [""]:
            self._teller.log(line[:LINE_CHARS_MAX])
        return _TOLD

    def checkpoint(self, value: Any) -> _Told | _Saving:
        """Save a value for the next attempt, which finds it in `checkpointed`.

        It takes the place of the one before. Once this is awaited (or, in a plain function, has
        returned) the value is on the control plane's disk: it outlasts a crash of the subworker and
        of the control plane. It is dropped when the task ends.

        Args:
            value: what to save, encoded as the task's arguments are; at most 1 MiB.

        Raises:
            SerializationError: it can't be encoded.
            PayloadTooLarge: it is over 1 MiB.
            LeaseLost: this attempt doesn't count any more: another may be running.
            Overloaded: the control plane can't keep it, and says why; an earlier one stays.
        """
        encoded = TaskSerializer.serialize(value, self._format)
        if len(encoded) > CHECKPOINT_BYTES_MAX:
            raise PayloadTooLarge(
                f"a checkpoint of task {self.name!r} ({self.id}) is {len(encoded):,} bytes encoded;"
                f" at most {CHECKPOINT_BYTES_MAX:,} are saved: save a reference to the data instead"
            )
        future = self._teller.save(encoded)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            return _Saving(future)
        while not future.done():
            concurrent.futures.wait([future], _LOOK_UP_S)
        future.result()
        return _TOLD


def _finite(what: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{what} of a task's progress is a number, not {number!r:.100}")
    if not math.isfinite(number) or abs(number) > NUMBER_MAX:
        raise ValueError(f"{what} of a task's progress is a finite number, not {number!r:.100}")
    return float(number)


def current_task() -> TaskContext:
    """Return the context of the task that this code runs in.

    It is found in the function of the task and in what that calls or awaits, in the asyncio tasks
    that it makes, and in `asyncio.to_thread`; not in threads that it starts itself.

    Raises:
        NotInTask: no task runs here.
    """
    running = running_task.get()
    if running is None:
        raise NotInTask(
            "current_task() was called where no task runs: it is for code that a subworker calls. "
            "(A thread that a task starts itself has to be given the context.)"
        )
    maker, lease, started_at = running
    return maker.context_of(lease, started_at)
