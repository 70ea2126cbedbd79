"""Own the network of a simulated world: streams that behave as TCP does, and break as it does.

Bytes arrive in order, cut anywhere, after a delay of their own, or not at all: a way can be stalled
in one direction or both while its connection stays up, be reset, end in the middle of a frame, or
be known to one side only. Every way has its own source of chance, so that what happens on one
connection doesn't change what happens on another.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.stack.loop import Process, VirtualLoop

__all__ = ["Link", "Network", "Stream", "Way"]

# When TCP gives up a connection whose other end says nothing (keepalive, TCP_USER_TIMEOUT).
GIVES_UP_S = 13.0

# With a backoff of 0.05 s, doubled each time and half of it by chance; heartbeats come on top.
_TRIES_A_SECOND_MAX = 12


class Network:
    """Join processes by streams.

    Args:
        loop: whose time passes.
        chance: where each connection's own chance comes from.
    """

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.delay_s = chance.choice((0.0002, 0.002, 0.02))
        self.window_bytes = chance.choice((200, 3_000, 65_536))
        self.is_calm = False
        self.links: list[Link] = []
        self._listening: dict[int, tuple[Process | None, Callable[[], asyncio.Protocol]]] = {}
        # How many partitions lie between a process and everybody else.
        self._cut_off: dict[Process, int] = {}
        self.connects = 0
        self._in_vain: dict[Process, deque[float]] = {}

    def delay(self, chance: random.Random) -> float:
        delay_s = self.delay_s * (0.5 + chance.random())
        if not self.is_calm and chance.random() < 0.02:
            delay_s += chance.random() * 0.4
        return delay_s

    def listen(self, factory: Callable[[], asyncio.Protocol], port: int) -> _Listener:
        if port in self._listening and self.is_listening(port):
            raise OSError(98, "Address already in use")
        self._listening[port] = (self.loop.process, factory)
        return _Listener(self, port)

    def is_listening(self, port: int) -> bool:
        process, _ = self._listening.get(port, (None, None))
        return process is not None and process.is_alive

    def close(self, port: int) -> None:
        self._listening.pop(port, None)

    async def connect(self, factory: Callable[[], asyncio.Protocol], port: int) -> Any:
        process = self.loop.process
        assert process is not None
        self.connects += 1
        chance = random.Random(self.chance.getrandbits(64))
        await asyncio.sleep(self.delay(chance))
        while self.is_cut_off(process) or self.is_cut_off(self._listening.get(port, (None, 0))[0]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if not self.is_listening(port):
            self._note_in_vain(process)
            raise ConnectionRefusedError(111, "Connection refused")
        accepting, accept = self._listening[port]
        assert accepting is not None
        link = Link(self, process, accepting, chance)
        self.links = [known for known in self.links if not known.is_over]
        self.links.append(link)
        if not self.is_calm and chance.random() < 0.03:
            # It stands still while hands are shaken.
            link.stall(6.0, (chance.choice(link.ways),))
        protocol = factory()
        link.dialled.protocol = protocol
        self.loop.schedule(accepting, 0.0, link.accepted.open, accept)
        protocol.connection_made(link.dialled)
        return link.dialled, protocol

    def _note_in_vain(self, process: Process) -> None:
        """Check that nobody who is refused comes back all the time."""
        tries = self._in_vain.setdefault(process, deque(maxlen=_TRIES_A_SECOND_MAX))
        now = self.loop.time()
        is_flood = len(tries) == _TRIES_A_SECOND_MAX and now - tries[0] < 1.0
        assert not is_flood, f"{process} tries to connect {_TRIES_A_SECOND_MAX} times a second"
        tries.append(now)

    def is_cut_off(self, process: Process | None) -> bool:
        return process is not None and self._cut_off.get(process, 0) > 0

    # -- faults

    def links_of(self, process: Process) -> list[Link]:
        return [link for link in self.links if process in link.ends and not link.is_over]

    def partition(self, process: Process, seconds: float) -> None:
        """Let nothing through to or from a process; its connections stay up, as TCP's do."""
        self._cut_off[process] = self._cut_off.get(process, 0) + 1
        for link in self.links_of(process):
            link.stall(seconds, link.ways)
        self.loop.schedule(None, seconds, self._heal, process)

    def _heal(self, process: Process) -> None:
        self._cut_off[process] = max(0, self._cut_off.get(process, 0) - 1)

    def kill(self, process: Process, *, vanishes: bool = False) -> None:
        """End a killed process's connections; if its host vanishes too, nobody is told so."""
        for port, (listening, _) in list(self._listening.items()):
            if listening is process:
                self.close(port)
        for link in self.links_of(process):
            end, other = (
                (link.dialled, link.accepted)
                if link.dialled.process is process
                else (link.accepted, link.dialled)
            )
            end.is_lost = True
            other.out.meet_a_dead_end()
            if vanishes:
                link.black_hole()
                wait_s = link.chance.uniform(0.5, GIVES_UP_S)
                other.fail_later(wait_s, TimeoutError(110, "Connection timed out"))
            elif end.has_unread or link.chance.random() < 0.4:
                other.fail_later(self.delay(link.chance), ConnectionResetError("reset by peer"))
            else:
                end.out.end()

    def calm(self) -> None:
        """End every fault of the network."""
        self.is_calm = True
        self._cut_off.clear()
        for link in self.links:
            if any(way.is_black_hole for way in link.ways):
                link.reset()
            for way in link.ways:
                way.stalls = 0
                way.cut_after = None
                way.go_on()


