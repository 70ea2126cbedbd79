"""Own what a submission must pass: known ids have no effect, bounds refuse, the rest is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import TasksAdded, TasksDelayed
from fastqueue.core.effects import AcknowledgeSubmit, PushStored, TellExpired
from fastqueue.core.lanes import Task
from fastqueue.core.opening import note_name, open_lane
from fastqueue.core.records import Refused

if TYPE_CHECKING:
    from fastqueue.core.commands import DiskSpace, Submit
    from fastqueue.core.decision import Decision
    from fastqueue.core.records import NewTask
    from fastqueue.core.state import State

__all__ = ["submit"]

_RETRY_AFTER_S = 1.0
# Room on a disk comes back more slowly than that in a queue.
_DISK_RETRY_AFTER_S = 2.0


def submit(state: State, command: Submit, now: float, decision: Decision) -> None:
    """Accept the tasks of a submission that are new, and acknowledge all that are stored."""
    seen = command.seen
    recorded: list[str] = []
    expired: list[str] = []
    refused = list(command.refused)
    keys: list[int] = []
    accepted: list[NewTask] = []
    unheld: set[str] = set()
    delayed: list[tuple[int, NewTask]] = []
    tasks, retention = state.tasks, state.retention
    for new in command.tasks:
        task_id = new.task_id
        if task_id in retention:
            recorded.append(task_id)
            continue
        if task_id in tasks or task_id in seen or task_id in unheld:
            if task_id in command.evicted:
                expired.append(task_id)
            continue
        lane = None
        refusal = _refusal(state, new)
        options = new.options
        if refusal is None and options is not None:
            if options.expires_at is not None:
                state.delays.note_expiry(options.expires_at)
            if options.due_at is not None and options.due_at > command.submitted_at:
                state.last_sequence += 1
                state.delays.add(new.rank, options.due_at)
                delayed.append((state.last_sequence, new))
                unheld.add(task_id)
                continue
        if refusal is None:
            lane = state.lanes.find(new.queue, new.rank, new.name)
            lane = lane or open_lane(state, new.queue, new.rank, new.name, decision)
        if lane is None:
            refused.append(refusal or _no_lane(state, task_id))
            continue
        if lane.live == 0:
            note_name(state, lane, now)
        state.last_sequence += 1
        key = lane.base | state.last_sequence
        if state.lanes.admit(lane):
            task = Task(
                task_id,
                key,
                lane,
                command.client,
                new.format,
                new.callback,
                len(new.payload),
                0,
                0,
                0,
                options,
            )
            tasks[task_id] = task
            lane.in_memory += 1
            state.lanes.put_last(task)
        else:
            unheld.add(task_id)
        keys.append(key)
        accepted.append(new)
    if keys:
        added = TasksAdded(keys, accepted, command.client, command.submitted_at)
        decision.changes.append(added)
    if delayed:
        delayed_keys, waiting = zip(*delayed, strict=True)
        decision.changes.append(
            TasksDelayed(delayed_keys, waiting, command.client, command.submitted_at)
        )
    decision.effects.append(AcknowledgeSubmit(command.session, command.request, refused))
    if recorded:
        # A resend whose acknowledgement was lost: the result was pushed into the void with it.
        decision.effects.append(PushStored(command.session, recorded))
    if expired:
        decision.effects.append(TellExpired(command.session, expired))


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
    return None


def _no_lane(state: State, task_id: str) -> Refused:
    bound = f"{state.limits.lanes_max:,} combinations of queue, priority and task name are in use"
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
