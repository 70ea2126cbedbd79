"""Own the values every part of fastqueue speaks in: priority, status, result.

Imported by everything; imports nothing of fastqueue but the errors.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta  # noqa: TC003 - whoever renders a TaskResult looks them up
from typing import Any

__all__ = [
    "Attempt",
    "Batch",
    "BatchCancellation",
    "Cancellation",
    "DeadLetter",
    "Schedule",
    "TaskPriority",
    "TaskProgress",
    "TaskResult",
    "TaskStatus",
]


class _StrEnum(enum.StrEnum):
    """Compare and print as the plain string, so `status == "success"` holds."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class TaskPriority(_StrEnum):
    """Order queued tasks: strictly CRITICAL, HIGH, NORMAL, LOW; first in, first out within one."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Return 0 for CRITICAL to 3 for LOW: the smaller rank runs first."""
        return _RANKS[self]

    @classmethod
    def parse(cls, value: TaskPriority | str) -> TaskPriority:
        """Return the priority that `value` is or names, in any letter case.

        Raises:
            ValueError: it is none of the four; the message lists them.
        """
        if type(value) is cls:
            return value
        if isinstance(value, str):
            try:
                return cls(value.strip().lower())
            except ValueError:
                pass
        allowed = ", ".join(repr(p.value) for p in cls)
        raise ValueError(f"priority {value!r} is none of {allowed} (or a TaskPriority)")

    @classmethod
    def of_rank(cls, rank: int) -> TaskPriority:
        """Return the priority with this rank (0 to 3)."""
        return _BY_RANK[rank]


_BY_RANK = (TaskPriority.CRITICAL, TaskPriority.HIGH, TaskPriority.NORMAL, TaskPriority.LOW)
_RANKS = {priority: rank for rank, priority in enumerate(_BY_RANK)}


class TaskStatus(_StrEnum):
    """Say where a task is in its life.

    `pending` is known to the client alone: submitted, not yet acknowledged.
    """

    PENDING = "pending"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Say whether the task is over: it has its one result and never changes again."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILURE, TaskStatus.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """Tell how far the attempt that runs has come, as it says itself.

    Attributes:
        done: how much is done, in the task's own units.
        total: how much there is to do; None if the task doesn't say.
        message: what the task says about it.
    """

    done: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """Tell what is known of one task: its status, and once it is terminal its outcome.

    Always truthy: `None` in place of a result only means unknown or expired.

    Attributes:
        task_id: the id under which the task was submitted.
        status: where the task is in its life.
        result: what the task function returned; `None` until `success`.
        error: on `failure` the exception's type and message (`ValueError: boom`).
        started_at: when the last attempt started; aware, UTC.
        completed_at: when the task became terminal; aware, UTC.
        name: the task definition's name.
        attempt: the number of the last attempt; 1 is the first, 0 means not started.
        traceback: on `failure` of the task's own code, its traceback.
        worker_id: the subworker that ran the last attempt.
        progress: how far the attempt that runs has come, if it says so; not kept once it is over.
        waits_for: of a queued task what it waits for beside its turn, in words: a subworker that
            offers its name, if none that is connected does.
    """

    task_id: str
    status: TaskStatus
    result: Any = None
    error: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    name: str = ""
    attempt: int = 0
    traceback: str | None = field(default=None, repr=False)
    worker_id: str | None = None
    progress: TaskProgress | None = None
    waits_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Tell of one attempt of a task that failed and was followed by another.

    Attributes:
        attempt: its number; 1 is the first.
        started_at: when it started; aware, UTC.
        completed_at: when it failed; aware, UTC.
        worker_id: the subworker that ran it.
        error: the exception's type and message.
        traceback: its traceback.
    """

    attempt: int
    started_at: datetime
    completed_at: datetime
    worker_id: str
    error: str
    traceback: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Tell of a task that failed for good, and can be queued again.

    Attributes:
        task_id: the task.
        name: the task definition's name.
        queue: where it waited.
        priority: its priority.
        attempt: the number of its last attempt.
        died_at: when it failed for good; aware, UTC.
        error: the last exception's type and message.
        traceback: its traceback.
        payload_bytes: the size of its arguments, encoded.
    """

    task_id: str
    name: str
    queue: str
    priority: TaskPriority
    attempt: int
    died_at: datetime
    error: str
    traceback: str | None = field(default=None, repr=False)
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tell how far the tasks of a batch are; `submitted` is the sum of the five counts after it.

    Attributes:
        batch_id: the batch.
        submitted: how many tasks were accepted for it.
        waiting: how many of them wait: queued, scheduled or retrying.
        running: how many a subworker has.
        success: how many returned.
        failure: how many failed for good.
        cancelled: how many were cancelled, or expired.
        created_at: when the first one was accepted; aware, UTC.
        finished_at: since when all of them are over; `None` if not all are. Aware, UTC.
    """

    batch_id: str
    submitted: int
    waiting: int
    running: int
    success: int
    failure: int
    cancelled: int
    created_at: datetime
    finished_at: datetime | None

    @property
    def finished(self) -> bool:
        """Say whether all tasks that were submitted until now are over."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCancellation:
    """Tell what came of asking to cancel a batch; truthy if nothing of it is left to run.

    Attributes:
        batch_id: the batch.
        cancelled: how many of its tasks the call cancelled.
        unfinished: how many it found live and aren't over when it returned. They still run, and are
            cancelled as soon as they can be interrupted unless they end by themselves before; or
            there was no room for them to be looked at, and they are as they were.
    """

    batch_id: str
    cancelled: int
    unfinished: int

    def __bool__(self) -> bool:
        return self.unfinished == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """Tell what came of asking to cancel a task; truthy if it is cancelled.

    Attributes:
        task_id: the task that was to be cancelled.
        cancelled: whether the task is cancelled: it will not run.
        status: the task's status after the call; `None` if the id is unknown or expired.
    """

    task_id: str
    cancelled: bool
    status: TaskStatus | None

    def __bool__(self) -> bool:
        return self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Tell of a schedule: what it runs, when, and how far it has come. Times are aware, in UTC.

    Attributes:
        id: what it is known by; `task:NAME` is that of a task definition.
        name: the name of the task that it runs.
        queue: where its runs wait.
        priority: their priority.
        cron: when it runs; None if it goes by `every`.
        timezone: the zone that `cron` is read in; None without `cron`.
        every: the interval; None if it goes by `cron`.
        start: the first time at which it may fire, if that was given.
        end: the last such time, if it was given.
        count: how often it fires in all, if that was given.
        run_jitter: by how much each run is put off, at most.
        missed: what becomes of runs that came due in an outage.
        missed_window: how far back that goes if it is "all".
        overlap: what becomes of a run while the one before isn't over.
        paused: whether it is paused.
        next_at: when it fires next, before jitter; None if it is paused or over.
        fired: how often it has fired.
        left_out: how many runs were left out because the one before wasn't over.
        last_at: the time for which it last fired.
        last_task_id: the task of its last run, also of one that was asked for.
    """

    id: str
    name: str
    queue: str
    priority: TaskPriority
    cron: str | None
    timezone: str | None
    every: timedelta | None
    start: datetime | None
    end: datetime | None
    count: int | None
    run_jitter: timedelta
    missed: str
    missed_window: timedelta
    overlap: str
    paused: bool
    next_at: datetime | None
    fired: int
    left_out: int
    last_at: datetime | None
    last_task_id: str | None
