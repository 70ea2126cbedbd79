"""Own how the demo looks: a live bar on a terminal, plain lines elsewhere, tables in both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.demo.totals import Outcome, Totals

_LINES = 5
_SLOWEST = 5
_FAILURES = 12
_PATH_WIDTH_MAX = 40


def make_console() -> Console:
    """Return the console; paths and error messages are never read as markup."""
    return Console(markup=False, highlight=False, emoji=False)


def say(console: Console, line: str, style: str | None = None) -> None:
    """Show a line, which isn't broken where it ends in a file or a pipe."""
    console.print(line, style=style, soft_wrap=not console.is_terminal)


class Meter:
    """Show how far a batch is.

    Args:
        console: where.
        what: the batch's name.
        total: of how many files.
    """

    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._done = 0
        self._began = 0.0
        self._step = max(1, -(-total // _LINES))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} files/s"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar_task = self._bar.add_task(what, total=total, rate=0.0)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """Count one file more."""
        self._done += 1
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        if self._console.is_terminal:
            self._bar.update(self._bar_task, advance=1, rate=rate)
        elif self._done % self._step == 0 or self._done == self._total:
            self.say(f"{self._what}: {self._done:,}/{self._total:,} files, {rate:,.0f} files/s")

    def say(self, line: str) -> None:
        """Show a line above the bar."""
        say(self._console, f"  {line}")


def show_batch(
    console: Console, outcomes: Sequence[Outcome], totals: Totals, took_s: float
) -> None:
    """Show the totals, the slowest files and the failures of a batch."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = [
        ("files a second", f"{totals.files / took_s:,.0f}"),
        ("files", f"{totals.files:,}"),
        ("of which failed", f"{len(totals.failures):,}"),
        ("megabytes", f"{totals.bytes / 1e6:,.1f}"),
        ("lines", f"{totals.lines:,}"),
        ("tokens", f"{totals.tokens:,}"),
        ("functions", f"{totals.functions:,}"),
        ("classes", f"{totals.classes:,}"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    _show_slowest(console, outcomes)
    _show_failures(console, totals)


def _show_slowest(console: Console, outcomes: Sequence[Outcome]) -> None:
    slowest = sorted(
        ((one.survey["cpu_s"], one) for one in outcomes if one.survey is not None),
        key=lambda pair: -pair[0],
    )[:_SLOWEST]
    table = _table("slowest", [one.path for _, one in slowest], "CPU ms", "lines")
    for cpu_s, one in slowest:
        lines = one.survey["lines"] if one.survey else 0
        table.add_row(Text(_short(one.path)), f"{cpu_s * 1e3:,.0f}", f"{lines:,}")
    console.print()
    console.print(table)


def _show_failures(console: Console, totals: Totals) -> None:
    if not totals.failures:
        return
    shown = sorted(totals.failures.items())[:_FAILURES]
    table = _table("failed", [path for path, _ in shown], "error")
    table.columns[1].justify = "left"
    for path, error in shown:
        table.add_row(Text(_short(path)), Text(error.splitlines()[0] if error else ""))
    console.print()
    console.print(table)
    if len(totals.failures) > len(shown):
        console.print(f"... and {len(totals.failures) - len(shown):,} more")


def _table(first: str, paths: Sequence[str], *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    # Where there is little room, an error is cut off before a path is.
    width = min(_PATH_WIDTH_MAX, max((len(_short(path)) for path in paths), default=1))
    table.add_column(first, overflow="ellipsis", no_wrap=True, min_width=width)
    for title in others:
        table.add_column(title, justify="right", overflow="ellipsis", no_wrap=True)
    return table


def _short(path: str) -> str:
    return str(Path(*Path(path).parts[-2:]))
