"""Own taking items one by one out of what a caller gave: an iterable, or an asynchronous one.

It is never read further than it is asked for, and while the next item of an asynchronous one is
awaited whoever reads it can do something else.
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
        # The next item of an asynchronous one, once somebody has asked for it.
        self._next: asyncio.Task[_T] | None = None
        if isinstance(items, AsyncIterable):
            self._async_items = aiter(items)
        elif isinstance(items, Iterable):
            self._items = iter(items)
        else:
            raise TypeError(f"an iterable or an asynchronous one is wanted, not {items!r:.200}")

    def ask(self) -> asyncio.Task[_T] | None:
        """Ask for the next item; return what is done once it is there, None if it is already."""
        if self._async_items is None or self.is_over:
            return None
        if self._next is None:
            self._next = asyncio.ensure_future(_next(self._async_items))
        return None if self._next.done() else self._next

    def take(self) -> list[_T]:
        """Return the next item, which is there; nothing if that was all.

        Raises:
            BaseException: what the iterable raises.
        """
        if self.is_over:
            return []
        try:
            if self._items is not None:
                return [next(self._items)]
            asked, self._next = self._next, None
            assert asked is not None
            return [asked.result()]
        except (StopIteration, StopAsyncIteration):
            self.is_over = True
            return []
        except BaseException:
            self.is_over = True
            raise

    async def close(self) -> None:
        """Ask for nothing more; an asynchronous one isn't left in the middle of a step."""
        self.is_over = True
        asked, self._next = self._next, None
        if asked is not None:
            asked.cancel()
            await asyncio.wait((asked,))
            if not asked.cancelled():
                asked.exception()


async def _next(items: AsyncIterator[_T]) -> _T:
    return await anext(items)
