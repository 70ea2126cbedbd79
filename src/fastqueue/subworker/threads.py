"""Own the thread executor: plain functions run here, beside the event loop.

The standard pool wakes the event loop once for each call; here all that ends while the loop is
busy wakes it once. Threads are started as they are needed and are daemons, so that a task that
never returns can't keep a process from ending.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fastqueue.core.records import Outcome

__all__ = ["ThreadExecutor"]

logger = logging.getLogger(__name__)


class ThreadExecutor:
    """Run calls in at most `threads_max` threads and hand over what they return.

    Args:
        loop: where outcomes are handed over.
        threads_max: how many calls run at one time.
        on_outcomes: called on the loop with what has come of some calls.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads_max: int,
        on_outcomes: Callable[[list[Outcome]], None],
    ) -> None:
        self._loop = loop
        self._threads_max = threads_max
        self._on_outcomes = on_outcomes
        self._calls: queue.SimpleQueue[Callable[[], Outcome] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        # None for a call that raised.
        self._done: deque[Outcome | None] = deque()
        self._lock = threading.Lock()
        self._is_woken = False

    def submit(self, call: Callable[[], Outcome]) -> None:
        """Run `call` in a thread; it is not to raise, for then it has no outcome."""
        if self._idle > 0:
            self._idle -= 1
        elif len(self._threads) < self._threads_max:
            name = f"fastqueue-task-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._calls.put(call)

    def stop(self) -> None:
        """Let idle threads end; one that is still in a call ends with the process."""
        for _ in self._threads:
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            # Each task has a context of its own, as it would have in a pool of its own.
            try:
                outcome = contextvars.Context().run(call)
            except BaseException:
                logger.exception("a call in thread %s raised", threading.current_thread().name)
                outcome = None
            del call
            with self._lock:
                self._done.append(outcome)
                wake, self._is_woken = not self._is_woken, True
            if wake:
                try:
                    self._loop.call_soon_threadsafe(self._hand_over)
                except RuntimeError:
                    return  # the loop has ended; so does the process

    def _hand_over(self) -> None:
        with self._lock:
            self._is_woken = False
            done = list(self._done)
            self._done.clear()
        self._idle += len(done)
        self._on_outcomes([outcome for outcome in done if outcome is not None])
