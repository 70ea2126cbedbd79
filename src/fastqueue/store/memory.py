"""Own the store in plain memory: the model that tests and simulations hold the SQLite store to.

It keeps every rule of the protocol but durability, and can be crashed on purpose. It copies its
tables for each transaction, which is fine for thousands of tasks and not for more.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.core import changes as ch
from fastqueue.core.commands import StoredTask
from fastqueue.core.lanes import SEQUENCE_BITS, SEQUENCE_MASK
from fastqueue.core.records import DeadLetter, DeadLetterFilter, QueueSettings
from fastqueue.core.state import LeasedRow, Snapshot
from fastqueue.errors import StoreFull
from fastqueue.store.base import COUNTED_MAX, Due, Expired, NumberedCallback, Room, WindowRow
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastqueue.core.records import (
        AttemptRecord,
        BatchCounts,
        LimitId,
        NewTask,
        RateMark,
        Result,
        RunLimit,
        UniqueHold,
    )
    from fastqueue.core.schedule_records import ScheduleState

__all__ = ["MemoryStore"]

_WINDOW_PAYLOAD_BYTES_MAX = 4 * 1024


@dataclasses.dataclass(slots=True)
class _Task:
    """Hold a live task's row; what changes is replaced, never mutated."""

    new: NewTask
    client: str
    submitted_at: float
    attempt: int = 0
    crashes: int = 0
    failures: int = 0
    cancelling: bool = False


