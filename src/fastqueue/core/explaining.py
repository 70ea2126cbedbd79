"""Own why a task isn't running: the one reason, what it means, and who or what would end it.

Asked for by `inspection`. The reasons, in the order in which they are looked for:

- `finished`, `unknown`: there is nothing to wait for.
- `running`, `cancelling`: it has a subworker.
- `not_due`, `retrying`: it waits for a time.
- `purged`: its queue is purged, and its turn to be cancelled comes.
- `paused`: its queue is.
- `recovering`: the control plane has just started after a crash, and waits for subworkers.
- `no_subworker`: none is connected that offers its name and serves its queue.
- `limit`: as many run as may; `holders` are some of those that do.
- `rate`: as many have begun as may; `opens_in_s` is when the next may.
- `isolated`: it may have killed subworkers, and waits for an idle one to run alone in.
- `behind`: others are before it, or every slot is taken.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fastqueue.core.lanes import SEQUENCE_BITS, SEQUENCE_MASK
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.naming import describe_unoffered

if TYPE_CHECKING:
    from fastqueue.core.commands import StoredTask
    from fastqueue.core.gates import Gate
    from fastqueue.core.lanes import Lane, Task
    from fastqueue.core.state import State

__all__ = ["explain_held", "explain_stored"]

_HOLDERS_SHOWN_MAX = 10

Reason = dict[str, Any]


def explain_held(state: State, task: Task, now: float) -> Reason:
    """Return why a task that memory holds isn't running, or that it is."""
    if task.status is TaskStatus.RUNNING and task.worker is not None:
        who = task.worker.worker_id or task.worker.instance
        if task.cancelling:
            return _reason("cancelling", f"it is being cancelled in subworker {who}", worker_id=who)
        if not task.worker.session:
            text = (
                "it ran in a subworker that isn't connected now; if that doesn't come back in a "
                "few seconds, it is queued again"
            )
            return _reason("running", text, worker_id=who)
        return _reason("running", f"it runs, or is about to, in subworker {who}", worker_id=who)
    key = task.key & SEQUENCE_MASK
    found = _explain_lane(state, task.lane, key, now)
    if found is not None:
        return found
    if task.is_suspect:
        return _reason(
            "isolated",
            f"{task.crashes} subworkers died while it ran, so it waits for one that is idle, to "
            "run alone in it",
            crashes=task.crashes,
        )
    ahead = sum(1 for other in task.lane.ready if other & SEQUENCE_MASK < key)
    return _behind(state, task.lane, key, ahead, now)


def explain_stored(state: State, stored: StoredTask, ahead: int, at: float, now: float) -> Reason:
    """Return why a task that only the store has isn't running.

    Args:
        state: the core's.
        stored: the task.
        ahead: how many of its lane are before it in the store, running ones among them.
        at: the wall clock.
        now: the monotonic clock.
    """
    if stored.belongs is not None:
        return _not_due(state, stored, at)
    lane = state.lanes.by_id[stored.key >> SEQUENCE_BITS]
    key = stored.key & SEQUENCE_MASK
    found = _explain_lane(state, lane, key, now)
    if found is not None:
        return found
    running = lane.in_memory - len(lane.ready)
    return _behind(state, lane, key, max(0, ahead - running), now)


def _reason(code: str, text: str, **details: object) -> Reason:
    return {"reason": code, "text": text, **details}


def _not_due(state: State, stored: StoredTask, at: float) -> Reason:
    assert stored.belongs is not None
    due_at = stored.due_at
    if due_at is None or due_at <= at:
        when = "its time has come, and it is about to be queued"
    else:
        when = f"it isn't due for {due_at - at:,.1f} s"
    if stored.failures:
        times = "once" if stored.failures == 1 else f"{stored.failures} times"
        text = f"{when}: it failed {times} and is tried again then"
        return _reason("retrying", text, due_at=due_at, failures=stored.failures)
    return _reason("not_due", when, due_at=due_at)


def _explain_lane(state: State, lane: Lane, key: int, now: float) -> Reason | None:
    """Return what keeps all of a lane from running, or None."""
    queue = lane.band.queue
    if key <= state.purges.get(queue.name, 0):
        return _reason("purged", f"queue {queue.name!r} is being purged; it is about to go")
    if queue.settings.is_paused:
        text = f"queue {queue.name!r} is paused; `fastqueue queues resume` lets it go on"
        return _reason("paused", text, queue=queue.name)
    if now < state.leases_begin_at:
        text = "the control plane has just started again, and waits for subworkers to come back"
        return _reason("recovering", text)
    if not state.workers.able(lane.name, lane.queue):
        return _no_subworker(state, lane)
    for gate in lane.gates:
        if gate.is_full:
            return _full(state, gate)
        if gate.is_shut(now):
            opens_in_s = gate.opens_at - now
            text = f"{_named(gate)} lets the next one begin in {opens_in_s:,.1f} s"
            return _reason("rate", text, limit=_limit(gate), opens_in_s=opens_in_s)
    return None


def _no_subworker(state: State, lane: Lane) -> Reason:
    offering = [w for w in state.workers.by_session.values() if lane.name in w.names]
    if not offering:
        text = describe_unoffered(lane.name, state.workers.offers.names())
    elif not any(w.serves(lane.queue) for w in offering):
        text = (
            f"the subworkers that have a task named {lane.name!r} don't serve queue "
            f"{lane.queue!r}: see their --queues"
        )
    else:
        text = "the subworkers that could run it take nothing now: they are stopping"
    return _reason("no_subworker", text, name=lane.name, queue=lane.queue)


def _full(state: State, gate: Gate) -> Reason:
    holding = (
        task
        for worker in state.workers
        for task in worker.tasks.values()
        if gate in task.lane.gates
    )
    holders = [
        {"task_id": task.task_id, "worker_id": task.worker.worker_id if task.worker else None}
        for task in islice(holding, _HOLDERS_SHOWN_MAX)
    ]
    text = (
        f"{_named(gate)} lets {gate.limit.concurrency:,} run at once, and {gate.running:,} do: "
        + ", ".join(f"{one['task_id']} in {one['worker_id']}" for one in holders[:3])
        + (" and others" if gate.running > 3 else "")
    )
    return _reason("limit", text, limit=_limit(gate), running=gate.running, holders=holders)


def _limit(gate: Gate) -> dict[str, Any]:
    limit_id, fair_key = gate.place
    return {"scope": limit_id.scope, "name": limit_id.name, "fair_key": fair_key or None}


def _named(gate: Gate) -> str:
    limit_id, fair_key = gate.place
    what = {"task": "task", "queue": "queue", "key": "fair key"}[limit_id.scope]
    of_key = f" for fair key {fair_key!r}" if fair_key else ""
    return f"the limit of {what} {limit_id.name!r}{of_key}"


def _behind(state: State, lane: Lane, key: int, ahead_in_lane: int, now: float) -> Reason:
    queue = lane.band.queue
    others = ahead_in_lane
    for other in queue.lanes.values():
        if other is lane or other.rank > lane.rank:
            continue
        if other.rank < lane.rank:
            others += len(other.ready) + other.spilled
        elif other.ready:
            before = sum(1 for one in other.ready if one & SEQUENCE_MASK < key)
            # What is spilled comes after the window.
            others += before + (other.spilled if before == len(other.ready) else 0)
    rate = queue.rate(now)
    text = f"about {others:,} tasks of queue {queue.name!r} are before it"
    if not others:
        text = "it is next, and waits for a free slot"
    if rate > 0:
        text += f"; {rate:,.1f} a second begin"
    return _reason("behind", text, ahead=others, per_second=rate)
