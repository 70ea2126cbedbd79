"""Own `map`: a task for each item of an input of any length, and the results in its order."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from fastqueue.client.options import parse_options
from fastqueue.client.sources import Source
from fastqueue.client.window import Window, check_window
from fastqueue.errors import ClientStateError, FastQueueError
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import TaskPriority
from fastqueue.tasks.registry import task_name_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
    )

    from fastqueue.client.client_thread import ClientThread
    from fastqueue.client.options import SubmitOptions
    from fastqueue.client.submitting import Submitting
    from fastqueue.core.records import NewTask
    from fastqueue.tasks.models import TaskResult

__all__ = ["MapCall", "MappedTasks", "SyncMappedTasks"]

# These count from each submission, not from the call.
_RELATIVE = ("countdown", "expires")
# Items that are handed over to the client's thread at one time.
_HANDED_OVER = 200


class MapCall:
    """Hold what one call of `map` or `starmap` says.

    Args:
        task: the task's name, or the function that `@task` was put on.
        window: how many tasks may be unfinished at a time.
        priority: of all of them.
        options: those of all of them; without a batch they get one of their own.
        spread: whether an item is all the positional arguments, instead of one.

    Raises:
        ConfigurationError: the window or an option can't be what it is.
        TypeError: there is no such option.
        ValueError: the priority is none of the four.
    """

    def __init__(
        self,
        task: str | Callable[..., Any],
        window: int,
        priority: TaskPriority | str,
        options: SubmitOptions,
        *,
        spread: bool,
    ) -> None:
        self._task = task
        self._window = check_window(window)
        self._priority = TaskPriority.parse(priority)
        self._spread = spread
        self.batch_id = options.get("batch") or new_task_id()
        self._options: SubmitOptions = {**options, "batch": self.batch_id}
        self._parsed = parse_options(self._options)
        self._is_relative = any(options.get(name) is not None for name in _RELATIVE)

    def window(self, client: Submitting) -> Window:
        """Return the window of a run of it, through a client that is started."""
        connection = client._started()  # noqa: SLF001 - a part of the client

        def make(item: Any, surely: bool) -> NewTask:
            args = (item,)
            if self._spread:
                if not isinstance(item, (tuple, list)):
                    raise _not_spread(item)
                args = tuple(item)
            asked = parse_options(self._options) if self._is_relative else self._parsed
            return client._new_task(  # noqa: SLF001 - a part of the client
                connection, self._task, args, {}, self._priority, options=asked, surely=surely
            )

        who = f"the map of {task_name_of(self._task)!r} (batch {self.batch_id})"
        return Window(connection, make, self._window, who)


def _not_spread(item: Any) -> TypeError:
    return TypeError(
        f"an item of starmap is a tuple or list of positional arguments, not {item!r:.200}; "
        "with map an item is one argument"
    )


class MappedTasks:
    """Be iterated over for the results, or awaited for a list of them; once.

    Attributes:
        batch_id: the batch that the tasks are in.
    """

    def __init__(
        self, client: Submitting, call: MapCall, items: Iterable[Any] | AsyncIterable[Any]
    ) -> None:
        self._client = client
        self._call = call
        self._source: Source[Any] | None = Source(items)
        self.batch_id = call.batch_id

    def __aiter__(self) -> AsyncIterator[TaskResult]:
        source, self._source = self._source, None
        if source is None:
            raise ClientStateError("a map is run once: call `map` again, with the input anew")
        return _run(self._call.window(self._client), source)

    def __await__(self) -> Generator[Any, None, list[TaskResult]]:
        return self._collect().__await__()

    async def _collect(self) -> list[TaskResult]:
        return [result async for result in self]


async def _run(window: Window, source: Source[Any]) -> AsyncIterator[TaskResult]:
    try:
        while True:
            await _fill(window, source)
            if not len(window):
                return
            for result in await window.take():
                yield result
    except FastQueueError:
        raise
    except Exception as error:
        # The caller's own, from the input.
        error.add_note(window.how_far)
        raise
    finally:
        window.close()
        await source.close()


async def _fill(window: Window, source: Source[Any]) -> None:
    """Submit until the window is full, or the first result is there before the next item."""
    while window.room and not source.is_over:
        asked = source.ask()
        if asked is not None:
            waits_for: set[asyncio.Future[Any]] = {asked, window.first} if len(window) else {asked}
            await asyncio.wait(waits_for, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                return
        await window.add(source.take())


class SyncMappedTasks:
    """Be iterated over for the results, without asyncio; the input is read in the caller's thread.

    Attributes:
        batch_id: the batch that the tasks are in.
    """

    def __init__(
        self, running: Callable[[], ClientThread], call: MapCall, items: Iterable[Any]
    ) -> None:
        self.batch_id = call.batch_id
        self._results = _run_in(running, call, iter(items))

    def __iter__(self) -> Iterator[TaskResult]:
        return self

    def __next__(self) -> TaskResult:
        return next(self._results)

    def close(self) -> None:
        """Submit nothing more; what is submitted goes on."""
        self._results.close()


def _take_some(items: Iterator[Any], count: int) -> tuple[list[Any], Exception | None]:
    """Return the next items, and what the input raised after them, if it did."""
    some: list[Any] = []
    try:
        some.extend(itertools.islice(items, count))
    except Exception as error:  # noqa: BLE001 - the caller's own, and raised when those are sent
        return some, error
    return some, None


def _run_in(
    running: Callable[[], ClientThread], call: MapCall, items: Iterator[Any]
) -> Generator[TaskResult, None, None]:
    # All in one life of the client: after a stop there is nothing to go on with.
    thread = running()

    async def begin(client: Submitting) -> Window:
        return call.window(client)

    window = thread.call(begin)
    is_over = False
    try:
        while True:
            while not is_over and (room := window.room):
                some, error = _take_some(items, min(room, _HANDED_OVER))
                is_over = not some
                thread.call(lambda _, some=some: window.add(some))  # type: ignore[misc]
                if error is not None:
                    error.add_note(window.how_far)
                    raise error
            if not len(window):
                return
            yield from thread.call(lambda _: window.take())
    finally:
        thread.tell(window.close)
