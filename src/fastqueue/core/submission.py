"""Own what a submission must pass: known ids have no effect, bounds refuse, the rest is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.core.changes import BatchTasksAdded, TasksAdded, TasksDelayed
from fastqueue.core.commands import StoredTask
from fastqueue.core.effects import AcknowledgeSubmit, PushStored, TellExpired
from fastqueue.core.lanes import Task
from fastqueue.core.opening import note_name, open_lane
from fastqueue.core.records import WALL_TIME_MAX, Refused, TaskOptions
from fastqueue.core.uniqueness import Uniqueness
from fastqueue.tasks.naming import describe_unoffered

if TYPE_CHECKING:
    from fastqueue.core.commands import DiskSpace, Submit
    from fastqueue.core.decision import Decision
    from fastqueue.core.records import NewTask
    from fastqueue.core.state import State

__all__ = ["submit"]

_RETRY_AFTER_S = 1.0
# Room on a disk comes back more slowly than that in a queue.
_DISK_RETRY_AFTER_S = 2.0
# Refusals of one submission that are told which names would do: to find them takes a while.
_EXPLAINED_MAX = 10


def submit(state: State, command: Submit, now: float, decision: Decision) -> None:
    """Accept the tasks of a submission that are new, and acknowledge all that are stored."""
    taken = _Taken(command)
    seen, tasks, retention, unheld = command.seen, state.tasks, state.retention, taken.unheld
    for new in command.tasks:
        task_id = new.task_id
        if task_id in retention:
            taken.recorded.append(task_id)
        elif task_id in tasks or task_id in seen or task_id in unheld:
            if task_id in command.evicted:
                taken.expired.append(task_id)
        elif (refusal := _refusal(state, new)) is not None:
            taken.refused.append(refusal)
        elif new.require_worker and new.name not in state.workers.offers.by_name:
            taken.refused.append(_not_offered(state, new, len(taken.refused)))
        elif new.options is None and not state.queues.wait_limits:
            _take(state, new, taken, now, decision)
        else:
            _take_with_options(state, new, taken, now, decision)
    taken.conclude(state, now, decision)


class _Taken:
    """Gather what one submission leads to."""

    __slots__ = (
        "accepted",
        "batched",
        "command",
        "delayed",
        "expired",
        "keys",
        "recorded",
        "refused",
        "unheld",
        "uniqueness",
    )

    def __init__(self, command: Submit) -> None:
        self.command = command
        self.recorded: list[str] = []
        self.expired: list[str] = []
        self.refused = list(command.refused)
        self.keys: list[int] = []
        self.accepted: list[NewTask] = []
        self.delayed: list[tuple[int, NewTask]] = []
        # Of those that are in a batch, (batch id, task id).
        self.batched: list[tuple[str, str]] = []
        # Accepted ones that memory doesn't hold.
        self.unheld: set[str] = set()
        self.uniqueness: Uniqueness | None = None

    def conclude(self, state: State, now: float, decision: Decision) -> None:
        """Turn it into changes and effects."""
        command, uniqueness = self.command, self.uniqueness
        if self.keys:
            added = TasksAdded(self.keys, self.accepted, command.client, command.submitted_at)
            decision.changes.append(added)
        if self.delayed:
            keys, waiting = zip(*self.delayed, strict=True)
            decision.changes.append(
                TasksDelayed(keys, waiting, command.client, command.submitted_at)
            )
        if self.batched:
            decision.changes.append(BatchTasksAdded(self.batched))
        same: list[tuple[str, str]] = []
        if uniqueness is not None:
            uniqueness.conclude(state, now, decision)
            same = uniqueness.same
        decision.effects.append(
            AcknowledgeSubmit(command.session, command.request, self.refused, same)
        )
        if self.recorded:
            # A resend whose acknowledgement was lost: the result was pushed into the void with it.
            decision.effects.append(PushStored(command.session, self.recorded))
        if self.expired:
            decision.effects.append(TellExpired(command.session, self.expired))


def _take_with_options(
    state: State, new: NewTask, taken: _Taken, now: float, decision: Decision
) -> None:
    """Accept a task that asks for more than to be run, or whose queue does."""
    command = taken.command
    at = command.submitted_at
    if new.options is not None and new.options.unique_key:
        if taken.uniqueness is None:
            taken.uniqueness = Uniqueness(command)
        settled = taken.uniqueness.settle(new)
        if settled is None:
            return
        new = settled
    wait_limit_s = state.queues.wait_limits.get(new.queue)
    options = new.options or TaskOptions()
    if wait_limit_s is not None and options.expires_at is None:
        expires_at = max(at, options.due_at or 0.0) + wait_limit_s
        options = replace(options, expires_at=min(expires_at, WALL_TIME_MAX))
        new = replace(new, options=options)
    if options.due_at is not None and options.due_at > at:
        state.last_sequence += 1
        state.delays.add(new.rank, options.due_at)
        taken.delayed.append((state.last_sequence, new))
        taken.unheld.add(new.task_id)
        is_taken = True
    else:
        is_taken = _take(state, new, taken, now, decision)
    if is_taken and options.expires_at is not None:
        state.delays.note_expiry(options.expires_at)
    if is_taken and options.batch is not None:
        state.batches.add(options.batch, at, decision)
        taken.batched.append((options.batch, new.task_id))
    if is_taken and options.unique_key and taken.uniqueness is not None:
        is_held = new.task_id in state.tasks
        taken.uniqueness.hold(new, None if is_held else _as_stored(taken, new))


def _as_stored(taken: _Taken, new: NewTask) -> StoredTask:
    """Return the task that was taken last, and that memory doesn't hold, as the store will."""
    is_delayed = bool(taken.delayed) and taken.delayed[-1][1] is new
    key = taken.delayed[-1][0] if is_delayed else taken.keys[-1]
    command = taken.command
    return StoredTask(
        key,
        new.task_id,
        command.client,
        0,
        0,
        new.format,
        command.submitted_at,
        len(new.payload),
        new.callback,
        options=new.options,
        belongs=(new.queue, new.rank, new.name) if is_delayed else None,
    )


