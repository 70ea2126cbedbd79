"""Own the tasks that may have killed their subworker: run alone, and quarantined if proven.

When a subworker dies, any of the tasks it held may be the reason; all get a crash counted, which
is not a retry. The first time they are leased again like any other. A task that was there a second
time is a *suspect*: it is leased only to a subworker that holds nothing else, so that the innocent
ones go through and the next crash has one possible reason. At `crashes_max` the task is
quarantined: it fails, and the error says so.

While suspects wait and no subworker is idle, one is reserved: it gets nothing new until it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import LeasesLost
from fastqueue.core.effects import TellWorkerLost
from fastqueue.core.lanes import SEQUENCE_MASK, Task
from fastqueue.core.records import Result
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent, next_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.decision import Decision
    from fastqueue.core.state import State
    from fastqueue.core.workers import Worker

__all__ = ["expire_workers", "lease_suspects"]


def expire_workers(state: State, at: float, now: float, decision: Decision) -> None:
    """Take the tasks of subworkers that didn't come back in time."""
    for worker in state.workers.expired(now):
        finished = Finished(at)
        lost: list[Task] = []
        for task in list(worker.tasks.values()):
            task.crashes += 1
            if task.crashes >= state.limits.crashes_max:
                _quarantine(state, task, now, finished)
            else:
                state.unassign(task, TaskEvent.LEASE_LOST)
                task.is_suspect = task.crashes >= state.limits.isolate_after_crashes
                lost.append(task)
        state.put_back(lost)
        state.workers.forget(worker)
        if lost:
            rows = [(task.attempt, task.crashes, task.key) for task in lost]
            decision.changes.append(LeasesLost(rows))
        state.conclude(finished, now, decision)
        decision.effects.append(
            TellWorkerLost(
                # One from before a restart that never came back is known by its instance alone.
                worker.worker_id or worker.instance,
                [(task.lane.name, task.task_id) for task in lost],
                [(result.name, result.task_id) for result in finished.results],
            )
        )


def _quarantine(state: State, task: Task, now: float, finished: Finished) -> None:
    worker_id = task.worker.worker_id if task.worker is not None else None
    result = Result(
        task.task_id,
        next_status(task.status, TaskEvent.QUARANTINED),
        task.lane.name,
        task.attempt,
        task.format,
        error=(
            f"TaskQuarantined: the subworker process died each of the {task.crashes} times that "
            "this task was running in it (an exit, a crash of the interpreter, or it was killed, "
            "for one for taking too much memory); it isn't run again"
        ),
        completed_at=finished.at,
        worker_id=worker_id,
    )
    state.finish(task, result, None, now, finished)


def lease_suspects(state: State, lease: Callable[[Task, Worker], None]) -> None:
    """Lease each suspect that an idle subworker can run; reserve one for those that wait."""
    if state.reserved is not None:
        state.reserved.is_reserved = False
        state.reserved = None
    waiting = sorted(state.suspects.values(), key=lambda t: (t.lane.rank, t.key & SEQUENCE_MASK))
    for task in waiting:
        able = [w for w in state.workers.able(task.lane.name) if not w.suspects]
        idle = [worker for worker in able if not worker.tasks]
        if idle:
            del state.suspects[task.key]
            lease(task, idle[0])
        elif able and state.reserved is None:
            state.reserved = min(able, key=lambda w: w.load)
            state.reserved.is_reserved = True
