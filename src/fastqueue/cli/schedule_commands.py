"""Own what the commands of `fastqueue schedules` do; each returns its exit code."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Literal, cast

from fastqueue.cli import output
from fastqueue.cli.arguments import parse_kwargs, parse_moment, parse_span, parse_value
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, FAILED, say
from fastqueue.client.options import SubmitOptions
from fastqueue.errors import ConfigurationError, ScheduleNotFound
from fastqueue.tasks.registry import task_name_of
from fastqueue.tasks.scheduling import TIMETABLE_OPTIONS, schedule_policy_of
from fastqueue.tasks.timetable import preview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from fastqueue import Client
    from fastqueue.client.schedules import AddOptions
    from fastqueue.tasks.models import Schedule, TaskPriority

__all__ = [
    "run_add",
    "run_change",
    "run_delete",
    "run_list",
    "run_now",
    "run_preview",
    "run_show",
]

_SPANS = ("every", "run_jitter", "missed_window", "expires")
_MOMENTS = ("anchor", "start", "end")


def run_list(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Show all schedules."""

    async def show(client: Client) -> int:
        schedules = await client.schedules.list()
        if as_json:
            output.show_json([_document(one) for one in schedules])
        elif schedules:
            output.show_table(
                ("id", "task", "when", "next", "fired", "last task"),
                (
                    (
                        one.id,
                        one.name,
                        _when(one),
                        _next(one),
                        one.fired,
                        one.last_task_id or "",
                    )
                    for one in schedules
                ),
            )
        else:
            say("there are no schedules")
        return DONE

    return ask(given, show)


def run_add(
    given: Mapping[str, Any],
    *,
    task_name: str,
    schedule_id: str | None,
    args: Sequence[str],
    kwargs: str | None,
    priority: TaskPriority,
    replace: bool,
    as_json: bool,
) -> int:
    """Make a schedule, and show its id.

    Raises:
        ConfigurationError: an option can't be what it is.
        FastQueueError: as for `Schedules.add`.
    """
    # Before anybody is looked for: it needs no control plane to see it.
    task_name_of(task_name)
    values = [parse_value(text) for text in args]
    named = {} if kwargs is None else parse_kwargs(kwargs)
    settings, asked = _apart(given)
    schedule_policy_of(asked)

    async def add(client: Client) -> int:
        made = await client.schedules.add(
            task_name,
            values,
            named,
            id=schedule_id,
            priority=priority,
            replace=replace,
            **cast("AddOptions", asked),
        )
        _show_change(made, as_json=as_json)
        return DONE

    return ask(settings, add)


