"""Own the steps of schedules: they fire, are made and changed, and come with task definitions.

A run and its schedule's advance are changes of one decision, so of one transaction: a crash keeps
both or neither. The id of the run's task follows from the schedule and the nominal time, so that a
run that is known in any state is never run again, whatever became of the schedule meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.core.changes import SchedulesAdvanced, SchedulesPut, SchedulesRemoved
from fastqueue.core.commands import Cancel, Submit
from fastqueue.core.decision import Decision
from fastqueue.core.effects import AcknowledgeSubmit, AnswerSchedules, TellSchedule
from fastqueue.core.records import NewTask, TaskOptions
from fastqueue.core.requests import cancel
from fastqueue.core.schedule_records import DEFINITION_PREFIX, ScheduleState, id_of_definition
from fastqueue.core.schedules import advanced
from fastqueue.core.submission import submit
from fastqueue.errors import ConfigurationError
from fastqueue.tasks.timetable import Overlap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastqueue.core.commands import (
        ChangeSchedule,
        ListSchedules,
        PutSchedule,
        RunScheduleNow,
        RunSchedules,
        StoredTask,
        WorkerReady,
    )
    from fastqueue.core.records import Refused
    from fastqueue.core.schedule_records import ScheduleSpec
    from fastqueue.core.schedules import DueRuns
    from fastqueue.core.state import State

__all__ = [
    "change_schedule",
    "list_schedules",
    "put_schedule",
    "run_schedule_now",
    "run_schedules",
    "take_definitions",
]

# Refusals that pass: a run that met one is tried again.
_PASSING = frozenset({"overloaded", "disk_full"})


# -- firing


def run_schedules(state: State, command: RunSchedules, now: float, decision: Decision) -> None:
    """Submit the runs that are due, and note in their schedules that they are."""
    at, schedules = command.at, state.schedules
    firing: list[DueRuns] = []
    put: list[ScheduleState] = []
    tasks: list[NewTask] = []
    for due in command.runs:
        found = schedules.get(due.schedule_id)
        assert found is not None
        if due.problem:
            schedules.set_aside(due.schedule_id)
            decision.effects.append(TellSchedule(due.schedule_id, f"can't run: {due.problem}"))
            continue
        if due.missed_at is not None:
            what = "runs the newest of those that came due" if due.runs else "leaves them out"
            decision.effects.append(
                TellSchedule(
                    due.schedule_id,
                    f"is {at - due.missed_at:.0f} s late, and by its policy for missed runs {what}",
                )
            )
        if due.runs and found.spec.overlap is Overlap.SKIP and _is_live(state, command, due.before):
            put.append(advanced(replace(found, left_out=found.left_out + 1), due.settled_at))
            continue
        firing.append(due)
        tasks += (_new_run(found.spec, task_id, at) for _, task_id in due.runs)
    refused = _submit(state, tasks, command.seen, at, now, decision)
    put += (_fired(state, due, refused, now) for due in firing)
    _cancel_older(state, command, firing, refused, now, decision)
    for one in put:
        schedules.put(one)
    if put:
        decision.changes.append(SchedulesAdvanced(put))


def _fired(state: State, due: DueRuns, refused: Mapping[str, Refused], now: float) -> ScheduleState:
    """Return a schedule after its runs; one that there was no room for, and the next ones, stay."""
    found = state.schedules.get(due.schedule_id)
    assert found is not None
    settled_at = due.settled_at
    for at, task_id in due.runs:
        refusal = refused.get(task_id)
        if refusal is None:
            found = replace(
                found, fired=found.fired + 1, last_task_id=task_id, last_at=at, settled_at=at
            )
        elif refusal.code in _PASSING:
            state.schedules.hold_off(now)
            settled_at = found.settled_at
            break
        else:
            found = replace(found, left_out=found.left_out + 1, settled_at=at)
    return advanced(found, settled_at)


def _is_live(state: State, command: RunSchedules | RunScheduleNow, task_id: str) -> bool:
    return task_id in state.tasks or task_id in command.stored


def _new_run(spec: ScheduleSpec, task_id: str, at: float) -> NewTask:
    options = spec.options
    if spec.expires_s is not None:
        options = replace(options or TaskOptions(), expires_at=at + spec.expires_s)
    return NewTask(
        task_id, spec.name, spec.rank, spec.format, spec.payload, None, spec.queue, options
    )


def _submit(
    state: State,
    tasks: list[NewTask],
    seen: frozenset[str],
    at: float,
    now: float,
    decision: Decision,
) -> dict[str, Refused]:
    """Submit runs; return those that were refused. One that is known already stays as it is."""
    if not tasks:
        return {}
    inner = Decision()
    submit(state, Submit(0, 0, "", at, tasks, seen), now, inner)
    decision.changes += inner.changes
    return {
        refusal.task_id: refusal
        for effect in inner.effects
        if isinstance(effect, AcknowledgeSubmit)
        for refusal in effect.refused
    }


def _cancel_older(
    state: State,
    command: RunSchedules,
    firing: list[DueRuns],
    refused: Mapping[str, Refused],
    now: float,
    decision: Decision,
) -> None:
    older = []
    for due in firing:
        found = state.schedules.get(due.schedule_id)
        assert found is not None
        made = [task_id for _, task_id in due.runs if task_id not in refused]
        is_replaced = bool(made) and due.before not in ("", *made)
        if is_replaced and found.spec.overlap is Overlap.CANCEL:
            older.append(due.before)
    if older:
        _cancel(state, older, command.stored, command.at, now, decision)


def _cancel(
    state: State,
    task_ids: list[str],
    stored: Mapping[str, StoredTask],
    at: float,
    now: float,
    decision: Decision,
) -> None:
    """Cancel runs as a client would, and answer nobody."""
    inner = Decision()
    cancel(state, Cancel(0, 0, task_ids, at, stored), now, inner)
    decision.changes += inner.changes
    # The last effect is the answer.
    decision.effects += inner.effects[:-1]


def run_schedule_now(state: State, command: RunScheduleNow, now: float, decision: Decision) -> None:
    """Run a schedule because somebody asks for it; its times stay as they are."""
    session, request = command.session, command.request
    found = _known(state, command.schedule_id)
    if found is None:
        decision.effects.append(AnswerSchedules(session, request, None))
        return
    task_id, spec, before = command.task_id, found.spec, found.last_task_id
    if task_id not in command.seen and task_id != before:
        is_live = spec.overlap is not Overlap.ALLOW and _is_live(state, command, before)
        if is_live and spec.overlap is Overlap.SKIP:
            refusal = (
                f"schedule {spec.schedule_id!r} wasn't run: its last run, task {before}, isn't "
                'over, and its overlap is "skip"'
            )
            decision.effects.append(AnswerSchedules(session, request, None, "overlap", refusal))
            return
        new = _new_run(spec, task_id, command.at)
        refused = _submit(state, [new], command.seen, command.at, now, decision)
        if task_id in refused:
            refusal = refused[task_id].message
            decision.effects.append(AnswerSchedules(session, request, None, "overloaded", refusal))
            return
        if is_live:
            _cancel(state, [before], command.stored, command.at, now, decision)
        found = replace(found, last_task_id=task_id)
        state.schedules.put(found)
        decision.changes.append(SchedulesAdvanced([found]))
    decision.effects.append(AnswerSchedules(session, request, task_id))


# -- making and changing


def put_schedule(state: State, command: PutSchedule, now: float, decision: Decision) -> None:
    """Make a schedule, or replace one and keep its history; the same one again changes nothing."""
    session, request, spec = command.session, command.request, command.spec

    def refuse(code: str, message: str) -> None:
        decision.effects.append(AnswerSchedules(session, request, None, code, message))

    if command.problem:
        refuse("schedule", command.problem)
        return
    schedule_id = spec.schedule_id
    if schedule_id.startswith(DEFINITION_PREFIX):
        refuse(
            "schedule",
            f"schedule {schedule_id!r} can't be made: an id that begins with {DEFINITION_PREFIX!r} "
            "is that of a task definition's schedule",
        )
        return
    found = state.schedules.get(schedule_id)
    if found is None or found.spec != spec:
        if found is not None and not command.replaces:
            refuse(
                "schedule",
                f"there is a schedule {schedule_id!r} already, and it is another; delete it, or "
                "replace it",
            )
            return
        made = _changed(found, spec, command.at)
        if refusal := _no_room(state, made, decision):
            refuse("overloaded", refusal)
            return
        state.schedules.put(made)
        decision.changes.append(SchedulesPut([made]))
        found = made
    decision.effects.append(AnswerSchedules(session, request, found))


def _changed(found: ScheduleState | None, spec: ScheduleSpec, at: float) -> ScheduleState:
    """Return a schedule with this spec from now on; what came due before isn't made up for."""
    if found is None:
        return advanced(ScheduleState(spec, at), at)
    return advanced(replace(found, spec=spec), at)


