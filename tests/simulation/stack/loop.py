"""Own the event loop of a simulated world: a clock that jumps, and processes that can be killed.

There are no sockets and no threads. When nothing is ready the clock jumps to the next timer, so an
hour costs nothing and a history is decided by its seed alone. Every callback belongs to the process
that scheduled it: a process that is killed runs no further line, and one that is stopped (SIGSTOP)
runs nothing until it goes on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import warnings
from typing import TYPE_CHECKING, Any

from tests.simulation.stack.network import Network

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from contextvars import Context

__all__ = ["Process", "VirtualLoop"]

# More callbacks in one instant than any history needs: something goes round in circles.
_CALLBACKS_AT_ONCE_MAX = 50_000
_BEGUN_AT = 1_000.0
# Far more than the slowest history takes.
_HISTORY_S_MAX = 1_000.0


class Process:
    """Hold one operating-system process of the world; its children are tasks on the loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_stopped = False
        self.deferred: list[asyncio.Handle] = []
        self.tasks: list[_Task] = []
        # How long it stood still, in seconds: what it promised about time it couldn't keep.
        self.stopped_s = 0.0
        self.calls_under_way = 0

    def __repr__(self) -> str:
        return self.name


class _Handle(asyncio.Handle):
    __slots__ = ("process",)
    process: Process | None


class _Timer(asyncio.TimerHandle):
    __slots__ = ("process",)
    process: Process | None


_numbers = itertools.count()


class _Numbered:
    """Lie in a set where the history says, not where its address does."""

    number = 0

    def __hash__(self) -> int:
        self.number = self.number or next(_numbers)
        return self.number


class _Future(_Numbered, asyncio.Future[Any]):
    process: Process | None = None


class _Task(_Numbered, asyncio.Task[Any]):
    process: Process | None = None


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> _Task:
    assert isinstance(loop, VirtualLoop)
    task = _Task(coroutine, loop=loop, **options)
    task.process = loop.process
    if task.process is not None:
        task.process.tasks.append(task)
    return task


class VirtualLoop(asyncio.BaseEventLoop):
    """Run callbacks in the order of a clock of its own.

    Args:
        chance: what the network is decided by.

    Attributes:
        process: whose callback runs now; None for the world itself.
        complaints: what asyncio would have logged: exceptions nobody took, and the like.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._now = _BEGUN_AT
        self._at_once = 0
        # (when, number, timer): of those that are due at once the first made is the first to run.
        self._timers: list[tuple[float, int, _Timer]] = []
        self._timer_numbers = itertools.count()
        self.process: Process | None = None
        self.processes: list[Process] = []
        self.complaints: list[str] = []
        # Who listens for announcements, and as which process.
        self.ears: list[tuple[Process | None, Any]] = []
        self.set_task_factory(_make_task)  # type: ignore[arg-type]
        self.network = Network(self, chance)

    # -- processes

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of a process."""
        before, self.process = self.process, process
        try:
            return self.create_task(coroutine)
        finally:
            self.process = before

    def schedule(
        self, process: Process | None, delay_s: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        """Call back as part of a process."""
        before, self.process = self.process, process
        try:
            return self.call_at(self._now + delay_s, callback, *args)
        finally:
            self.process = before

    def start_process(self, name: str) -> Process:
        """Add a process that can be killed."""
        process = Process(name)
        self.processes.append(process)
        return process

    def stop_process(self, process: Process, seconds: float) -> None:
        """Let a process stand still for a while (SIGSTOP, SIGCONT)."""
        if process.is_alive and not process.is_stopped:
            process.is_stopped = True
            process.stopped_s += seconds
            self.schedule(None, seconds, self._go_on, process)

    def wake_all(self) -> None:
        """Let every process that stands still go on."""
        for process in self.processes:
            self._go_on(process)

    def _go_on(self, process: Process) -> None:
        process.is_stopped = False
        self._ready.extend(process.deferred)  # type: ignore[attr-defined]
        process.deferred.clear()

    def bury(self) -> None:
        """End what was left in the middle of things by processes that were killed."""
        with warnings.catch_warnings():
            # What a process was about to begin when it was killed was never awaited.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._bury()

    def _bury(self) -> None:
        for process in self.processes:
            self.process = process
            for task in process.tasks:
                if not process.is_alive and not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    task.get_coro().close()  # type: ignore[union-attr]
            process.tasks.clear()
            process.deferred.clear()
        self.process = None
        self._timers.clear()

    # -- what asyncio calls

    def time(self) -> float:
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future.process = self.process
        return future

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        handle.process = self.process
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        timer.process = self.process
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        whose = context.get("future") or context.get("task")
        process = getattr(whose, "process", self.process)
        if process is None or process.is_alive:
            what = f"{process}: {context.get('message')}: {context.get('exception')!r}"
            self.complaints.append(what)

    async def create_connection(self, factory: Any, host: str, port: int, **_: Any) -> Any:  # type: ignore[override]
        return await self.network.connect(factory, port)

    async def create_server(self, factory: Any, host: str, port: int, **_: Any) -> Any:  # type: ignore[override]
        return self.network.listen(factory, port)

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise RuntimeError("nothing is left that could ever happen")
            if timers[0][0] > self._now:
                self._now = timers[0][0]
                if self._now > _BEGUN_AT + _HISTORY_S_MAX:
                    raise RuntimeError(f"a history doesn't end in {_HISTORY_S_MAX:g} s")
                self._at_once = 0
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:  # type: ignore[attr-defined]
                ready.append(timer)
        self._at_once += len(ready)
        if self._at_once > _CALLBACKS_AT_ONCE_MAX:
            raise RuntimeError(f"endless work without waiting, such as {ready[-1]!r}")
        for _ in range(len(ready)):
            handle = ready.popleft()
            process = handle.process
            if handle._cancelled or (process is not None and not process.is_alive):
                continue
            if process is not None and process.is_stopped:
                process.deferred.append(handle)
                continue
            self.process = process
            handle._run()
        self.process = None

    def _process_events(self, event_list: object) -> None:
        """Do nothing: there is no selector."""

    def _write_to_self(self) -> None:
        """Do nothing: there are no other threads."""
