"""Own `fastqueue list`: what connected subworkers offer, or what modules define.

Each function returns its exit code. With `as_json` one JSON document is written to stdout, and
nothing else.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from fastqueue.cli import output
from fastqueue.cli.arguments import split_modules
from fastqueue.cli.asking import ask
from fastqueue.cli.exit_codes import DONE, say
from fastqueue.cli.logs import configure_logs
from fastqueue.config import DISCOVERY_ADDRESS, ClientSettings, SubworkerSettings
from fastqueue.tasks.loading import load_task_modules
from fastqueue.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastqueue import Client
    from fastqueue.cli.logs import LogLevel

__all__ = ["modules_of", "run_list", "run_list_offered"]

_OFFERED_COLUMNS = ("name", "queue", "signature", "subworkers")


def run_list_offered(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Show what connected subworkers offer."""

    async def show(client: Client) -> int:
        answer = await client.inspect("offers")
        rows = answer["offers"]
        if as_json:
            output.show_json(rows)
        elif rows:
            table = [[row[column] for column in _OFFERED_COLUMNS] for row in rows]
            output.show_table(_OFFERED_COLUMNS, table)
        else:
            say("no connected subworker offers a task")
        if answer["left_out"]:
            say(f"{answer['left_out']:,} more names are left out")
        return DONE

    return ask(given, show)


def modules_of(task_modules: Sequence[str] | None) -> Sequence[str]:
    """Return the modules that are given, or else set; none if there are none."""
    settings = SubworkerSettings.resolve(
        task_modules=task_modules, discovery_address=DISCOVERY_ADDRESS, processes=1
    )
    return split_modules(settings.task_modules)


def run_list(modules: Sequence[str], *, as_json: bool, log_level: LogLevel | None) -> int:
    """Show the task definitions of some modules.

    Raises:
        TaskImportError: a module doesn't import.
    """
    configure_logs(ClientSettings.resolve(log_level=log_level).log_level)
    # What the modules print isn't what was asked for.
    with contextlib.redirect_stdout(sys.stderr):
        definitions = list(load_task_modules(modules, TaskRegistry()))
    columns = ("name", "executor", "place", "doc")
    if as_json:
        output.show_json([{column: getattr(d, column) for column in columns} for d in definitions])
    elif definitions:
        output.show_table(columns, [[getattr(d, c) for c in columns] for d in definitions])
    return DONE
