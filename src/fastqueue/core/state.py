"""Own the queue's state in memory and the steps that more than one command takes.

`State` is rebuilt from a `Snapshot` of the store; whatever it holds that isn't in the store
(sessions, watchers) begins anew with the connections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fastqueue.core.batches import Batches
from fastqueue.core.changes import (
    BatchTasksEnded,
    CallbacksAdded,
    ResultsEvicted,
    TasksFinished,
    TombstonesRotated,
)
from fastqueue.core.delays import NEVER, Delays
from fastqueue.core.effects import PushResults
from fastqueue.core.following import Followed
from fastqueue.core.gates import Gates
from fastqueue.core.lanes import Lane, Lanes, Task
from fastqueue.core.offers import Offers, Unoffered
from fastqueue.core.outbox import Outbox
from fastqueue.core.queues import Queues
from fastqueue.core.records import PendingCallback, QueueSettings, RateMark, Result, RunLimit
from fastqueue.core.retention import Retention
from fastqueue.core.schedules import Schedules
from fastqueue.core.states import TaskEvent, next_status
from fastqueue.core.workers import Workers
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.core.commands import DiskSpace, StoredTask
    from fastqueue.core.decision import Decision
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.records import BatchCounts
    from fastqueue.core.schedule_records import ScheduleState
    from fastqueue.core.workers import Worker

__all__ = ["Finished", "LeasedRow", "Snapshot", "State"]


class LeasedRow(NamedTuple):
    """Carry a task whose lease is stored, with its lane."""

    lane_id: int
    task: StoredTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Carry all that a store tells at start-up; nothing of it grows with the backlog.

    Attributes:
        epoch: the boot epoch that begins now.
        lanes: rows of (lane id, queue, rank, name, live tasks, fair key).
        leased: the tasks with a stored lease.
        results: rows of (task id, size in bytes, age in seconds), in access order.
        accesses: the last place in the access order.
        tombstones: how many there are, in the younger and in the older generation.
        owed: rows of (address, callbacks owed).
        next_callback: the number of the next callback.
        last_sequence: the last sequence number given to a task.
        delayed: how many tasks wait for a time.
        next_due: by rank, when the next of them is due, by the wall clock.
        dead_letters: how many failed tasks are kept to be queued again, and the bytes of their
            arguments.
        next_expiry: when the next task is not to be started any more, by the wall clock.
        queues: of those that have other settings than the default.
        purges: rows of (queue, the last sequence number that is to go from it).
        run_limits: the limits of what runs.
        rate_marks: when the buckets of rates are full, in seconds from now.
        batches: those that are remembered, with the seconds since each last changed.
        crashed: whether the epoch before this one ended otherwise than by `Stopped`.
        schedules: all schedules.
        checkpoints_bytes: the bytes of all checkpoints.
    """

    epoch: int
    lanes: Sequence[tuple[int, str, int, str, int, str]] = ()
    leased: Sequence[LeasedRow] = ()
    results: Sequence[tuple[str, int, float]] = ()
    accesses: int = 0
    tombstones: tuple[int, int] = (0, 0)
    owed: Sequence[tuple[str, int]] = ()
    next_callback: int = 1
    last_sequence: int = 0
    delayed: int = 0
    next_due: Sequence[float] = NEVER
    next_expiry: float = math.inf
    dead_letters: tuple[int, int] = (0, 0)
    queues: Sequence[QueueSettings] = ()
    purges: Sequence[tuple[str, int]] = ()
    run_limits: Sequence[RunLimit] = ()
    rate_marks: Sequence[RateMark] = ()
    crashed: bool = False
    schedules: Sequence[ScheduleState] = ()
    batches: Sequence[tuple[BatchCounts, float]] = ()
    checkpoints_bytes: int = 0


class Finished:
    """Gather what becomes terminal in one command, to be one change and few effects.

    Args:
        at: the control plane's wall clock.
    """

    __slots__ = (
        "at",
        "batched",
        "callbacks",
        "checkpointed",
        "first_callback",
        "keys",
        "pushes",
        "results",
    )

    def __init__(self, at: float) -> None:
        self.at = at
        self.keys: list[int] = []
        self.results: list[Result] = []
        self.pushes: dict[int, list[Result]] = {}
        self.callbacks: list[PendingCallback] = []
        self.checkpointed: list[str] = []
        self.first_callback = 0
        # Of those that are in a batch, (batch id, task id).
        self.batched: list[tuple[str, str]] = []


