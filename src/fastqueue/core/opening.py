"""Own how a lane comes to be: found, or made within the bound of their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import LaneAdded, LanesRemoved

if TYPE_CHECKING:
    from fastqueue.core.decision import Decision
    from fastqueue.core.lanes import Lane
    from fastqueue.core.records import TaskOptions
    from fastqueue.core.state import State

__all__ = ["note_name", "open_lane"]


def open_lane(
    state: State,
    queue: str,
    rank: int,
    name: str,
    options: TaskOptions | None,
    decision: Decision,
) -> Lane | None:
    """Return the lane, a new one if there is none; None if there are too many."""
    limits, lanes = state.limits, state.lanes
    fair_key = "" if options is None else options.fair_key
    found = lanes.find(queue, rank, name, fair_key)
    if found is not None:
        return found
    if len(lanes.idle) > limits.lanes_idle_max or len(lanes.by_id) >= limits.lanes_max:
        if lanes.idle:
            decision.changes.append(LanesRemoved(lanes.drop_idle()))
        if len(lanes.by_id) >= limits.lanes_max:
            return None
    lane = lanes.create(queue, rank, name, fair_key)
    decision.changes.append(LaneAdded(lane.lane_id, queue, rank, name, fair_key))
    return lane


def note_name(state: State, lane: Lane, now: float) -> None:
    """Note that a lane which is empty gets a task that no connected subworker offers, if so."""
    name = lane.name
    if lane.live or name in state.workers.offers.by_name:
        return
    others = (state.lanes.find(lane.queue, rank, name) for rank in range(4))
    is_waiting = any(other is not None and other.live for other in others)
    state.unoffered.note(name, now, anew=not is_waiting)
