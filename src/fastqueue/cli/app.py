"""Own the commands as the user types them: names, options, help.

Started by `fastqueue.__main__`. What a command does is in a module of its own, loaded when it runs,
so that `fastqueue --help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated, Unpack

import typer

from fastqueue._version import __version__
from fastqueue.cli import options
from fastqueue.cli.arguments import expand
from fastqueue.cli.batch_app import batch_app
from fastqueue.cli.exit_codes import DONE, CheckedStdout, exiting, leave
from fastqueue.cli.queue_app import limits_app, queues_app
from fastqueue.cli.schedule_app import schedules_app
from fastqueue.tasks.models import TaskPriority

__all__ = ["app", "main"]

# The parser keeps the lines of a paragraph that begins with \b as they are.
_EXIT_CODES = """\b
Exit codes:
  0    done
  1    the task failed, or a server failed while running
  2    wrong usage, configuration or task module
  3    no control plane answered
  74   standard output is closed or can't be written
  130  ended by Ctrl-C
"""

app = typer.Typer(
    name="fastqueue",
    help="Durable background tasks, without a broker.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes cost more time than all the rest of `--help`
)
app.add_typer(schedules_app, name="schedules")
app.add_typer(batch_app, name="batch")
app.add_typer(queues_app, name="queues")
app.add_typer(limits_app, name="limits")


def main() -> None:
    """Run the command line with the process's arguments, and exit."""
    if sys.stdout is not None:
        sys.stdout = CheckedStdout(sys.stdout)
    try:
        with exiting():  # for what the parser itself prints: help, the version
            app(args=expand(sys.argv[1:]), prog_name="fastqueue")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else DONE)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastqueue {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del version


# -- servers


@app.command("control-plane")
@options.settings_as_options
def control_plane(**given: Unpack[options.ControlPlaneOptions]) -> None:
    """Run the control plane and local subworkers."""
    del given["no_gui"], given["gui_host"], given["gui_port"]
    with exiting():
        from fastqueue.cli.control_plane import run_control_plane

        code = run_control_plane(given)
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def subworker(**given: Unpack[options.SubworkerOptions]) -> None:
    """Run tasks for a control plane."""
    with exiting():
        from fastqueue.cli.subworker import run_subworker

        code = run_subworker(given)
    raise typer.Exit(code)


# -- clients


@app.command()
@options.settings_as_options
def submit(
    task_name: Annotated[str, typer.Option(help="The task's name.")],
    args: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE...",
            help="Its positional arguments, each in JSON or else a text. They end at the next "
            "option; what follows a `--` are values, whatever they look like.",
        ),
    ] = None,
    kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its keyword arguments: a JSON object.")
    ] = None,
    priority: Annotated[
        TaskPriority, typer.Option(case_sensitive=False, help="Its priority.")
    ] = TaskPriority.NORMAL,
    non_blocking: Annotated[
        bool, typer.Option("--non-blocking", help="Print the id and don't wait for the result.")
    ] = False,
    as_json: options.Json = False,
    **given: Unpack[options.SubmitCommandOptions],
) -> None:
    """Submit a task, wait for its result and print it.

    It is waited for no longer than --timeout; one that is to start later than that is better
    submitted with --non-blocking, and looked at by `fastqueue status`.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_submit

        code = run_submit(
            given,
            task_name=task_name,
            args=args or [],
            kwargs=kwargs,
            priority=priority,
            non_blocking=non_blocking,
            as_json=as_json,
        )
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def status(
    task_id: options.TaskId,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Show what is known of a task, and its failed attempts.

    Those are the attempts before the last one, and are left out if the token is for submitting
    alone. Exits with 0 for any known task, also for one that failed.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_status

        code = run_status(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def why(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Say why a task isn't running: the one reason, and what ends it.

    Exits with 1 if there is no such task.
    """
    with exiting(prints=True):
        from fastqueue.cli.queue_commands import run_why

        code = run_why(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def cancel(
    task_id: options.TaskId,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Cancel a task that waits or runs.

    One that waits (queued, scheduled or retrying) never starts. One that runs is interrupted, and
    waited for, for at most --timeout. Exits with 1 if it isn't cancelled, because it is over,
    isn't known or still runs.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_cancel

        code = run_cancel(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def watch(
    task_id: Annotated[str, typer.Argument(help="The id under which it was submitted.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON document for each event, a line each.")
    ] = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Show what happens to a task, and in the end its result.

    On a terminal its progress is a bar, with the lines that it logs above; else each event is a
    line. It waits as long as the task takes. Exits as `submit` does: with 0 if the task succeeded,
    with 1 if it failed, was cancelled or isn't known. Ctrl-C ends the watching, not the task.
    """
    with exiting(prints=True):
        from fastqueue.cli.watching import run_watch

        code = run_watch(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command("dead-letters")
@options.settings_as_options
def dead_letters(
    name: Annotated[str | None, typer.Option(help="Only those of the task of this name.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only those of this queue.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show so many at most.")] = 100,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Show the tasks that failed for good.

    The oldest come first. Each can be queued again with `fastqueue requeue`. The control plane
    keeps the last 10,000.
    """
    with exiting(prints=True):
        from fastqueue.cli.failure_commands import run_dead_letters

        code = run_dead_letters(given, name=name, queue=queue, limit=limit, as_json=as_json)
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def requeue(
    task_id: options.TaskIds = None,
    name: Annotated[str | None, typer.Option(help="All of the task of this name.")] = None,
    queue: Annotated[str | None, typer.Option(help="All of this queue.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Queue tasks that failed for good again.

    Takes exactly one of --task-id, --name, --queue and --all. Each becomes a new task with the
    arguments and options that it had, and leaves the dead letters: printed is a line `OLD -> NEW`
    with both ids, or in JSON an object of them. Exits with 1 if one of the ids is no dead letter;
    the others are queued.
    """
    with exiting(prints=True):
        from fastqueue.cli.failure_commands import run_requeue

        code = run_requeue(
            given,
            task_ids=task_id,
            name=name,
            queue=queue,
            everything=everything,
            as_json=as_json,
        )
    raise typer.Exit(code)


@app.command()
@options.settings_as_options
def stats(as_json: options.Json = False, **given: Unpack[options.ClientOptions]) -> None:
    """Show what is queued, running and connected."""
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_stats

        code = run_stats(given, as_json=as_json)
    raise typer.Exit(code)


@app.command("list")
@options.settings_as_options
def list_(
    task_modules: options.TaskModules = None,
    offered: Annotated[
        bool, typer.Option("--offered", help="Ask the control plane, whatever modules are set.")
    ] = False,
    as_json: options.Json = False,
    **given: Unpack[options.ClientOptions],
) -> None:
    """Show the tasks that can run: what connected subworkers offer, or what modules define.

    With --task-modules, or where the settings name modules, it shows the tasks of those, and no
    control plane is needed. Without, or with --offered, the control plane is asked: for each task
    its queue, its signature and how many subworkers offer it. Different versions of one task are a
    line each.
    """
    with exiting(prints=True):
        from fastqueue.cli.list_command import modules_of, run_list, run_list_offered

        modules = [] if offered else modules_of(task_modules)
        if modules:
            code = run_list(modules, as_json=as_json, log_level=given.get("log_level"))
        else:
            code = run_list_offered(given, as_json=as_json)
    raise typer.Exit(code)