class State:
    """Hold lanes, tasks, subworkers, clients, results and callbacks."""

    def __init__(self, limits: CoreLimits, snapshot: Snapshot, now: float) -> None:
        self.limits = limits
        self.epoch = snapshot.epoch
        self.gates = Gates(snapshot.run_limits, snapshot.rate_marks, now)
        self.queues = Queues(snapshot.queues, self.gates)
        self.lanes = Lanes(limits, self.queues)
        self.tasks: dict[str, Task] = {}
        self.workers = Workers(limits.lease_bytes_max, Offers(limits))
        self.clients: dict[str, int] = {}
        self.clients_by_session: dict[int, str] = {}
        self.retention = Retention(limits)
        self.outbox = Outbox(limits)
        self.batches = Batches(limits)
        self.dead_letters, self.dead_letters_bytes = snapshot.dead_letters
        self.delays = Delays(snapshot.delayed, snapshot.next_due, snapshot.next_expiry)
        self.schedules = Schedules(snapshot.schedules, limits)
        # Not below a purge's mark: what comes after it stays.
        marks = (last for _, last in snapshot.purges)
        self.last_sequence = max(snapshot.last_sequence, *marks, 0)
        self.last_lease = 0
        # How many unique keys were taken since the start.
        self.uniques_held = 0
        self.young_tombstones, self.old_tombstones = snapshot.tombstones
        self.stale_outcomes = 0
        # Set while there is too little room for new tasks.
        self.disk_shortage: DiskSpace | None = None
        # Tasks that ran when somebody cancelled them, and don't any more.
        self.to_cancel: list[Task] = []
        # Tasks that wait for a subworker of their own, and the one that is kept free for them.
        self.suspects: dict[int, Task] = {}
        self.reserved: Worker | None = None
        # By queue that is purged: the last sequence number that goes; and of what waits for a
        # time, how far the store was read, unless that is done.
        self.purges = dict(snapshot.purges)
        self.purges_delayed = dict.fromkeys(self.purges, 0)
        self.is_purge_due = bool(self.purges)
        # Ids watched by sessions that didn't submit them, and how many each session watches.
        self.watchers: dict[str, list[int]] = {}
        self.watched: dict[int, int] = {}
        self.followed = Followed(limits)
        self.checkpoints_bytes = snapshot.checkpoints_bytes
        self.unoffered = Unoffered(limits)
        self.leases_begin_at = self.last_tick = now
        # The wall clock's time of the last tick; what is due already doesn't wait for the first.
        self.last_tick_at = math.inf
        self._restore(snapshot, now)

    def _restore(self, snapshot: Snapshot, now: float) -> None:
        self.lanes.restore(Lane(*row) for row in snapshot.lanes)
        self.retention.restore(snapshot.results, snapshot.accesses, now)
        self.batches.restore(snapshot.batches, now)
        self.outbox.restore(snapshot.owed, snapshot.next_callback, now)
        if snapshot.crashed and self.lanes.live:
            self.leases_begin_at = now + self.limits.recovery_pause_s
        deadline = now + self.limits.adoption_grace_s
        for lane_id, stored in snapshot.leased:
            task = self.load(self.lanes.by_id[lane_id], stored)
            worker = self.workers.get_or_add(stored.lease_worker, "")
            worker.deadline = deadline
            self.assign(task, worker, stored.lease_token, TaskEvent.ADOPTED)
            task.at_most_once = stored.lease_at_most_once

        for lane in self.lanes:
            if lane.live:
                self.unoffered.note(lane.name, now)

    def holds(self, task_id: str) -> bool:
        """Say whether the id is known without asking the store."""
        return task_id in self.tasks or task_id in self.retention

    def load(self, lane: Lane, stored: StoredTask) -> Task:
        """Bring a spilled task into memory; the caller says what becomes of it."""
        task = Task(
            stored.task_id,
            stored.key,
            lane,
            stored.client,
            stored.format,
            stored.callback,
            stored.payload_bytes,
            stored.attempt,
            stored.crashes,
            stored.failures,
            stored.options,
            stored.submitted_at,
        )
        task.cancelling = stored.cancelling
        task.checkpoint_bytes = stored.checkpoint_bytes
        task.is_suspect = stored.crashes >= self.limits.isolate_after_crashes
        self.tasks[task.task_id] = task
        lane.in_memory += 1
        return task

    def assign(self, task: Task, worker: Worker, token: int, event: TaskEvent) -> None:
        """Make a lease: from here on `token` alone is valid for the task."""
        task.status = next_status(task.status, event)
        task.token = token
        task.worker = worker
        task.attempt += 1
        worker.add(task)
        for gate in task.lane.gates:
            gate.running += 1
        if self.followed.followers:
            self.followed.note_status(task.task_id, task.status, task.attempt, token)

    def unassign(self, task: Task, event: TaskEvent) -> None:
        """End a lease that brought no outcome: its token is void, the task ready again."""
        task.status = next_status(task.status, event)
        task.token = 0
        if task.worker is not None:
            task.worker.remove(task)
            task.worker = None
            self._open_gates(task.lane)
        if self.followed.told:
            self.followed.forget(task.task_id)
        if self.followed.followers:
            self.followed.note_status(task.task_id, task.status, task.attempt)

    def _open_gates(self, lane: Lane) -> None:
        """Give what limits a lane the place of one lease back."""
        for gate in lane.gates:
            gate.running -= 1
            if gate.parked:
                self.lanes.unpark(gate)

    def put_back(self, tasks: list[Task]) -> None:
        """Make tasks ready again whose lease brought no outcome, but for those to be cancelled."""
        self.to_cancel += [task for task in tasks if task.cancelling]
        tasks = [task for task in tasks if not task.cancelling]
        self.suspects.update((task.key, task) for task in tasks if task.is_suspect)
        self.lanes.put_back(task for task in tasks if not task.is_suspect)

    def forget(self, task: Task) -> None:
        """Hold a task no longer: it is over, or waits for a time."""
        del self.tasks[task.task_id]
        if task.worker is not None:
            task.worker.remove(task)
            self._open_gates(task.lane)
        self.suspects.pop(task.key, None)
        self.lanes.remove(task)
        if self.followed.told:
            self.followed.forget(task.task_id)

    def finish(
        self, task: Task, result: Result, json_result: bytes | None, now: float, into: Finished
    ) -> None:
        """Record the one result of a task; from here on it isn't live."""
        self.forget(task)
        if self.followed.followers:
            self.followed.end(task.task_id)
        if task.checkpoint_bytes:
            self.checkpoints_bytes -= task.checkpoint_bytes
            into.checkpointed.append(task.task_id)
        if result.status is TaskStatus.FAILURE:
            self.dead_letters += 1
            self.dead_letters_bytes += task.payload_bytes
        into.keys.append(task.key)
        into.results.append(result)
        options = task.options
        if options is not None and options.batch is not None:
            self.batches.end(options.batch, result.status, into.at, now)
            into.batched.append((options.batch, task.task_id))
        self.retention.add(task.task_id, result.size_bytes, now)
        session = self.clients.get(task.client)
        if session is not None:
            into.pushes.setdefault(session, []).append(result)
        if self.watchers:
            self._notify_watchers(result, into)
        if task.callback is not None:
            self._owe_callback(task, result, json_result, now, into)

    def end_unreported(
        self, task: Task, event: TaskEvent, error: str, now: float, into: Finished
    ) -> None:
        """Record the end of a task that no subworker reported."""
        result = Result(
            task.task_id,
            next_status(task.status, event),
            task.lane.name,
            task.attempt,
            task.format,
            error=error,
            completed_at=into.at,
            worker_id=task.worker.worker_id if task.worker is not None else None,
        )
        self.finish(task, result, None, now, into)

    def _notify_watchers(self, result: Result, into: Finished) -> None:
        for session in self.watchers.pop(result.task_id, ()):
            self.watched[session] -= 1
            into.pushes.setdefault(session, []).append(result)

    def _owe_callback(
        self, task: Task, result: Result, json_result: bytes | None, now: float, into: Finished
    ) -> None:
        callback = task.callback
        if callback is None:
            return
        number = self.outbox.add(callback.address, now)
        into.first_callback = into.first_callback or number
        # A listener knows two ends only: whatever isn't a success calls back as a failure.
        succeeded = result.status is TaskStatus.SUCCESS
        into.callbacks.append(
            PendingCallback(
                address=callback.address,
                task_id=task.task_id,
                status=TaskStatus.SUCCESS if succeeded else TaskStatus.FAILURE,
                result=json_result if json_result is not None else result.result,
                error=result.error,
                started_at=result.started_at,
                completed_at=result.completed_at,
                data=callback.data,
            )
        )

    def conclude(self, finished: Finished, now: float, decision: Decision) -> None:
        """Turn what finished into changes and effects."""
        if not finished.keys:
            return
        first_place = self.retention.accesses - len(finished.keys) + 1
        decision.changes.append(
            TasksFinished(
                finished.keys, finished.results, first_place, finished.at, finished.checkpointed
            )
        )
        if finished.callbacks:
            decision.changes.append(
                CallbacksAdded(finished.first_callback, finished.callbacks, finished.at)
            )
        if finished.batched:
            decision.changes.append(BatchTasksEnded(finished.batched))
        self.evict(now, decision)
        for session, results in finished.pushes.items():
            decision.effects.append(PushResults(session, results))

    def evict(self, now: float, decision: Decision) -> None:
        """Drop results that are over a bound or their time, and tombstones if there are many."""
        evicted = self.retention.evict(now)
        if not evicted:
            return
        decision.changes.append(ResultsEvicted(evicted))
        self.young_tombstones += len(evicted)
        # Dropping a whole generation costs next to nothing; picking out the oldest would.
        if self.young_tombstones >= self.limits.tombstones_max // 2:
            decision.changes.append(TombstonesRotated())
            self.old_tombstones, self.young_tombstones = self.young_tombstones, 0
