"""Own the leases: subworkers come and go, ready tasks go to the least loaded, outcomes come back.

A lease is valid while its fencing token is the task's. It ends with an outcome, when the
subworker gives it back, or when the subworker's grace time is over; then the token is void, and a
report under it is refused. A subworker that reconnects keeps the leases it names; one from before
a restart may be adopted if nobody else has the task and no such lease was declared lost.
"""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING

from fastqueue.core.changes import LeasesAdded, RatesSpent
from fastqueue.core.delaying import Retried
from fastqueue.core.effects import (
    AcknowledgeReport,
    CloseSession,
    Refill,
    RevokeLeases,
    SendLeases,
)
from fastqueue.core.lanes import SEQUENCE_BITS, Lane, Task
from fastqueue.core.queue_control import adopt_defined_limits
from fastqueue.core.records import LEASE_BITS, Lease, Result, fencing_token
from fastqueue.core.requests import tell_to_cancel
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent, next_status
from fastqueue.core.suspects import Crashed, lease_suspects, requeue
from fastqueue.core.turns import QueueTurn
from fastqueue.core.workers import Worker
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.commands import GiveBack, Loaded, Report, SetCapacity, WorkerReady
    from fastqueue.core.decision import Decision
    from fastqueue.core.queues import Queue
    from fastqueue.core.records import HeldLease
    from fastqueue.core.state import State

# What one tick leases to each subworker: the leases, and the keys of their tasks.
_Batches = dict[Worker, tuple[list[Lease], list[int]]]

__all__ = [
    "disconnect_worker",
    "give_back",
    "lease_ready",
    "loaded",
    "report",
    "set_capacity",
    "worker_ready",
]


def worker_ready(state: State, command: WorkerReady, now: float, decision: Decision) -> None:
    """Begin a subworker's session: settle what it still holds against what it should hold."""
    worker = state.workers.get_or_add(command.instance, command.worker_id)
    worker.worker_id = command.worker_id
    if worker.session:
        decision.effects.append(CloseSession(worker.session, "the same subworker connected anew"))
        state.workers.disconnect(worker)
    state.workers.connect(worker, command.session, command.names, command.capacity, command.offers)
    state.unoffered.drop(command.names)
    worker.heard_at = now
    state.workers.silence_due = min(state.workers.silence_due, now + state.limits.silence_max_s)
    worker.at_most_once = command.at_most_once
    worker.queues = command.queues
    adopt_defined_limits(state, command, now, decision)
    worker.death = None
    held = {lease.task_id: lease for lease in command.held}
    # A lease that it doesn't name never reached it, so the attempt isn't spent.
    requeue(
        state,
        [
            task
            for task in worker.tasks.values()
            if task.task_id not in held or held[task.task_id].token != task.token
        ],
        decision,
    )
    void = [h.task_id for h in command.held if not _keep_lease(state, worker, h, command, decision)]
    if void:
        decision.effects.append(RevokeLeases(command.session, void))
    tell_to_cancel((task for task in worker.tasks.values() if task.cancelling), decision)


def _keep_lease(
    state: State, worker: Worker, held: HeldLease, command: WorkerReady, decision: Decision
) -> bool:
    task = state.tasks.get(held.task_id)
    if task is not None and task.token == held.token and task.worker is worker:
        return True
    if task is None:
        stored = command.stored.get(held.task_id)
        if stored is None or stored.is_delayed:
            return False
        lane = state.lanes.by_id[stored.key >> SEQUENCE_BITS]
        if held.attempt != stored.attempt + 1 or held.token >> LEASE_BITS >= state.epoch:
            return False
        task = state.load(lane, stored)
    elif (
        task.status is not TaskStatus.QUEUED
        or held.attempt != task.attempt + 1
        or held.token >> LEASE_BITS >= state.epoch
    ):
        return False
    state.lanes.take_out(task)
    state.suspects.pop(task.key, None)
    state.assign(task, worker, held.token, TaskEvent.ADOPTED)
    task.at_most_once = task.lane.name in worker.at_most_once
    row = (task.key, task.token, worker.instance, task.at_most_once)
    decision.changes.append(LeasesAdded([row]))
    return True


def disconnect_worker(state: State, worker: Worker, now: float) -> None:
    """End a subworker's session; what it holds waits for it until its grace time is over."""
    state.workers.disconnect(worker)
    if worker.tasks:
        worker.deadline = now + state.limits.session_grace_s
        if worker.death is not None:
            worker.deadline = now  # one that is known to be dead isn't waited for
        elif worker.blocked is not None and worker.heartbeat_session:
            worker.deadline = now + state.limits.blocked_grace_s
    else:
        state.workers.forget(worker)


def set_capacity(state: State, command: SetCapacity, now: float, decision: Decision) -> None:
    """Note how many leases a subworker wants to hold at once."""
    worker = state.workers.by_session.get(command.session)
    if worker is not None and worker.death is None:
        worker.heard_at = now
        worker.capacity = command.capacity


def give_back(state: State, command: GiveBack, now: float, decision: Decision) -> None:
    """Take back leases that a subworker hasn't started; no attempt is spent."""
    worker = state.workers.by_session.get(command.session)
    if worker is None:
        return
    worker.heard_at = now
    tasks = {}
    for lease in command.leases:
        task = worker.tasks.get(lease.task_id)
        if task is not None and task.token == lease.token:
            tasks[task.key] = task
    requeue(state, list(tasks.values()), decision)


