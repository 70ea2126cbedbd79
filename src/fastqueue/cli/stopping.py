"""Own what SIGTERM and Ctrl-C do to a server: the first has it stop, a second Ctrl-C ends it.

Used by the commands `control-plane` and `subworker`, on the main thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from fastqueue.cli.exit_codes import FAILED, INTERRUPTED
from fastqueue.cli.logs import flush

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

__all__ = ["END_S", "StopSignals", "first_of"]

logger = logging.getLogger(__name__)

END_S = 5.0
"""What ending a process takes after its subworkers, or its tasks, have ended, in seconds."""

# One Ctrl-C may arrive twice: from the terminal, and from a program that passes it on.
_ONE_PRESS_S = 0.3


class StopSignals:
    """Turn signals into an event, and see to it that the process ends.

    The handlers are Python's own, not the event loop's: they still run while a task blocks it.

    Args:
        bound_s: how long stopping may take, in seconds, before the process is ended.
        before_exit: called before the process is ended the hard way.
    """

    def __init__(self, bound_s: float, before_exit: Callable[[], None] = lambda: None) -> None:
        self.requested = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._bound_s = bound_s
        self._before_exit = before_exit
        self._stopping_since: float | None = None
        self._began = threading.Event()
        threading.Thread(target=self._guard, name="fastqueue-stop", daemon=True).start()
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            self._began.set()
            self._loop.call_soon_threadsafe(self.requested.set)
        elif number == signal.SIGINT and now - self._stopping_since > _ONE_PRESS_S:
            self._before_exit()
            os._exit(INTERRUPTED)

    def _guard(self) -> None:
        """End the process if stopping takes too long, for example on a disk that hangs."""
        self._began.wait()
        threading.Event().wait(self._bound_s)
        logger.error("stopping took more than %g s; ending now", self._bound_s)
        flush()
        self._before_exit()
        os._exit(FAILED)


async def first_of(*awaited: Coroutine[object, object, object]) -> None:
    """Wait for the first of several to end, cancel the others, and raise what it raised."""
    tasks = [asyncio.create_task(one) for one in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
