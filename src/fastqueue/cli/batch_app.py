"""Own `fastqueue batch` as the user types it: its commands, options and help.

What a command does is in `batch_commands`, loaded when it runs.
"""

from __future__ import annotations

from typing import Annotated, Unpack

import typer

from fastqueue.cli import options
from fastqueue.cli.exit_codes import exiting

__all__ = ["batch_app"]

batch_app = typer.Typer(
    help="Show and cancel batches: tasks that were submitted under one id.\n\n"
    "A task is put into one with `fastqueue submit --batch ID`, or from Python with "
    "client.options(batch=...); client.map makes one of its own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]


@batch_app.command("show")
@options.settings_as_options
def show(
    batch_id: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]
) -> None:
    """Show how many tasks of a batch wait, run and have ended, and how.

    Exits with 1 if there is no such batch: none was ever made, or it is forgotten. Batches are
    forgotten a week after they were last unfinished, or when 10,000 others are younger.
    """
    with exiting(prints=True):
        from fastqueue.cli.batch_commands import run_show

        code = run_show(given, batch_id=batch_id, as_json=as_json)
    raise typer.Exit(code)


@batch_app.command("cancel")
@options.settings_as_options
def cancel(
    batch_id: _Id, as_json: options.Json = False, **given: Unpack[options.ClientOptions]
) -> None:
    """Cancel all tasks of a batch that aren't over.

    Those that wait never start. Those that run are interrupted, and waited for, for at most
    --timeout. Exits with 1 if some are still unfinished then, or if there is no such batch.
    """
    with exiting(prints=True):
        from fastqueue.cli.batch_commands import run_cancel

        code = run_cancel(given, batch_id=batch_id, as_json=as_json)
    raise typer.Exit(code)


@batch_app.command("list")
@options.settings_as_options
def list_(
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show so many at most.")] = 100,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Show the batches, the youngest first."""
    with exiting(prints=True):
        from fastqueue.cli.batch_commands import run_list

        code = run_list(given, limit=limit, as_json=as_json)
    raise typer.Exit(code)
