"""Own who is alive: what is heard of a subworker, who is silent, whose event loop is blocked.

A subworker's heartbeats come from a thread with a session of its own, so they go on while a task
blocks the event loop. Whatever else its process sends is as good. One that has a session and isn't
heard of for `silence_max_s` is given up, as if its connection had ended and its grace time were
over. One whose loop is blocked can't answer on the connection that carries its leases, nor make a
new one: its grace time is extended for as long as its heartbeats say so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastqueue.core.effects import CloseSession, TellBlocked
from fastqueue.core.workers import Blocked, Death

if TYPE_CHECKING:
    from fastqueue.core.commands import Heartbeat, HeartbeatLost
    from fastqueue.core.decision import Decision
    from fastqueue.core.state import State

__all__ = ["give_up_silent", "heartbeat", "heartbeat_lost"]


def heartbeat(state: State, command: Heartbeat, now: float, decision: Decision) -> None:
    """Note that a subworker is alive, and whether its loop is blocked."""
    worker = state.workers.by_instance.get(command.instance)
    if worker is None:
        return
    worker.heard_at = now
    worker.heartbeat_session = command.session
    if not command.blocked_s:
        worker.blocked = None
        return
    before = worker.blocked
    worker.blocked = Blocked(
        now - command.blocked_s, command.task_name, command.task_id, command.stack
    )
    if not worker.session and worker.death is None:
        worker.deadline = max(worker.deadline, now + state.limits.blocked_grace_s)
    if before is None or before.task_id != command.task_id:
        decision.effects.append(
            TellBlocked(
                worker.worker_id or worker.instance,
                command.blocked_s,
                command.task_name,
                command.task_id,
                command.stack,
            )
        )


def heartbeat_lost(state: State, command: HeartbeatLost, now: float, decision: Decision) -> None:
    """End the longer wait for a subworker whose loop was blocked, unless it beats anew in time."""
    worker = state.workers.by_instance.get(command.instance)
    if worker is None or worker.heartbeat_session != command.session:
        return
    worker.heartbeat_session = 0
    if worker.blocked is not None and not worker.session:
        worker.deadline = min(worker.deadline, now + state.limits.session_grace_s)


def give_up_silent(state: State, now: float, decision: Decision) -> None:
    """End the sessions of subworkers that nothing was heard of for too long.

    All are looked at only when one of them may be due. A look that comes late says more of this
    process than of them, for one that it was stopped itself: what they sent meanwhile may be
    unread, so it is read first.
    """
    workers, limits = state.workers, state.limits
    if now < workers.silence_due:
        return
    if now > workers.silence_due + limits.catch_up_s:
        workers.silence_due = now + limits.catch_up_s
        return
    workers.silence_due = math.inf
    for worker in list(workers.by_session.values()):
        due = worker.heard_at + limits.silence_max_s
        if due > now:
            workers.silence_due = min(workers.silence_due, due)
            continue
        reason = f"nothing was heard of it for {now - worker.heard_at:.0f} s"
        decision.effects.append(CloseSession(worker.session, reason))
        workers.disconnect(worker)
        worker.deadline = now
        worker.death = worker.death or Death(f"sent nothing for {limits.silence_max_s:g} s")
