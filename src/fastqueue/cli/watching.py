"""Own the command that shows what happens to a task: a bar and lines for people, or plain lines.

The lines that the task logs and its result go to stdout, all else to stderr, as in `submit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from fastqueue.cli import output
from fastqueue.cli.asking import ask
from fastqueue.cli.client_commands import show_outcome
from fastqueue.cli.exit_codes import FAILED, say
from fastqueue.errors import ResultExpired
from fastqueue.tasks.events import Finished, LogLine, Missed, Progress, StatusChanged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastqueue import Client
    from fastqueue.tasks.events import WatchEvent

__all__ = ["run_watch"]


def run_watch(given: Mapping[str, Any], *, task_id: str, as_json: bool) -> int:
    """Show what happens to a task until it is over; return the exit code of its outcome.

    Args:
        given: the client's settings, None where not given.
        task_id: the task.
        as_json: whether to write one JSON document an event.
    """

    async def watch(client: Client) -> int:
        shown = _Documents() if as_json else _Bar() if _is_terminal() else _Lines()
        try:
            with shown:
                async for event in client.watch(task_id):
                    if isinstance(event, Finished):
                        result = event.result
                    else:
                        shown.show(event)
        except ResultExpired:
            say(
                f"the control plane doesn't know a task {task_id}: it never did, or its result "
                "expired"
            )
            return FAILED
        except asyncio.CancelledError:
            say(
                f"task {task_id} isn't watched any more; it goes on: see "
                f"`fastqueue status --task-id {task_id}`"
            )
            raise
        return show_outcome(result, as_json=as_json)

    return ask(given, watch)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and sys.stderr is not None and sys.stderr.isatty()


def _status(event: StatusChanged) -> str:
    attempt = f", attempt {event.attempt}" if event.attempt > 1 else ""
    return f"{event.status.value}{attempt}"


def _missed(event: Missed) -> str:
    return f"({event.lines:,} line{'' if event.lines == 1 else 's'} missing)"


class _Lines(contextlib.AbstractContextManager["_Lines", None]):
    """Show each event as a line."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def show(self, event: WatchEvent) -> None:
        """Show one event, at once."""
        match event:
            case StatusChanged():
                say(_status(event))
            case Progress():
                say(_progress(event))
            case LogLine():
                output.show_line(event.text)
            case _:
                assert isinstance(event, Missed)
                output.show_line(_missed(event))
        sys.stdout.flush()


def _progress(event: Progress) -> str:
    total = "" if event.total is None else f"/{event.total:g}"
    share = "" if event.fraction is None else f" ({event.fraction:.0%})"
    return f"{event.done:g}{total}{share} {event.message}".rstrip()


class _Documents(_Lines):
    """Show each event as a JSON document."""

    def show(self, event: WatchEvent) -> None:
        """Show one event, at once."""
        output.show_json({"event": type(event).__name__, **output.event_document(event)})
        sys.stdout.flush()


class _Bar(_Lines):
    """Show the progress as a bar, and all else above it."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False)
        self._bars = Bars(
            TextColumn("{task.fields[status]}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bar = self._bars.add_task("", total=None, status="")

    def __enter__(self) -> Self:
        """Begin to show the bar."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bars.stop()

    def show(self, event: WatchEvent) -> None:
        """Show one event."""
        match event:
            case StatusChanged():
                self._bars.reset(self._bar, total=None, description="", status=_status(event))
            case Progress():
                self._bars.update(
                    self._bar, completed=event.done, total=event.total, description=event.message
                )
            case LogLine():
                self._bars.console.print(event.text, soft_wrap=True)
            case _:
                assert isinstance(event, Missed)
                self._bars.console.print(_missed(event), style="dim")