def _no_room(state: State, made: ScheduleState, decision: Decision) -> str:
    """Return why there is no room for a schedule, if so; those withdrawn make room first."""
    schedules, limits, spec = state.schedules, state.limits, made.spec
    if len(spec.payload) > limits.payload_bytes_max:
        return (
            f"the arguments of schedule {spec.schedule_id!r} are {len(spec.payload):,} bytes "
            f"encoded; the control plane takes at most {limits.payload_bytes_max:,}"
        )
    if schedules.has_room_for(made):
        return ""
    # Not itself: what is known of it must outlast a version of it that there is no room for.
    if old := [i for i in schedules.withdrawn() if i != spec.schedule_id]:
        for schedule_id in old:
            schedules.remove(schedule_id)
        decision.changes.append(SchedulesRemoved(old))
    if schedules.has_room_for(made):
        return ""
    return (
        f"schedule {spec.schedule_id!r} wasn't taken: there are {len(schedules):,}, with "
        f"{schedules.payload_bytes:,} bytes of arguments; the limits are "
        f"{limits.schedules_max:,} and {limits.schedules_bytes_max:,}"
    )


def _known(state: State, schedule_id: str) -> ScheduleState | None:
    found = state.schedules.get(schedule_id)
    return None if found is None or found.is_withdrawn else found


