"""Own the interrupting of tasks that run: somebody cancelled them, or their time is over.

A coroutine is cancelled, a process killed. A thread gets an asynchronous exception, which it meets
when it next runs Python code: not inside a call that waits. What goes on all the same is *stuck*:
its outcome is reported without it, and the subworker is to be replaced, since the slot can't be had
back.

A soft limit raises `SoftTimeLimit` in the task, which may catch it and clean up. Nothing here costs
a task that has no limit and that nobody cancels.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import types
from typing import TYPE_CHECKING, Any, Self

from fastqueue.errors import SoftTimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from fastqueue.core.records import Lease
    from fastqueue.tasks.policies import TimeLimits

__all__ = ["Cancelled", "Interruptions", "ThreadInterrupts", "TimeLimit", "explain", "limits_of"]

# How long what was interrupted may take to end before it is given up as stuck.
STUCK_S = 5.0


class Cancelled(BaseException):
    """Be raised in a thread whose task somebody cancelled; named as its outcome shows it."""

    def __str__(self) -> str:
        return "it was cancelled while it ran"


class TimeLimit(BaseException):
    """Be raised in a thread whose task ran longer than it may."""

    def __init__(self, hard_s: float | None = None) -> None:
        super().__init__(hard_s)
        self.hard_s = hard_s

    def __str__(self) -> str:
        limit = "its time limit" if self.hard_s is None else f"its time limit of {self.hard_s:g} s"
        return f"it ran longer than {limit}"


class ThreadInterrupts:
    """Raise exceptions in the threads that run tasks, and in nothing else that they run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By token the thread that runs it, and those in which something was raised.
        self._threads: dict[int, int] = {}
        self._sent: set[int] = set()

    def running(self, token: int) -> _Interruptible:
        """Return a context in which this thread runs the task of a lease."""
        return _Interruptible(self, token)

    def enter(self, token: int) -> None:
        """Note that this thread runs the task of a lease."""
        self._threads[token] = threading.get_ident()

    def leave(self, token: int) -> None:
        """Note that it doesn't any more; what was on its way to it is taken back."""
        while True:
            try:
                with self._lock:
                    self._threads.pop(token, None)
                    if token in self._sent:
                        _raise_in(threading.get_ident(), None)
                        self._sent.discard(token)
            except (Cancelled, TimeLimit, SoftTimeLimit):
                continue  # it came just now; what it was for has ended
            return

    def interrupt(self, token: int, error: type[BaseException]) -> None:
        """Raise an exception in the thread that runs the task of a lease, if one still does."""
        with self._lock:
            thread = self._threads.get(token)
            if thread is not None:
                self._sent.add(token)
                _raise_in(thread, error)


class _Interruptible:
    __slots__ = ("_interrupts", "_token")

    def __init__(self, interrupts: ThreadInterrupts, token: int) -> None:
        self._interrupts = interrupts
        self._token = token

    def __enter__(self) -> Self:
        self._interrupts.enter(self._token)
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupts.leave(self._token)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


def limits_of(limits: TimeLimits, lease: Lease) -> TimeLimits:
    """Return a task's time limits: its definition's, or those that its submission asked for."""
    asked = lease.options
    return limits if asked is None else limits.overridden(asked.soft_limit_s, asked.time_limit_s)


def explain(error: BaseException, limits: TimeLimits, lease: Lease) -> None:
    """Have an error that was raised in a thread, where it can't bring it along, say the limit."""
    kind = type(error)
    if kind is TimeLimit and error.hard_s is None:  # type: ignore[attr-defined]
        error.hard_s = limits_of(limits, lease).hard_s  # type: ignore[attr-defined]
    elif kind is SoftTimeLimit and not error.args:
        error.args = _soft_error(limits_of(limits, lease)).args


class _Watched:
    """Hold what is known of one task that may be, or is being, interrupted."""

    __slots__ = ("error", "limits", "soft_is_due", "timers")

    def __init__(self, limits: TimeLimits) -> None:
        self.limits = limits
        self.timers: list[asyncio.TimerHandle] = []
        # What it is interrupted for.
        self.error: BaseException | None = None
        # Whether the next cancellation of its coroutine is to be a `SoftTimeLimit`.
        self.soft_is_due = False


