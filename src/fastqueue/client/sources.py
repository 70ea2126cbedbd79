"""Own taking items one by one out of what a caller gave: an iterable, or an asynchronous one.

It is never read further than it is asked for, and while the next item of an asynchronous one is
awaited whoever reads it can do something else. All steps of that are of one task, whoever asks for
them: what it holds open between two items (a timeout, a task group, a connection) belongs to the
task that it was opened in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Source"]

_T = TypeVar("_T")


class Source(Generic[_T]):
    """Read an iterable of either kind.

    Args:
        items: what is read.

    Attributes:
        is_over: there is nothing more in it.

    Raises:
        TypeError: it can't be iterated over.
    """

    def __init__(self, items: Iterable[_T] | AsyncIterable[_T]) -> None:
        self.is_over = False
        self._items: Iterator[_T] | None = None
        self._async_items: AsyncIterator[_T] | None = None
        if isinstance(items, AsyncIterable):
            self._async_items = aiter(items)
        elif isinstance(items, Iterable):
            self._items = iter(items)
        else:
            raise TypeError(f"an iterable or an asynchronous one is wanted, not {items!r:.200}")
        # Of an asynchronous one: what reads it, its next item (none is the end) once somebody has
        # asked for it, and that somebody has.
        self._reader: asyncio.Task[None] | None = None
        self._next: asyncio.Future[list[_T]] | None = None
        self._is_asked = asyncio.Event()

    def ask(self) -> asyncio.Future[list[_T]] | None:
        """Ask for the next item; return what is done once it is there, None if it is already."""
        if self._async_items is None or self.is_over:
            return None
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._reader is None:
                self._reader = asyncio.create_task(self._read(self._async_items))
            self._is_asked.set()
        return None if self._next.done() else self._next

    def take(self) -> list[_T]:
        """Return the next item, which is there; nothing if that was all.

        Raises:
            BaseException: what the iterable raises.
        """
        try:
            found = self._take()
        except BaseException:
            self.is_over = True
            raise
        self.is_over = self.is_over or not found
        return found

    def _take(self) -> list[_T]:
        if self.is_over:
            return []
        if self._items is not None:
            for item in self._items:
                return [item]
            return []
        found, self._next = self._next, None
        assert found is not None
        return found.result()

    async def _read(self, items: AsyncIterator[_T]) -> None:
        """Take a step for each time that somebody asks, then close what can be closed."""
        try:
            while not self.is_over:
                await self._is_asked.wait()
                self._is_asked.clear()
                assert self._next is not None
                try:
                    self._next.set_result([await anext(items)])
                except StopAsyncIteration:
                    self._next.set_result([])
                    return
                except Exception as error:  # noqa: BLE001 - it is raised in `take`
                    self._next.set_exception(error)
                    return
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    async def close(self) -> None:
        """Ask for nothing more; an asynchronous one isn't left in the middle of a step."""
        self.is_over = True
        if self._next is not None:
            self._next.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait((self._reader,))
            if not self._reader.cancelled() and (error := self._reader.exception()) is not None:
                raise error
