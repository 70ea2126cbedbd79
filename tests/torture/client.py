"""Own the client processes: submit without end, note each acknowledgement and each result.

`python -m tests.torture.client ADDRESS NAME SEED LISTENER...` runs until it is killed; whatever
secrets the control plane asks for are in its environment.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sys

import uvloop
from tests.torture.ledger import Ledger, now
from tests.torture.plan import AT_LEAST_ONCE, AT_MOST_ONCE

from fastqueue import Client, TaskPriority
from fastqueue.errors import FastQueueError, ResultExpired

# Each waits for its result before it submits again.
_SUBMITTERS = 5
_PAUSE_MAX_S = 0.05
# What comes in one go, so that more is queued than can run; the next doesn't wait for its results,
# or one subworker that stands still would hold up all that is to come.
_BATCH_TASKS = 25
_BATCH_EVERY_S = 0.4
_BATCHES_OPEN_MAX = 40
_WORK_S = (0.01, 0.05)
# So long that some of these run in every subworker at any moment.
_LONG_WORK_S = (0.3, 0.6)
_LONG_SHARE = 0.05
_AT_MOST_ONCE_SHARE = 0.3
_CALLBACK_SHARE = 0.4
_TIMEOUT_S = 30.0
# More often than a connection can end within the time-out.
_RETRIES = 10_000


class Submitter:
    """Submit tasks as several users of one process would."""

    def __init__(self, client, name, seed, listeners):
        self._client = client
        self._name = name
        self._listeners = listeners
        self._random = random.Random(f"{seed}:{name}")
        self._ledger = Ledger(f"client-{name}.jsonl")
        self._keys = itertools.count()
        self._seen = []
        self._batches = asyncio.Semaphore(_BATCHES_OPEN_MAX)

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for _ in range(_SUBMITTERS):
                group.create_task(self._one_by_one())
            group.create_task(self._in_batches(group))
            group.create_task(self._look_again())

    def _call(self):
        key = f"{self._name}:{next(self._keys)}"
        is_once = self._random.random() < _AT_MOST_ONCE_SHARE
        name = self._random.choice(AT_MOST_ONCE if is_once else AT_LEAST_ONCE)
        is_long = self._random.random() < _LONG_SHARE
        return key, name, self._random.uniform(*(_LONG_WORK_S if is_long else _WORK_S))

    def _priority(self):
        return self._random.choice(list(TaskPriority))

    async def _one_by_one(self):
        while True:
            call = key, name, _ = self._call()
            has_callback = self._random.random() < _CALLBACK_SHARE
            began = now()
            try:
                task_id = await self._submit(call, has_callback)
            except FastQueueError as error:
                self._ledger.note("refused", [key], repr(error), now())
                continue
            self._ledger.note("acknowledged", task_id, key, name, has_callback, began, now())
            await self._collect({task_id: began})
            await asyncio.sleep(self._random.uniform(0, _PAUSE_MAX_S))

    async def _submit(self, call, has_callback):
        key, name, work_s = call
        priority = self._priority()
        if not has_callback:
            return await self._client.delay(name, key, work_s, priority=priority)
        pending = await self._client.delay_with_callback(
            name,
            self._random.choice(self._listeners),
            *(key, work_s),
            callback_data={"key": key},
            priority=priority,
        )
        return pending.task_id

    async def _in_batches(self, group):
        while True:
            await self._batches.acquire()
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
                self._batches.release()
                continue
            at = now()
            self._ledger.note_all(
                ("acknowledged", task_id, key, name, False, began, at)
                for task_id, (key, name, _) in zip(task_ids, calls, strict=True)
            )
            collecting = group.create_task(self._collect(dict.fromkeys(task_ids, began)))
            collecting.add_done_callback(lambda _: self._batches.release())
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
    address, name, seed, *listeners = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    client = Client(control_plane_address=address, timeout=_TIMEOUT_S, retries=_RETRIES)
    await client.start()
    await Submitter(client, name, seed, listeners).run()


if __name__ == "__main__":
    uvloop.run(main())
