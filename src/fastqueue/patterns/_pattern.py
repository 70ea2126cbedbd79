"""Own what the six patterns have in common: life cycle, options, errors.

`nng_patterns` derives each of them from it; nobody else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pynng

from fastqueue.errors import ConfigurationError, PatternClosed, PatternError
from fastqueue.patterns._socket import NngSocket, SocketOptions, explain

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Pattern"]

RECV_BYTES_MAX = 64 * 1024 * 1024
"""The largest payload fastqueue allows, and room for what is around it."""


class Pattern:
    """Be one end of a pattern.

    Args:
        address: an NNG address, such as `tcp://127.0.0.1:6000` or `ipc:///tmp/here`.
        listen: listen at the address instead of dialling it.
        recv_timeout_s: how long `recv` waits, in seconds; None waits for ever.
        send_timeout_s: how long `send` waits for a peer with room, in seconds; None for ever.
        recv_bytes_max: the longest message to accept; a peer that sends more is cut off.
        buffer_max: how many messages to hold in each direction where the protocol has a buffer.
        linger_s: how long closing may take to let out what was sent, in seconds.
        reconnect_max_s: the longest pause between two attempts to dial, in seconds.
    """

    _can_recv = True
    _can_send = True
    _drains_by_fd = False

    def __init__(
        self,
        address: str,
        listen: bool,
        *,
        recv_timeout_s: float | None = None,
        send_timeout_s: float | None = 5.0,
        recv_bytes_max: int = RECV_BYTES_MAX,
        buffer_max: int = 1000,
        linger_s: float = 0.25,
        reconnect_max_s: float = 0.5,
    ) -> None:
        if not isinstance(address, str):
            raise ConfigurationError(f"address is {address!r}; use a text such as tcp://HOST:PORT")
        self._address = address
        self._listen = listen
        self._options = SocketOptions(
            recv_timeout_s=recv_timeout_s,
            send_timeout_s=send_timeout_s,
            recv_bytes_max=recv_bytes_max,
            buffer_max=buffer_max,
            linger_s=linger_s,
            reconnect_max_s=reconnect_max_s,
        )
        self._socket: NngSocket | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._socket else "not started"
        return f"<{type(self).__name__} {self.address} {state}>"

    @property
    def address(self) -> str:
        """Return the address; after `start` with TCP port 0, with the port that was chosen."""
        return self._address if self._socket is None else self._socket.address

    async def start(self) -> None:
        """Listen at the address, or begin dialling it: a peer that isn't there yet is no error.

        A second call does nothing.

        Raises:
            PatternError: the address is bad, or in use.
            PatternClosed: the pattern was closed before.
        """
        if self._closed:
            raise PatternClosed(f"can't start at {self._address}: it is closed; make a new one")
        if self._socket is not None:
            return
        try:
            socket = NngSocket(
                self._open(), self._address, self._options, drains_by_fd=self._drains_by_fd
            )
        except pynng.NNGException as error:
            raise PatternError(
                f"can't open a socket for {self._address}: {explain(error)}"
            ) from error
        self._prepare(socket)
        if self._listen:
            socket.listen()
        else:
            socket.dial()
        self._socket = socket

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send one message.

        Raises:
            TypeError: `data` isn't bytes.
            PatternTimeout: no peer had room for it within `send_timeout_s`.
            PatternClosed: the pattern is closed, or was while this waited.
            PatternError: this side only receives, or the pattern isn't started.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"send takes bytes, not {type(data).__name__}: encode it first")
        if not self._can_send:
            raise PatternError(f"{self!r} only receives: send from its other side")
        await self._send(self._started("send"), bytes(data))

    async def recv(self) -> bytes:
        """Return the next message.

        Cancelling it, as `asyncio.wait_for` does, never loses a message.

        Raises:
            PatternTimeout: none came within `recv_timeout_s`.
            PatternClosed: the pattern is closed, or was while this waited.
            PatternError: this side only sends, or the pattern isn't started.
        """
        if not self._can_recv:
            raise PatternError(f"{self!r} only sends: receive at its other side")
        return await self._recv(self._started("receive"))

    def close(self) -> None:
        """Close; a `recv` or `send` still waiting raises PatternClosed. Closing twice is allowed.

        NNG drops at its close what it hasn't written yet. So what was sent gets up to `linger_s`
        to leave, during which this blocks; nobody waits when all is out, as it mostly is.
        """
        self._closed = True
        if self._socket is not None:
            self._socket.close()

    async def aclose(self) -> None:
        """Close like `close`, without blocking the event loop meanwhile."""
        self._closed = True
        if self._socket is not None:
            await self._socket.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _open(self) -> Any:
        raise NotImplementedError

    def _prepare(self, socket: NngSocket) -> None:
        """Do what must be done before the socket listens or dials."""

    async def _send(self, socket: NngSocket, data: bytes) -> None:
        await socket.send(data)

    async def _recv(self, socket: NngSocket) -> bytes:
        return await socket.recv(socket.take, self._options.recv_timeout_s)

    def _started(self, verb: str) -> NngSocket:
        if self._closed:
            raise PatternClosed(f"can't {verb} at {self.address}: the pattern is closed")
        if self._socket is None:
            raise PatternError(f"can't {verb} at {self.address}: call `await start()` first")
        return self._socket
