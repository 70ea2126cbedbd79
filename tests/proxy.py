"""Own how tests cut, hold and refuse connections: a TCP proxy that fails as networks do."""

from __future__ import annotations

import asyncio
import contextlib


class CuttingProxy:
    """Stand between a client and the control plane, and fail as networks do.

    Args:
        target: the control plane's address.

    Attributes:
        address: where the client is to connect.
        connections: how often it did.
        cuts_submissions: whether to cut each connection instead of passing on what follows the
            hello; `cuts` counts them.
    """

    def __init__(self, target):
        self._host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._port = int(port)
        self._server = None
        self._writers = set()
        self._pumps = set()
        self._replies_pass = asyncio.Event()
        self._replies_pass.set()
        self.address = ""
        self.connections = 0
        self.cuts_submissions = False
        self.cuts = 0

    async def __aenter__(self):
        await self.open_the_door()
        return self

    async def __aexit__(self, *_):
        await self.close_the_door()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def open_the_door(self):
        """Let connections in, at first and after `close_the_door`."""
        _, _, port = self.address.rpartition(":")
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", int(port or 0))
        self.address = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close_the_door(self):
        """Reset every connection, and refuse new ones."""
        self._server.close()
        self.cut()

    def hold_replies(self):
        """Let nothing from the control plane through."""
        self._replies_pass.clear()

    def release_replies(self):
        self._replies_pass.set()

    def cut(self):
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader, writer):
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        writers = {writer, there_writer}
        self._writers |= writers
        self.connections += 1  # now, not before: what is counted can be cut
        pumps = [
            asyncio.create_task(self._pump_requests(reader, there_writer)),
            asyncio.create_task(self._pump(there_reader, writer, gate=self._replies_pass)),
        ]
        self._pumps |= set(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in writers:
            one.transport.abort()
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
        self._pumps -= set(pumps)
        self._writers -= writers

    async def _pump_requests(self, reader, writer):
        is_hello = True
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.cuts_submissions and not is_hello:
                    self.cuts += 1
                    return
                is_hello = False
                writer.write(data)
                await writer.drain()

    @staticmethod
    async def _pump(reader, writer, gate):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await gate.wait()
                writer.write(data)
                await writer.drain()
