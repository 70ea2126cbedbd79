"""Own what somebody may ask of queues and limits: pause, weigh, purge; limit what runs.

A purge is a mark: all that the queue has up to a sequence number goes. It is carried out in steps,
since a queue may hold millions of tasks: what memory holds of its lanes is cancelled, which has
more of them read back, and what waits for a time is read from the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import asdict, replace

from fastqueue.core.changes import (
    PurgeChanged,
    QueueChanged,
    RunLimitRemoved,
    RunLimitSet,
    TasksDue,
)
from fastqueue.core.delaying import make_ready
from fastqueue.core.effects import AnswerInspect, LoadPurged, RefuseRequest
from fastqueue.core.lanes import SEQUENCE_MASK
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.commands import (
        Purge,
        PurgedLoaded,
        RemoveRunLimit,
        SetQueue,
        SetRunLimit,
        WorkerReady,
    )
    from fastqueue.core.decision import Decision
    from fastqueue.core.lanes import Task
    from fastqueue.core.queues import Queue
    from fastqueue.core.state import State

__all__ = [
    "adopt_defined_limits",
    "go_on_purging",
    "purge",
    "purged_loaded",
    "remove_run_limit",
    "set_queue",
    "set_run_limit",
]

_PURGED = "Cancelled: its queue was purged"


def set_queue(state: State, command: SetQueue, now: float, decision: Decision) -> None:
    """Change settings of a queue; it needn't have tasks yet."""
    change, queues = command.change, state.queues
    given = {
        name: value
        for name, value in asdict(change).items()
        if value is not UNSET and name != "name"
    }
    settings = replace(queues.settings_of(change.name), **given)
    if change.name not in queues.settings and len(queues.settings) >= state.limits.queues_max:
        refused = f"{state.limits.queues_max:,} queues have settings of their own already"
        decision.effects.append(RefuseRequest(command.session, command.request, refused))
        return
    queues.configure(settings)
    decision.changes.append(QueueChanged(settings))
    _answer(command, asdict(settings), decision)


def purge(state: State, command: Purge, now: float, decision: Decision) -> None:
    """Begin to cancel all that a queue has waiting; say how much is ready."""
    queue = state.queues.by_name.get(command.queue)
    if not state.last_sequence:
        _answer(command, {"ready": 0}, decision)
        return
    state.purges[command.queue] = state.last_sequence
    state.purges_delayed[command.queue] = 0
    state.is_purge_due = True
    decision.changes.append(PurgeChanged(command.queue, state.last_sequence))
    ready = 0 if queue is None else sum(_waiting_in(queue))
    _answer(command, {"ready": ready}, decision)


def _waiting_in(queue: Queue) -> Iterable[int]:
    return (len(lane.ready) + lane.spilled for lane in queue.lanes.values())


def go_on_purging(state: State, at: float, now: float, decision: Decision) -> None:
    """Cancel the next of what is to go from queues that are purged."""
    delays = state.delays
    state.is_purge_due = False
    for name, last in list(state.purges.items()):
        finished = Finished(at)
        queue = state.queues.by_name.get(name)
        is_done = queue is None or _purge_ready(state, queue, last, now, finished)
        suspects = [t for t in state.suspects.values() if t.lane.queue == name]
        for task in suspects:
            if task.key & SEQUENCE_MASK <= last:
                _cancel(state, task, now, finished)
        state.conclude(finished, now, decision)
        after = state.purges_delayed.get(name)
        # One kind at a time, as in `delaying`: what is done with one answer makes another untrue.
        if after is not None and not delays.is_loading:
            delays.is_loading_purged = True
            decision.effects.append(LoadPurged(name, after, last, state.limits.purge_max))
        if is_done and after is None:
            del state.purges[name]
            decision.changes.append(PurgeChanged(name, 0))


