"""Own the tasks that benchmarks run."""

from __future__ import annotations

import asyncio
import time

from fastqueue import task


@task
async def noop() -> None:
    """Do nothing, as a coroutine."""


@task
def noop_thread() -> None:
    """Do nothing, in a thread."""


@task
async def sleep_10_ms() -> None:
    """Wait, as for another server."""
    await asyncio.sleep(0.01)


@task
def cpu_1_ms() -> None:
    """Compute for a millisecond of this thread's CPU time."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass


@task
async def echo(value: str) -> str:
    """Give back what was given."""
    return value
