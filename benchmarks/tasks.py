"""Own the tasks that benchmarks run."""

from __future__ import annotations

from fastqueue import task


@task
async def noop() -> None:
    """Do nothing, as a coroutine."""


@task
def noop_thread() -> None:
    """Do nothing, in a thread."""
