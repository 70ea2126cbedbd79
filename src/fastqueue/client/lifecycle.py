"""Own a client's life: started on one event loop, stopped from anywhere, started again.

Everything between `start` and `stop` lives in a `ClientConnection`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
from typing import TYPE_CHECKING, Self

from fastqueue.client.connection import ClientConnection
from fastqueue.errors import ClientStateError

if TYPE_CHECKING:
    from types import TracebackType

    from fastqueue.config import ClientSettings

__all__ = ["ClientLifecycle"]

logger = logging.getLogger(__name__)

# How long `start` waits for a control plane before it returns without one.
_START_WAIT_S = 1.0


class ClientLifecycle:
    """Start and stop; the part of the client that everything else of it stands on.

    Args:
        settings: the client's settings.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._name = os.path.basename(sys.argv[0] if sys.argv and sys.argv[0] else "python")
        self._connection: ClientConnection | None = None
        self._was_stopped = False

    def __repr__(self) -> str:
        state = "started" if self._connection else "stopped" if self._was_stopped else "not started"
        return f"<fastqueue.Client {state}>"

    async def start(self) -> None:
        """Find the control plane and connect to it.

        Returns once connected, which takes milliseconds. With no control plane there it returns
        after a second, logs a warning, and goes on looking; calls made meanwhile wait for it. A
        client that is started already stays as it is, unless its event loop has ended.

        Raises:
            ClientStateError: it is started on another event loop, or was stopped meanwhile.
        """
        if self._connection is not None and not self._connection.loop.is_closed():
            self._check_loop(self._connection)
            return
        connection = ClientConnection(self._settings, instance=uuid.uuid4().hex, name=self._name)
        self._connection = connection
        try:
            await connection.dialer.start()
        except BaseException:
            self._connection = None
            raise
        try:
            async with asyncio.timeout(_START_WAIT_S):
                await connection.connected.wait()
                # It comes at once, and then the first call is checked as all others are.
                await connection.offers.told.wait()
        except TimeoutError:
            logger.warning(
                "no control plane yet, looked for %s; start one with `fastqueue control-plane`. "
                "Calls made meanwhile wait up to %g s",
                connection.dialer.where,
                self._settings.timeout_s,
            )
        if self._connection is not connection:
            raise ClientStateError("the client was stopped while it started")

    def stop(self) -> None:
        """Stop at once; calls that still wait raise `ClientStateError`.

        May be called from the event loop or from another thread, and more than once. The client
        can be started again.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._was_stopped = True
        error = ClientStateError("the client was stopped while this call waited")
        loop = connection.loop
        if _is_running_here(loop):
            connection.close(error)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(connection.close, error)

    async def aclose(self) -> None:
        """Wait until everything submitted is acknowledged, then stop."""
        connection = self._connection
        if connection is None:
            return
        self._check_loop(connection)
        await connection.submissions.flushed()
        self.stop()
        await connection.dialer.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _started(self) -> ClientConnection:
        connection = self._connection
        if connection is None:
            what = "is stopped" if self._was_stopped else "isn't started"
            raise ClientStateError(f"the client {what}: call `await client.start()` first")
        self._check_loop(connection)
        return connection

    @staticmethod
    def _check_loop(connection: ClientConnection) -> None:
        if asyncio.get_running_loop() is not connection.loop:
            raise ClientStateError(
                "the client was started on another event loop; use it there, or call "
                "`client.stop()` and then `await client.start()` here"
            )


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