class Interruptions:
    """Interrupt tasks on one event loop.

    Args:
        loop: the subworker's.
        threads: those that run tasks.
        coroutine_of: returns the asyncio task of a lease, None if it has none.
        kill: ends a task in a process of its own, given its token and why, and says whether it was
            one.
        on_unbegun: called with a lease's token and why it was interrupted, if its coroutine hadn't
            begun: a task that is cancelled before its first step never has one.
        on_stuck: called with the same, if it didn't end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: ThreadInterrupts,
        coroutine_of: Callable[[int], asyncio.Task[Any] | None],
        kill: Callable[[int, BaseException], bool],
        on_unbegun: Callable[[int, BaseException], None],
        on_stuck: Callable[[int, BaseException], None],
    ) -> None:
        self._loop = loop
        self._threads = threads
        self._coroutine_of = coroutine_of
        self._kill = kill
        self._on_unbegun = on_unbegun
        self._on_stuck = on_stuck
        self._watched: dict[int, _Watched] = {}

    def watch(self, token: int, limits: TimeLimits) -> None:
        """Begin to count the time of a task that has limits."""
        watched = self._watched[token] = _Watched(limits)
        if limits.soft_s is not None:
            watched.timers.append(self._loop.call_later(limits.soft_s, self._soften, token))
        if limits.hard_s is not None:
            error = TimeLimit(limits.hard_s)
            watched.timers.append(
                self._loop.call_later(limits.hard_s, self._interrupt, token, error)
            )

    def cancel(self, token: int, limits: TimeLimits) -> None:
        """Interrupt a running task because somebody cancelled it."""
        self._watched.setdefault(token, _Watched(limits))
        self._interrupt(token, Cancelled())

    def error_of(self, token: int) -> BaseException | None:
        """Return what a task is being interrupted for, or None."""
        watched = self._watched.get(token)
        return None if watched is None else watched.error

    def forget(self, token: int) -> None:
        """Stop watching a task that has ended."""
        if self._watched and (watched := self._watched.pop(token, None)) is not None:
            for timer in watched.timers:
                timer.cancel()

    def softened(self, token: int, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return an awaitable of the coroutine in which a soft limit is raised as such."""
        return _drive(coroutine, lambda: self._take_soft(token))

    def _take_soft(self, token: int) -> BaseException | None:
        watched = self._watched.get(token)
        if watched is None or not watched.soft_is_due:
            return None
        watched.soft_is_due = False
        task = self._coroutine_of(token)
        if task is not None:
            task.uncancel()
        return _soft_error(watched.limits)

    def _soften(self, token: int) -> None:
        watched = self._watched.get(token)
        if watched is None or watched.error is not None:
            return
        task = self._coroutine_of(token)
        if task is None:
            self._threads.interrupt(token, SoftTimeLimit)
        else:
            watched.soft_is_due = True
            self._cancel(token, task, _soft_error(watched.limits))

    def _interrupt(self, token: int, error: BaseException) -> None:
        watched = self._watched.get(token)
        if watched is None or watched.error is not None:
            return
        watched.error = error
        watched.soft_is_due = False
        if self._kill(token, error):
            return
        watched.timers.append(self._loop.call_later(STUCK_S, self._give_up, token))
        task = self._coroutine_of(token)
        if task is None:
            self._threads.interrupt(token, type(error))
        else:
            self._cancel(token, task, error)

    def _cancel(self, token: int, task: asyncio.Task[Any], error: BaseException) -> None:
        def look(_: asyncio.Task[Any]) -> None:
            # One that has begun reports how it ended, and isn't watched any more.
            if token in self._watched:
                self._on_unbegun(token, error)

        task.add_done_callback(look)
        task.cancel()

    def _give_up(self, token: int) -> None:
        watched = self._watched.get(token)
        if watched is not None and watched.error is not None:
            self._on_stuck(token, watched.error)


def _soft_error(limits: TimeLimits) -> SoftTimeLimit:
    return SoftTimeLimit(f"it has run for {limits.soft_s:g} s, its soft time limit")


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], take_soft: Callable[[], BaseException | None]
) -> Generator[Any, Any, Any]:
    """Run a coroutine; a cancellation that is for a soft limit reaches it as that."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waited_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as end:
            return end.value
        value = error = None
        try:
            value = yield waited_for
        except asyncio.CancelledError as cancelled:
            error = take_soft() or cancelled
        except BaseException as raised:  # noqa: BLE001 - it is the coroutine's
            error = raised