def _take(state: State, new: NewTask, taken: _Taken, now: float, decision: Decision) -> bool:
    """Accept a task that is ready; say whether there is a lane for it."""
    options, lanes, task_id = new.options, state.lanes, new.task_id
    lane = lanes.find(new.queue, new.rank, new.name) if options is None else None
    if lane is None:
        lane = open_lane(state, new.queue, new.rank, new.name, options, decision)
    if lane is None:
        taken.refused.append(_no_lane(state, task_id))
        return False
    if lane.live == 0:
        note_name(state, lane, now)
    state.last_sequence += 1
    key = lane.base | state.last_sequence
    if lanes.admit(lane):
        task = Task(
            task_id,
            key,
            lane,
            taken.command.client,
            new.format,
            new.callback,
            len(new.payload),
            0,
            0,
            0,
            options,
            taken.command.submitted_at,
        )
        state.tasks[task_id] = task
        lane.in_memory += 1
        lanes.put_last(task)
    else:
        taken.unheld.add(task_id)
    taken.keys.append(key)
    taken.accepted.append(new)
    return True


def _refusal(state: State, new: NewTask) -> Refused | None:
    limits = state.limits
    size = len(new.payload)
    if size > limits.payload_bytes_max:
        return Refused(
            new.task_id,
            "payload_too_large",
            f"the arguments of task {new.name!r} ({new.task_id}) are {size:,} bytes encoded; the "
            f"control plane takes at most {limits.payload_bytes_max:,}",
        )
    if state.disk_shortage is not None:
        return _disk_full(new.task_id, state.disk_shortage)
    if state.lanes.live + state.delays.count >= limits.live_tasks_max:
        return _overloaded(new.task_id, f"{limits.live_tasks_max:,} tasks are waiting or running")
    callback = new.callback
    if callback is not None and not state.outbox.has_room(callback.address):
        return _overloaded(new.task_id, f"{state.outbox.owed:,} callbacks are undelivered")
    batch = None if new.options is None else new.options.batch
    if batch is not None and not state.batches.has_room(batch):
        return _overloaded(new.task_id, f"{limits.batches_max:,} batches are unfinished")
    return None


def _not_offered(state: State, new: NewTask, refused: int) -> Refused:
    why = f"no connected subworker offers a task named {new.name!r}"
    if refused < _EXPLAINED_MAX:
        why = describe_unoffered(new.name, state.workers.offers.names())
    return Refused(
        new.task_id,
        "not_offered",
        f"task {new.task_id} wasn't taken, because it requires a subworker: {why}",
    )


def _no_lane(state: State, task_id: str) -> Refused:
    bound = (
        f"{state.limits.lanes_max:,} combinations of queue, priority, task and fair key are in use"
    )
    return _overloaded(task_id, bound)


def _disk_full(task_id: str, space: DiskSpace) -> Refused:
    return Refused(
        task_id,
        "disk_full",
        f"task {task_id} wasn't taken: the control plane's disk is full, {space.free_bytes:,} "
        f"bytes are free at {space.where!r} and new tasks need {space.enough_bytes:,}; make room "
        "there (or lower --disk-free-min) and submit again",
        _DISK_RETRY_AFTER_S,
    )


def _overloaded(task_id: str, bound: str) -> Refused:
    return Refused(
        task_id,
        "overloaded",
        f"task {task_id} wasn't taken: {bound}, which is the limit; try again later",
        _RETRY_AFTER_S,
    )
