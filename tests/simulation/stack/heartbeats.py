"""Own what stands for a subworker's heartbeat thread: the same beats, as a task of its process.

A thread would read clocks that aren't the world's and sockets that are real. That the loop may be
blocked while the thread goes on is played in `tests.simulation.world`, and with real processes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fastqueue.config import parse_address
from fastqueue.errors import FastQueueError, ProtocolError
from fastqueue.link.connection import Connection
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.handshake import Handshake
from fastqueue.subworker.heartbeat import INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.config import PeerSecurity

__all__ = ["TaskHeartbeats"]

_CONNECT_TIMEOUT_S = 2.0
_PAUSE_S = 0.5


class TaskHeartbeats:
    """Send heartbeats over the simulated network until `stop`."""

    def __init__(
        self,
        *,
        instance: str,
        name: str,
        security: PeerSecurity,
        address: Callable[[], str],
        task_of: Callable[[asyncio.Task[object]], tuple[str, str] | None],
    ) -> None:
        del task_of  # nothing blocks a loop on which no time passes
        self._hello = {"instance": instance, "name": name, "token": security.token}
        self._address = address
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            if address := self._address():
                # As in the thread, the next try is soon.
                with contextlib.suppress(OSError, FastQueueError):
                    await self._beat_at(address)
            await asyncio.sleep(_PAUSE_S)

    async def _beat_at(self, address: str) -> None:
        where, loop = parse_address(address, setting="address"), asyncio.get_running_loop()
        inbound: asyncio.Queue[bytes] = asyncio.Queue()

        def greeted(_: Connection, bodies: list[bytes]) -> None:
            inbound.put_nowait(bodies[0])

        def hung_up(_: Connection, reason: Exception | None) -> None:
            del reason
            inbound.put_nowait(b"")

        connection = Connection(greeted, hung_up)
        hello: Any = self._hello
        handshake = Handshake(role=greetings.ROLE_HEARTBEAT, **hello)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, where.host, where.port)
                answer: Any = handshake.hello
                while isinstance(answer, bytes):
                    connection.send(answer)
                    if not (body := await inbound.get()):
                        return
                    answer = handshake.on_greeting(body)
            if isinstance(answer, greetings.Refusal):
                raise ProtocolError(answer.message)
            while not connection.closed.is_set():
                connection.send(msg.encode(msg.Heartbeat()))
                await asyncio.sleep(INTERVAL_S)
        finally:
            connection.abort()
