"""Own what must be true of batches: their counts equal what happened, through whatever happens.

What happened is read from the changes that are stored: which tasks were accepted, and what became
terminal. The core keeps its counts otherwise, and neither knows of the other.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastqueue.core import changes as ch
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.core import Core
    from fastqueue.core.records import NewTask


@dataclass
class _Happened:
    """Hold, by batch, how many tasks were accepted and how they ended; and each task's batch."""

    submitted: Counter[str] = field(default_factory=Counter)
    ended: dict[str, Counter[TaskStatus]] = field(default_factory=dict)
    batch_of: dict[str, str] = field(default_factory=dict)
    counted: int = 0
    forgotten: int = 0


class WitnessedStore(MemoryStore):
    """Keep the queue, and see what happens to the tasks of batches; it forgets what isn't kept."""

    def __init__(self) -> None:
        super().__init__()
        self.happened = _Happened()
        self._kept: _Happened | None = None

    def write(self, changes: Iterable[ch.Change]) -> None:
        changes = list(changes)
        if changes and not self.in_transaction:
            self._kept = deepcopy(self.happened)
        super().write(changes)
        for change in changes:
            self._see(change)

    def rollback(self) -> None:
        if self.in_transaction:
            assert self._kept is not None
            self.happened = self._kept
        super().rollback()

    def _see(self, change: ch.Change) -> None:
        happened = self.happened
        match change:
            case ch.TasksAdded() | ch.TasksDelayed():
                for new in change.tasks:
                    if batch := batch_of(new):
                        happened.submitted[batch] += 1
                        happened.ended.setdefault(batch, Counter())
                        happened.batch_of[new.task_id] = batch
            case ch.TasksFinished():
                for result in change.results:
                    if batch := happened.batch_of.pop(result.task_id, None):
                        happened.ended[batch][result.status] += 1
                        happened.counted += 1
            case ch.BatchForgotten():
                assert change.batch_id not in happened.batch_of.values(), (
                    "a live batch is forgotten"
                )
                del happened.submitted[change.batch_id], happened.ended[change.batch_id]
                happened.forgotten += 1
            case _:
                pass


def batch_of(new: NewTask) -> str | None:
    """Return the batch that a submission is for."""
    return None if new.options is None else new.options.batch


def check_batches(core: Core, store: WitnessedStore) -> None:
    """Assert that what is counted, stored and found of batches is what happened."""
    happened, tables, batches = store.happened, store._tables, core.state.batches
    counted = {
        i: (b.submitted, b.success, b.failure, b.cancelled) for i, b in batches._by_id.items()
    }
    assert counted == {
        batch: (
            submitted,
            happened.ended[batch][TaskStatus.SUCCESS],
            happened.ended[batch][TaskStatus.FAILURE],
            happened.ended[batch][TaskStatus.CANCELLED],
        )
        for batch, submitted in happened.submitted.items()
    }, "the counts of a batch aren't what happened"
    assert counted == {
        i: (c.submitted, c.success, c.failure, c.cancelled) for i, c in tables.batches.items()
    }, "a rebuilt core would count otherwise"
    members = {
        (batch, task.new.task_id) for task in tables.tasks.values() if (batch := batch_of(task.new))
    }
    assert tables.batch_tasks.keys() == members, "a live task of a batch isn't found, or a dead one"
    assert len(batches) <= core.state.limits.batches_max
    finished = {i for i, batch in batches._by_id.items() if not batch.live}
    assert batches._expiries.keys() == finished, "a batch is kept for ever, or not at all"
