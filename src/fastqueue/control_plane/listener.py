"""Own the sockets at which the control plane listens: TCP, TLS or Unix; the server starts them.

A peer that comes by TLS reaches the server only once its handshake is over: until then it costs
little, not for long, and with many others like it not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
from typing import TYPE_CHECKING

from fastqueue.config.unix_socket import SOCKET_MODE, remove_dead_socket
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
# With no file left to accept with, how long until it is tried again.
_ACCEPT_PAUSE_S = 0.1
# Handshakes of TLS that are under way; each has a few seconds, and the oldest makes way for a new
# one. Their files are among those that `open_files.py` reserves.
_HANDSHAKES_MAX = 256


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
        self._accepting: list[asyncio.Task[None]] = []
        self._socket_path: str | None = None
        # The oldest first.
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._drops = DropLog(logger)

    async def start(self, address: Address) -> Address:
        """Listen; return the address with the port that the system chose, if it was to choose.

        Raises:
            ConfigurationError: the address can't be listened at.
        """
        loop = asyncio.get_running_loop()
        try:
            if address.scheme == "ipc":
                bound = _bound_unix_socket(address.path)
                self._socket_path = address.path
                self._server = await loop.create_unix_server(
                    self._make_connection, sock=bound, backlog=_BACKLOG
                )
                return address
            if address.scheme == "tls":
                return await self._start_tls(address)
            self._server = await loop.create_server(
                self._make_connection,
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
        for accepting in self._accepting:
            accepting.cancel()
        self._accepting.clear()
        self._drops.flush()
        for handshake in list(self._handshakes):
            handshake.cancel()
        if self._socket_path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._socket_path)
            self._socket_path = None

    # -- TLS

    # The event loop could do all of it by itself, and would tell nobody of a handshake that failed.

    async def _start_tls(self, address: Address) -> Address:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening: list[socket.socket] = []
        try:
            for family, _, _, _, where in dict.fromkeys(found):
                # A port that the system chose for the first is that of the others as well.
                port = listening[0].getsockname()[1] if listening else address.port
                bound = socket.create_server((where[0], port), family=family, backlog=_BACKLOG)
                bound.setblocking(False)
                listening.append(bound)
        except OSError:
            for one in listening:
                one.close()
            raise
        self._accepting = [loop.create_task(self._accept(one)) for one in listening]
        return dataclasses.replace(address, port=listening[0].getsockname()[1])

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                try:
                    accepted, where = await loop.sock_accept(listening)
                except OSError as error:
                    # It hung up already, or there is no file left for it.
                    self._drops.note("a peer", ConnectionError(f"it can't be accepted: {error}"))
                    await asyncio.sleep(_ACCEPT_PAUSE_S)
                    continue
                self._shake_hands(accepted, f"{where[0]}:{where[1]}")

    def _shake_hands(self, accepted: socket.socket, peer: str) -> None:
        if len(self._handshakes) >= _HANDSHAKES_MAX:
            oldest = next(iter(self._handshakes))
            slow = self._handshakes.pop(oldest)
            self._drops.note(slow, TimeoutError("others want to shake hands as well"))
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._shake_hands_with(accepted, peer))
        self._handshakes[task] = peer
        task.add_done_callback(self._forget)

    def _forget(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.pop(handshake, None)

    async def _shake_hands_with(self, accepted: socket.socket, peer: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._make_connection,
                    accepted,
                    ssl=self._tls,
                    ssl_handshake_timeout=2 * HANDSHAKE_TIMEOUT_S,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
                )
        except (OSError, TimeoutError) as error:
            why = f"no handshake of TLS within {HANDSHAKE_TIMEOUT_S:g} s"
            if not isinstance(error, TimeoutError):
                why = f"its handshake of TLS failed: {str(error) or 'it hung up'}"
            self._drops.note(peer, ConnectionError(why))


def _bound_unix_socket(path: str) -> socket.socket:
    """Return a Unix socket that has its path and doesn't listen yet.

    What a control plane that was killed left behind is replaced.

    Raises:
        OSError: somebody listens there, or it can't be there.
    """
    remove_dead_socket(path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.setblocking(False)
        bound.bind(path)
        os.chmod(path, SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    return bound
