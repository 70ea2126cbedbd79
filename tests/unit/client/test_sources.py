"""A source is read no further than it is asked for, and in one task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fastqueue.client.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def all_of(source: Source[Any]) -> list[Any]:
    found: list[Any] = []
    while not source.is_over:
        if (asked := source.ask()) is not None:
            await asyncio.wait((asked,))
        found += source.take()
    return found


async def test_a_plain_iterable_is_there_at_once() -> None:
    source = Source([1, 2])
    assert source.ask() is None
    assert source.take() == [1]
    assert await all_of(source) == [2]
    assert source.take() == []


async def test_an_iterable_is_read_no_further_than_it_is_taken() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for n in range(10):
            read.append(n)
            yield n

    source = Source(items())
    source.take()
    source.take()
    await source.close()
    assert read == [0, 1]
    assert source.take() == []


async def test_an_asynchronous_one_is_read_and_closed_in_one_task() -> None:
    tasks: set[asyncio.Task[Any] | None] = set()

    async def items() -> AsyncIterator[int]:
        try:
            # A time-out that is open between two items may be left in its own task alone.
            async with asyncio.timeout(60):
                for n in range(5):
                    tasks.add(asyncio.current_task())
                    yield n
        finally:
            tasks.add(asyncio.current_task())

    assert await all_of(Source(items())) == [0, 1, 2, 3, 4]
    source = Source(items())
    asked = source.ask()
    assert asked is not None
    await asyncio.wait((asked,))
    assert source.take() == [0]
    await source.close()
    assert len(tasks) == 2


async def test_one_that_pauses_is_interrupted_when_it_is_closed() -> None:
    interrupted = False

    async def items() -> AsyncIterator[int]:
        nonlocal interrupted
        try:
            await asyncio.Event().wait()
        finally:
            interrupted = True
        yield 1

    source = Source(items())
    asked = source.ask()
    assert asked is not None
    await asyncio.sleep(0)
    await source.close()
    assert interrupted
    assert asked.cancelled()


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_it_raises_is_raised_where_it_is_taken_and_ends_it(is_async: bool) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    async def async_items() -> AsyncIterator[int]:
        for item in items():
            yield item

    source = Source(async_items() if is_async else items())
    with pytest.raises(LookupError, match="no more"):
        await all_of(source)
    assert source.is_over
    assert source.ask() is None
    await source.close()


async def test_what_is_no_iterable_is_refused() -> None:
    with pytest.raises(TypeError, match="not 5"):
        Source(5)  # type: ignore[arg-type]