def change_schedule(state: State, command: ChangeSchedule, now: float, decision: Decision) -> None:
    """Pause, resume or delete a schedule; answer what it is then, or was."""
    session, request, schedules = command.session, command.request, state.schedules
    found = _known(state, command.schedule_id)
    if found is None:
        decision.effects.append(AnswerSchedules(session, request, None))
        return
    if command.action == "delete":
        name = found.spec.name
        if command.schedule_id == id_of_definition(name) and state.workers.is_offered(name):
            refusal = (
                f"schedule {command.schedule_id!r} isn't deleted: it belongs to the definition of "
                f"task {name!r}, which a connected subworker offers; pause it, or take the "
                "schedule out of the definition"
            )
            decision.effects.append(AnswerSchedules(session, request, None, "schedule", refusal))
            return
        schedules.remove(command.schedule_id)
        decision.changes.append(SchedulesRemoved([command.schedule_id]))
    elif found.is_paused != (command.action == "pause"):
        found = replace(found, is_paused=not found.is_paused)
        if not found.is_paused:
            try:
                # What came due meanwhile is not made up for.
                found = advanced(found, command.at)
            except ConfigurationError as error:
                refusal = f"schedule {command.schedule_id!r} can't be resumed: {error}"
                decision.effects.append(
                    AnswerSchedules(session, request, None, "schedule", refusal)
                )
                return
        schedules.put(found)
        decision.changes.append(SchedulesAdvanced([found]))
    decision.effects.append(AnswerSchedules(session, request, found))


def list_schedules(state: State, command: ListSchedules, now: float, decision: Decision) -> None:
    """Answer which schedules there are, a page at a time, without their arguments."""
    if command.schedule_id is not None:
        found = _known(state, command.schedule_id)
        page = [] if found is None else [found]
    else:
        found_all = state.schedules.page(command.after, command.limit)
        page = [replace(one, spec=replace(one.spec, payload=b"")) for one in found_all]
    decision.effects.append(AnswerSchedules(command.session, command.request, page))


# -- of task definitions


def take_definitions(state: State, command: WorkerReady, now: float, decision: Decision) -> None:
    """Take the schedules of a subworker's definitions over, where its word is the last.

    Of all subworkers that offer a task the one whose process started last decides, also that the
    task has no schedule. So a new version takes over once, and an old one that only connects anew
    changes nothing.
    """
    decision.effects += (TellSchedule(i, f"isn't taken: {why}") for i, why in command.problems)
    schedules = state.schedules
    if not command.schedules and not schedules.definitions:
        return
    # A clock that is ahead must not keep the others from deciding for ever.
    started_at = min(command.started_at, command.at)
    offered = {spec.schedule_id: spec for spec in command.schedules}
    skipped = {schedule_id for schedule_id, _ in command.problems}
    put: list[ScheduleState] = []
    for name in sorted(command.names):
        schedule_id = id_of_definition(name)
        spec, found = offered.get(schedule_id), schedules.get(schedule_id)
        if schedule_id in skipped or (found is None and spec is None):
            continue
        if found is not None and started_at <= found.decided_at:
            continue
        try:
            made = _decided(found, spec, command.at, started_at)
        except ConfigurationError as error:
            decision.effects.append(TellSchedule(schedule_id, f"isn't taken: {error}"))
            continue
        if refusal := _no_room(state, made, decision):
            decision.effects.append(TellSchedule(schedule_id, f"isn't taken: {refusal}"))
            continue
        schedules.put(made)
        put.append(made)
    if put:
        decision.changes.append(SchedulesPut(put))


def _decided(
    found: ScheduleState | None, spec: ScheduleSpec | None, at: float, started_at: float
) -> ScheduleState:
    """Return a definition's schedule as a subworker has it; without `spec` it is withdrawn."""
    if spec is None:
        assert found is not None
        return replace(found, is_withdrawn=True, decided_at=started_at)
    if found is None or found.is_withdrawn or found.spec != spec:
        found = replace(_changed(found, spec, at), is_withdrawn=False)
    return replace(found, decided_at=started_at)