def _purge_ready(state: State, queue: Queue, last: int, now: float, finished: Finished) -> bool:
    """Cancel ready tasks of the queue; say whether none is left, in memory or in the store."""
    left = state.limits.purge_max
    is_done = True
    for lane in list(queue.lanes.values()):
        while left and lane.ready:
            key, task = next(iter(lane.ready.items()))
            if key & SEQUENCE_MASK > last:
                break
            _cancel(state, task, now, finished)
            left -= 1
        is_over = lane.ready and next(iter(lane.ready)) & SEQUENCE_MASK > last
        if not is_over and (lane.ready or lane.spilled):
            is_done = False
    if not left:
        state.is_purge_due = True
    return is_done


def _cancel(state: State, task: Task, now: float, finished: Finished) -> None:
    state.end_unreported(task, TaskEvent.CANCELLED, _PURGED, now, finished)


def purged_loaded(state: State, command: PurgedLoaded, now: float, decision: Decision) -> None:
    """Cancel delayed tasks of a queue that is purged."""
    state.delays.is_loading_purged = False
    state.is_purge_due = True
    finished = Finished(command.at)
    rows: list[tuple[int, int]] = []
    for stored in command.tasks:
        task = make_ready(state, stored, now, decision, rows, hold=True)
        if task is not None:
            _cancel(state, task, now, finished)
    # If it was purged anew meanwhile, all is to be read again.
    if state.purges.get(command.queue) == command.last:
        if command.is_last:
            del state.purges_delayed[command.queue]
        else:
            state.purges_delayed[command.queue] = command.tasks[-1].key
    if rows:
        decision.changes.append(TasksDue(rows))
    state.conclude(finished, now, decision)


def set_run_limit(state: State, command: SetRunLimit, now: float, decision: Decision) -> None:
    """Have a limit hold that somebody sets; what runs already counts."""
    gates, limit = state.gates, replace(command.limit, is_defined=False)
    if limit.id not in gates.set and len(gates.set) >= state.limits.run_limits_max:
        refused = f"{state.limits.run_limits_max:,} limits are set already"
        decision.effects.append(RefuseRequest(command.session, command.request, refused))
        return
    gates.set[limit.id] = limit
    _apply_limits(state, now)
    decision.changes.append(RunLimitSet(limit))
    _answer(command, True, decision)


def remove_run_limit(state: State, command: RemoveRunLimit, now: float, decision: Decision) -> None:
    """Remove a limit that somebody set; what the definition says, if it says any, holds again."""
    removed = state.gates.set.pop(command.id, None)
    if removed is not None:
        _apply_limits(state, now)
        decision.changes.append(RunLimitRemoved(command.id, is_defined=False))
    _answer(command, removed is not None, decision)


def adopt_defined_limits(
    state: State, command: WorkerReady, now: float, decision: Decision
) -> None:
    """Have the limits hold that a subworker's definitions say; the last one that says is right."""
    defined = state.gates.defined
    if not (defined or command.run_limits):
        return
    said = {limit.id: replace(limit, is_defined=True) for limit in command.run_limits}
    gone = [i for i in defined if i.name in command.names and i not in said]
    new = [limit for i, limit in said.items() if defined.get(i) != limit]
    room = max(0, state.limits.run_limits_max - len(defined))
    new = [limit for n, limit in enumerate(new) if limit.id in defined or n < room]
    for limit_id in gone:
        del defined[limit_id]
        decision.changes.append(RunLimitRemoved(limit_id, is_defined=True))
    for limit in new:
        defined[limit.id] = limit
        decision.changes.append(RunLimitSet(limit))
    if gone or new:
        _apply_limits(state, now)


def _apply_limits(state: State, now: float) -> None:
    """Make the gates anew from the limits, and count what runs."""
    state.gates.rebuild(now)
    state.queues.join_gates()
    for worker in state.workers:
        for task in worker.tasks.values():
            for gate in task.lane.gates:
                gate.running += 1


def _answer(
    command: SetQueue | Purge | SetRunLimit | RemoveRunLimit, answer: Any, decision: Decision
) -> None:
    decision.effects.append(AnswerInspect(command.session, command.request, answer))