class _Listener:
    """Be what `create_server` returns, as far as the control plane uses it."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._port = port
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", self._port)

    def close(self) -> None:
        self._network.close(self._port)


class Link:
    """Hold one connection: two ends and a way in each direction."""

    def __init__(
        self, network: Network, dialling: Process, accepting: Process, chance: random.Random
    ) -> None:
        self.network = network
        self.chance = chance
        self.ends = (dialling, accepting)
        number = network.connects
        self.dialled = Stream(self, dialling, ("127.0.0.1", 5555))
        self.accepted = Stream(self, accepting, ("127.0.0.1", 40_000 + number))
        there = Way(network, self.dialled, self.accepted, random.Random(chance.getrandbits(64)))
        back = Way(network, self.accepted, self.dialled, random.Random(chance.getrandbits(64)))
        self.dialled.out, self.accepted.out = there, back
        self.ways = (there, back)

    @property
    def is_over(self) -> bool:
        return self.dialled.is_lost and self.accepted.is_lost

    def other(self, stream: Stream) -> Stream:
        return self.accepted if stream is self.dialled else self.dialled

    def stall(self, seconds: float, ways: tuple[Way, ...]) -> None:
        """Let nothing through for a while; TCP gives up if it takes too long."""
        for way in ways:
            way.stalls += 1
            self.network.loop.schedule(None, seconds, way.unstall)
        if seconds >= GIVES_UP_S:
            for stream in (self.dialled, self.accepted):
                stream.fail_later(GIVES_UP_S, TimeoutError(110, "Connection timed out"))

    def reset(self) -> None:
        for stream in (self.dialled, self.accepted):
            stream.fail_later(
                self.network.delay(self.chance), ConnectionResetError("reset by peer")
            )

    def forget(self, at: Stream) -> None:
        """End the connection at one side only; the other believes it up until it sends."""
        self.black_hole()
        at.fail_later(0.0, ConnectionResetError("reset by peer"))
        wait_s = self.chance.uniform(0.5, GIVES_UP_S)
        self.other(at).fail_later(wait_s, TimeoutError(110, "Connection timed out"))

    def black_hole(self) -> None:
        for way in self.ways:
            way.is_black_hole = True


class Way:
    """Carry the bytes of one direction."""

    def __init__(
        self, network: Network, sender: Stream, receiver: Stream, chance: random.Random
    ) -> None:
        self._network = network
        self._loop = network.loop
        self._sender = sender
        self._receiver = receiver
        self._chance = chance
        # What the sending process holds, and what the kernels and the network do: (due, bytes).
        self.buffer = bytearray()
        self._flight: deque[tuple[float, bytes | None]] = deque()
        self._flight_bytes = 0
        self._last_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._has_ended = False
        self.stalls = 0
        self.is_black_hole = False
        # After so many more bytes the connection is reset, wherever in a frame that is.
        self.cut_after: int | None = None

    def send(self, data: bytes) -> None:
        self.buffer += data
        self.refill()

    def refill(self) -> None:
        """Hand the kernel what it has room for."""
        window = self._network.window_bytes
        while self.buffer and self._flight_bytes < window:
            size = min(len(self.buffer), window - self._flight_bytes)
            chunk = bytes(self.buffer[:size])
            del self.buffer[:size]
            self._put(chunk)
        if self._is_ending and not self.buffer and not self._has_ended:
            self._has_ended = True
            self._put(None)
        self._sender.drained()

    def end(self) -> None:
        """Let the receiver see the end once it has all that the kernel has."""
        self.buffer.clear()
        self.close()

    def close(self) -> None:
        self._is_ending = True
        self.refill()

    def _put(self, chunk: bytes | None) -> None:
        if self.is_black_hole:
            return
        due = max(self._last_due, self._loop.time() + self._network.delay(self._chance))
        self._last_due = due
        self._flight.append((due, chunk))
        self._flight_bytes += len(chunk or b"")
        self.go_on()

    def unstall(self) -> None:
        if self.stalls:
            self.stalls -= 1
            self.go_on()

    def go_on(self) -> None:
        if self._timer is None and self._flight and not self.stalls and self._receiver.is_reading:
            wait_s = max(0.0, self._flight[0][0] - self._loop.time())
            process = None if self._receiver.is_lost else self._receiver.process
            self._timer = self._loop.schedule(process, wait_s, self._arrive)

    def meet_a_dead_end(self) -> None:
        """Go on without the process that received; its kernel answers what still arrives."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.go_on()

    def _arrive(self) -> None:
        self._timer = None
        if self.stalls or not self._receiver.is_reading or self.is_black_hole:
            return
        _, chunk = self._flight.popleft()
        if chunk is None:
            self._receiver.ended()
            return
        if len(chunk) > 1 and self._chance.random() < 0.15:
            at = self._chance.randrange(1, len(chunk))
            self._flight.appendleft((self._loop.time() + self._network.delay_s / 2, chunk[at:]))
            chunk = chunk[:at]
        if self.cut_after is not None and len(chunk) >= self.cut_after:
            chunk = chunk[: self.cut_after]
            self.is_black_hole = True
            self._sender.link.reset()
        elif self.cut_after is not None:
            self.cut_after -= len(chunk)
        self._flight_bytes -= len(chunk)
        if chunk:
            self._receiver.arrived(chunk)
        if self.buffer:
            self._loop.schedule(self._sender.process, 0.0, self.refill)
        self.go_on()


