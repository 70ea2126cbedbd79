"""Own the batches: how many of the tasks that were submitted under one name ended, and how.

A task belongs to the batch that its options name, from its submission on. Each is counted once when
it is accepted and once when it ends, however often it is sent, run, lost or tried again between. A
turn writes each count that it changed once, in the transaction of the tasks themselves: so after a
crash the counts are those of what is stored. They outlast the results.

A batch begins with its first task and has no end of its own: it is finished while nothing of it is
live. One that has been finished for long enough is forgotten, the longest finished first; one that
isn't never is, and if there are too many of those a new one is refused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from fastqueue.core.changes import BatchesCounted, BatchForgotten
from fastqueue.core.effects import AnswerBatch, AnswerBatches
from fastqueue.core.records import BatchCounts
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.commands import AskBatch, ListBatches
    from fastqueue.core.decision import Decision
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.state import State

__all__ = ["Batch", "Batches", "answer_batch", "list_batches", "settle_batches"]


class Batch:
    """Hold the counts of one batch; what isn't over is live.

    Attributes:
        created_at: when its first task was accepted, by the wall clock.
        changed_at: when a task of it was last accepted or ended.
    """

    __slots__ = ("cancelled", "changed_at", "created_at", "failure", "submitted", "success")

    def __init__(
        self,
        created_at: float,
        changed_at: float,
        submitted: int = 0,
        success: int = 0,
        failure: int = 0,
        cancelled: int = 0,
    ) -> None:
        self.created_at = created_at
        self.changed_at = changed_at
        self.submitted = submitted
        self.success = success
        self.failure = failure
        self.cancelled = cancelled

    @property
    def live(self) -> int:
        """Return how many of its tasks aren't over."""
        return self.submitted - self.success - self.failure - self.cancelled


class Batches:
    """Hold every batch that is remembered.

    Args:
        limits: of their number and age.
    """

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self._by_id: dict[str, Batch] = {}
        # By the monotonic clock, when each that is finished is to be forgotten; the next one first.
        self._expiries: OrderedDict[str, float] = OrderedDict()
        # What isn't told by a change yet; a dict, so that the order is that of what happened.
        self._counted: dict[str, None] = {}

    def restore(self, rows: Iterable[tuple[BatchCounts, float]], now: float) -> None:
        """Take over what a store has: counts, and how long ago they last changed, in seconds."""
        finished: list[tuple[float, str]] = []
        for counts, age_s in rows:
            batch = self._by_id[counts.batch_id] = Batch(
                counts.created_at,
                counts.changed_at,
                counts.submitted,
                counts.success,
                counts.failure,
                counts.cancelled,
            )
            if not batch.live:
                finished.append((now + self._limits.batches_ttl_s - age_s, counts.batch_id))
        self._expiries.update((batch_id, expiry) for expiry, batch_id in sorted(finished))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, batch_id: str) -> Batch | None:
        """Return a batch, if it is remembered."""
        return self._by_id.get(batch_id)

    def has_room(self, batch_id: str) -> bool:
        """Say whether a task may be added to a batch: it is there, or another may go for it."""
        limit = self._limits.batches_max
        return batch_id in self._by_id or len(self._by_id) < limit or bool(self._expiries)

    def add(self, batch_id: str, at: float, decision: Decision) -> None:
        """Count a task that was accepted at the time `at`; there is room for its batch."""
        batch = self._by_id.get(batch_id)
        if batch is None:
            if len(self._by_id) >= self._limits.batches_max:
                self._forget(next(iter(self._expiries)), decision)
            batch = self._by_id[batch_id] = Batch(at, at)
        batch.submitted += 1
        batch.changed_at = at
        self._expiries.pop(batch_id, None)
        self._counted[batch_id] = None

    def end(self, batch_id: str, status: TaskStatus, at: float, now: float) -> None:
        """Count a task of a batch that has ended."""
        batch = self._by_id[batch_id]
        match status:
            case TaskStatus.SUCCESS:
                batch.success += 1
            case TaskStatus.FAILURE:
                batch.failure += 1
            case _:
                batch.cancelled += 1
        batch.changed_at = at
        if not batch.live:
            self._expiries[batch_id] = now + self._limits.batches_ttl_s
        self._counted[batch_id] = None

    def _forget(self, batch_id: str, decision: Decision) -> None:
        del self._by_id[batch_id]
        del self._expiries[batch_id]
        self._counted.pop(batch_id, None)
        decision.changes.append(BatchForgotten(batch_id))

    def settle(self, now: float, decision: Decision) -> None:
        """Forget what is finished for long enough, and turn what was counted into changes."""
        expiries = self._expiries
        while expiries and next(iter(expiries.values())) <= now:
            self._forget(next(iter(expiries)), decision)
        if self._counted:
            rows = [_counts_of(batch_id, self._by_id[batch_id]) for batch_id in self._counted]
            decision.changes.append(BatchesCounted(rows))
            self._counted.clear()

    def next_expiry(self) -> float | None:
        """Return when the next batch is to be forgotten, or None."""
        return next(iter(self._expiries.values()), None)

    def page(self, after: tuple[float, str] | None, limit: int) -> list[tuple[str, Batch]]:
        """Return batches, the youngest first, from beyond `after` (created at, id) on."""
        order = sorted(((b.created_at, i) for i, b in self._by_id.items()), reverse=True)
        chosen = [key for key in order if after is None or key < after][:limit]
        return [(batch_id, self._by_id[batch_id]) for _, batch_id in chosen]


def _counts_of(batch_id: str, batch: Batch, running: int = 0) -> BatchCounts:
    return BatchCounts(
        batch_id,
        batch.created_at,
        batch.changed_at,
        batch.submitted,
        batch.success,
        batch.failure,
        batch.cancelled,
        running,
    )


def settle_batches(state: State, now: float, decision: Decision) -> None:
    """Write what the turn has counted; each turn ends with it."""
    if state.batches:
        state.batches.settle(now, decision)


def answer_batch(state: State, command: AskBatch, now: float, decision: Decision) -> None:
    """Answer what is known of a batch; how many of its tasks run is counted here and now."""
    batch = state.batches.find(command.batch_id)
    counts = None
    if batch is not None:
        running = _running(state)[command.batch_id] if batch.live else 0
        counts = _counts_of(command.batch_id, batch, running)
    decision.effects.append(
        AnswerBatch(command.session, command.request, counts, command.batch_id, command.after)
    )


def list_batches(state: State, command: ListBatches, now: float, decision: Decision) -> None:
    """Answer which batches there are."""
    running = _running(state)
    page = [
        _counts_of(batch_id, batch, running[batch_id])
        for batch_id, batch in state.batches.page(command.after, command.limit)
    ]
    decision.effects.append(AnswerBatches(command.session, command.request, page))


def _running(state: State) -> Counter[str]:
    """Return how many tasks of each batch run; counted when asked for, so that leases cost none."""
    return Counter(
        task.options.batch
        for worker in state.workers
        for task in worker.tasks.values()
        if task.options is not None and task.options.batch is not None
    )
