"""Own the sockets at which the control plane listens: TCP, TLS or Unix; the server starts them.

A peer that comes by TLS reaches the server only once its handshake is over: until then it costs
little, not for long, and with many others like it not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, cast

from fastqueue.control_plane.drop_log import DropLog
from fastqueue.errors import ConfigurationError
from fastqueue.link.tls import HANDSHAKE_TIMEOUT_S, SHUTDOWN_TIMEOUT_S

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from fastqueue.config import Address
    from fastqueue.link.connection import Connection

__all__ = ["Listener"]

logger = logging.getLogger(__name__)

_BACKLOG = 1_024
# Handshakes of TLS that are under way; each has a few seconds, and the oldest makes way for a new
# one. Their files are among those that `open_files.py` reserves.
_HANDSHAKES_MAX = 256
# What a peer may say between the end of its handshake and our noticing that.
_EARLY_BYTES_MAX = 256 * 1024


class Listener:
    """Listen at one address.

    Args:
        make_connection: called for each peer; what it returns is given the peer's stream.
        tls: what peers must show at a `tls://` address; not used at others.
    """

    def __init__(
        self, make_connection: Callable[[], Connection], tls: ssl.SSLContext | None = None
    ) -> None:
        self._make_connection = make_connection
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._socket_path: str | None = None
        # The oldest first.
        self._handshakes: dict[asyncio.Task[None], _Entrance] = {}
        self._drops = DropLog(logger)

    async def start(self, address: Address) -> Address:
        """Listen; return the address with the port that the system chose, if it was to choose.

        Raises:
            ConfigurationError: the address can't be listened at.
        """
        loop = asyncio.get_running_loop()
        try:
            if address.scheme == "ipc":
                _check_socket_is_dead(address.path)
                self._server = await loop.create_unix_server(
                    self._make_connection, address.path, backlog=_BACKLOG
                )
                os.chmod(address.path, 0o600)
                self._socket_path = address.path
                return address
            self._server = await loop.create_server(
                self._make_connection if address.scheme == "tcp" else self._make_entrance,
                address.host,
                address.port,
                backlog=_BACKLOG,
                reuse_address=True,
            )
        except (OSError, socket.gaierror) as error:
            raise ConfigurationError(
                f"the control plane can't listen at {address}: {error.strerror or error}; is "
                "another one running there? choose another with --base-address"
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        return dataclasses.replace(address, port=port)

    def close(self) -> None:
        """Let nobody in any more; a second call does nothing."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drops.flush()
        for handshake in list(self._handshakes):
            handshake.cancel()
        if self._socket_path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._socket_path)
            self._socket_path = None

    # -- TLS

    def _make_entrance(self) -> _Entrance:
        return _Entrance(self._shake_hands)

    def _shake_hands(self, entrance: _Entrance) -> None:
        if len(self._handshakes) >= _HANDSHAKES_MAX:
            oldest = next(iter(self._handshakes))
            slow = self._handshakes.pop(oldest)
            self._drops.note(slow.peer, TimeoutError("others want to shake hands as well"))
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._shake_hands_with(entrance))
        self._handshakes[task] = entrance
        task.add_done_callback(self._forget)

    def _forget(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.pop(handshake, None)

    async def _shake_hands_with(self, entrance: _Entrance) -> None:
        assert self._tls is not None
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await entrance.shake_hands(self._tls)
        except (OSError, TimeoutError) as error:
            why = f"no handshake of TLS within {HANDSHAKE_TIMEOUT_S:g} s"
            if not isinstance(error, (TimeoutError, ConnectionAbortedError)):
                why = f"its handshake of TLS failed: {str(error) or 'it hung up'}"
            self._drops.note(entrance.peer, ConnectionError(why))
            entrance.abort()
        except asyncio.CancelledError:
            entrance.abort()
            raise
        else:
            entrance.hand_over(self._make_connection())


class _Entrance(asyncio.Protocol):
    """Stand where the connection will be, while the handshake of TLS goes on.

    The event loop could do the handshake by itself, and would tell nobody of one that failed.
    """

    def __init__(self, on_arrived: Callable[[_Entrance], None]) -> None:
        self._on_arrived = on_arrived
        self._plain: asyncio.Transport | None = None
        self._encrypted: asyncio.Transport | None = None
        self._early = bytearray()
        self._is_lost = False
        self._error: Exception | None = None
        self.peer = "a peer"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read nothing until the handshake begins."""
        self._plain = cast("asyncio.Transport", transport)
        self._plain.pause_reading()
        name = self._plain.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = f"{name[0]}:{name[1]}"
        self._on_arrived(self)

    def data_received(self, data: bytes) -> None:
        """Keep what came right behind the handshake."""
        self._early += data
        if len(self._early) > _EARLY_BYTES_MAX:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the stream has ended."""
        self._is_lost, self._error = True, exc

    async def shake_hands(self, context: ssl.SSLContext) -> None:
        """Do the handshake.

        Raises:
            OSError: it failed, or took too long.
        """
        assert self._plain is not None
        encrypted = await asyncio.get_running_loop().start_tls(
            self._plain,
            self,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        if encrypted is None or self._is_lost:
            raise ConnectionResetError("it hung up")
        self._encrypted = encrypted

    def hand_over(self, connection: Connection) -> None:
        """Put the connection in this place."""
        assert self._encrypted is not None
        self._encrypted.set_protocol(connection)
        connection.connection_made(self._encrypted)
        if self._early:
            connection.data_received(bytes(self._early))

    def abort(self) -> None:
        """End the stream at once."""
        for transport in (self._encrypted, self._plain):
            if transport is not None:
                transport.abort()


def _check_socket_is_dead(path: str) -> None:
    """Refuse a Unix socket that somebody listens at; asyncio would replace any.

    What a control plane that was killed left behind is replaced.

    Raises:
        OSError: somebody listens there.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
