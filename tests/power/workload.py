"""Own the history that a store lives through before its power is cut, and what it must then have.

The same changes go to the store in memory, which is the model: after each transaction it is asked
for all it has. A recovered store must have exactly what the model had after one of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastqueue.core import changes as ch
from fastqueue.core.records import Callback, NewTask, PendingCallback, Result
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from fastqueue.store.base import Store

__all__ = ["Content", "History", "content"]

LANE = 1
BASE = LANE << 44
ADDRESS = "tcp://127.0.0.1:1"


@dataclass(frozen=True)
class Content:
    """Be all that a store has of what users gave it."""

    live: dict[str, tuple[int, int, bytes, Callback | None]]
    results: dict[str, Result]
    evicted: frozenset[str]
    callbacks: list[tuple[int, PendingCallback]]


def content(store: Store, task_ids: list[str]) -> Content:
    """Read what a store has, of all ids there ever were."""
    live = store.find_live(task_ids)
    payloads = store.read_payloads([task.key for task in live.values()])
    return Content(
        live={i: (t.key, t.attempt, payloads[t.key], t.callback) for i, t in live.items()},
        results=store.find_results(task_ids),
        evicted=store.find_evicted(task_ids),
        callbacks=[(c.number, c.callback) for c in store.read_callbacks(ADDRESS, 9_999, 1 << 40)],
    )


class History:
    """Make transactions up, and remember what the store must have after each.

    Attributes:
        contents: what there is after 0, 1, 2... transactions.
        task_ids: every id that was ever submitted.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._model = MemoryStore()
        self._model.load(0.0)
        self._live: list[tuple[int, str]] = []
        self._results: list[str] = []
        self._callbacks: list[int] = []
        self._places = 0
        self._next_callback = 1
        self.task_ids: list[str] = []
        self.contents = [content(self._model, [])]

    def next_transaction(self) -> list[ch.Change]:
        """Return the changes of one more transaction, which the model has made already."""
        rng = self._random
        changes: list[ch.Change] = []
        if len(self.contents) == 1:
            changes.append(ch.LaneAdded(LANE, "default", 2, "add"))
        changes.append(self._submit())
        if self._live and rng.random() < 0.6:
            changes += self._finish()
        if self._live and rng.random() < 0.2:
            key, _ = rng.choice(self._live)
            changes += [
                ch.LeasesAdded([(key, 7, "w", False)]),
                ch.LeasesLost([(rng.randint(1, 9), 0, key)]),
            ]
        if self._results and rng.random() < 0.3:
            evicted = [self._results.pop(0) for _ in range(rng.randint(1, len(self._results)))]
            changes.append(ch.ResultsEvicted(evicted))
        if self._callbacks and rng.random() < 0.4:
            changes.append(ch.CallbacksRemoved([self._callbacks.pop(0)]))
        self._model.write(changes)
        self._model.commit_now()
        self.contents.append(content(self._model, self.task_ids))
        return changes

    def _submit(self) -> ch.Change:
        rng = self._random
        tasks = []
        for _ in range(rng.randint(1, 6)):
            task_id = f"{rng.getrandbits(32):08x}-{len(self.task_ids)}"
            size = rng.choice((10, 200, 200, 6_000))
            callback = Callback(ADDRESS, b"1") if rng.random() < 0.3 else None
            tasks.append(NewTask(task_id, "add", 2, 0, rng.randbytes(size), callback))
            self._live.append((BASE + len(self.task_ids) + 1, task_id))
            self.task_ids.append(task_id)
        keys = [key for key, _ in self._live[-len(tasks) :]]
        return ch.TasksAdded(keys, tasks, "client", 1.0)

    def _finish(self) -> list[ch.Change]:
        rng = self._random
        rng.shuffle(self._live)
        count = rng.randint(1, len(self._live))
        finished, self._live = self._live[:count], self._live[count:]
        results = [
            Result(i, TaskStatus.SUCCESS, "add", 1, 0, rng.randbytes(rng.choice((5, 900))))
            for _, i in finished
        ]
        owed = [
            PendingCallback(ADDRESS, r.task_id, r.status, r.result, None, 1.0, 2.0, b"1")
            for r in results[:2]
        ]
        first, place = self._next_callback, self._places + 1
        self._next_callback += len(owed)
        self._places += count
        self._callbacks += range(first, first + len(owed))
        self._results += [r.task_id for r in results]
        return [
            ch.TasksFinished([key for key, _ in finished], results, place, 2.0),
            ch.CallbacksAdded(first, owed, 2.0),
        ]
