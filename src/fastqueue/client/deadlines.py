"""Own the time-outs of calls that all may take equally long: one timer for all of them.

A timer for each call costs more than the rest of waiting for a result does. Calls that may take
equally long time out in the order in which they began, so the first one's timer is enough.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["Deadlines"]

# Up to so many entries nobody looks for those behind the first that are done.
_SCATTERED_MAX = 1_000


class Deadlines:
    """Raise `TimeoutError` in futures that aren't done in time.

    Args:
        loop: whose timers are used.
        after_s: how long each may take, in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, after_s: float) -> None:
        self._loop = loop
        self._after_s = after_s
        self._watched: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._swept_at = _SCATTERED_MAX

    def watch(self, future: asyncio.Future[Any]) -> None:
        """Begin to count a future's time."""
        watched = self._watched
        while watched and watched[0][1].done():
            watched.popleft()
        if len(watched) >= self._swept_at:
            # One that takes long has many behind it that are done.
            self._watched = watched = deque(entry for entry in watched if not entry[1].done())
            self._swept_at = max(_SCATTERED_MAX, 2 * len(watched))
        watched.append((self._loop.time() + self._after_s, future))
        if self._timer is None:
            self._start_timer()

    def stop(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self) -> None:
        self._timer = self._loop.call_at(self._watched[0][0], self._expire)

    def _expire(self) -> None:
        self._timer = None
        watched, now = self._watched, self._loop.time()
        while watched and (watched[0][1].done() or watched[0][0] <= now):
            future = watched.popleft()[1]
            if not future.done():
                future.set_exception(TimeoutError())
                future.exception()  # whoever awaits it sees it; nobody else needs a warning
        if watched:
            self._start_timer()
