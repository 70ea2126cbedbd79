"""Own what the queue tells about itself: counts, lanes, subworkers, the fate of an id."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import structs

from fastqueue.core.effects import AnswerInspect
from fastqueue.core.explaining import explain_held, explain_stored
from fastqueue.core.offers import describe_offers, unoffered_now

if TYPE_CHECKING:
    from fastqueue.core.commands import Inspect
    from fastqueue.core.decision import Decision
    from fastqueue.core.records import RunLimit
    from fastqueue.core.state import State
    from fastqueue.core.workers import Worker

__all__ = ["inspect"]

_LANES_SHOWN_MAX = 1_000
_WORKERS_SHOWN_MAX = 1_000
_UNOFFERED_SHOWN_MAX = 1_000
# It is one frame, and put together in one go.
_OFFERS_SHOWN_MAX = 10_000
_OFFERS_BYTES_MAX = 2 * 1024**2


def inspect(state: State, command: Inspect, now: float, decision: Decision) -> None:
    """Answer a question about the queue, or about certain ids.

    About the queue: `stats`, `offers`, `queues`, `limits`; about ids: `tasks`, `attempts`, `why`.
    """
    ask_store: list[str] = []
    answer: Any
    if command.topic == "stats":
        answer = _stats(state, now)
    elif command.topic == "queues":
        answer = [_queue(state, name, now) for name in _queue_names(state)]
    elif command.topic == "limits":
        answer = [_limit(state, limit) for limit in state.gates.effective.values()]
    elif command.topic == "why":
        answer = {task_id: _why(state, task_id, command, now) for task_id in command.task_ids}
    elif command.topic == "offers":
        answer = describe_offers(state, _OFFERS_SHOWN_MAX, _OFFERS_BYTES_MAX)
    elif command.topic == "attempts":
        answer, ask_store = {}, list(command.task_ids)
    else:
        answer = {}
        for task_id in command.task_ids:
            task = state.tasks.get(task_id)
            if task is not None:
                answer[task_id] = {
                    "state": task.status.value,
                    "name": task.lane.name,
                    "queue": task.lane.queue,
                    "priority": task.lane.priority.value,
                    "attempt": task.attempt,
                    "crashes": task.crashes,
                    "worker_id": task.worker.worker_id if task.worker else None,
                    "waits_for": state.unoffered.waits_for(task.lane.name, task.status),
                }
                progress = state.followed.progress_of(task_id)
                if progress is not None:
                    answer[task_id]["progress"] = structs.asdict(progress)
            elif task_id in state.retention:
                answer[task_id] = {"state": "recorded"}
            else:
                ask_store.append(task_id)
    effect = AnswerInspect(command.session, command.request, answer, ask_store, command.topic)
    decision.effects.append(effect)


def _why(state: State, task_id: str, command: Inspect, now: float) -> dict[str, Any]:
    task = state.tasks.get(task_id)
    stored = command.stored.get(task_id)
    if task is not None:
        return explain_held(state, task, now)
    if stored is not None:
        ahead = command.ahead.get(task_id, 0)
        return explain_stored(state, stored, ahead, command.at, now)
    if task_id in state.retention:
        return {"reason": "finished", "text": "it is finished; its result is kept"}
    text = "there is no such task, or its result is gone"
    return {"reason": "unknown", "text": text}


def _queue_names(state: State) -> list[str]:
    return sorted(state.queues.by_name.keys() | state.queues.settings.keys())


def _queue(state: State, name: str, now: float) -> dict[str, Any]:
    settings = state.queues.settings_of(name)
    queue = state.queues.by_name.get(name)
    lanes = () if queue is None else queue.lanes.values()
    ready = sum(len(lane.ready) + lane.spilled for lane in lanes)
    live = sum(lane.live for lane in lanes)
    serving = [w for w in state.workers.by_session.values() if w.serves(name)]
    return {
        "name": name,
        "paused": settings.is_paused,
        "weight": settings.weight,
        "ageing_s": settings.ageing_s,
        "wait_limit_s": settings.wait_limit_s,
        "ready": ready,
        "running": live - ready,
        "fair_keys": 0 if queue is None else sum(1 for key in queue.flows if key),
        "per_second": 0.0 if queue is None else queue.rate(now),
        "purging": name in state.purges,
        "subworkers": len(serving),
    }


def _limit(state: State, limit: RunLimit) -> dict[str, Any]:
    gate = state.gates.gate(limit.id)
    return {
        "scope": limit.id.scope,
        "name": limit.id.name,
        "each_key": limit.id.is_each,
        "concurrency": limit.concurrency,
        "rate": limit.rate,
        "burst": limit.burst,
        "weight": limit.weight,
        "defined": limit.is_defined,
        "running": gate.running if gate is not None else None,
    }


def _stats(state: State, now: float) -> dict[str, Any]:
    running = sum(len(worker.tasks) for worker in state.workers)
    lanes = [lane for lane in state.lanes if lane.live]
    return {
        "epoch": state.epoch,
        "queued": state.lanes.live - running,
        "delayed": state.delays.count,
        "dead_letters": state.dead_letters,
        "running": running,
        "results": len(state.retention),
        "results_bytes": state.retention.size_bytes,
        "tombstones": state.young_tombstones + state.old_tombstones,
        "callbacks_owed": state.outbox.owed,
        "clients": len(state.clients_by_session),
        "stale_outcomes": state.stale_outcomes,
        "task_names": state.workers.names(),
        "unoffered": [
            {"name": name, "tasks": tasks, "waiting_s": now - since}
            for name, tasks, since in unoffered_now(state)[:_UNOFFERED_SHOWN_MAX]
        ],
        "lanes": [
            {
                "queue": lane.queue,
                "priority": lane.priority.value,
                "name": lane.name,
                "live": lane.live,
                "in_memory": lane.in_memory,
            }
            for lane in lanes[:_LANES_SHOWN_MAX]
        ],
        "subworkers": [
            {
                "worker_id": worker.worker_id,
                "connected": bool(worker.session),
                "capacity": worker.capacity,
                "running": len(worker.tasks),
                **_liveness(worker, now),
            }
            for worker in list(state.workers)[:_WORKERS_SHOWN_MAX]
        ],
    }


def _liveness(worker: Worker, now: float) -> dict[str, Any]:
    """Return when a subworker was last heard of, None if never, and what blocks its loop."""
    blocked = worker.blocked
    return {
        "heard_s_ago": now - worker.heard_at if math.isfinite(worker.heard_at) else None,
        "blocked": blocked
        and {
            "seconds": now - blocked.since,
            "task_name": blocked.task_name,
            "task_id": blocked.task_id,
            "stack": blocked.stack,
        },
    }
