"""Own where a COMMIT, and so the fsync, takes its time: on the event loop or in a thread beside it.

Waking a thread and being woken by it takes about as long as a good disk's fsync. So a commit that
is expected to be quick is done on the spot. One that isn't would keep everybody waiting, and what
comes in meanwhile is the next transaction: it goes to the thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Committer"]

_QUICK_S = 0.000_3
# What is expected is an average that forgets: this is the share of the latest call in it.
_LATEST_SHARE = 0.1


class Committer:
    """Run one blocking call at a time, on the spot as long as calls are quick.

    A thread kept for this alone takes half the time of a pool's, and the engine never has two
    commits under way.

    Args:
        clock: the time in seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._expected_s = 0.0
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], None], asyncio.Future[None], asyncio.AbstractEventLoop] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fastqueue-commit", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], None]) -> None:
        """Run `call` and wait for its end; what it raises is raised here.

        A cancelled caller still waits: the connection isn't free before the call has ended.
        """
        if self._expected_s < _QUICK_S:
            self._run_timed(call)
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._calls.put((call, done, loop))
        cancelled: asyncio.CancelledError | None = None
        while not done.done():
            try:
                await asyncio.shield(done)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            done.exception()
            raise cancelled
        done.result()

    def stop(self) -> None:
        """End the thread once it is idle."""
        self._calls.put(None)
        self._thread.join()

    def _run_timed(self, call: Callable[[], None]) -> None:
        begun = self._clock()
        call()
        self._expected_s += _LATEST_SHARE * (self._clock() - begun - self._expected_s)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, done, loop = item
            error: Exception | None = None
            try:
                self._run_timed(call)
            except Exception as raised:  # noqa: BLE001 - handed over to the caller
                error = raised
            loop.call_soon_threadsafe(_settle, done, error)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
