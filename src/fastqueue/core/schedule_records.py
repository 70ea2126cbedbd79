"""Own the records of schedules, which cross every boundary unchanged: wire, core and store.

Times are seconds since the Unix epoch (UTC), by the control plane's clock unless said otherwise.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from fastqueue.core.records import (
    DEFAULT_QUEUE,
    FormatCode,
    QueueName,
    Rank,
    Seconds,
    TaskName,
    TaskOptions,
)
from fastqueue.tasks.timetable import MissedRuns, Overlap, Timetable

__all__ = [
    "DEFINITION_PREFIX",
    "SCHEDULE_PAYLOAD_BYTES_MAX",
    "ScheduleId",
    "ScheduleSpec",
    "ScheduleState",
    "id_of_definition",
]

# Of a task's longest name, with the prefix.
ScheduleId = Annotated[str, Meta(min_length=1, max_length=205)]
# The control plane holds it in memory, and writes it with every run.
SCHEDULE_PAYLOAD_BYTES_MAX = 64 * 1024
DEFINITION_PREFIX = "task:"


def id_of_definition(name: str) -> str:
    """Return the id of the schedule that a task definition has."""
    return DEFINITION_PREFIX + name


class ScheduleSpec(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say what a schedule runs, when, and what becomes of runs that can't be as they should.

    Attributes:
        schedule_id: what it is known by.
        timetable: when.
        name: the task's name.
        rank: its priority.
        format: how its arguments are encoded.
        payload: its arguments.
        queue: where it waits.
        options: what each run asks for beyond its definition; without times.
        expires_s: how long after it was submitted a run isn't to be started any more.
        missed: what becomes of runs that came due in an outage.
        window_s: how far back `MissedRuns.ALL` goes.
        overlap: what becomes of a run while the one before is not over.
    """

    schedule_id: ScheduleId
    timetable: Timetable
    name: TaskName
    rank: Rank
    format: FormatCode
    payload: Annotated[bytes, Meta(max_length=SCHEDULE_PAYLOAD_BYTES_MAX)]
    queue: QueueName = DEFAULT_QUEUE
    options: TaskOptions | None = None
    expires_s: Seconds | None = None
    missed: MissedRuns = MissedRuns.SKIP
    window_s: Seconds = 3600.0
    overlap: Overlap = Overlap.ALLOW


class ScheduleState(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Hold a schedule and how far it has come; this is what is stored.

    Attributes:
        spec: what it is.
        settled_at: every nominal time until then has been dealt with, and never fires again.
        next_at: its next nominal time; None if there is none.
        is_paused: whether somebody paused it.
        fired: how many of its nominal times became tasks.
        left_out: how many didn't because the run before wasn't over.
        last_task_id: the task of its last run, also of one that somebody asked for.
        last_at: the nominal time of the last one that wasn't asked for.
        decided_at: of a task definition's schedule, when the subworker started whose word it is.
        is_withdrawn: that subworker offers the task without a schedule.
    """

    spec: ScheduleSpec
    settled_at: float
    next_at: float | None = None
    is_paused: bool = False
    fired: int = 0
    left_out: int = 0
    last_task_id: str = ""
    last_at: float | None = None
    decided_at: float = 0.0
    is_withdrawn: bool = False
