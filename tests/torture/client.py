"""Own the client processes: submit without end, note each acknowledgement and each result.

`python -m tests.torture.client ADDRESS NAME SEED` runs until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sys

import uvloop
from tests.torture.ledger import Ledger, now

from fastqueue import Client, TaskPriority
from fastqueue.errors import FastQueueError, ResultExpired

# Each waits for its result before it submits again.
_SUBMITTERS = 5
_PAUSE_MAX_S = 0.05
# What comes in one go, so that more is queued than can run.
_BATCH_TASKS = 25
_BATCH_EVERY_S = 0.4
_WORK_S = (0.01, 0.05)
_TIMEOUT_S = 30.0
# More often than a connection can end within the time-out.
_RETRIES = 10_000


class Submitter:
    """Submit tasks as several users of one process would."""

    def __init__(self, client, name, seed):
        self._client = client
        self._name = name
        self._random = random.Random(f"{seed}:{name}")
        self._ledger = Ledger(f"client-{name}.jsonl")
        self._keys = itertools.count()
        self._seen = []

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for _ in range(_SUBMITTERS):
                group.create_task(self._one_by_one())
            group.create_task(self._in_batches())
            group.create_task(self._look_again())

    def _call(self):
        key = f"{self._name}:{next(self._keys)}"
        name = self._random.choice(("work", "work_in_thread"))
        return key, name, self._random.uniform(*_WORK_S)

    def _priority(self):
        return self._random.choice(list(TaskPriority))

    async def _one_by_one(self):
        while True:
            key, name, work_s = self._call()
            began = now()
            try:
                task_id = await self._client.delay(name, key, work_s, priority=self._priority())
            except FastQueueError as error:
                self._ledger.note("refused", [key], repr(error), now())
                continue
            self._ledger.note("acknowledged", task_id, key, began, now())
            await self._collect({task_id: began})
            await asyncio.sleep(self._random.uniform(0, _PAUSE_MAX_S))

    async def _in_batches(self):
        while True:
            calls = [self._call() for _ in range(_BATCH_TASKS)]
            keys = [key for key, *_ in calls]
            began = now()
            try:
                task_ids = await self._client.submit_batch(
                    [(name, (key, work_s)) for key, name, work_s in calls],
                    priority=self._priority(),
                )
            except FastQueueError as error:
                self._ledger.note("refused", keys, repr(error), now())
                continue
            at = now()
            self._ledger.note_all(
                ("acknowledged", task_id, key, began, at)
                for task_id, key in zip(task_ids, keys, strict=True)
            )
            await self._collect(dict.fromkeys(task_ids, began))
            await asyncio.sleep(_BATCH_EVERY_S)

    async def _collect(self, began):
        """Note each task's result as it is pushed."""
        missing = set(began)
        while missing:
            try:
                async for result in self._client.as_completed(missing.copy()):
                    missing.discard(result.task_id)
                    self._note_result(result, began[result.task_id])
            except ResultExpired as error:
                # None expires here: the control plane doesn't know what it acknowledged.
                self._ledger.note("gone", error.task_id, repr(error), now())
                missing.discard(error.task_id)
            except FastQueueError as error:
                self._ledger.note("unanswered", sorted(missing), repr(error), now())

    async def _look_again(self):
        """Ask for results that were seen before: they must not have changed."""
        while True:
            await asyncio.sleep(_BATCH_EVERY_S)
            if not self._seen:
                continue
            task_id = self._random.choice(self._seen)
            try:
                result = await self._client.get_task_result(task_id)
            except FastQueueError as error:
                self._ledger.note("unanswered", [task_id], repr(error), now())
                continue
            if result is None:
                self._ledger.note("gone", task_id, "it had a result before", now())
            else:
                self._note_result(result, None)

    def _note_result(self, result, began):
        self._seen.append(result.task_id)
        del self._seen[:-1_000]
        self._ledger.note("result", result.task_id, look_at(result), began, now())


def look_at(result):
    """Return all that must be the same whenever somebody looks at a result."""
    ended = result.completed_at
    return {
        "status": result.status,
        "value": result.result,
        "error": result.error,
        "attempt": result.attempt,
        "worker": result.worker_id,
        "completed_at": ended and ended.isoformat(),
    }


async def main():
    address, name, seed = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    client = Client(control_plane_address=address, timeout=_TIMEOUT_S, retries=_RETRIES)
    await client.start()
    await Submitter(client, name, seed).run()


if __name__ == "__main__":
    uvloop.run(main())