def report(state: State, command: Report, now: float, decision: Decision) -> None:
    """Record the outcomes of valid leases; a stale one changes nothing."""
    worker = state.workers.by_session.get(command.session)
    if worker is None:
        # The same subworker connected anew meanwhile, and will report again there.
        return
    worker.heard_at = now
    tasks, worker_id = state.tasks, worker.worker_id
    finished, retried, crashed = Finished(command.at), Retried(), Crashed(worker_id)
    for outcome in command.outcomes:
        task = tasks.get(outcome.task_id)
        if task is None or task.token != outcome.token:
            state.stale_outcomes += 1
            continue
        if outcome.succeeded:
            event = TaskEvent.SUCCEEDED
        elif task.cancelling:
            event = TaskEvent.CANCELLED
        elif outcome.crashed:
            crashed.add(state, task, outcome, now, finished)
            continue
        elif outcome.retry_in_s is not None:
            retried.add(state, task, outcome, worker_id, command.at + outcome.retry_in_s)
            continue
        else:
            event = TaskEvent.GAVE_UP if outcome.cancelled else TaskEvent.FAILED
        result = Result(
            task.task_id,
            next_status(task.status, event),
            task.lane.name,
            task.attempt,
            task.format,
            outcome.result,
            outcome.error,
            outcome.traceback,
            outcome.started_at,
            outcome.completed_at,
            worker_id,
        )
        state.finish(task, result, outcome.json_result, now, finished)
    retried.conclude(decision)
    crashed.conclude(state, decision)
    state.conclude(finished, now, decision)
    decision.effects.append(AcknowledgeReport(command.session, command.sequence))


def loaded(state: State, command: Loaded, now: float, decision: Decision) -> None:
    """Extend a lane's window by what the store returned."""
    lane = state.lanes.by_id.get(command.lane_id)
    if lane is None:
        return
    lane.refilling = False
    for stored in command.tasks:
        if stored.task_id not in state.tasks:
            task = state.load(lane, stored)
            if task.cancelling:
                state.to_cancel.append(task)
            elif task.is_suspect:
                state.suspects[task.key] = task
            else:
                state.lanes.put_last(task)
        lane.last_key = stored.key
    # A task from beyond the window may be in it already: adopted once, and given back since.
    state.lanes.put_in_order(lane)
    if command.exhausted:
        assert lane.spilled == 0, f"lane {lane.lane_id}: {lane.spilled} tasks are missing"


def lease_ready(state: State, at: float, now: float, decision: Decision) -> None:
    """Lease ready tasks in strict priority order, first in first out within each priority.

    `at` is the wall clock: what isn't to be started any more is cancelled in passing.
    """
    expired = Finished(at)
    batches: _Batches = {}
    may_lease = now >= state.leases_begin_at
    if may_lease and (state.suspects or state.reserved is not None):
        lease_suspects(state, partial(_lease, state, batches), now, expired)
    if may_lease:
        _lease_queues(state, partial(_lease, state, batches), now, expired)
    touched = state.lanes.touched
    while touched:
        _, lane = touched.popitem()
        _refill(state, lane, decision)
        state.lanes.quieten(lane)
    rows = []
    for worker, (leases, keys) in batches.items():
        instance, at_most_once = worker.instance, worker.at_most_once
        rows += [
            (key, lease.token, instance, lease.name in at_most_once)
            for lease, key in zip(leases, keys, strict=True)
        ]
        decision.effects.append(SendLeases(worker.session, leases, keys))
    if rows:
        decision.changes.append(LeasesAdded(rows))
        if marks := state.gates.take_drawn(now, at):
            decision.changes.append(RatesSpent(marks, at))
    state.conclude(expired, now, decision)


def _lease_queues(
    state: State, lease: Callable[[Task, Worker], None], now: float, expired: Finished
) -> None:
    """Lease what the queues have; those that wait beside each other share the free slots."""
    for gate in state.gates.take_opened(now):
        state.lanes.unpark(gate)
    queues = state.queues
    turns: list[tuple[float, int, Queue, QueueTurn]] = []
    for queue in list(queues.awake.values()):
        if not queue.settings.is_paused:
            turn = QueueTurn(state, queue, lease, now, expired)
            if not turn.is_over:
                turns.append((queues.turn_of(queue), len(turns), queue, turn))
        if not queue.awake:
            del queues.awake[queue.name]
    if len(turns) == 1:
        turns[0][3].lease_all()
        return
    heapq.heapify(turns)
    while turns:
        _, number, queue, turn = turns[0]
        if turn.lease(1):
            queues.charge(queue)
            heapq.heapreplace(turns, (queue.turn, number, queue, turn))
        else:
            heapq.heappop(turns)


def _lease(state: State, batches: _Batches, task: Task, worker: Worker) -> None:
    state.last_lease += 1
    token = fencing_token(state.epoch, state.last_lease)
    state.assign(task, worker, token, TaskEvent.LEASED)
    batch = batches.get(worker)
    if batch is None:
        batch = batches[worker] = ([], [])
    lane = task.lane
    task.at_most_once = lane.name in worker.at_most_once
    batch[0].append(
        Lease(
            task.task_id,
            token,
            task.attempt,
            lane.name,
            lane.rank,
            task.format,
            task.callback is not None,
            b"",
            task.failures,
            task.options,
            lane.queue,
            b"" if task.checkpoint_bytes else None,
        )
    )
    batch[1].append(task.key)


def _refill(state: State, lane: Lane, decision: Decision) -> None:
    window = state.lanes.window
    if lane.spilled and not lane.refilling and len(lane.ready) <= window // 4:
        lane.refilling = True
        decision.effects.append(Refill(lane.lane_id, lane.last_key, window - len(lane.ready)))
