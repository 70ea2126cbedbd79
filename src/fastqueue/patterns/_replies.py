"""Own the answering side of request-reply and of surveys; `nng_patterns` is the only caller.

NNG answers on the context a question was taken with. Each question here gets its own, so a peer
that has stopped reading holds up its own answers and nobody else's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pynng

from fastqueue.errors import PatternError

if TYPE_CHECKING:
    from fastqueue.patterns._socket import NngSocket

__all__ = ["Replier"]

ANSWERS_MAX = 64
"""How many answers may be on their way at once; past that `send` waits for one to end."""


class Replier:
    """Take questions from a Rep or Respondent socket and send an answer to each.

    Args:
        socket: an open socket; its contexts must inherit a receive timeout of 0.
    """

    def __init__(self, socket: NngSocket) -> None:
        self._socket = socket
        self._contexts: list[Any] = []
        self._idle: list[Any] = []
        self._current: Any = None
        self._answers: set[asyncio.Task[None]] = set()
        socket.before_close = self._close_contexts

    async def recv(self, timeout_s: float | None) -> bytes:
        """Return the next question; an earlier one still unanswered is then given up."""
        return await self._socket.recv(self._take, timeout_s)

    def _take(self) -> bytes:
        if not self._idle:
            context = self._socket.raw.new_context()
            self._contexts.append(context)
            self._idle.append(context)
        question: bytes = self._idle[-1].recv()
        given_up, self._current = self._current, self._idle.pop()
        if given_up is not None:
            self._idle.append(given_up)
        return question

    async def send(self, data: bytes) -> None:
        """Answer the question last received; returns before a slow peer has taken the answer.

        Raises:
            PatternError: there is no unanswered question.
            PatternClosed: the socket is closed.
        """
        while len(self._answers) >= ANSWERS_MAX:
            await asyncio.wait(self._answers, return_when=asyncio.FIRST_COMPLETED)
        self._socket.check_open("send")
        context, self._current = self._current, None
        if context is None:
            raise PatternError(
                f"nothing to answer at {self._socket.address}: receive first, then send once"
            )
        self._socket.has_sent = True
        answer = asyncio.create_task(self._answer(context, pynng.Message(data)))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        # One turn of the loop starts it; what the peer's connection has room for is then written.
        await asyncio.sleep(0)

    async def _answer(self, context: Any, message: pynng.Message) -> None:
        try:
            await context.asend_msg(message)
        except (pynng.NNGException, asyncio.CancelledError) as error:
            # NNG gives a message that wasn't sent back to us, but the binding already counts it
            # as gone and would leak it: +301 MB after 300 timeouts of 1 MB.
            message._mem_freed = False  # noqa: SLF001
            if isinstance(error, asyncio.CancelledError):
                raise
            # The peer didn't take its answer in time or is gone: as if the answer was lost on
            # its way, which a peer must be ready for anyway.
        if not self._socket.is_closed:
            self._idle.append(context)

    def _close_contexts(self) -> None:
        # Before the socket: the binding complains of a context that outlives it. An answer on its
        # way ends with its context, unless it is already being written.
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._idle.clear()
        self._current = None
