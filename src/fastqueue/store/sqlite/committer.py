"""Own the thread in which a COMMIT, and so the fsync, takes its time beside the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Committer"]


class Committer:
    """Run one blocking call at a time in a thread of its own.

    A thread kept for this alone takes half the time of a pool's, and the engine never has two
    commits under way.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], None], asyncio.Future[None], asyncio.AbstractEventLoop] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fastqueue-commit", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], None]) -> None:
        """Run `call` in the thread and wait for its end; what it raises is raised here.

        A cancelled caller still waits: the connection isn't free before the call has ended.
        """
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

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, done, loop = item
            error: Exception | None = None
            try:
                call()
            except Exception as raised:  # noqa: BLE001 - handed over to the caller
                error = raised
            loop.call_soon_threadsafe(_settle, done, error)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
