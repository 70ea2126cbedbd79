"""Own the tasks that are tortured: each run notes that it started, and returns who it was.

No two runs return the same value, so that a second recorded result can't look like the first.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time

from tests.torture.ledger import Ledger, now

from fastqueue import task

_starts = Ledger("starts.jsonl")
_serial = itertools.count()


def _note_start(key):
    run = f"{os.getpid()}-{time.time_ns()}-{next(_serial)}"
    _starts.note("start", key, run, now())
    return [key, run]


@task
async def work(key, work_s):
    """Work as a coroutine does: others run meanwhile."""
    value = _note_start(key)
    await asyncio.sleep(work_s)
    return value


@task
def work_in_thread(key, work_s):
    value = _note_start(key)
    time.sleep(work_s)
    return value
