"""Own what the client commands write to stdout: tables for people, one JSON document for programs.

Nothing that came from a user is read as markup.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastqueue.errors import SerializationError
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from fastqueue.tasks.events import WatchEvent
    from fastqueue.tasks.models import Attempt, DeadLetter, TaskProgress, TaskResult

__all__ = [
    "as_json",
    "event_document",
    "local",
    "result_document",
    "show_attempts",
    "show_dead_letters",
    "show_facts",
    "show_json",
    "show_line",
    "show_result",
    "show_table",
    "show_value",
]

_COLOURS = {
    TaskStatus.SUCCESS: "green",
    TaskStatus.FAILURE: "red",
    TaskStatus.CANCELLED: "yellow",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.RETRYING: "yellow",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, which has an exit code for it."""
        raise  # the BrokenPipeError, while which is handled this is called


def _console() -> Console:
    return _Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def as_json(value: Any) -> str:
    """Return the JSON of any value that a task may return; of what JSON can't take, its repr."""
    try:
        return TaskSerializer.serialize(value, SerializationFormat.JSON).decode()
    except SerializationError:
        return json.dumps(repr(value))


def result_document(
    result: TaskResult, attempts: Sequence[Attempt] | None = None
) -> dict[str, Any]:
    """Return what is known of a task as a JSON document would have it.

    Args:
        result: what is known.
        attempts: its attempts that failed and were followed by another; None is to leave them out.
    """
    document = {one.name: getattr(result, one.name) for one in dataclasses.fields(result)}
    document["result"] = json.loads(as_json(result.result))
    if attempts is not None:
        document["attempts"] = [dataclasses.asdict(attempt) for attempt in attempts]
    return document


def event_document(event: WatchEvent) -> dict[str, Any]:
    """Return an event of a watch as a JSON document would have it."""
    return dataclasses.asdict(event)


def show_json(document: Any) -> None:
    """Write one JSON document, on one line."""
    show_line(as_json(document))


def show_line(text: str) -> None:
    """Write one line as it is."""
    sys.stdout.write(f"{text}\n")


def show_value(value: Any) -> None:
    """Write what a task returned: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        show_line(value)
    elif sys.stdout.isatty():
        _console().print_json(as_json(value))
    else:
        show_line(as_json(value))


def show_result(result: TaskResult) -> None:
    """Write what is known of a task."""
    facts: dict[str, str | Text | None] = {
        "task": result.name or None,
        "task id": result.task_id,
        "status": Text(result.status.value, style=_COLOURS.get(result.status, "")),
        "attempt": str(result.attempt) if result.attempt else None,
        "subworker": result.worker_id,
        "started": local(result.started_at),
        "completed": local(result.completed_at),
        "progress": None if result.progress is None else _progress(result.progress),
        "waits for": result.waits_for,
        "result": as_json(result.result) if result.status is TaskStatus.SUCCESS else None,
        "error": result.error,
        "traceback": result.traceback,
    }
    show_facts(facts)


def _progress(progress: TaskProgress) -> str:
    total = "" if progress.total is None else f" of {progress.total:g}"
    message = f": {progress.message}" if progress.message else ""
    return f"{progress.done:g}{total}{message}"


def show_attempts(attempts: Iterable[Attempt]) -> None:
    """Write the attempts of a task that failed and were followed by another."""
    show_table(
        ("failed attempt", "started", "completed", "subworker", "error"),
        (
            (
                one.attempt,
                local(one.started_at),
                local(one.completed_at),
                one.worker_id,
                one.error,
            )
            for one in attempts
        ),
    )


def show_dead_letters(letters: Iterable[DeadLetter]) -> None:
    """Write tasks that failed for good."""
    show_table(
        ("task id", "task", "queue", "priority", "attempt", "failed", "error"),
        (
            (
                one.task_id,
                one.name,
                one.queue,
                one.priority,
                one.attempt,
                local(one.died_at),
                one.error,
            )
            for one in letters
        ),
    )


def local(time: datetime | None) -> str | None:
    """Return a time as people here read it, with its offset from UTC."""
    return None if time is None else time.astimezone().isoformat(" ", "milliseconds")


def show_facts(facts: Mapping[str, str | Text | None]) -> None:
    """Write names and what they have to say; those with None are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        if fact is not None:
            table.add_row(name, fact if isinstance(fact, Text) else Text(fact.rstrip("\n")))
    _console().print(table)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    _console().print(table)
