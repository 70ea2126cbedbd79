"""Own what a subworker tells the control plane of the schedules of its task definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.config import SerializationFormat
from fastqueue.core.schedule_records import ScheduleSpec, id_of_definition
from fastqueue.tasks.models import TaskPriority
from fastqueue.tasks.serializer import encode_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.tasks.registry import TaskDefinition

__all__ = ["schedules_of"]


def schedules_of(definitions: Iterable[TaskDefinition]) -> list[ScheduleSpec]:
    """Return the schedules that these definitions have; each runs its task without arguments."""
    return [
        ScheduleSpec(
            schedule_id=id_of_definition(definition.name),
            timetable=definition.schedule.timetable,
            name=definition.name,
            rank=TaskPriority.NORMAL.rank,
            format=SerializationFormat.JSON.code,
            payload=encode_arguments(definition.name, (), {}),
            queue=definition.queue,
            missed=definition.schedule.missed,
            window_s=definition.schedule.window_s,
            overlap=definition.schedule.overlap,
        )
        for definition in definitions
        if definition.schedule is not None
    ]
