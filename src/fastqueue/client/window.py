"""Own what a map has submitted and hasn't handed out: no more than its window, in order.

It is the back-pressure of `map`: there is room for another task only once the first of those in it
is handed out, so that neither tasks nor results pile up, whatever the length of the input.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from fastqueue.client.offers import Doubt
from fastqueue.client.results import to_task_result
from fastqueue.errors import ConfigurationError, FastQueueError, ResultExpired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.results import Waiter
    from fastqueue.core.records import NewTask
    from fastqueue.tasks.models import TaskResult

__all__ = ["WINDOW", "Window", "check_window", "retold"]

WINDOW = 1_000
"""How many tasks are unfinished at a time, unless it is said."""

_WINDOW_MAX = 100_000
# Tasks that are encoded before the loop gets its turn.
_STEP = 200


def check_window(window: Any) -> int:
    """Return a window, if it can be one.

    Raises:
        ConfigurationError: it can't.
    """
    if type(window) is int and 1 <= window <= _WINDOW_MAX:
        return window
    raise ConfigurationError(
        f"window={window!r:.100}: it is a whole number from 1 to {_WINDOW_MAX:,}"
    )


def retold(error: FastQueueError, how_far: str) -> FastQueueError:
    """Return an error that says the same, and how far it came until then."""
    # Not `copy`: it knows nothing of arguments that are given by name.
    told = type(error).__new__(type(error))
    told.args = (f"{error}; {how_far}",)
    told.__dict__.update(error.__dict__)
    return told


class _Entry:
    """Hold the waiter of one task, and fail it if the task isn't taken."""

    __slots__ = ("task_id", "waiter", "window")

    def __init__(self, task_id: str, waiter: Waiter, window: Window) -> None:
        self.task_id = task_id
        self.waiter = waiter
        self.window = window

    def done(self) -> bool:
        """Say whether its result is there."""
        return self.waiter.done()

    def set_result(self, result: None) -> None:
        """Do nothing: that it is stored isn't what is waited for."""

    def set_exception(self, exception: BaseException) -> None:
        """Note that it wasn't taken, and that no more is to be submitted."""
        self.window.has_failed = True
        self.waiter.set_exception(exception)
        self.waiter.exception()  # whoever awaits it sees it; nobody else needs a warning


class Window:
    """Hold tasks in the order of the input.

    Args:
        connection: the client's.
        make: makes a task of an item, as `Submitting` does; told whether what is offered was asked
            for just now.
        size: how many there may be.
        who: what it is, for errors.

    Attributes:
        has_failed: one of them wasn't taken; `take` raises when its turn comes.
    """

    def __init__(
        self,
        connection: ClientConnection,
        make: Callable[[Any, bool], NewTask],
        size: int,
        who: str,
    ) -> None:
        self._connection = connection
        self._make = make
        self._size = size
        self._who = who
        self.has_failed = False
        self._entries: deque[_Entry] = deque()
        self._added = 0
        self._handed_out = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def room(self) -> int:
        """Return how many more there may be; none once one of them wasn't taken."""
        return 0 if self.has_failed else self._size - len(self._entries)

    @property
    def first(self) -> Waiter:
        """Return what is done once the first one's result is there."""
        return self._entries[0].waiter

    @property
    def how_far(self) -> str:
        """Say how far it came."""
        return (
            f"{self._who} had submitted {self._added:,} tasks, which go on, and handed out "
            f"{self._handed_out:,} results"
        )

    async def add(self, items: Iterable[Any]) -> None:
        """Submit tasks; there is room for them.

        Raises:
            FastQueueError: one can't be encoded or sent; the error says how far it came.
        """
        submissions, results = self._connection.submissions, self._connection.results
        for item in items:
            try:
                try:
                    new = self._make(item, False)
                except Doubt as doubt:
                    await self._connection.offers.ask(doubt.name)
                    new = self._make(item, True)
                if not submissions.has_room:
                    await submissions.wait_for_room()
                entry = _Entry(new.task_id, results.wait(new.task_id), self)
                # From here on `close` forgets it.
                self._entries.append(entry)
                submissions.add(new, entry)
            except FastQueueError as error:
                raise retold(error, self.how_far) from error
            self._added += 1
            if self._added % _STEP == 0:
                await asyncio.sleep(0)

    async def take(self) -> list[TaskResult]:
        """Return the first result, once it is there, and those after it that are there too.

        Raises:
            FastQueueError: the first task wasn't taken, or its result is gone; the error says how
                far it came.
        """
        entries = self._entries
        taken: list[TaskResult] = []
        if not entries[0].done():
            await asyncio.wait((entries[0].waiter,))
        while entries and entries[0].done():
            waiter = entries[0].waiter
            if taken and (waiter.exception() is not None or waiter.result() is None):
                break  # the next call says so, when what was before it is handed out
            taken.append(self._result(entries.popleft()))
            self._handed_out += 1
        return taken

    def _result(self, entry: _Entry) -> TaskResult:
        self._connection.results.take_same(entry.task_id)
        try:
            outcome = entry.waiter.result()
            if outcome is None:
                raise ResultExpired(
                    f"the result of task {entry.task_id} is evicted, or the store was lost",
                    task_id=entry.task_id,
                )
            return to_task_result(outcome)
        except FastQueueError as error:
            raise retold(error, self.how_far) from error

    def close(self) -> None:
        """Wait for nothing more; what is submitted goes on."""
        while self._entries:
            entry = self._entries.popleft()
            self._connection.results.stop_waiting(entry.task_id, entry.waiter)
