"""Own a TCP proxy that fails as networks do, one connection or all of them at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_READ_BYTES = 65_536
# What a handshake of TLS and the greetings after it come to, and a little more.
_GREETING_BYTES = 5_000
_END_S = 5.0


class FaultyProxy:
    """Stand before the control plane; pass on what comes until told to fail.

    Args:
        target: the control plane's address, whether it listens yet or not.
        address: where to listen.

    Attributes:
        early_cuts: how many connections were cut as they began.
    """

    def __init__(self, target, address):
        self._target = _host_and_port(target)
        self.address = address
        self._server = None
        self.early_cuts = 0
        self._links = []
        self._serving = set()
        self._later = set()
        # After how many bytes, both ways together, a connection that begins now is cut, if it is.
        self._cut_after_bytes = None
        # What is open to everybody; a link has gates of its own besides.
        self._door = asyncio.Event()
        self._door.set()

    async def start(self):
        host, port = _host_and_port(self.address)
        self._server = await asyncio.start_server(self._accept, host, port)

    async def stop(self):
        """End everything, at once."""
        if self._server is not None:
            self._server.close()
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        # They aren't cancelled, of which asyncio's server would complain: they end by themselves.
        self.heal()
        for link in self._links:
            link.reset()
        if self._serving:
            await asyncio.wait(self._serving, timeout=_END_S)

    def heal(self):
        """End every fault now."""
        self._door.set()
        self._cut_none()
        for link in self._links:
            link.heal()

    def fail(self, what, pick, for_s):
        """Fail once: `pick` (0 to 1) says on which connection, `for_s` for how long."""
        if what == "closed door":
            self._door.clear()
            for link in self._links:
                link.reset()
            self._after(for_s, self._door.set)
            return
        if not self._links:
            return
        link = self._links[int(pick * len(self._links))]
        match what:
            case "early cut":
                # It comes back, and is cut while it greets; others too that come meanwhile.
                self._cut_after_bytes = int(pick * 1_000_000) % _GREETING_BYTES
                self._after(for_s, self._cut_none)
                link.reset()
            case "cut":
                link.cut()
            case "reset":
                link.reset()
            case "stall":
                # Every second time the whole network.
                for one in self._links if int(pick * 1_000) % 2 else [link]:
                    self._hold(one, one.gates, for_s)
            case "one way":
                self._hold(link, link.gates[int(pick * 1_000) % 2 :][:1], for_s)
            case "half-open":
                link.half_open(int(pick * 1_000) % 2)
                self._after(for_s, link.reset)

    def _cut_none(self):
        self._cut_after_bytes = None

    def _hold(self, link, gates, for_s):
        for gate in gates:
            gate.clear()
        self._after(for_s, link.heal)

    def _after(self, seconds, action):
        async def act():
            await asyncio.sleep(seconds)
            action()

        task = asyncio.create_task(act())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _accept(self, reader, writer):
        serving = asyncio.current_task()
        self._serving.add(serving)
        try:
            if not self._door.is_set():
                _reset(writer)
                return
            try:
                there = await asyncio.open_connection(*self._target)
            except OSError:
                _reset(writer)
                return
            link = _Link((reader, writer), there, self._cut_after_bytes)
            self._links.append(link)
            try:
                await link.carry()
            finally:
                self._links.remove(link)
                self.early_cuts += link.is_used_up
        finally:
            self._serving.discard(serving)


class _Link:
    """Be one connection through the proxy: two streams, and a gate for each direction."""

    def __init__(self, here, there, cut_after_bytes):
        self._streams = (here, there)
        self._bytes_left = cut_after_bytes
        self.gates = [asyncio.Event(), asyncio.Event()]
        # The stream that still looks open while the other one is gone, if any.
        self._left_open = None
        self._over = asyncio.Event()
        self.heal()

    @property
    def is_used_up(self):
        """Say whether all went through that was to go through, if that was bounded."""
        return self._bytes_left == 0

    def heal(self):
        for gate in self.gates:
            gate.set()

    def cut(self):
        """End both streams as a peer does that exits."""
        for _, writer in self._streams:
            writer.close()
        self._over.set()

    def reset(self):
        """End both streams as a peer does that has never heard of them."""
        for _, writer in self._streams:
            _reset(writer)
        self._over.set()

    def half_open(self, which):
        """Lose one stream; the other end isn't told, and sends into the void."""
        if self._left_open is None:
            self._left_open = which
            _reset(self._streams[1 - which][1])

    async def carry(self):
        here, there = self._streams
        pumps = [
            asyncio.create_task(self._pump(here, there, 0)),
            asyncio.create_task(self._pump(there, here, 1)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self._left_open is not None:
                await self._over.wait()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for _, writer in self._streams:
                writer.transport.abort()

    async def _pump(self, source, target, direction):
        with contextlib.suppress(OSError):
            while data := await source[0].read(_READ_BYTES):
                await self.gates[direction].wait()
                if self._bytes_left is not None:
                    data = data[: self._bytes_left]
                    self._bytes_left -= len(data)
                if self._left_open is None:
                    target[1].write(data)
                    await target[1].drain()
                if self.is_used_up:
                    break


def _reset(writer):
    """End a stream with a reset instead of the usual farewell."""
    sock = writer.transport.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _host_and_port(address):
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)
