"""Own the six NNG patterns, as asyncio objects; the one door to NNG for users and for fastqueue.

Each speaks to any other NNG program, in any language, that uses the same protocol:

| pattern | NNG protocols | who listens |
|---|---|---|
| `ReqRepPattern` | Rep0 (server), Req0 | the server |
| `PairPattern` | Pair0 | the server |
| `BusPattern` | Bus0 | whoever says `listen=True` |
| `PubSubPattern` | Pub0 (server), Sub0 | the publisher |
| `PushPullPattern` | Push0 (server), Pull0 | the pusher |
| `SurveyorRespondentPattern` | Surveyor0, Respondent0 | the surveyor |

Use one from the thread of the event loop it was started on. A completed `send` means that NNG
took the bytes for a connected peer, not that the peer's program has read them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pynng

from fastqueue.errors import ConfigurationError, PatternError, PatternTimeout
from fastqueue.patterns._pattern import Pattern
from fastqueue.patterns._replies import Replier

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.patterns._socket import NngSocket

__all__ = [
    "BusPattern",
    "PairPattern",
    "PubSubPattern",
    "PushPullPattern",
    "ReqRepPattern",
    "SurveyorRespondentPattern",
]


class _AnsweringPattern(Pattern):
    """Be a pattern of which one side asks and the other answers."""

    _answers = False
    _replier: Replier | None = None

    def _prepare(self, socket: NngSocket) -> None:
        if not self._answers:
            return
        # Contexts inherit both when they are made: never wait in a receive, and give a peer that
        # stopped reading no longer than this to take its answer.
        socket.raw.recv_timeout = 0
        timeout_s = self._options.send_timeout_s
        socket.raw.send_timeout = -1 if timeout_s is None else int(timeout_s * 1000)
        self._replier = Replier(socket)

    async def _send(self, socket: NngSocket, data: bytes) -> None:
        if self._replier is not None:
            await self._replier.send(data)
        else:
            await socket.send(data)

    async def _recv(self, socket: NngSocket) -> bytes:
        if self._replier is not None:
            return await self._replier.recv(self._options.recv_timeout_s)
        return await super()._recv(socket)


class ReqRepPattern(_AnsweringPattern):
    """Ask and answer: a client sends a request and receives its reply.

    The server receives, then sends: the reply goes to the request it received last. A client
    that has stopped reading holds up neither the server nor the other clients: its reply is
    dropped after `send_timeout_s`.

    A request is never resent behind the caller's back (NNG would after 60 s, and when it
    reconnects). A reply may be lost, with its connection: set `recv_timeout_s`, and ask again.
    """

    def __init__(self, address: str, is_server: bool = False, **options: Any) -> None:
        super().__init__(address, is_server, **options)
        self._answers = is_server
        self._drains_by_fd = not is_server

    def _open(self) -> Any:
        return pynng.Rep0() if self._answers else pynng.Req0(resend_time=-1)


class PairPattern(Pattern):
    """Talk both ways with exactly one peer, in order.

    While a peer is connected, a server drops every other one that connects.

    Args:
        address: where the server listens.
        is_server: listen at the address instead of dialling it.
        on_disconnect: called on the event loop whenever a connection has ended.
        **options: as for every pattern.
    """

    _drains_by_fd = True

    def __init__(
        self,
        address: str,
        is_server: bool = False,
        *,
        on_disconnect: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(address, is_server, **options)
        self._on_disconnect = on_disconnect

    def _prepare(self, socket: NngSocket) -> None:
        socket.on_pipe_removed = self._on_disconnect

    def _open(self) -> Any:
        # No send buffer: what `send` took is then either written or the one message in hand, so
        # that closing can tell when all is out, and nothing waits for the wrong peer.
        return pynng.Pair0(recv_buffer_size=self._options.buffer_max, send_buffer_size=0)

    @property
    def is_connected(self) -> bool:
        """Say whether the peer is there, as far as the event loop has been told."""
        return self._socket is not None and self._socket.pipe_count > 0

    @property
    def disconnect_count(self) -> int:
        """Return how often a connection has ended so far."""
        return 0 if self._socket is None else self._socket.pipes_removed

    async def wait_connected(self, timeout_s: float | None = None) -> None:
        """Wait until a peer is connected.

        Raises:
            PatternTimeout: none was within `timeout_s` seconds.
            PatternClosed: the pattern is closed, or was while this waited.
        """
        socket = self._started("wait for a peer")
        deadline = None if timeout_s is None else socket.loop.time() + timeout_s
        while not socket.pipe_count:
            left_s = None if deadline is None else max(0.0, deadline - socket.loop.time())
            if not await socket.wait_pipes_changed(left_s):
                raise PatternTimeout(f"no peer connected at {self.address} within {timeout_s} s")

    async def wait_disconnected(self, since: int, timeout_s: float | None = None) -> bool:
        """Wait until `disconnect_count` exceeds `since`; False when `timeout_s` has passed.

        Raises:
            PatternClosed: the pattern is closed, or was while this waited.
        """
        socket = self._started("wait for a peer")
        deadline = None if timeout_s is None else socket.loop.time() + timeout_s
        while socket.pipes_removed <= since:
            left_s = None if deadline is None else max(0.0, deadline - socket.loop.time())
            if not await socket.wait_pipes_changed(left_s):
                return False
        return True

    async def wait_drained(self, timeout_s: float) -> bool:
        """Wait until what was sent has been written to the peer's connection.

        Returns False when `timeout_s` seconds have passed: the peer doesn't read, or is gone.

        Raises:
            PatternClosed: the pattern is closed, or was while this waited.
        """
        return await self._started("send").wait_drained(timeout_s)


class BusPattern(Pattern):
    """Send to every peer directly connected; receive from any of them.

    Hints only: NNG drops, silently, what a peer has no room for. Repeat what matters.

    Args:
        address: where to listen, or whom to dial.
        listen: listen at the address instead of dialling it.
        on_connect: called on the event loop whenever a peer has connected.
        **options: as for every pattern.
    """

    def __init__(
        self,
        address: str,
        listen: bool = False,
        *,
        on_connect: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(address, listen, **options)
        self._on_connect = on_connect

    def _open(self) -> Any:
        buffer_max = self._options.buffer_max
        return pynng.Bus0(recv_buffer_size=buffer_max, send_buffer_size=buffer_max)

    def _prepare(self, socket: NngSocket) -> None:
        socket.on_pipe_added = self._on_connect


class PubSubPattern(Pattern):
    """Publish to every subscriber; the publisher listens.

    A subscriber gets what is published while it is connected. NNG drops, silently, what a
    subscriber more than `buffer_max` messages behind has no room for.

    Args:
        address: where the publisher listens.
        is_server: be the publisher.
        topics: what a subscriber wants: messages that begin with one of these; all, if not given.
        **options: as for every pattern.
    """

    def __init__(
        self,
        address: str,
        is_server: bool = False,
        *,
        topics: tuple[bytes, ...] = (b"",),
        **options: Any,
    ) -> None:
        super().__init__(address, is_server, **options)
        self._topics = topics
        self._can_send = is_server
        self._can_recv = not is_server

    def _open(self) -> Any:
        if self._can_send:
            return pynng.Pub0(send_buffer_size=self._options.buffer_max)
        return pynng.Sub0(topics=self._topics, recv_buffer_size=self._options.buffer_max)


class PushPullPattern(Pattern):
    """Hand each message to one of the pullers connected; the pusher listens.

    With no puller that has room, `send` waits.
    """

    _drains_by_fd = True

    def __init__(self, address: str, is_server: bool = False, **options: Any) -> None:
        super().__init__(address, is_server, **options)
        self._can_send = is_server
        self._can_recv = not is_server

    def _open(self) -> Any:
        return pynng.Push0(send_buffer_size=0) if self._can_send else pynng.Pull0()


class SurveyorRespondentPattern(_AnsweringPattern):
    """Ask all who are connected, and receive what answers come in time; the surveyor listens.

    A surveyor sends once, then receives until `recv` raises PatternTimeout: the survey is over.
    Its next survey ends the one before. A respondent receives, then sends.

    Args:
        address: where the surveyor listens.
        is_surveyor: ask, instead of answering.
        survey_time_s: how long answers are accepted, in seconds.
        **options: as for every pattern.
    """

    def __init__(
        self,
        address: str,
        is_surveyor: bool = False,
        *,
        survey_time_s: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(address, is_surveyor, **options)
        if survey_time_s <= 0:
            raise ConfigurationError(f"survey_time_s is {survey_time_s}; use more than 0")
        self._answers = not is_surveyor
        self._survey_time_s = survey_time_s
        self._survey_end: float | None = None

    def _open(self) -> Any:
        if self._answers:
            return pynng.Respondent0()
        return pynng.Surveyor0(survey_time=int(self._survey_time_s * 1000))

    async def _send(self, socket: NngSocket, data: bytes) -> None:
        await super()._send(socket, data)
        if not self._answers:
            self._survey_end = socket.loop.time() + self._survey_time_s

    async def _recv(self, socket: NngSocket) -> bytes:
        if self._answers:
            return await super()._recv(socket)
        if self._survey_end is None:
            raise PatternError(f"no survey at {self.address}: send one first")
        # NNG tells of a survey's end only to a receive that waits inside it; ours don't.
        left_s = max(0.0, self._survey_end - asyncio.get_running_loop().time())
        timeout_s = self._options.recv_timeout_s
        if timeout_s is not None and timeout_s < left_s:
            return await socket.recv(socket.take_if_readable, timeout_s)
        try:
            return await socket.recv(socket.take_if_readable, left_s)
        except PatternTimeout:
            raise PatternTimeout(f"the survey at {self.address} is over") from None
