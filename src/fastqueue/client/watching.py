"""Own watching tasks: what happens to them, as a stream of events that ends with the result.

The control plane pushes what happens; after each reconnection the client asks how things stand.
What a watcher is slow to take waits here, within bounds: of the progress only the latest, of the
lines the last ones, and how many are missing is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from fastqueue.client.checks import is_possible_id
from fastqueue.client.results import to_task_result
from fastqueue.errors import ResultExpired
from fastqueue.protocol import messages as msg
from fastqueue.tasks.events import Finished, LogLine, Missed, Progress, StatusChanged
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.requests import Requests
    from fastqueue.client.results import Waiter
    from fastqueue.core.records import Happening
    from fastqueue.tasks.events import WatchEvent

__all__ = ["Feed", "Feeds", "watch_task"]

# As many lines as an attempt may log at all; a watcher that is further behind misses some.
_LINES_WAITING_MAX = 1_000
# A task has as many attempts; whoever is that far behind is told of the latest alone.
_STATUSES_WAITING_MAX = 100


class Feed:
    """Hold what has happened to a task and one watcher hasn't taken yet.

    Args:
        task_id: the task.
    """

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._events: deque[StatusChanged | LogLine | Missed] = deque()
        self._lines_waiting = 0
        self._progress: Progress | None = None
        # As last told: the status and the attempt, and the token of the lease it ran under.
        self._standing: tuple[TaskStatus | None, int] = (None, 0)
        self._attempt = 0
        self._token = 0
        self._next_line = 0
        self._dropped = 0
        self._last_progress: Progress | None = None
        # What comes before it is told how things stand is part of that.
        self.has_begun = False
        self.news = asyncio.Event()

    def take(self, happening: Happening) -> None:
        """Take what the control plane tells; what is known already changes nothing."""
        attempt = happening.attempt
        if happening.token and happening.token != self._token:
            # Another run, though perhaps of the same attempt: it counts its lines from 0 on.
            self._token = happening.token
            self._next_line = self._dropped = 0
            self._progress = self._last_progress = None
        standing = (happening.status, attempt)
        self._attempt = attempt
        if happening.status is not None and standing != self._standing:
            self._standing = standing
            self._add(
                StatusChanged(task_id=self._task_id, attempt=attempt, status=happening.status)
            )
        self._take_lines(happening)
        if happening.progress is not None:
            told = happening.progress
            progress = Progress(
                task_id=self._task_id,
                attempt=attempt,
                done=told.done,
                total=told.total,
                message=told.message,
            )
            if progress != self._last_progress:
                self._progress = self._last_progress = progress
        self.news.set()

    def _take_lines(self, happening: Happening) -> None:
        if happening.lines:
            if happening.first_line > self._next_line:
                self._miss(happening.first_line - self._next_line)
                self._next_line = happening.first_line
            for text in happening.lines[self._next_line - happening.first_line :]:
                self._add(
                    LogLine(
                        task_id=self._task_id,
                        attempt=self._attempt,
                        number=self._next_line,
                        text=text,
                    )
                )
                self._next_line += 1
        if happening.dropped > self._dropped:
            self._miss(happening.dropped - self._dropped)
            self._dropped = happening.dropped

    def _miss(self, lines: int) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(last, Missed) and last.attempt == self._attempt:
            self._events.pop()
            lines += last.lines
        self._events.append(Missed(task_id=self._task_id, attempt=self._attempt, lines=lines))

    def _add(self, event: StatusChanged | LogLine) -> None:
        self._events.append(event)
        if len(self._events) > _LINES_WAITING_MAX + _STATUSES_WAITING_MAX:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop the older half of what waits: of it the number of lines is told."""
        missed: dict[int, int] = {}
        for _ in range(len(self._events) // 2):
            event = self._events.popleft()
            if isinstance(event, LogLine):
                missed[event.attempt] = missed.get(event.attempt, 0) + 1
            elif isinstance(event, Missed):
                missed[event.attempt] = missed.get(event.attempt, 0) + event.lines
        for attempt, lines in reversed(missed.items()):
            self._events.appendleft(Missed(task_id=self._task_id, attempt=attempt, lines=lines))

    def next_event(self) -> WatchEvent | None:
        """Return the next event, or None if there is none yet."""
        if self._events:
            return self._events.popleft()
        progress, self._progress = self._progress, None
        if progress is None:
            self.news.clear()
        return progress


class Feeds:
    """Hold the feeds of one connection's watchers, and follow their tasks.

    Args:
        requests: what asks the control plane.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._feeds: dict[str, list[Feed]] = {}
        # What is asked without anybody who waits for it.
        self._asking: set[asyncio.Task[None]] = set()

    def open(self, task_id: str) -> Feed:
        """Return a new feed of a task; `follow` is to come."""
        feed = Feed(task_id)
        self._feeds.setdefault(task_id, []).append(feed)
        return feed

    async def follow(self, task_id: str) -> None:
        """Have the control plane tell what happens to a task.

        Raises:
            ControlPlaneUnavailable: it didn't answer in time.
            Overloaded: this client follows too many tasks.
        """
        # The answer is taken by `begin`, before whatever comes in the same frame.
        await self._requests.ask(lambda request: msg.Follow(request, task_id))

    def close(self, task_id: str, feed: Feed) -> None:
        """Drop a feed; after the last one of a task its control plane needn't tell any more."""
        feeds = self._feeds.get(task_id, [])
        if feed in feeds:
            feeds.remove(feed)
        if not feeds and self._feeds.pop(task_id, None) is not None:
            self._ask_beside(task_id, ends=True)

    def _ask_beside(self, task_id: str, *, ends: bool) -> None:
        asking = asyncio.get_running_loop().create_task(self._ask(task_id, ends=ends))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _ask(self, task_id: str, *, ends: bool) -> None:
        # The next connection asks again; the result comes in any case.
        with contextlib.suppress(ConnectionError, RuntimeError, LookupError):
            if ends:
                await self._requests.ask(lambda request: msg.Follow(request, task_id, ends=True))
            else:
                await self.follow(task_id)

    # -- what the connection calls

    def begin(self, standing: Happening | None) -> None:
        """Take how things stand with a task; None if it is over."""
        if standing is not None:
            for feed in self._feeds.get(standing.task_id, ()):
                feed.has_begun = True
                feed.take(standing)

    def take(self, happenings: Iterable[Happening]) -> None:
        """Take what the control plane tells."""
        for happening in happenings:
            for feed in self._feeds.get(happening.task_id, ()):
                if feed.has_begun:
                    feed.take(happening)

    def on_connected(self) -> None:
        """Follow again on a new connection, and learn what was missed."""
        for task_id in self._feeds:
            self._ask_beside(task_id, ends=False)

    def stop(self) -> None:
        """Ask nothing more."""
        for asking in self._asking:
            asking.cancel()


async def watch_task(connection: ClientConnection, task_id: str) -> AsyncIterator[WatchEvent]:
    """Yield what happens to a task, and in the end its result; see `Client.watch`."""
    results, feeds = connection.results, connection.feeds
    known = results.get(task_id)
    if known is not None and not isinstance(known, TaskStatus):
        yield Finished(task_id=task_id, result=to_task_result(known))
        return
    if not is_possible_id(task_id):
        raise _unknown(task_id)
    waiter = results.wait(task_id)
    feed = feeds.open(task_id)
    waiter.add_done_callback(lambda _: feed.news.set())
    try:
        if known is None:
            await connection.watch([task_id])
        if not waiter.done():
            await feeds.follow(task_id)
        async for event in _events(feed, waiter):
            yield event
        result = waiter.result()
        if result is None:
            raise _unknown(task_id)
        yield Finished(task_id=task_id, result=to_task_result(result))
    finally:
        results.stop_waiting(task_id, waiter)
        feeds.close(task_id, feed)


async def _events(feed: Feed, waiter: Waiter) -> AsyncIterator[WatchEvent]:
    """Yield events until the result is there, and those that came before it."""
    while True:
        is_over = waiter.done()
        while (event := feed.next_event()) is not None:
            yield event
        if is_over:
            return
        if not waiter.done():
            await feed.news.wait()


def _unknown(task_id: str) -> ResultExpired:
    return ResultExpired(
        f"task {task_id} is unknown to the control plane, or its result is evicted",
        task_id=task_id,
    )