def _apart(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the client's settings, and what is given of a schedule, with times for texts.

    Raises:
        ConfigurationError: a text is no time.
    """
    names = {*TIMETABLE_OPTIONS, *SubmitOptions.__annotations__}
    settings = {name: value for name, value in given.items() if name not in names}
    asked = {name: given[name] for name in given if name in names and given[name] is not None}
    for name in _SPANS:
        if name in asked:
            asked[name] = parse_span(asked[name], _option(name))
    for name in _MOMENTS:
        if name in asked:
            asked[name] = parse_moment(asked[name], _option(name))
    return settings, asked


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def run_show(given: Mapping[str, Any], *, schedule_id: str, as_json: bool) -> int:
    """Show one schedule."""

    async def show(client: Client) -> int:
        found = await client.schedules.get(schedule_id)
        if as_json:
            output.show_json(None if found is None else _document(found))
        elif found is not None:
            output.show_facts(_facts(found))
        if found is None:
            say(f"there is no schedule {schedule_id!r}; `fastqueue schedules list` shows all")
            return FAILED
        return DONE

    return ask(given, show)


def run_change(
    given: Mapping[str, Any],
    *,
    schedule_id: str,
    action: Literal["pause", "resume"],
    as_json: bool,
) -> int:
    """Pause or resume a schedule."""

    async def change(client: Client) -> int:
        method = client.schedules.pause if action == "pause" else client.schedules.resume
        _show_change(await method(schedule_id), as_json=as_json)
        return DONE

    return ask(given, _or_not_found(change))


def run_delete(given: Mapping[str, Any], *, schedule_id: str, as_json: bool) -> int:
    """Delete a schedule."""

    async def delete(client: Client) -> int:
        if not await client.schedules.delete(schedule_id):
            raise ScheduleNotFound(f"there is no schedule {schedule_id!r}", schedule_id=schedule_id)
        if as_json:
            output.show_json({"id": schedule_id, "deleted": True})
        return DONE

    return ask(given, _or_not_found(delete))


def run_now(given: Mapping[str, Any], *, schedule_id: str, as_json: bool) -> int:
    """Run a schedule, and show the task's id."""

    async def run(client: Client) -> int:
        task_id = await client.schedules.run_now(schedule_id)
        if as_json:
            output.show_json({"id": schedule_id, "task_id": task_id})
        else:
            output.show_line(task_id)
        return DONE

    return ask(given, _or_not_found(run))


def run_preview(
    given: Mapping[str, Any], *, schedule_id: str | None, limit: int, as_json: bool
) -> int:
    """Show the next times of a schedule, or of one that might be.

    Raises:
        ConfigurationError: neither an id nor a timetable is given, or both.
    """
    settings, asked = _apart(given)
    policy = schedule_policy_of(asked)
    if (schedule_id is None) == (policy is None):
        raise ConfigurationError(
            "say which times are to be shown: either by the --id of a schedule, or by --cron or "
            "--every"
        )
    if policy is not None:
        _show_times(preview(policy.timetable, time.time(), limit), as_json=as_json)
        return DONE

    async def show(client: Client) -> int:
        _show_times(await client.schedules.preview(str(schedule_id), limit), as_json=as_json)
        return DONE

    return ask(settings, _or_not_found(show))


def _or_not_found(
    question: Callable[[Client], Awaitable[int]],
) -> Callable[[Client], Awaitable[int]]:
    """Have a question end with an exit code if there is no such schedule."""

    async def asked(client: Client) -> int:
        try:
            return await question(client)
        except ScheduleNotFound as error:
            say(str(error))
            return FAILED

    return asked


def _show_times(times: Sequence[datetime], *, as_json: bool) -> None:
    if as_json:
        output.show_json([at.isoformat() for at in times])
    elif times:
        for at in times:
            output.show_line(f"{at:%a} {at.isoformat(' ')}")
    else:
        say("it never fires again")


def _show_change(schedule: Schedule, *, as_json: bool) -> None:
    if as_json:
        output.show_json(_document(schedule))
    else:
        output.show_line(schedule.id)


def _document(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as a JSON document has it: spans in seconds."""
    document = dataclasses.asdict(schedule)
    for name in ("every", "run_jitter", "missed_window"):
        span = document[name]
        document[name] = None if span is None else span.total_seconds()
    return document


def _when(schedule: Schedule) -> str:
    if schedule.every is not None:
        return f"every {schedule.every}"
    return f"{schedule.cron} {schedule.timezone}"


def _next(schedule: Schedule) -> str:
    if schedule.paused:
        return "paused"
    return "over" if schedule.next_at is None else output.local(schedule.next_at) or ""


def _facts(schedule: Schedule) -> dict[str, str | Any]:
    one = schedule
    return {
        "schedule": one.id,
        "task": one.name,
        "queue": one.queue,
        "priority": one.priority.value,
        "when": _when(one),
        "start": output.local(one.start),
        "end": output.local(one.end),
        "count": None if one.count is None else str(one.count),
        "jitter": str(one.run_jitter) if one.run_jitter else None,
        "missed": f"all of {one.missed_window}" if one.missed == "all" else one.missed,
        "overlap": one.overlap,
        "next": _next(one),
        "fired": str(one.fired),
        "left out": str(one.left_out) if one.left_out else None,
        "last time": output.local(one.last_at),
        "last task": one.last_task_id,
    }
