"""Own the life of a task: the one table by which a status changes.

A task is QUEUED when its submission is stored, or SCHEDULED if it isn't due yet. A lease makes it
RUNNING; a lease that ends without an outcome (its subworker gave it back, or is gone) makes it
QUEUED again, and a failure that is to be tried again makes it RETRYING until that is due. An
outcome, a cancellation or a refusal is terminal, and from there no event leads anywhere: that is
what makes a result the only one.
"""

from __future__ import annotations

import enum

from fastqueue.tasks.models import TaskStatus

__all__ = ["TRANSITIONS", "IllegalTransition", "TaskEvent", "next_status"]


class TaskEvent(enum.Enum):
    """Say what happened to a task."""

    LEASED = enum.auto()
    ADOPTED = enum.auto()
    GIVEN_BACK = enum.auto()
    LEASE_LOST = enum.auto()
    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()
    QUARANTINED = enum.auto()
    NOT_REPEATED = enum.auto()
    RETRIED = enum.auto()
    GAVE_UP = enum.auto()
    EXPIRED = enum.auto()
    DUE = enum.auto()


_Q, _R = TaskStatus.QUEUED, TaskStatus.RUNNING
_S, _T = TaskStatus.SCHEDULED, TaskStatus.RETRYING

TRANSITIONS: dict[tuple[TaskStatus, TaskEvent], TaskStatus] = {
    (_Q, TaskEvent.LEASED): TaskStatus.RUNNING,
    (_Q, TaskEvent.ADOPTED): TaskStatus.RUNNING,
    (_Q, TaskEvent.CANCELLED): TaskStatus.CANCELLED,
    (_R, TaskEvent.GIVEN_BACK): TaskStatus.QUEUED,
    (_R, TaskEvent.LEASE_LOST): TaskStatus.QUEUED,
    (_R, TaskEvent.SUCCEEDED): TaskStatus.SUCCESS,
    (_R, TaskEvent.FAILED): TaskStatus.FAILURE,
    (_R, TaskEvent.QUARANTINED): TaskStatus.FAILURE,
    (_R, TaskEvent.NOT_REPEATED): TaskStatus.FAILURE,
    (_R, TaskEvent.RETRIED): TaskStatus.RETRYING,
    (_R, TaskEvent.CANCELLED): TaskStatus.CANCELLED,
    (_R, TaskEvent.GAVE_UP): TaskStatus.CANCELLED,
    (_Q, TaskEvent.EXPIRED): TaskStatus.CANCELLED,
    (_S, TaskEvent.DUE): TaskStatus.QUEUED,
    (_T, TaskEvent.DUE): TaskStatus.QUEUED,
}


class IllegalTransition(AssertionError):  # noqa: N818 - a defect of the core, never a user's error
    """Name the status and the event that the table doesn't join."""


def next_status(status: TaskStatus, event: TaskEvent) -> TaskStatus:
    """Return the status after `event`.

    Raises:
        IllegalTransition: the table has no such change; the core asked for the impossible.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(f"{event.name} can't happen to a task that is {status}") from None
