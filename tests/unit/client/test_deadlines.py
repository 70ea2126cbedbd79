"""Calls that all may take equally long, timed by one timer."""

from __future__ import annotations

import asyncio

import pytest

from fastqueue.client.deadlines import _SCATTERED_MAX, Deadlines


async def test_a_future_that_is_not_done_in_time_raises_a_timeout():
    deadlines = Deadlines(asyncio.get_running_loop(), 0.01)
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    for future in futures:
        deadlines.watch(future)
    futures[1].set_result("in time")
    for late in (futures[0], futures[2]):
        with pytest.raises(TimeoutError):
            await late
    assert await futures[1] == "in time"


async def test_there_is_a_timer_only_while_something_is_watched():
    deadlines = Deadlines(asyncio.get_running_loop(), 0.01)
    for _ in range(2):
        future = asyncio.get_running_loop().create_future()
        deadlines.watch(future)
        assert deadlines._timer is not None
        with pytest.raises(TimeoutError):
            await future
        assert deadlines._timer is None
        assert not deadlines._watched


async def test_what_is_done_is_forgotten_even_behind_one_that_takes_long():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 3_600.0)
    slow = loop.create_future()
    deadlines.watch(slow)
    for _ in range(5 * _SCATTERED_MAX):
        future = loop.create_future()
        deadlines.watch(future)
        future.set_result(None)
    assert len(deadlines._watched) <= _SCATTERED_MAX + 1
    slow.set_result(None)
    deadlines.watch(loop.create_future())
    assert len(deadlines._watched) < _SCATTERED_MAX
    deadlines.stop()
    assert not deadlines._watched


async def test_nothing_times_out_after_a_stop():
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.0)
    future = loop.create_future()
    deadlines.watch(future)
    deadlines.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not future.done()
