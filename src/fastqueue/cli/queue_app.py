"""Own `fastqueue queues` and `fastqueue limits` as the user types them: commands, options, help.

What a command does is in `queue_commands`, loaded when it runs.
"""

from __future__ import annotations

from typing import Annotated, Unpack

import typer

from fastqueue.cli import options
from fastqueue.cli.exit_codes import exiting

__all__ = ["limits_app", "queues_app"]

queues_app = typer.Typer(
    help="See, pause, weigh and purge queues.", no_args_is_help=True, rich_markup_mode=None
)
limits_app = typer.Typer(
    help="Limit how many tasks run at once, and how many begin in a time.\n\n"
    "Of a task definition, a queue or a fair key. What is set here comes before what the "
    "definition says, until it is removed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Option(metavar="NAME", help="The queue.")]
_Span = "SECONDS|SPAN"


class LimitOf(options.ClientOptions, total=False):
    """Name what a limit is of."""

    task_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The task definition that it is of; or")
    ]
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="the queue; or")]
    fair_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="the fair key, in all queues.")
    ]
    each_key: Annotated[
        bool, typer.Option("--each-key", help="Each fair key in it has the limit to itself.")
    ]


@queues_app.command("list")
@options.settings_as_options
def list_queues(as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Show the queues that have had tasks lately or have settings of their own."""
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_list_queues

        code = run_list_queues(given, as_json=as_json)
    raise typer.Exit(code)


@queues_app.command()
@options.settings_as_options
def pause(queue: _Name, **given: Unpack[options.ClientOptions]) -> None:
    """Start nothing of a queue until it is resumed, also over restarts.

    What runs goes on, and what is submitted waits.
    """
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_pause

        code = run_pause(given, queue=queue)
    raise typer.Exit(code)


@queues_app.command()
@options.settings_as_options
def resume(queue: _Name, **given: Unpack[options.ClientOptions]) -> None:
    """Let a paused queue go on."""
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_resume

        code = run_resume(given, queue=queue)
    raise typer.Exit(code)


@queues_app.command()
@options.settings_as_options
def configure(
    queue: _Name,
    weight: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Its share of the free slots beside other queues [1]."),
    ] = None,
    ageing: Annotated[
        str | None,
        typer.Option(
            metavar=f"{_Span}|unset",
            help="A task counts for one priority more for each such time that it has waited "
            "[unset: never].",
        ),
    ] = None,
    wait_limit: Annotated[
        str | None,
        typer.Option(
            metavar=f"{_Span}|unset",
            help="Cancel tasks submitted from now on that haven't started so long after [unset: "
            "never].",
        ),
    ] = None,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Change settings of a queue, also over restarts; what isn't given stays."""
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_configure

        code = run_configure(
            given, queue=queue, weight=weight, ageing=ageing, wait_limit=wait_limit
        )
    raise typer.Exit(code)


@queues_app.command()
@options.settings_as_options
def purge(queue: _Name, **given: Unpack[options.ClientOptions]) -> None:
    """Cancel all that waits in a queue now: ready, scheduled and to be tried again.

    What runs goes on.
    """
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_purge

        code = run_purge(given, queue=queue)
    raise typer.Exit(code)


@limits_app.command("list")
@options.settings_as_options
def list_limits(as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Show the limits that hold, those of task definitions included."""
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_list_limits

        code = run_list_limits(given, as_json=as_json)
    raise typer.Exit(code)


@limits_app.command("set")
@options.settings_as_options
def set_(
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="So many run at once [default: any number].")
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help='So many begin: "10/s", "100/m", "5/h", "1/d", evenly; "100/m burst 10" lets 10 '
            "begin at once after a pause [default: any number].",
        ),
    ] = None,
    weight: Annotated[
        float, typer.Option(metavar="NUMBER", help="Of a fair key: its share beside others.")
    ] = 1.0,
    **given: Unpack[LimitOf],
) -> None:
    """Set a limit, in place of the one that holds; what runs already counts.

    It replaces the whole of it: what isn't given isn't limited any more, or weighs 1.
    """
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_set_limit

        code = run_set_limit(given, concurrency=concurrency, rate=rate, weight=weight)
    raise typer.Exit(code)


@limits_app.command()
@options.settings_as_options
def remove(**given: Unpack[LimitOf]) -> None:
    """Remove a limit that was set; what its definition says, if it says any, holds again."""
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_remove_limit

        code = run_remove_limit(given)
    raise typer.Exit(code)
