"""Own one connection that carries frames: reading, writing, back-pressure, its end.

Used by the control plane's server for the connections it accepts and by `link.dialer` for those
that clients and subworkers make. Frames are handed over as they arrive, several at once; the
owner decodes them.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from fastqueue.errors import ProtocolError
from fastqueue.protocol.framing import HELLO_BYTES_MAX, FrameDecoder, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Connection"]

# What may wait to be written to one peer: past the high mark the owner is told to hold back. What
# is sent all the same (acknowledgements, leases) is bounded by other limits to less than a few of
# the largest frames; a peer for which more waits doesn't read, and is cut off.
_WRITE_HIGH_BYTES = 1024**2
_WRITE_FRAMES_MAX = 4

# A peer whose host vanished is noticed after about idle + interval * count seconds.
_KEEPALIVE_IDLE_S = 5
_KEEPALIVE_INTERVAL_S = 2
_KEEPALIVE_COUNT = 4
# Keepalive alone says nothing while sent data is unacknowledged; this bounds that as well.
_UNACKNOWLEDGED_MS = 1000 * (_KEEPALIVE_IDLE_S + _KEEPALIVE_INTERVAL_S * _KEEPALIVE_COUNT)


class Connection(asyncio.Protocol):
    """Carry frames over one stream.

    Args:
        on_frames: called with each batch of frame bodies, in order.
        on_closed: called once when the connection has ended, with the reason.
        on_opened: called once the stream is open.
        on_writable: called when the peer has caught up after it hadn't.
        on_partial: called when something arrived and a frame is, or was until now, incomplete.
    """

    def __init__(
        self,
        on_frames: Callable[[Connection, list[bytes]], None],
        on_closed: Callable[[Connection, Exception | None], None],
        on_opened: Callable[[Connection], None] | None = None,
        on_writable: Callable[[Connection], None] | None = None,
        on_partial: Callable[[Connection], None] | None = None,
    ) -> None:
        self._on_frames = on_frames
        self._on_closed = on_closed
        self._on_opened = on_opened
        self._on_writable = on_writable
        self._on_partial = on_partial
        self._was_partial = False
        # Until the hellos are exchanged a stranger can make us hold no more than this.
        self.decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._peer = "a peer that isn't connected yet"
        self._reason: Exception | None = None
        self._is_writable = True
        self.closed = asyncio.Event()

    @property
    def peer(self) -> str:
        """Return the peer's address, for log lines and errors."""
        return self._peer

    @property
    def is_open(self) -> bool:
        """Say whether frames can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def fileno(self) -> int:
        """Return the descriptor of its socket, or -1 if it isn't open."""
        if self._transport is None:
            return -1
        return cast("socket.socket", self._transport.get_extra_info("socket")).fileno()

    @property
    def is_writable(self) -> bool:
        """Say whether the peer keeps up with what is sent."""
        return self._is_writable

    def send(self, body: bytes) -> None:
        """Send one frame; a connection that is closed drops it."""
        self.send_all((body,))

    def send_all(self, bodies: Sequence[bytes]) -> None:
        """Send frames with one write; a connection that is closed drops them.

        The peer is cut off if it doesn't read and too much waits for it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(frame(bodies[0]) if len(bodies) == 1 else b"".join(map(frame, bodies)))
        bytes_max = _WRITE_FRAMES_MAX * self.decoder.frame_bytes_max
        if transport.get_write_buffer_size() > bytes_max:
            self.abort(ProtocolError(f"{self.peer} doesn't read what is sent to it"))

    def pause_reading(self) -> None:
        """Read nothing more from the peer for now: it is to wait."""
        if self.is_open:
            cast("asyncio.Transport", self._transport).pause_reading()

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self.is_open:
            cast("asyncio.Transport", self._transport).resume_reading()

    def close(self, reason: Exception | None = None) -> None:
        """End the connection once what is sent is written."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.close()

    def abort(self, reason: Exception | None = None) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._reason = self._reason or reason
            self._transport.abort()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note that the stream is open."""
        self._transport = cast("asyncio.Transport", transport)
        name = self._transport.get_extra_info("peername")
        self._peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a local peer"
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        _set_keepalive(self._transport.get_extra_info("socket"))
        if self._on_opened is not None:
            self._on_opened(self)

    def data_received(self, data: bytes) -> None:
        """Cut what arrived into frames and hand them over."""
        try:
            bodies = self.decoder.feed(data)
            if bodies:
                self._on_frames(self, bodies)
            if self._on_partial is not None:
                is_partial = self.decoder.pending_bytes > 0
                if is_partial or self._was_partial:
                    self._was_partial = is_partial
                    self._on_partial(self)
        except ProtocolError as error:
            self.abort(error)

    def pause_writing(self) -> None:
        """Note that the peer doesn't keep up."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._is_writable = True
        if self._on_writable is not None:
            self._on_writable(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the stream has ended."""
        self._transport = None
        self._is_writable = True
        self.closed.set()
        self._on_closed(self, self._reason or exc)


def _set_keepalive(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
