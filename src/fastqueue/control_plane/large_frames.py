"""Own how much of large frames may be in memory before they are complete.

A peer sends a large frame in many pieces, which are kept until the last is there. A crowd of peers
that do so at one time would take as much memory as they like. So a large frame is admitted by the
length that it announces; the next ones wait unread, first come first served. The server asks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastqueue.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.link.connection import Connection

__all__ = ["LargeFrames"]

# What peers usually send, batches and reports, waits for none of the larger ones. By whether it is
# larger: what is admitted at one time. One that is more by itself is admitted alone.
_USUAL_BYTES_MAX = 2 * 1024**2
_ADMITTED_BYTES_MAX = (16 * 1024**2, 32 * 1024**2)
# Frames up to this size aren't counted: so much of each may have arrived with its length.
_SMALL_BYTES_MAX = 256 * 1024
# Whoever is admitted and sends less than this in that time, while others wait, is ended.
_PROGRESS_BYTES_MIN = 64 * 1024
_PROGRESS_S = 2.0


class LargeFrames:
    """Admit large frames up to a bound.

    Args:
        is_held_back: says whether we ourselves don't read from a connection now.
        read: called when a connection that waited is admitted.
    """

    def __init__(
        self, is_held_back: Callable[[Connection], bool], read: Callable[[Connection], None]
    ) -> None:
        self._is_held_back = is_held_back
        self._read = read
        # By connection: the length of the frame, and how much was there at the last look.
        self._admitted: dict[Connection, list[int]] = {}
        self._waiting: dict[Connection, int] = {}
        self._bytes = [0, 0]
        self._timer: asyncio.TimerHandle | None = None

    def waits(self, connection: Connection) -> bool:
        """Say whether a connection isn't to be read from until it is admitted."""
        return connection in self._waiting

    def note(self, connection: Connection) -> None:
        """Take note of what of an incomplete frame has arrived; the connection may have to wait."""
        length = connection.decoder.announced_bytes
        admitted = self._admitted.get(connection)
        if admitted is not None:
            if admitted[0] == length:
                return
            self.forget(connection)
        if length <= _SMALL_BYTES_MAX:
            return
        self._waiting[connection] = length
        self._admit()
        if connection in self._waiting:
            connection.pause_reading()
            if self._timer is None:
                self._look_later()

    def forget(self, connection: Connection) -> None:
        """Let the next ones in: a frame is complete, or its connection has ended."""
        self._waiting.pop(connection, None)
        admitted = self._admitted.pop(connection, None)
        if admitted is not None:
            self._bytes[admitted[0] > _USUAL_BYTES_MAX] -= admitted[0]
            for each in self._admit():
                if each is not connection:
                    self._read(each)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _admit(self) -> list[Connection]:
        let_in = []
        is_closed = [False, False]
        for connection, length in list(self._waiting.items()):
            kind = length > _USUAL_BYTES_MAX
            used = self._bytes[kind]
            is_closed[kind] |= used > 0 and used + length > _ADMITTED_BYTES_MAX[kind]
            if is_closed[kind]:
                continue
            del self._waiting[connection]
            self._admitted[connection] = [length, 0]
            self._bytes[kind] += length
            let_in.append(connection)
        return let_in

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS_S, self._look)

    def _look(self) -> None:
        """End those who hold a place and don't go on; they would keep out all who wait."""
        self._timer = None
        if not self._waiting:
            return
        for connection, admitted in list(self._admitted.items()):
            arrived = connection.decoder.pending_bytes
            if arrived - admitted[1] < _PROGRESS_BYTES_MIN and not self._is_held_back(connection):
                connection.abort(
                    ProtocolError(
                        f"it began a frame of {admitted[0]:,} bytes, stopped after {arrived:,}, "
                        "and others wait"
                    )
                )
            admitted[1] = arrived
        self._look_later()
