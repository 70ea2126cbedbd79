"""Own the writing: how each change of the core becomes statements.

Used by the SQLite store alone, in the transaction that it has open.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from fastqueue.core import changes as ch
from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.store.sqlite import statements as sql
from fastqueue.store.sqlite.queue_writer import QueueWriter
from fastqueue.store.sqlite.rows import encode_options, schedule_row
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import apsw

    from fastqueue.core.records import NewTask

__all__ = ["Writer"]


class Writer:
    """Write changes through a connection.

    Args:
        connection: where to.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        # Keys with a row in `leases`, so that a finish without one costs no statement.
        self._leased: set[int] = set()
        # Without attempts that were followed by another, an eviction costs no statement for them.
        self._has_attempts = False
        # By how much the open transaction changes the number of each lane's tasks.
        self._live_by_lane: Counter[int] = Counter()
        # The tombstones that are added to; the others are the next to be dropped.
        self._generation = 0
        self._writers: dict[type, Callable[[Any], None]] = {
            ch.LaneAdded: self._add_lane,
            ch.LanesRemoved: self._remove_lanes,
            ch.TasksAdded: self._add_tasks,
            ch.TasksDelayed: self._delay_tasks,
            ch.TasksRetried: self._retry_tasks,
            ch.TasksDue: self._make_due,
            ch.ExpiriesPassed: self._pass_expiries,
            ch.CancelsRequested: self._note_cancels,
            ch.DeadLettersRemoved: self._remove_dead_letters,
            ch.DeadLettersTrimmed: self._trim_dead_letters,
            ch.TasksFinished: self._finish_tasks,
            ch.LeasesAdded: self._add_leases,
            ch.LeasesEnded: self._end_leases,
            ch.LeasesLost: self._lose_leases,
            ch.ResultsAccessed: self._access_results,
            ch.ResultsEvicted: self._evict_results,
            ch.TombstonesRotated: self._rotate_tombstones,
            ch.CallbacksAdded: self._add_callbacks,
            ch.CallbacksRemoved: self._remove_callbacks,
            ch.Stopped: self._note_stopped,
            ch.SchedulesPut: self._put_schedules,
            ch.SchedulesAdvanced: self._advance_schedules,
            ch.SchedulesRemoved: self._remove_schedules,
            **QueueWriter(connection).writers,
            ch.BatchTasksAdded: self._add_batch_tasks,
            ch.BatchTasksEnded: self._end_batch_tasks,
            ch.BatchesCounted: self._count_batches,
            ch.BatchForgotten: self._forget_batch,
            ch.CheckpointSaved: self._save_checkpoint,
        }

    def go_on_from(self, leased: set[int], generation: int, *, has_attempts: bool) -> None:
        """Take over what was found at a start.

        Args:
            leased: the keys that are leased.
            generation: which tombstones are the young ones.
            has_attempts: whether there are attempts that were followed by another.
        """
        self._has_attempts = has_attempts
        self._leased = leased
        self._generation = generation

    def write(self, change: ch.Change) -> None:
        """Write one change.

        Raises:
            apsw.Error: it can't be written.
        """
        self._writers[type(change)](change)

    def count_lanes(self) -> None:
        """Write what the changes since the last call did to the lanes' counts.

        Raises:
            apsw.Error: it can't be written.
        """
        if self._live_by_lane:
            counts = ((count, lane) for lane, count in self._live_by_lane.items() if count)
            self._executemany(sql.COUNT_LANE, counts)
            self._live_by_lane.clear()

    def forget(self) -> None:
        """Forget the changes since the last count; `go_on_from` is to follow."""
        self._live_by_lane.clear()

    # -- a method a change

    def _add_lane(self, change: ch.LaneAdded) -> None:
        row = (change.lane_id, change.queue, change.rank, change.name, change.fair_key)
        self._execute(sql.ADD_LANE, row)

    def _remove_lanes(self, change: ch.LanesRemoved) -> None:
        self._executemany(sql.REMOVE_LANE, ((lane_id,) for lane_id in change.lane_ids))

    def _add_tasks(self, change: ch.TasksAdded | ch.TasksDelayed) -> None:
        client, at = change.client, change.submitted_at
        rows = []
        count = self._live_by_lane
        for key, new in zip(change.keys, change.tasks, strict=True):
            callback = new.callback
            address, data = (callback.address, callback.data) if callback else (None, None)
            options = None if new.options is None else self._options_of(new)
            rows.append(
                (key, new.task_id, client, at, new.format, address, data, new.payload, options)
            )
            count[key >> SEQUENCE_BITS] += 1
        self._executemany(sql.ADD_TASK, rows)

    def _options_of(self, new: NewTask) -> bytes:
        assert new.options is not None
        if new.options.expires_at is not None:
            self._execute(sql.ADD_EXPIRY, (new.options.expires_at, new.task_id))
        return encode_options(new.options)

    def _delay_tasks(self, change: ch.TasksDelayed) -> None:
        self._add_tasks(change)
        waits = []
        for key, new in zip(change.keys, change.tasks, strict=True):
            assert new.options is not None
            waits.append((new.options.due_at, new.queue, new.rank, new.name, key))
        self._executemany(sql.ADD_DELAYED, waits)

    def _retry_tasks(self, change: ch.TasksRetried) -> None:
        old_keys = [row[3] for row in change.rows]
        self._drop_leases(old_keys)
        self._executemany(sql.RETRY_TASK, change.rows)
        self._executemany(
            sql.ADD_DELAYED,
            ((*wait, row[0]) for row, wait in zip(change.rows, change.waits, strict=True)),
        )
        for new_key, *_, old_key in change.rows:
            self._recount(new_key, old_key)
        self._executemany(sql.ADD_ATTEMPT, map(astuple, change.attempts))
        self._has_attempts = True

    def _make_due(self, change: ch.TasksDue) -> None:
        self._executemany(sql.REMOVE_DELAYED, ((old_key,) for _, old_key in change.rows))
        self._executemany(sql.MOVE_TASK, change.rows)
        for new_key, old_key in change.rows:
            self._recount(new_key, old_key)

    def _recount(self, new_key: int, old_key: int) -> None:
        """Note that a task went from one lane to another; the lane of delayed ones has no row."""
        self._live_by_lane[new_key >> SEQUENCE_BITS] += 1
        self._live_by_lane[old_key >> SEQUENCE_BITS] -= 1

    def _remove_dead_letters(self, change: ch.DeadLettersRemoved) -> None:
        self._executemany(sql.REMOVE_DEAD_LETTER, ((task_id,) for task_id in change.task_ids))

    def _trim_dead_letters(self, change: ch.DeadLettersTrimmed) -> None:
        self._execute(sql.TRIM_DEAD_LETTERS, (change.count,))

    def _note_cancels(self, change: ch.CancelsRequested) -> None:
        self._executemany(sql.NOTE_CANCEL, ((key,) for key in change.keys))

    def _pass_expiries(self, change: ch.ExpiriesPassed) -> None:
        self._executemany(sql.REMOVE_EXPIRY, change.rows)

    def _finish_tasks(self, change: ch.TasksFinished) -> None:
        keys, count = change.keys, self._live_by_lane
        failed = [
            (change.recorded_at, r.attempt, r.error or "", r.traceback, key)
            for key, r in zip(keys, change.results, strict=True)
            if r.status is TaskStatus.FAILURE
        ]
        if failed:
            self._executemany(sql.ADD_DEAD_LETTER, failed)
        self._executemany(sql.REMOVE_TASK, ((key,) for key in keys))
        if change.checkpointed:
            self._executemany(sql.REMOVE_CHECKPOINT, ((i,) for i in change.checkpointed))
        for key in keys:
            count[key >> SEQUENCE_BITS] -= 1
        self._drop_leases(keys)
        rows = []
        for place, r in enumerate(change.results, start=change.accessed):
            rows.append(
                (
                    r.task_id,
                    place,
                    change.recorded_at,
                    r.size_bytes,
                    r.status.value,
                    r.name,
                    r.attempt,
                    r.format,
                    r.started_at,
                    r.completed_at,
                    r.worker_id,
                    r.error,
                    r.traceback,
                    r.result,
                )
            )
        self._executemany(sql.ADD_RESULT, rows)

    def _save_checkpoint(self, change: ch.CheckpointSaved) -> None:
        self._execute(sql.SAVE_CHECKPOINT, (change.task_id, change.value))
        self._execute(sql.NOTE_CHECKPOINT, (change.key,))

    def _drop_leases(self, keys: Iterable[int]) -> None:
        if self._leased:
            stored = self._leased.intersection(keys)
            self._executemany(sql.REMOVE_LEASE, ((key,) for key in stored))
            self._leased -= stored

    def _add_leases(self, change: ch.LeasesAdded) -> None:
        self._executemany(sql.ADD_LEASE, change.rows)
        self._leased.update(row[0] for row in change.rows)

    def _end_leases(self, change: ch.LeasesEnded) -> None:
        self._drop_leases(change.keys)

    def _lose_leases(self, change: ch.LeasesLost) -> None:
        self._executemany(sql.SPEND_ATTEMPT, change.rows)
        self._drop_leases(key for _, _, key in change.rows)

    def _access_results(self, change: ch.ResultsAccessed) -> None:
        self._executemany(sql.ACCESS_RESULT, change.rows)

    def _evict_results(self, change: ch.ResultsEvicted) -> None:
        rows = [(task_id,) for task_id in change.task_ids]
        self._executemany(sql.REMOVE_RESULT, rows)
        if self._has_attempts:
            self._executemany(sql.REMOVE_ATTEMPTS, rows)
        self._executemany(sql.ADD_TOMBSTONE[self._generation], rows)

    def _rotate_tombstones(self, _: ch.TombstonesRotated) -> None:
        self._generation = 1 - self._generation
        self._execute(sql.DROP_TOMBSTONES[self._generation])
        self._execute(sql.SET_META, ("tombstone_generation", self._generation))

    def _add_callbacks(self, change: ch.CallbacksAdded) -> None:
        self._executemany(
            sql.ADD_CALLBACK,
            (
                (
                    number,
                    c.address,
                    change.owed_at,
                    c.task_id,
                    c.status.value,
                    c.started_at,
                    c.completed_at,
                    c.error,
                    c.data,
                    c.result,
                )
                for number, c in enumerate(change.callbacks, start=change.first)
            ),
        )

    def _remove_callbacks(self, change: ch.CallbacksRemoved) -> None:
        self._executemany(sql.REMOVE_CALLBACK, ((number,) for number in change.numbers))

    def _note_stopped(self, _: ch.Stopped) -> None:
        self._execute(sql.SET_META, ("stopped", 1))

    def _add_batch_tasks(self, change: ch.BatchTasksAdded) -> None:
        self._executemany(sql.ADD_BATCH_TASK, change.rows)

    def _end_batch_tasks(self, change: ch.BatchTasksEnded) -> None:
        self._executemany(sql.REMOVE_BATCH_TASK, change.rows)

    def _count_batches(self, change: ch.BatchesCounted) -> None:
        # All but the last field, which is of the moment.
        self._executemany(sql.COUNT_BATCH, (astuple(counts)[:-1] for counts in change.counts))

    def _forget_batch(self, change: ch.BatchForgotten) -> None:
        self._execute(sql.FORGET_BATCH, (change.batch_id,))

    def _put_schedules(self, change: ch.SchedulesPut) -> None:
        rows = ((*schedule_row(state), encode_options(state.spec)) for state in change.states)
        self._executemany(sql.PUT_SCHEDULE, rows)

    def _advance_schedules(self, change: ch.SchedulesAdvanced) -> None:
        self._executemany(sql.ADVANCE_SCHEDULE, map(schedule_row, change.states))

    def _remove_schedules(self, change: ch.SchedulesRemoved) -> None:
        self._executemany(sql.REMOVE_SCHEDULE, ((i,) for i in change.schedule_ids))
