"""Own `fastqueue schedules` as the user types it: its commands, options and help.

What a command does is in `schedule_commands`, loaded when it runs.
"""

from __future__ import annotations

from typing import Annotated, Literal, Unpack

import typer

from fastqueue.cli import options
from fastqueue.cli.exit_codes import exiting
from fastqueue.tasks.models import TaskPriority

__all__ = ["schedules_app"]

schedules_app = typer.Typer(
    help="Run tasks by the clock: make, show and change schedules.\n\n"
    "Those of task definitions, @task(cron=...) or @task(every=...), are among them, under the id "
    "task:NAME.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Id = Annotated[str, typer.Option("--id", help="The schedule's id.")]
_Span = "SECONDS|SPAN"


class TimetableOptions(options.ClientOptions, total=False):
    """Name what says when a schedule runs."""

    cron: Annotated[
        str | None,
        typer.Option(
            metavar="FIELDS",
            help='When: minute, hour, day of month, month, day of week, as in "*/5 * * * *"; or '
            "six fields, with the seconds first.",
        ),
    ]
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="The IANA name of the zone that --cron is read in [default: UTC]."
        ),
    ]
    every: Annotated[
        str | None,
        typer.Option(
            metavar=_Span,
            help="The interval instead of --cron: a number of seconds, or as in 90s, 5m, 2h, 1d.",
        ),
    ]
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --every: a time from which whole intervals are counted, in ISO 8601 with an "
            "offset [default: --start, or 1970 began in UTC].",
        ),
    ]
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The first time at which it may fire, as for --anchor."),
    ]
    end: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The last time at which it may fire, as for --anchor."),
    ]
    count: Annotated[
        int | None, typer.Option(metavar="N", help="How often it fires in all [default: no end].")
    ]


class AddOptions(TimetableOptions, total=False):
    """Name what a schedule has beside its times."""

    run_jitter: Annotated[
        str | None,
        typer.Option(metavar=_Span, help="Put each run off by up to this [default: 0]."),
    ]
    missed: Annotated[
        Literal["skip", "one", "all"] | None,
        typer.Option(
            help="After an outage of more than a minute: leave out what came due in it, run the "
            "newest, or run all of --missed-window [default: skip]."
        ),
    ]
    missed_window: Annotated[
        str | None,
        typer.Option(metavar=_Span, help="How far back --missed all goes [default: 1h]."),
    ]
    overlap: Annotated[
        Literal["allow", "skip", "cancel"] | None,
        typer.Option(
            help="While the run before isn't over: run it all the same, leave it out, or cancel "
            "the one before [default: allow]."
        ),
    ]
    queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where its runs wait [default: default].")
    ]
    expires: Annotated[
        str | None,
        typer.Option(
            metavar=_Span, help="Cancel a run that hasn't started so long after it came due."
        ),
    ]
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How often a run is tried again after a failure [default: as its definition "
            "says].",
        ),
    ]


@schedules_app.command("list")
@options.settings_as_options
def list_(as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Show all schedules."""
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_list

        code = run_list(given, as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def add(
    task_name: Annotated[str, typer.Option(help="The name of the task that it runs.")],
    id_: Annotated[
        str | None,
        typer.Option("--id", help="What it is known by [default: a new id, which is printed]."),
    ] = None,
    args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE...", help="The task's positional arguments, as for `fastqueue submit`."
        ),
    ] = None,
    kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its keyword arguments: a JSON object.")
    ] = None,
    priority: Annotated[
        TaskPriority, typer.Option(case_sensitive=False, help="Its priority.")
    ] = TaskPriority.NORMAL,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace another schedule with this id, and keep its history."
        ),
    ] = False,
    as_json: options.Json = False,
    **given: Unpack[AddOptions],
) -> None:
    """Make a schedule, and print its id.

    Takes one of --cron and --every. The same schedule under the same id again changes nothing.
    """
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_add

        code = run_add(
            given,
            task_name=task_name,
            schedule_id=id_,
            args=args or [],
            kwargs=kwargs,
            priority=priority,
            replace=replace,
            as_json=as_json,
        )
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def show(id_: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Show one schedule, and how far it has come."""
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_show

        code = run_show(given, schedule_id=id_, as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def pause(id_: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Keep a schedule from running until it is resumed, also over restarts."""
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_change

        code = run_change(given, schedule_id=id_, action="pause", as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def resume(id_: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Let a paused schedule run again.

    What came due meanwhile is not made up for.
    """
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_change

        code = run_change(given, schedule_id=id_, action="resume", as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def run(id_: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Run a schedule once more now, and print the task's id.

    Also if it is paused; its times stay as they are.
    """
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_now

        code = run_now(given, schedule_id=id_, as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def delete(id_: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Delete a schedule; tasks that it has submitted are left alone.

    One of a task definition goes when the definition has none any more; until then, pause it.
    """
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_delete

        code = run_delete(given, schedule_id=id_, as_json=as_json)
    raise typer.Exit(code)


@schedules_app.command()
@options.settings_as_options
def preview(
    id_: Annotated[str | None, typer.Option("--id", help="The id of a schedule.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1_000, metavar="N", help="Show so many times.")
    ] = 10,
    as_json: options.Json = False,
    **given: Unpack[TimetableOptions],
) -> None:
    """Show the next times of a schedule, with their offset from UTC.

    Either of one that there is, by its --id; or of one that might be, by --cron or --every, for
    which no control plane is needed.
    """
    with exiting(prints=True):
        from fastqueue.cli.schedule_commands import run_preview

        code = run_preview(given, schedule_id=id_, limit=limit, as_json=as_json)
    raise typer.Exit(code)
