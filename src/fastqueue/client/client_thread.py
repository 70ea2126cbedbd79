"""Own one life of a client on an event loop in a thread of its own, for `SyncClient`.

A life begins at a first call and ends once: when it is told to, or because it couldn't start. Every
call of it is either taken and answered, or told that the client was stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from fastqueue.errors import ClientStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastqueue.client.client import Client

__all__ = ["ClientThread"]

_T = TypeVar("_T")


class ClientThread:
    """Run a client from its start to its stop; begins at once.

    Args:
        client: one that isn't started, and is nobody else's.

    Raises:
        RuntimeError: the system has no thread to give.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._started = asyncio.Event()
        self._ending = asyncio.Event()
        self._failure: Exception | None = None
        # Guards that no call is given to a loop that won't run it.
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="fastqueue-client", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise
        except BaseException:  # Ctrl-C: the thread may run, and nobody would know it
            self._end()
            raise

    @property
    def is_over(self) -> bool:
        """Say whether no more calls are taken; a forked process has no thread to take them."""
        return self._is_over or self._pid != os.getpid()

    def call(self, make: Callable[[Client], Coroutine[Any, Any, _T]]) -> _T:
        """Run what `make` makes on the client's loop, once it is started; wait for what it returns.

        A caller that stops waiting (Ctrl-C) cancels its call and nothing else.

        Raises:
            ClientStateError: the client was stopped, or this process is a fork of the client's.
            FastQueueError: the client can't start, or the call raises it.
        """
        if self._pid != os.getpid():
            raise ClientStateError(
                "this call belongs to a client of the process that this one was forked from; "
                "make it anew here"
            )
        with self._lock:
            if self._is_over:
                raise self._why_over()
            future = asyncio.run_coroutine_threadsafe(self._do(make), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise self._why_over() from None
        except BaseException:
            future.cancel()
            raise

    def tell(self, do: Callable[[], None]) -> None:
        """Have something done on the client's loop, without waiting; nothing once it is over.

        It takes no lock: the collector of garbage may call it anywhere, and in any thread.
        """
        if self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do)

    def stop(self) -> None:
        """Wait until everything submitted is acknowledged, then end; twice does no harm."""
        if self._pid == os.getpid():
            self._end()
            self._thread.join()

    def _why_over(self) -> Exception:
        stopped = ClientStateError("the client was stopped while this call waited")
        return stopped if self._failure is None else self._failure

    def _end(self) -> None:
        with self._lock:
            if not self._is_over:
                self._is_over = True
                self._loop.call_soon_threadsafe(self._ending.set)

    # -- in the thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        try:
            await self.client.start()
        except Exception as error:  # noqa: BLE001 - it is raised in the calls
            self._failure = error
        self._started.set()
        if self._failure is None:
            await self._ending.wait()
        with self._lock:
            self._is_over = True
        # Calls that were taken until now begin.
        await asyncio.sleep(0)
        await self.client.aclose()
        await self._cancel_calls()

    async def _cancel_calls(self) -> None:
        """End the calls that what they waited for didn't end."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
        await self._loop.shutdown_asyncgens()

    async def _do(self, make: Callable[[Client], Coroutine[Any, Any, _T]]) -> _T:
        await self._started.wait()
        if self._failure is not None:
            raise self._failure
        return await make(self.client)