@dataclasses.dataclass(slots=True)
class _Tables:
    epoch: int = 0
    stopped: bool = False
    lanes: dict[int, tuple[str, int, str, str]] = dataclasses.field(default_factory=dict)
    tasks: dict[int, _Task] = dataclasses.field(default_factory=dict)
    keys: dict[str, int] = dataclasses.field(default_factory=dict)
    leases: dict[int, tuple[int, str, bool]] = dataclasses.field(default_factory=dict)
    # By id: the place in the access order, when it was recorded, and the result.
    results: dict[str, tuple[int, float, Result]] = dataclasses.field(default_factory=dict)
    young_tombstones: dict[str, None] = dataclasses.field(default_factory=dict)
    old_tombstones: dict[str, None] = dataclasses.field(default_factory=dict)
    callbacks: dict[int, NumberedCallback] = dataclasses.field(default_factory=dict)
    # By key: when it is due, and its queue, rank and name.
    delayed: dict[int, tuple[float, str, int, str]] = dataclasses.field(default_factory=dict)
    expiries: dict[tuple[float, str], None] = dataclasses.field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptRecord] = dataclasses.field(default_factory=dict)
    # By id: what is listed, and what is queued again.
    dead_letters: dict[str, tuple[DeadLetter, NewTask]] = dataclasses.field(default_factory=dict)
    batches: dict[str, BatchCounts] = dataclasses.field(default_factory=dict)
    # The live tasks of batches, by (batch id, task id).
    batch_tasks: dict[tuple[str, str], None] = dataclasses.field(default_factory=dict)
    schedules: dict[str, ScheduleState] = dataclasses.field(default_factory=dict)
    uniques: dict[tuple[str, str], UniqueHold] = dataclasses.field(default_factory=dict)
    queues: dict[str, QueueSettings] = dataclasses.field(default_factory=dict)
    purges: dict[str, int] = dataclasses.field(default_factory=dict)
    run_limits: dict[tuple[LimitId, bool], RunLimit] = dataclasses.field(default_factory=dict)
    rate_marks: dict[tuple[LimitId, str], RateMark] = dataclasses.field(default_factory=dict)
    checkpoints: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def copy(self) -> _Tables:
        """Return a copy whose tables can change without changing these."""
        copied = dataclasses.replace(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                setattr(copied, field.name, dict(value))
        return copied


class MemoryStore:
    """Keep the queue in dictionaries.

    Attributes:
        fail_next_commit: raise `StoreFull` at the next commit, keeping nothing of it.
        free_bytes: the room that it claims to have.
    """

    def __init__(self) -> None:
        self.control_plane_id = "memory"
        self.fail_next_commit = False
        self.free_bytes = sys.maxsize
        self._tables = _Tables()
        self._committed: _Tables | None = None

    # -- transactions

    @property
    def in_transaction(self) -> bool:
        """Say whether anything written waits for `commit`."""
        return self._committed is not None

    def write(self, changes: Iterable[ch.Change]) -> None:
        """Apply changes to the open transaction, beginning one if none is open."""
        for change in changes:
            if self._committed is None:
                self._committed = self._tables.copy()
            self._apply(change)

    async def commit(self) -> None:
        """Keep all that is written.

        Raises:
            StoreFull: a test asked for it by `fail_next_commit`.
        """
        self.commit_now()

    def commit_now(self) -> None:
        """Commit without an event loop."""
        if self.fail_next_commit:
            self.fail_next_commit = False
            raise StoreFull("the store can't be committed: a test filled its disk")
        self._committed = None

    def rollback(self) -> None:
        """Drop the open transaction; this is also what a crash does."""
        if self._committed is not None:
            self._tables, self._committed = self._committed, None

    def room(self) -> Room:
        """Return the room that a test gave it."""
        return Room(self.free_bytes, 0, "memory")

    def close(self) -> None:
        """Drop what isn't committed."""
        self.rollback()

    # -- start-up

    def load(self, wall_now: float) -> Snapshot:
        """Begin a boot epoch and return what the core starts from."""
        tables = self._tables
        crashed = tables.epoch > 0 and not tables.stopped
        tables.epoch += 1
        tables.stopped = False
        live = dict.fromkeys(tables.lanes, 0)
        for key in tables.tasks.keys() - tables.delayed.keys():
            live[key >> SEQUENCE_BITS] += 1
        tables.lanes = {i: lane for i, lane in tables.lanes.items() if live[i]}
        results = sorted(tables.results.values(), key=lambda row: row[0])
        return Snapshot(
            epoch=tables.epoch,
            lanes=[(i, *lane[:3], live[i], lane[3]) for i, lane in sorted(tables.lanes.items())],
            leased=[LeasedRow(k >> SEQUENCE_BITS, self._stored(k)) for k in tables.leases],
            results=[
                (r.task_id, r.size_bytes, max(0.0, wall_now - recorded_at))
                for _, recorded_at, r in results
            ],
            accesses=results[-1][0] if results else 0,
            tombstones=(len(tables.young_tombstones), len(tables.old_tombstones)),
            owed=self._owed(),
            next_callback=1 + max(tables.callbacks, default=0),
            last_sequence=max((key & SEQUENCE_MASK for key in tables.tasks), default=0),
            delayed=len(tables.delayed),
            queues=list(tables.queues.values()),
            purges=list(tables.purges.items()),
            run_limits=list(tables.run_limits.values()),
            rate_marks=[
                mark._replace(full_at=mark.full_at - wall_now)
                for mark in tables.rate_marks.values()
            ],
            dead_letters=(
                len(tables.dead_letters),
                sum(letter.payload_bytes for letter, _ in tables.dead_letters.values()),
            ),
            next_due=self._next_due(-math.inf),
            next_expiry=self._next_expiry(-math.inf),
            crashed=crashed,
            schedules=list(tables.schedules.values()),
            batches=[
                (counts, max(0.0, wall_now - counts.changed_at))
                for counts in tables.batches.values()
            ],
            checkpoints_bytes=sum(map(len, tables.checkpoints.values())),
        )

    def _owed(self) -> list[tuple[str, int]]:
        owed: dict[str, int] = {}
        for _, callback, _ in self._tables.callbacks.values():
            owed[callback.address] = owed.get(callback.address, 0) + 1
        return list(owed.items())

    # -- reading

    def find_known(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids that the store knows in any state, tombstones included."""
        t = self._tables
        return frozenset(
            i for i in task_ids if i in t.keys or i in t.results or self._is_evicted(i)
        )

    def find_live(self, task_ids: Iterable[str]) -> dict[str, StoredTask]:
        """Return those tasks that are live."""
        keys = self._tables.keys
        return {i: self._stored(keys[i]) for i in task_ids if i in keys}

    def find_holders(self, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], UniqueHold]:
        """Return who holds unique keys, by (task name, key)."""
        uniques = self._tables.uniques
        return {place: uniques[place] for place in places if place in uniques}

    def count_before(self, key: int) -> int:
        """Return how many tasks of its lane are before a key, or a bound if there are more."""
        base = key >> SEQUENCE_BITS << SEQUENCE_BITS
        return min(COUNTED_MAX, sum(1 for other in self._tables.tasks if base <= other < key))

    def find_evicted(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids whose result was recorded once and is evicted."""
        return frozenset(i for i in task_ids if self._is_evicted(i))

    def _is_evicted(self, task_id: str) -> bool:
        t = self._tables
        return task_id in t.young_tombstones or task_id in t.old_tombstones

    def find_results(self, task_ids: Iterable[str]) -> dict[str, Result]:
        """Return those results that are recorded."""
        results = self._tables.results
        return {i: results[i][2] for i in task_ids if i in results}

    def find_statuses(self, task_ids: Iterable[str]) -> dict[str, TaskStatus]:
        """Return the statuses of those results that are recorded."""
        return {i: result.status for i, result in self.find_results(task_ids).items()}

    def greatest_id(self) -> str:
        """Return an id that no known id is greater than; empty if none is known."""
        t = self._tables
        ids = (*t.keys, *t.results, *t.young_tombstones, *t.old_tombstones)
        return max(ids, default="")

    def read_window(self, lane_id: int, after_key: int, limit: int) -> list[WindowRow]:
        """Return the next tasks of a lane in the order of their keys."""
        tasks = self._tables.tasks
        keys = sorted(k for k in tasks if k >> SEQUENCE_BITS == lane_id and k > after_key)
        rows = []
        for key in keys[:limit]:
            payload = tasks[key].new.payload
            small = len(payload) <= _WINDOW_PAYLOAD_BYTES_MAX
            rows.append(WindowRow(self._stored(key), payload if small else None))
        return rows

    def read_due(self, at: float, limit: int) -> Due:
        """Return delayed tasks that are due at `at`, the most urgent first."""
        tables = self._tables
        due = sorted((d[2], d[0], key) for key, d in tables.delayed.items() if d[0] <= at)
        next_due = list(self._next_due(at))
        if len(due) > limit:
            rank = due[limit][0]
            next_due[rank:] = [-math.inf] * (4 - rank)
        return Due([self._stored(key) for *_, key in due[:limit]], next_due)

    def read_delayed(self, queue: str, after: int, last: int, limit: int) -> list[StoredTask]:
        """Return delayed tasks of a queue, in the order of their sequence numbers."""
        delayed = self._tables.delayed
        keys = sorted(key for key, d in delayed.items() if d[1] == queue and after < key <= last)
        return [self._stored(key) for key in keys[:limit]]

    def _next_due(self, after: float) -> tuple[float, ...]:
        dues = [(d[2], d[0]) for d in self._tables.delayed.values() if d[0] > after]
        return tuple(min((d for r, d in dues if r == rank), default=math.inf) for rank in range(4))

    def read_expired(self, at: float, limit: int) -> Expired:
        """Return tasks that aren't to be started at `at` any more, the earliest first."""
        rows = sorted(row for row in self._tables.expiries if row[0] <= at)[:limit]
        return Expired(rows, -math.inf if len(rows) == limit else self._next_expiry(at))

    def _next_expiry(self, after: float) -> float:
        return min((row[0] for row in self._tables.expiries if row[0] > after), default=math.inf)

    def list_dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        """Return dead letters, the oldest first."""
        after = which.after or (-math.inf, "")
        found = [
            letter
            for letter, _ in self._tables.dead_letters.values()
            if (letter.died_at, letter.task_id) > after
            and which.name in (None, letter.name)
            and which.queue in (None, letter.queue)
        ]
        return sorted(found, key=lambda letter: (letter.died_at, letter.task_id))[: which.limit]

    def read_dead_letters(self, pairs: Iterable[tuple[str, str]]) -> dict[str, NewTask]:
        """Return dead letters by their ids, as submissions under other ids: (old, new) pairs."""
        letters = self._tables.dead_letters
        return {old: replace(letters[old][1], task_id=new) for old, new in pairs if old in letters}

    def list_batch(self, batch_id: str, after: str, limit: int) -> list[str]:
        """Return the next live tasks of a batch in the order of their ids."""
        tasks = self._tables.batch_tasks
        return sorted(i for batch, i in tasks if batch == batch_id and i > after)[:limit]

    def find_attempts(self, task_id: str) -> list[AttemptRecord]:
        """Return the attempts of a task that were followed by another, in order."""
        attempts = self._tables.attempts
        return [attempts[key] for key in sorted(attempts) if key[0] == task_id]

    def read_payloads(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the payloads of live tasks by key."""
        tasks = self._tables.tasks
        return {key: tasks[key].new.payload for key in keys if key in tasks}

    def read_checkpoint(self, task_id: str) -> bytes | None:
        """Return the checkpoint of a live task, or None if it has none."""
        return self._tables.checkpoints.get(task_id)

    def read_callbacks(self, address: str, limit: int, bytes_goal: int) -> list[NumberedCallback]:
        """Return the first callbacks owed to an address, in order, until they make `bytes_goal`."""
        found: list[NumberedCallback] = []
        for _, owed in sorted(self._tables.callbacks.items()):
            if owed.callback.address == address and len(found) < limit and bytes_goal > 0:
                found.append(owed)
                bytes_goal -= len(owed.callback.result or b"") + len(owed.callback.data)
        return found

    def _stored(self, key: int) -> StoredTask:
        task = self._tables.tasks[key]
        lease = self._tables.leases.get(key, (0, "", False))
        return StoredTask(
            key,
            task.new.task_id,
            task.client,
            task.attempt,
            task.crashes,
            task.new.format,
            task.submitted_at,
            len(task.new.payload),
            task.new.callback,
            *lease,
            task.failures,
            task.new.options,
            task.cancelling,
            None if key not in self._tables.delayed else self._tables.delayed[key][1:],
            len(self._tables.checkpoints.get(task.new.task_id, b"")),
            None if key not in self._tables.delayed else self._tables.delayed[key][0],
        )

    # -- writing

    def _apply(self, change: ch.Change) -> None:
        t = self._tables
        match change:
            case ch.LaneAdded():
                assert change.lane_id not in t.lanes
                t.lanes[change.lane_id] = (
                    change.queue,
                    change.rank,
                    change.name,
                    change.fair_key,
                )
            case ch.LanesRemoved():
                for lane_id in change.lane_ids:
                    del t.lanes[lane_id]
            case ch.TasksAdded():
                self._add_tasks(change)
            case ch.TasksDelayed():
                self._add_tasks(change)
                for key, new in zip(change.keys, change.tasks, strict=True):
                    assert new.options is not None
                    assert new.options.due_at is not None
                    t.delayed[key] = (new.options.due_at, new.queue, new.rank, new.name)
            case ch.TasksRetried():
                for row, wait in zip(change.rows, change.waits, strict=True):
                    self._retry(*row, wait)
                t.attempts.update(((one.task_id, one.attempt), one) for one in change.attempts)
            case ch.TasksDue():
                for new_key, old_key in change.rows:
                    del t.delayed[old_key]
                    self._move(new_key, old_key)
            case ch.CancelsRequested():
                for key in change.keys:
                    t.tasks[key] = dataclasses.replace(t.tasks[key], cancelling=True)
            case ch.ExpiriesPassed():
                for expiry in change.rows:
                    del t.expiries[expiry]
            case ch.DeadLettersRemoved():
                for task_id in change.task_ids:
                    del t.dead_letters[task_id]
            case ch.DeadLettersTrimmed():
                oldest = self.list_dead_letters(DeadLetterFilter())[: change.count]
                for letter in oldest:
                    del t.dead_letters[letter.task_id]
            case ch.TasksFinished():
                self._finish_tasks(change)
            case ch.LeasesAdded():
                t.leases.update((row[0], row[1:]) for row in change.rows)
            case ch.LeasesEnded():
                for key in change.keys:
                    t.leases.pop(key, None)
            case ch.LeasesLost():
                for attempt, crashes, key in change.rows:
                    t.leases.pop(key, None)
                    t.tasks[key] = dataclasses.replace(
                        t.tasks[key], attempt=attempt, crashes=crashes
                    )
            case ch.ResultsAccessed():
                for place, task_id in change.rows:
                    # A lazy change may come when the result is evicted already.
                    if task_id in t.results:
                        t.results[task_id] = (place, *t.results[task_id][1:])
            case ch.ResultsEvicted():
                for task_id in change.task_ids:
                    del t.results[task_id]
                    for failed in self.find_attempts(task_id):
                        del t.attempts[task_id, failed.attempt]
                    t.young_tombstones[task_id] = None
            case ch.TombstonesRotated():
                t.old_tombstones, t.young_tombstones = t.young_tombstones, {}
            case ch.CallbacksAdded():
                for number, callback in enumerate(change.callbacks, start=change.first):
                    t.callbacks[number] = NumberedCallback(number, callback, change.owed_at)
            case ch.CallbacksRemoved():
                for number in change.numbers:
                    del t.callbacks[number]
            case ch.UniquesHeld():
                t.uniques.update(((one.name, one.key), one) for one in change.holds)
            case ch.UniquesForgotten():
                kept = [one for one in t.uniques.values() if one.until > change.at]
                kept = sorted(kept, key=lambda one: -one.until)[: change.kept_max]
                t.uniques = {(one.name, one.key): one for one in kept}
            case ch.QueueChanged() | ch.PurgeChanged() | ch.RunLimitSet() | ch.RunLimitRemoved():
                self._control(change)
            case ch.RatesSpent():
                t.rate_marks.update(((mark.limit, mark.fair_key), mark) for mark in change.marks)
            case ch.BatchTasksAdded():
                t.batch_tasks.update(dict.fromkeys(change.rows))
            case ch.BatchTasksEnded():
                for member in change.rows:
                    del t.batch_tasks[member]
            case ch.BatchesCounted():
                t.batches.update((counts.batch_id, counts) for counts in change.counts)
            case ch.BatchForgotten():
                # One that came and went within a turn was never counted.
                t.batches.pop(change.batch_id, None)
            case ch.Stopped():
                t.stopped = True
            case ch.CheckpointSaved():
                assert t.tasks[change.key].new.task_id == change.task_id
                t.checkpoints[change.task_id] = change.value
            case ch.SchedulesPut() | ch.SchedulesAdvanced():
                for state in change.states:
                    t.schedules[state.spec.schedule_id] = state
            case ch.SchedulesRemoved():
                for schedule_id in change.schedule_ids:
                    del t.schedules[schedule_id]

    def _control(
        self, change: ch.QueueChanged | ch.PurgeChanged | ch.RunLimitSet | ch.RunLimitRemoved
    ) -> None:
        t = self._tables
        match change:
            case ch.QueueChanged():
                t.queues[change.settings.name] = change.settings
                if change.settings == QueueSettings(change.settings.name):
                    del t.queues[change.settings.name]
            case ch.PurgeChanged():
                t.purges[change.queue] = change.last_sequence
                if not change.last_sequence:
                    del t.purges[change.queue]
            case ch.RunLimitSet():
                t.run_limits[change.limit.id, change.limit.is_defined] = change.limit
            case ch.RunLimitRemoved():
                del t.run_limits[change.id, change.is_defined]

    def _retry(
        self,
        new_key: int,
        attempt: int,
        failures: int,
        old_key: int,
        wait: tuple[float, str, int, str],
    ) -> None:
        t = self._tables
        t.leases.pop(old_key, None)
        self._move(new_key, old_key)
        t.tasks[new_key] = dataclasses.replace(t.tasks[new_key], attempt=attempt, failures=failures)
        t.delayed[new_key] = wait

    def _bury(self, new: NewTask, result: Result, at: float) -> None:
        asked = new.options
        if asked is not None:
            asked = replace(asked, due_at=None, expires_at=None)
        letter = DeadLetter(
            new.task_id,
            at,
            new.name,
            new.queue,
            new.rank,
            result.attempt,
            len(new.payload),
            result.error or "",
            result.traceback,
        )
        self._tables.dead_letters[new.task_id] = (letter, replace(new, options=asked))

    def _move(self, new_key: int, old_key: int) -> None:
        t = self._tables
        assert new_key not in t.tasks
        task = t.tasks[new_key] = t.tasks.pop(old_key)
        t.keys[task.new.task_id] = new_key

    def _add_tasks(self, change: ch.TasksAdded | ch.TasksDelayed) -> None:
        t = self._tables
        for key, new in zip(change.keys, change.tasks, strict=True):
            assert key >> SEQUENCE_BITS in t.lanes or isinstance(change, ch.TasksDelayed)
            assert key not in t.tasks
            assert new.task_id not in t.keys
            t.tasks[key] = _Task(new, change.client, change.submitted_at)
            t.keys[new.task_id] = key
            if new.options is not None and new.options.expires_at is not None:
                t.expiries[new.options.expires_at, new.task_id] = None

    def _finish_tasks(self, change: ch.TasksFinished) -> None:
        t = self._tables
        results = enumerate(change.results, start=change.accessed)
        for key, (place, result) in zip(change.keys, results, strict=True):
            new = t.tasks.pop(key).new
            task_id = new.task_id
            if result.status is TaskStatus.FAILURE:
                self._bury(new, result, change.recorded_at)
            assert task_id == result.task_id
            assert task_id not in t.results
            del t.keys[task_id]
            t.leases.pop(key, None)
            t.results[task_id] = (place, change.recorded_at, result)
        for task_id in change.checkpointed:
            del t.checkpoints[task_id]
