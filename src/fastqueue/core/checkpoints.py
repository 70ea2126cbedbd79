"""Own the checkpoints: what an attempt saves for the next one.

Whoever holds the lease may save, nobody else: an attempt that was given up can't put back what a
later one has saved. The values are in the store alone; the core knows how large they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import CheckpointSaved
from fastqueue.core.effects import AcknowledgeCheckpoint

if TYPE_CHECKING:
    from fastqueue.core.commands import SaveCheckpoint
    from fastqueue.core.decision import Decision
    from fastqueue.core.state import State

__all__ = ["save_checkpoint"]

_LEASE_LOST = "this attempt doesn't count any more; another may be running"


def save_checkpoint(state: State, command: SaveCheckpoint, now: float, decision: Decision) -> None:
    """Save a checkpoint under a valid lease; it is acknowledged once it is on disk."""
    worker = state.workers.by_session.get(command.session)
    if worker is None:
        return  # it connected anew meanwhile, and sends it again there
    worker.heard_at = now
    task = state.tasks.get(command.task_id)
    session, sequence = command.session, command.sequence
    if task is None or task.worker is not worker or task.token != command.token:
        decision.effects.append(
            AcknowledgeCheckpoint(session, sequence, _LEASE_LOST, is_lease_lost=True)
        )
        return
    grows_by = len(command.value) - task.checkpoint_bytes
    refusal = _refusal(state, grows_by)
    if not refusal:
        task.checkpoint_bytes += grows_by
        worker.leased_bytes += grows_by
        state.checkpoints_bytes += grows_by
        decision.changes.append(CheckpointSaved(task.key, task.task_id, command.value))
    decision.effects.append(AcknowledgeCheckpoint(session, sequence, refusal))


def _refusal(state: State, grows_by: int) -> str:
    """Return why there is no room for a checkpoint that takes so much more, if there is none."""
    space, most = state.disk_shortage, state.limits.checkpoints_bytes_max
    if space is not None:
        return (
            f"the control plane's disk is full: {space.free_bytes:,} bytes are free at "
            f"{space.where!r}, and {space.enough_bytes:,} are needed"
        )
    if grows_by > 0 and state.checkpoints_bytes + grows_by > most:
        return f"the checkpoints of all tasks have {most:,} bytes, which is the limit"
    return ""
