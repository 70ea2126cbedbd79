"""Own requests that are answered one for one: query, cancel, watch, inspect.

Each may be sent again on a new connection, for none changes anything a second time. Queries of one
turn of the event loop go out together.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastqueue.errors import (
    ClientStateError,
    ControlPlaneUnavailable,
    FastQueueError,
    Overloaded,
    SubmissionRefused,
)
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.records import Result
    from fastqueue.link.connection import Connection

__all__ = ["Requests"]

IDS_MAX = 1_000
"""How many ids one request names."""

_REQUESTS_MAX = 10_000


class Requests:
    """Send requests and hand each answer to its caller.

    Args:
        timeout_s: how long an answer may take, in seconds.
        where: says where the control plane is looked for, for errors.
    """

    def __init__(self, *, timeout_s: float, where: Callable[[], str]) -> None:
        self._timeout_s = timeout_s
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._last_request = 0
        self._unanswered: dict[int, tuple[bytes, asyncio.Future[Any]]] = {}
        self._parts: dict[int, list[Result | None]] = {}
        self._queries: list[tuple[str, asyncio.Future[Result | None]]] = []
        self._query_tasks: set[asyncio.Task[None]] = set()
        self._closed: Exception | None = None
        self.refusal = ""

    async def ask(self, make: Callable[[int], object]) -> Any:
        """Send the message that `make` makes for a request number; return the answer.

        Raises:
            ControlPlaneUnavailable: there was none in time.
            ClientStateError: the client was stopped.
            FastQueueError: the control plane refused.
        """
        if self._closed is not None:
            raise ClientStateError(*self._closed.args)
        if len(self._unanswered) >= _REQUESTS_MAX:
            raise Overloaded(f"{_REQUESTS_MAX:,} requests of this client are unanswered already")
        self._last_request += 1
        request = self._last_request
        body = encode(make(request))
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._unanswered[request] = (body, answer)
        if self._connection is not None:
            self._connection.send(body)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            because = f" ({self.refusal})" if self.refusal else ""
            raise ControlPlaneUnavailable(
                f"no answer within {self._timeout_s:g} s from a control plane, looked for "
                f"{self._where()}{because}; is `fastqueue control-plane` running?"
            ) from None
        finally:
            self._unanswered.pop(request, None)
            self._parts.pop(request, None)

    async def query(self, task_id: str) -> Result | None:
        """Return what the control plane knows of a task, or None.

        Raises:
            ControlPlaneUnavailable: it didn't answer in time.
        """
        found: asyncio.Future[Result | None] = self._loop.create_future()
        if not self._queries:
            self._loop.call_soon(self._flush_queries)
        self._queries.append((task_id, found))
        return await found

    def _flush_queries(self) -> None:
        queries, self._queries = self._queries, []
        for start in range(0, len(queries), IDS_MAX):
            task = self._loop.create_task(self._query_many(queries[start : start + IDS_MAX]))
            self._query_tasks.add(task)
            task.add_done_callback(self._query_tasks.discard)

    async def _query_many(self, queries: list[tuple[str, asyncio.Future[Result | None]]]) -> None:
        task_ids = [task_id for task_id, _ in queries]
        try:
            answer: list[Result | None] = await self.ask(
                lambda request: msg.Query(request, task_ids)
            )
        except FastQueueError as error:
            for _, found in queries:
                if not found.done():
                    found.set_exception(error)
            return
        for (_, found), result in zip(queries, answer, strict=True):
            if not found.done():
                found.set_result(result)

    # -- what the link calls

    def on_connected(self, connection: Connection) -> None:
        """Send everything that is unanswered (again)."""
        self._connection = connection
        self.refusal = ""
        bodies = [body for body, _ in self._unanswered.values()]
        if bodies:
            connection.send_all(bodies)

    def on_disconnected(self) -> None:
        """Keep requests for the next connection."""
        self._connection = None
        self._parts.clear()

    def on_answer(self, message: Any) -> None:
        """Hand an answer to its caller."""
        entry = self._unanswered.get(message.request)
        if entry is None or entry[1].done():
            return
        if isinstance(message, msg.Found):
            # A large answer comes in parts.
            parts = self._parts.setdefault(message.request, [])
            parts += message.results
            if message.is_last:
                entry[1].set_result(self._parts.pop(message.request))
        elif isinstance(message, msg.Failed):
            entry[1].set_exception(_failure(message))
        else:
            entry[1].set_result(message)

    def fail_all(self, error: Exception) -> None:
        """Raise `error` for everything that is unanswered, and ask nothing any more."""
        self._closed = error
        for _, answer in self._unanswered.values():
            if not answer.done():
                answer.set_exception(error)
        for _, found in self._queries:
            if not found.done():
                found.set_exception(error)
        self._queries.clear()


def _failure(message: msg.Failed) -> FastQueueError:
    if message.code == "overloaded":
        return Overloaded(message.message, retry_after_s=message.retry_after_s)
    return SubmissionRefused(message.message)
