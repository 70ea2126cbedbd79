"""Own the steps by which tasks wait for a time: delayed, tried again, due, or too late.

A delayed task has a key in a lane of its own, `DELAYED_LANE`, under which the store keeps it, and
none in memory. When it is due it gets a key at the end of its real lane, so that it stands behind
what was ready before it. One that is not to be started any more is cancelled, wherever it waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import ExpiriesPassed, TasksDue, TasksRetried
from fastqueue.core.effects import LoadDue, LoadExpired
from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.core.opening import note_name, open_lane
from fastqueue.core.records import AttemptRecord
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent, next_status
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from fastqueue.core.commands import DueLoaded, ExpiredLoaded, StoredTask
    from fastqueue.core.decision import Decision
    from fastqueue.core.lanes import Task
    from fastqueue.core.records import Outcome
    from fastqueue.core.state import State

__all__ = [
    "Retried",
    "due_loaded",
    "expire",
    "expired_loaded",
    "is_expired",
    "look_for_due",
    "make_ready",
]


class Retried:
    """Gather the attempts of one command that failed and are followed by another."""

    __slots__ = ("attempts", "rows", "waits")

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        self.waits: list[tuple[float, str, int, str]] = []
        self.attempts: list[AttemptRecord] = []

    def add(self, state: State, task: Task, outcome: Outcome, worker_id: str, due: float) -> None:
        """Have a task that has just failed wait until it is due."""
        lane = task.lane
        task.status = next_status(task.status, TaskEvent.RETRIED)
        state.last_sequence += 1
        self.rows.append((state.last_sequence, task.attempt, task.failures + 1, task.key))
        self.waits.append((due, lane.queue, lane.rank, lane.name))
        self.attempts.append(
            AttemptRecord(
                task.task_id,
                task.attempt,
                outcome.started_at,
                outcome.completed_at,
                worker_id,
                outcome.error or "",
                outcome.traceback,
            )
        )
        if state.followed.followers:
            state.followed.note_status(task.task_id, task.status, task.attempt)
        state.forget(task)
        state.delays.add(lane.rank, due)

    def conclude(self, decision: Decision) -> None:
        """Turn what was gathered into a change."""
        if self.rows:
            decision.changes.append(TasksRetried(self.rows, self.waits, self.attempts))


def is_expired(task: Task, at: float) -> bool:
    """Say whether a task isn't to be started any more at the time `at`."""
    options = task.options
    return options is not None and options.expires_at is not None and options.expires_at <= at


def look_for_due(state: State, at: float, now: float, decision: Decision) -> None:
    """Ask the store for the tasks whose time has come, once.

    One kind at a time: a task may be of both, and what is done with one answer makes the other
    untrue. Those that are due come first, since of them the expired ones are found anyway.
    """
    delays = state.delays
    if delays.is_loading:
        return
    if min(delays.next_due) <= at and delays.held_off_until <= now:
        delays.is_loading_due = True
        decision.effects.append(LoadDue(at, state.limits.waiting_read_max))
    elif delays.next_expiry <= at:
        delays.is_loading_expired = True
        decision.effects.append(LoadExpired(at, state.limits.waiting_read_max))


def due_loaded(state: State, command: DueLoaded, now: float, decision: Decision) -> None:
    """Put delayed tasks that are due at the end of their lanes."""
    delays = state.delays
    delays.is_loading_due = False
    delays.next_due[:] = command.next_due
    finished = Finished(command.at)
    rows: list[tuple[int, int]] = []
    for stored in command.tasks:
        count = len(rows)
        task = make_ready(state, stored, now, decision, rows)
        if len(rows) == count:
            delays.hold_off(stored, now)
        if task is not None and is_expired(task, command.at):
            expire(state, task, now, finished)
    if rows:
        decision.changes.append(TasksDue(rows))
    state.conclude(finished, now, decision)


def make_ready(
    state: State,
    stored: StoredTask,
    now: float,
    decision: Decision,
    rows: list[tuple[int, int]],
    *,
    hold: bool = False,
) -> Task | None:
    """Put one delayed task into its lane, and note its keys in `rows`.

    It stays where it is, and nothing is noted, if there are too many lanes for it to have one.

    Returns:
        The task, if it is in memory now: its lane's window has room for it, or `hold` is set.
    """
    assert stored.belongs is not None
    queue, rank, name = stored.belongs
    lane = open_lane(state, queue, rank, name, stored.options, decision)
    if lane is None:
        return None
    note_name(state, lane, now)
    status = next_status(stored.status, TaskEvent.DUE)
    if state.followed.followers:
        state.followed.note_status(stored.task_id, status, stored.attempt)
    state.delays.count -= 1
    state.last_sequence += 1
    key = lane.base | state.last_sequence
    rows.append((key, stored.key))
    has_room = state.lanes.admit(lane)
    if not (has_room or hold):
        return None
    task = state.load(lane, stored)
    task.key = key
    if task.is_suspect:
        state.suspects[key] = task
    elif has_room:
        state.lanes.put_last(task)
    return task


def expired_loaded(state: State, command: ExpiredLoaded, now: float, decision: Decision) -> None:
    """Cancel those tasks that haven't been started until the time for that was over."""
    state.delays.is_loading_expired = False
    state.delays.next_expiry = command.next_expiry
    finished = Finished(command.at)
    rows: list[tuple[int, int]] = []
    for _, task_id in command.rows:
        task = state.tasks.get(task_id)
        stored = command.stored.get(task_id)
        if task is None and stored is not None:
            if stored.is_delayed:
                task = make_ready(state, stored, now, decision, rows, hold=True)
            else:
                task = state.load(state.lanes.by_id[stored.key >> SEQUENCE_BITS], stored)
        if task is not None and task.status is TaskStatus.QUEUED:
            expire(state, task, now, finished)
    if rows:
        decision.changes.append(TasksDue(rows))
    decision.changes.append(ExpiriesPassed(command.rows))
    state.conclude(finished, now, decision)


def expire(state: State, task: Task, now: float, finished: Finished) -> None:
    """Cancel a task that wasn't started in time."""
    error = "Expired: it wasn't started before its `expires` time"
    state.end_unreported(task, TaskEvent.EXPIRED, error, now, finished)
