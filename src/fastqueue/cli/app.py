"""Own the commands as the user types them: names, options, help.

The entry point `fastqueue`. What a command does is in a module of its own, loaded when it runs, so
that `fastqueue --help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fastqueue._version import __version__
from fastqueue.cli import options
from fastqueue.cli.arguments import expand
from fastqueue.cli.exit_codes import DONE, CheckedStdout, exiting, leave
from fastqueue.config import BASE_ADDRESS, DISCOVERY_ADDRESS
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

_LATER = "Accepted, without effect: the dashboard comes in a later version."


@app.command("control-plane")
def control_plane(
    task_modules: options.TaskModules = None,
    worker_id: Annotated[
        str | None, typer.Option(help="Its name in results and logs [default: control-plane].")
    ] = None,
    base_address: Annotated[
        str | None,
        typer.Option(
            help=f"Where it listens for clients and subworkers [default: {BASE_ADDRESS}]."
        ),
    ] = None,
    discovery_address: Annotated[
        str | None, typer.Option(help=f"Where it announces itself [default: {DISCOVERY_ADDRESS}].")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="The folder of its store [default: .fastqueue].")
    ] = None,
    durability: options.Durability = None,
    result_cache_size: Annotated[
        int | None, typer.Option(help="Results it keeps [default: 10000].")
    ] = None,
    result_cache_ttl: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long it keeps a result [default: 3600]."),
    ] = None,
    disk_free_min: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Below how many free bytes nothing new is accepted; 0 for never "
            "[default: 134217728].",
        ),
    ] = None,
    payload_bytes_max: Annotated[
        int | None,
        typer.Option(help="How large arguments or a result may be [default: 16777216]."),
    ] = None,
    callback_allow: options.CallbackAllow = None,
    callback_give_up: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="When an undeliverable callback is given up [default: 86400].",
        ),
    ] = None,
    concurrency: options.Concurrency = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Local subworker processes; 0 for a coordinator only [default: one less than "
            "there are CPUs, 1 to 4].",
        ),
    ] = None,
    grace: options.Grace = None,
    allow_pickle: options.AllowPickle = None,
    insecure: Annotated[
        bool | None,
        typer.Option(help="Listen beyond this machine without TLS and a token."),
    ] = None,
    token_file: options.TokenFile = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    tls_client_ca: options.TlsClientCa = None,
    no_gui: Annotated[bool, typer.Option("--no-gui", help=_LATER)] = False,
    gui_host: Annotated[str, typer.Option(help=_LATER)] = "127.0.0.1",
    gui_port: Annotated[int, typer.Option(help=_LATER)] = 8080,
    log_level: options.ServerLogLevel = None,
) -> None:
    """Run the control plane and local subworkers."""
    del no_gui, gui_host, gui_port
    with exiting():
        from fastqueue.cli.control_plane import run_control_plane

        code = run_control_plane(
            {
                "worker_id": worker_id,
                "base_address": base_address,
                "discovery_address": discovery_address,
                "data_dir": data_dir,
                "durability": durability,
                "result_cache_size": result_cache_size,
                "result_cache_ttl": result_cache_ttl,
                "disk_free_min": disk_free_min,
                "payload_bytes_max": payload_bytes_max,
                "callback_allow": callback_allow or None,
                "callback_give_up": callback_give_up,
                "insecure": insecure,
                "token_file": token_file,
                "tls_cert": tls_cert,
                "tls_key": tls_key,
                "tls_client_ca": tls_client_ca,
                "processes": processes,
                "log_level": log_level,
                "task_modules": task_modules or None,
                "concurrency": concurrency,
                "grace": grace,
                "allow_pickle": allow_pickle,
            }
        )
    raise typer.Exit(code)


@app.command()
def subworker(
    worker_id: Annotated[
        str | None, typer.Option(help="Its name in results and logs [default: HOST-PROCESS].")
    ] = None,
    control_plane_address: Annotated[
        str | None, typer.Option(help="The control plane, if it needn't be discovered.")
    ] = None,
    task_modules: options.TaskModules = None,
    discovery_address: Annotated[str | None, typer.Option(help=options.DISCOVERY_HELP)] = None,
    concurrency: options.Concurrency = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Subworker processes [default: 1].")
    ] = None,
    grace: options.Grace = None,
    allow_pickle: options.AllowPickle = None,
    token_file: options.TokenFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    log_level: options.ServerLogLevel = None,
) -> None:
    """Run tasks for a control plane."""
    with exiting():
        from fastqueue.cli.subworker import run_subworker

        code = run_subworker(
            {
                "worker_id": worker_id,
                "control_plane_address": control_plane_address,
                "task_modules": task_modules or None,
                "discovery_address": discovery_address,
                "concurrency": concurrency,
                "grace": grace,
                "allow_pickle": allow_pickle,
                "processes": processes,
                "token_file": token_file,
                "tls_ca": tls_ca,
                "tls_cert": tls_cert,
                "tls_key": tls_key,
                "log_level": log_level,
            },
            exit_with_parent=False,
        )
    raise typer.Exit(code)


# -- clients


@app.command()
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
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long to wait for the result [default: 30]."),
    ] = None,
    as_json: options.Json = False,
    control_plane_address: options.ControlPlaneAddress = None,
    discovery_address: options.DiscoveryAddress = None,
    token_file: options.TokenFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    log_level: options.ClientLogLevel = None,
) -> None:
    """Submit a task, wait for its result and print it."""
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_submit

        code = run_submit(
            options.client_settings(
                control_plane_address,
                discovery_address,
                timeout,
                log_level,
                token_file,
                tls_ca,
                tls_cert,
                tls_key,
            ),
            task_name=task_name,
            args=args or [],
            kwargs=kwargs,
            priority=priority,
            non_blocking=non_blocking,
            as_json=as_json,
        )
    raise typer.Exit(code)


@app.command()
def status(
    task_id: options.TaskId,
    as_json: options.Json = False,
    timeout: options.Timeout = None,
    control_plane_address: options.ControlPlaneAddress = None,
    discovery_address: options.DiscoveryAddress = None,
    token_file: options.TokenFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    log_level: options.ClientLogLevel = None,
) -> None:
    """Show what is known of a task.

    Exits with 0 for any known task, also for one that failed.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_status

        given = options.client_settings(
            control_plane_address,
            discovery_address,
            timeout,
            log_level,
            token_file,
            tls_ca,
            tls_cert,
            tls_key,
        )
        code = run_status(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def cancel(
    task_id: options.TaskId,
    as_json: options.Json = False,
    timeout: options.Timeout = None,
    control_plane_address: options.ControlPlaneAddress = None,
    discovery_address: options.DiscoveryAddress = None,
    token_file: options.TokenFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    log_level: options.ClientLogLevel = None,
) -> None:
    """Cancel a task that isn't running yet.

    Exits with 1 if it isn't cancelled.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_cancel

        given = options.client_settings(
            control_plane_address,
            discovery_address,
            timeout,
            log_level,
            token_file,
            tls_ca,
            tls_cert,
            tls_key,
        )
        code = run_cancel(given, task_id=task_id, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def stats(
    as_json: options.Json = False,
    timeout: options.Timeout = None,
    control_plane_address: options.ControlPlaneAddress = None,
    discovery_address: options.DiscoveryAddress = None,
    token_file: options.TokenFile = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    log_level: options.ClientLogLevel = None,
) -> None:
    """Show what is queued, running and connected."""
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_stats

        given = options.client_settings(
            control_plane_address,
            discovery_address,
            timeout,
            log_level,
            token_file,
            tls_ca,
            tls_cert,
            tls_key,
        )
        code = run_stats(given, as_json=as_json)
    raise typer.Exit(code)


@app.command("list")
def list_(
    task_modules: options.TaskModules = None,
    as_json: options.Json = False,
    log_level: options.ClientLogLevel = None,
) -> None:
    """Show the tasks that modules define.

    No control plane is needed.
    """
    with exiting(prints=True):
        from fastqueue.cli.client_commands import run_list

        code = run_list(task_modules or None, as_json=as_json, log_level=log_level)
    raise typer.Exit(code)
