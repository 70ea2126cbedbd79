"""What signals do to a server's process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from fastqueue.cli.stopping import StopSignals, first_of
from harness import bounded


@pytest.fixture
def handlers():
    """Put the handlers back that the test runner had."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_for_a_stop(handlers, number):
    signals = StopSignals(bound_s=60)
    os.kill(os.getpid(), number)
    await bounded(signals.requested.wait())


async def test_one_ctrl_c_that_arrives_twice_counts_once(handlers):
    signals = StopSignals(bound_s=60)
    os.kill(os.getpid(), signal.SIGINT)
    await bounded(signals.requested.wait())
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0)


def test_a_stop_that_takes_too_long_is_ended():
    program = """
import asyncio, os, signal, time
from fastqueue.cli.stopping import StopSignals
async def hang():
    StopSignals(0.05, lambda: os.write(1, b"last words"))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
asyncio.run(hang())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=30
    )
    assert ended.returncode == 1
    assert ended.stdout == b"last words"
    assert b"stopping took more than 0.05 s" in ended.stderr


async def test_the_first_of_several_ends_the_others():
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def soon():
        await asyncio.sleep(0)

    await first_of(forever(), soon(), forever())
    assert ended == [True, True]


async def test_the_first_of_several_raises_what_it_raised():
    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await first_of(asyncio.Event().wait(), fail())