class Stream(asyncio.Transport):
    """Be one end of a connection, as asyncio's own transport is."""

    out: Way

    def __init__(self, link: Link, process: Process, peername: tuple[str, int]) -> None:
        super().__init__({"peername": peername, "socket": None})
        self.link = link
        self.process = process
        self.protocol: Any = None
        self.is_lost = False
        self.has_unread = False
        self._is_closing = False
        self._is_paused = False
        self._high, self._low = 64 * 1024, 16 * 1024
        self._is_full = False

    @property
    def _loop(self) -> VirtualLoop:
        return self.link.network.loop

    @property
    def is_reading(self) -> bool:
        return not self._is_paused or self.is_lost or self._is_closing

    def open(self, factory: Callable[[], asyncio.Protocol]) -> None:
        if not self.is_lost:
            self.protocol = factory()
            self.protocol.connection_made(self)

    # -- what the protocol calls

    def write(self, data: Any) -> None:
        if self._is_closing:
            return
        if self.out.is_black_hole and self.link.chance.random() < 0.5:
            # There is a host that doesn't know this connection, and says so.
            delay_s = self.link.network.delay(self.link.chance)
            self.fail_later(delay_s, ConnectionResetError("reset by peer"))
        self.out.send(bytes(data))
        if len(self.out.buffer) > self._high and not self._is_full:
            self._is_full = True
            self.protocol.pause_writing()

    def drained(self) -> None:
        """Note that the kernel took what it had room for."""
        if self.is_lost:
            return
        if self._is_full and len(self.out.buffer) <= self._low:
            self._is_full = False
            self.protocol.resume_writing()
        if self._is_closing and not self.out.buffer:
            self._loop.schedule(self.process, 0.0, self._lose, None)

    def get_write_buffer_size(self) -> int:
        return len(self.out.buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.link.other(self).out.go_on()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.out.close()

    def abort(self) -> None:
        if self.is_lost:
            return
        self._is_closing = True
        self.out.buffer.clear()
        network = self.link.network
        other = self.link.other(self)
        if not self.out.is_black_hole:
            delay_s = network.delay(self.link.chance)
            other.fail_later(delay_s, ConnectionResetError("reset by peer"))
        self._loop.schedule(self.process, 0.0, self._lose, None)

    # -- what the network calls

    def arrived(self, data: bytes) -> None:
        if self.is_lost:
            other = self.link.other(self)
            delay_s = self.link.network.delay(self.link.chance)
            other.fail_later(delay_s, ConnectionResetError("reset by peer"))
        elif self._is_closing:
            self.has_unread = True
        else:
            self.protocol.data_received(data)

    def ended(self) -> None:
        if not self.is_lost and not self._is_closing:
            self.protocol.eof_received()
            self.close()

    def fail_later(self, delay_s: float, error: Exception) -> None:
        self._loop.schedule(self.process, delay_s, self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if self.is_lost:
            return
        self.is_lost = self._is_closing = True
        self.out.buffer.clear()
        if self.protocol is not None:
            self.protocol.connection_lost(error)
        else:
            # It was never accepted.
            self.link.black_hole()
