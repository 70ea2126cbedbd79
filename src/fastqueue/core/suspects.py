"""Own the tasks that may have killed their subworker: run alone, and quarantined if proven.

When a subworker dies, any of the tasks that had begun in it may be the reason; all get a crash
counted, which is not a retry. Its supervisor says which these are; if nobody does, it is all that
it held. What hadn't begun is leased again without blame, and the first time so is the rest. One
that was there a second time is a *suspect*: it is leased only to a subworker that holds nothing
else, so that the innocent ones go through and the next crash has one possible reason. At
`crashes_max` the task is quarantined: it fails, and the error says so.

A task that is to run at most once fails at the first crash if it had begun, or may have.

One that ran in a process of its own, which died, has a crash counted alone: its subworker saw it
die. Nothing else was in it, so it needn't be run alone to find out; only one whose crashes are read
back from the store is, where the two kinds are one number.

While suspects wait and no subworker is idle, one is reserved: it gets nothing new until it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import LeasesEnded, LeasesLost
from fastqueue.core.delaying import expire, is_expired
from fastqueue.core.effects import CloseSession, TellQuarantined, TellWorkerLost
from fastqueue.core.lanes import SEQUENCE_MASK, Task
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent
from fastqueue.core.workers import Death

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.commands import WorkerDied
    from fastqueue.core.decision import Decision
    from fastqueue.core.records import Outcome
    from fastqueue.core.state import State
    from fastqueue.core.workers import Worker

__all__ = ["Crashed", "expire_workers", "lease_suspects", "requeue", "worker_died"]


def worker_died(state: State, command: WorkerDied, now: float, decision: Decision) -> None:
    """Note how a subworker's process ended; what it held needn't wait for it to come back."""
    worker = state.workers.by_instance.get(command.instance)
    if worker is None:
        return
    worker.death = Death(command.cause, command.running)
    worker.capacity = 0
    # Its last reports may still be on their way, until its connection ends.
    worker.deadline = now + state.limits.session_grace_s if worker.session else now


def expire_workers(state: State, at: float, now: float, decision: Decision) -> None:
    """Take the tasks of subworkers that are gone."""
    for worker in state.workers.expired(now):
        finished = Finished(at)
        lost: list[Task] = []
        unstarted: list[Task] = []
        not_repeated: list[tuple[str, str]] = []
        cause, running = worker.end
        for task in list(worker.tasks.values()):
            if running is not None and task.token not in running:
                unstarted.append(task)
                continue
            task.crashes += 1
            if task.at_most_once:
                not_repeated.append((task.lane.name, task.task_id))
                error = _not_repeated_error(f"subworker {cause}", is_certain=running is not None)
                state.end_unreported(task, TaskEvent.NOT_REPEATED, error, now, finished)
            elif task.crashes >= state.limits.crashes_max:
                error = _quarantine_error(task.crashes, "subworker process", cause)
                state.end_unreported(task, TaskEvent.QUARANTINED, error, now, finished)
            else:
                state.unassign(task, TaskEvent.LEASE_LOST)
                task.is_suspect = task.crashes >= state.limits.isolate_after_crashes
                lost.append(task)
        state.put_back(lost)
        if lost:
            rows = [(task.attempt, task.crashes, task.key) for task in lost]
            decision.changes.append(LeasesLost(rows))
        requeue(state, unstarted, decision)
        if worker.session:
            decision.effects.append(CloseSession(worker.session, f"the subworker {cause}"))
            state.workers.disconnect(worker)
        state.workers.forget(worker)
        state.conclude(finished, now, decision)
        failed = [(result.name, result.task_id) for result in finished.results]
        decision.effects.append(
            TellWorkerLost(
                # One from before a restart that never came back is known by its instance alone.
                worker.worker_id or worker.instance,
                cause,
                [(task.lane.name, task.task_id) for task in (*lost, *unstarted)],
                [task for task in failed if task not in not_repeated],
                not_repeated,
            )
        )


class Crashed:
    """Gather the tasks of one report whose own processes died.

    Args:
        worker_id: who reports it.
    """

    __slots__ = ("lost", "quarantined", "worker_id")

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.lost: list[Task] = []
        self.quarantined: list[tuple[str, str]] = []

    def add(
        self, state: State, task: Task, outcome: Outcome, now: float, finished: Finished
    ) -> None:
        """Count a crash for a task; it is made ready again, quarantined, or isn't repeated."""
        cause = outcome.error or "ended"
        task.crashes += 1
        if task.at_most_once:
            error = _not_repeated_error(f"process {cause}", is_certain=True)
            state.end_unreported(task, TaskEvent.NOT_REPEATED, error, now, finished)
        elif task.crashes >= state.limits.crashes_max:
            self.quarantined.append((task.lane.name, task.task_id))
            error = _quarantine_error(task.crashes, "process", cause)
            state.end_unreported(task, TaskEvent.QUARANTINED, error, now, finished)
        else:
            state.unassign(task, TaskEvent.LEASE_LOST)
            self.lost.append(task)

    def conclude(self, state: State, decision: Decision) -> None:
        """Turn what was gathered into a change, and say what was quarantined."""
        if self.lost:
            state.put_back(self.lost)
            lost_rows = [(task.attempt, task.crashes, task.key) for task in self.lost]
            decision.changes.append(LeasesLost(lost_rows))
        if self.quarantined:
            decision.effects.append(TellQuarantined(self.worker_id, self.quarantined))


def requeue(state: State, tasks: list[Task], decision: Decision) -> None:
    """Make leased tasks ready again that haven't begun; no attempt is spent."""
    if not tasks:
        return
    for task in tasks:
        task.attempt -= 1
        state.unassign(task, TaskEvent.GIVEN_BACK)
    state.put_back(tasks)
    decision.changes.append(LeasesEnded([task.key for task in tasks]))


def _quarantine_error(crashes: int, process: str, cause: str) -> str:
    if crashes == 1:
        how = f"{cause} while this task was running in it"
    else:
        how = (
            f"died each of the {crashes} times that this task was running in it, the last time it "
            f"{cause}"
        )
    return f"TaskQuarantined: the {process} {how}; it isn't run again"


def _not_repeated_error(what: str, *, is_certain: bool) -> str:
    begun = "this task was running in it" if is_certain else "this task was leased to it"
    return (
        f"LeaseLost: the {what} while {begun}; what the task did isn't known, and as "
        'its delivery is "at_most_once" it isn\'t run again'
    )


def lease_suspects(
    state: State, lease: Callable[[Task, Worker], None], now: float, expired: Finished
) -> None:
    """Lease each suspect that an idle subworker can run; reserve one for those that wait.

    What isn't to be started any more is cancelled in passing.
    """
    if state.reserved is not None:
        state.reserved.is_reserved = False
        state.reserved = None
    waiting = sorted(state.suspects.values(), key=lambda t: (t.lane.rank, t.key & SEQUENCE_MASK))
    for task in waiting:
        if is_expired(task, expired.at):
            expire(state, task, now, expired)
            continue
        lane = task.lane
        if lane.band.queue.settings.is_paused or state.gates.shut(lane.gates, now):
            continue
        able = [w for w in state.workers.able(lane.name, lane.queue) if not w.suspects]
        idle = [worker for worker in able if not worker.tasks]
        if idle:
            del state.suspects[task.key]
            lease(task, idle[0])
            state.gates.draw(lane.gates, now)
        elif able and state.reserved is None:
            state.reserved = min(able, key=lambda w: w.load)
            state.reserved.is_reserved = True
