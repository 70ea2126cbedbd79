"""What signals do to a server's process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from fastqueue.cli.stopping import first_of


def run(body):
    """Run a coroutine's body in a process of its own, for a stop is to end that."""
    program = f"""
import asyncio, os, signal, time
from fastqueue.cli.stopping import StopSignals
async def main():
{textwrap.indent(textwrap.dedent(body), "    ")}
asyncio.run(main())
"""
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_asks_for_a_stop(name):
    ended = run(f"""
        signals = StopSignals(50)
        os.kill(os.getpid(), signal.{name})
        await signals.requested.wait()
    """)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_one_ctrl_c_that_arrives_twice_counts_once():
    ended = run("""
        signals = StopSignals(50)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        await signals.requested.wait()
    """)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_second_ctrl_c_ends_at_once():
    ended = run("""
        StopSignals(50, lambda: os.write(1, b"last words"))
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            os.kill(os.getpid(), signal.SIGINT)
    """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"last words", b"")


def test_a_stop_that_takes_too_long_is_ended():
    ended = run("""
        StopSignals(0.05, lambda: os.write(1, b"last words"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(50)
    """)
    assert (ended.returncode, ended.stdout) == (1, b"last words")
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
