"""Own the tasks that are tortured: each run notes its start and its end, and returns who it was.

No two runs return the same value, so that a second recorded result can't look like the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time

from tests.torture.ledger import Ledger, now

from fastqueue import task

_runs = Ledger(f"runs-{os.getpid()}.jsonl")
_serial = itertools.count()


@contextlib.contextmanager
def _noted(name, key):
    """Note that a run began, and that it came to its end; who it is is its value."""
    run = f"{os.getpid()}-{time.time_ns()}-{next(_serial)}"
    _runs.note("start", key, name, run, now())
    yield [key, run]
    _runs.note("end", key, run, now())


@task
async def work(key, work_s):
    """Work as a coroutine does: others run meanwhile."""
    with _noted("work", key) as value:
        await asyncio.sleep(work_s)
    return value


@task
def work_in_thread(key, work_s):
    with _noted("work_in_thread", key) as value:
        time.sleep(work_s)
    return value


@task(delivery="at_most_once")
async def work_once(key, work_s):
    with _noted("work_once", key) as value:
        await asyncio.sleep(work_s)
    return value


@task(delivery="at_most_once")
def work_once_in_thread(key, work_s):
    with _noted("work_once_in_thread", key) as value:
        time.sleep(work_s)
    return value
