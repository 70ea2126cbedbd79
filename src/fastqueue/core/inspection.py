"""Own what the queue tells about itself: counts, lanes, subworkers, the fate of an id."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import structs

from fastqueue.core.effects import AnswerInspect

if TYPE_CHECKING:
    from fastqueue.core.commands import Inspect
    from fastqueue.core.decision import Decision
    from fastqueue.core.state import State
    from fastqueue.core.workers import Worker

__all__ = ["inspect"]

_LANES_SHOWN_MAX = 1_000
_WORKERS_SHOWN_MAX = 1_000


def inspect(state: State, command: Inspect, now: float, decision: Decision) -> None:
    """Answer a question about the queue (`stats`) or certain ids (`tasks`, `attempts`)."""
    ask_store: list[str] = []
    if command.topic == "stats":
        answer = _stats(state, now)
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
