"""Own a control plane that only says hello: tests see each frame that a peer sends it."""

from __future__ import annotations

import asyncio

from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import frame


class FakeControlPlane:
    """Welcome whoever connects, and keep what it sends.

    Args:
        control_plane_id: who it says it is.
        epoch: how often it says it has started.
    """

    def __init__(self, control_plane_id="fake", epoch=1):
        self.welcome = greetings.Welcome(
            protocol=greetings.PROTOCOL_VERSION,
            control_plane_id=control_plane_id,
            epoch=epoch,
            frame_bytes_max=2**24,
            payload_bytes_max=2**24,
        )
        self.greeted = 0
        self.ended = 0
        self.bodies = []
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self._writers.append(writer)
        try:
            await self._read_frame(reader)
            writer.write(frame(msg.encode(self.welcome)))
            self.greeted += 1
            while True:
                self.bodies.append(await self._read_frame(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended += 1
        finally:
            writer.close()

    async def _read_frame(self, reader):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
