"""Write what was seen: a part of `RESULTS.md` between its markers, and the chart beside it."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import verdict
from benchmarks.peers import catalog, chart, servers, standing
from benchmarks.peers.works import ECHO, WORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers.catalog import Peer, Variant
    from benchmarks.peers.rows import Row

BEGIN, END = "<!-- peers -->", "<!-- /peers -->"

RATES = (
    ("submit/s", "submit_per_s"),
    ("drain/s", "drain_per_s"),
    ("end to end/s", "end_to_end_per_s"),
    ("bulk: submit/s", "bulk_submit_per_s"),
    ("bulk: end to end/s", "bulk_end_to_end_per_s"),
)
COSTS = (
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("idle MB", "idle_mb"),
    ("start s", "start_s"),
    ("CPU µs a task", "cpu_us"),
)

WORK_METHOD = """\
Tasks that do something, submitted task by task, end to end, on the store with which the peer is
fastest: at most 5,000 that sleep, 1,000 of the others.

- **sleep**: the worker runs 100 at one time, in coroutines or threads, whatever is natural to it.
- **CPU**: until the thread has used 1 ms; the worker as for no-ops, so one process, in which one
  computes at a time.
- **64 KiB**: an argument of so many characters, and the same as the result; the worker as for
  no-ops. *only there*: it keeps no results, and that it succeeded counts."""

METHOD = """\
One worker process beside one producer process, and whatever server the queue needs: each a process
of its own, on loopback TCP or one file. A task is `echo(n)`, which returns its argument; every
result is stored, collected and compared. Each round visits every row once, in the order of the
table, with servers and files made anew; a cell is the median of the rounds, and their range. The
number of tasks is what a trial suggests for about {measure_s:g} s, at most {tasks_max:,}.

- **submit**: task by task, with the concurrency that is natural to the client, while the worker is
  stopped (SIGSTOP): so into an empty queue.
- **drain**: that backlog, from the worker's going on until the last 50 tasks and each hundredth
  are done.
- **end to end**: submitted task by task, first submission to last result in hand.
- **bulk**: the same with the client's call for many, where it has one.
- **p50, p99**: one task at a time, submission to result in hand, up to 300 times.
- **idle**: the proportional set size of all that must run, without the producer: worker, and server
  or control plane, a second after 20 tasks.
- **start**: from starting the worker, and the queue's own server, to the first result in hand;
  Redis and PostgreSQL run already.
- **CPU**: of all processes, producer included, end to end, from the kernel's ticks of 10 ms."""


def cell(values: Sequence[float]) -> str:
    """Return the median of some rounds, and the range if there is one."""
    if not values:
        return ""
    middle, low, high = (number(f(values)) for f in (statistics.median, min, max))
    return middle if low == high else f"**{middle}** ({low} to {high})"


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row], head: Sequence[str], line: Callable[[Row], list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += ["| " + " | ".join(line(row)) + " |" for row in rows]
    return "\n".join(lines)


def rates(rows: Sequence[Row]) -> str:
    head = ["", "durability", "tasks", *(label for label, _ in RATES), "missing or wrong"]

    def line(row: Row) -> list[str]:
        cells = [cell(row.values(key)) for _, key in RATES]
        tasks = f"{row.tasks:,}" if row.tasks else ""
        return [row.peer.name, row.variant.text, tasks, *cells, row.faults()]

    return table(rows, head, line)


def costs(rows: Sequence[Row]) -> str:
    head = ["", "durability", *(label for label, _ in COSTS)]
    return table(
        rows,
        head,
        lambda row: [row.peer.name, row.variant.text, *(cell(row.values(key)) for _, key in COSTS)],
    )


def works(rows: Sequence[Row]) -> str:
    """Return what goes through of tasks that do something: a line a store, a column a work."""
    shown = [work for work in WORKS if any(row.work is work for row in rows)]
    lines: dict[tuple[Peer, Variant], list[str]] = {}
    for row in rows:
        lines.setdefault((row.peer, row.variant), []).append(_told(row))
    head = ["", "durability", *(f"{work.label}: /s" for work in shown)]
    told = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * len(shown)]
    for (peer, variant), cells in lines.items():
        told.append("| " + " | ".join([peer.name, variant.text, *cells]) + " |")
    return "\n".join(told)


def _told(row: Row) -> str:
    if row.cannot:
        return row.cannot
    remarks = [dict(row.peer.remarks).get(row.work, ""), row.faults()]
    said = [remark for remark in remarks if remark not in ("", "none")]
    return cell(row.values("end_to_end_per_s")) + (f" ({', '.join(said)})" if said else "")


def configurations(rows: Sequence[Row]) -> str:
    lines = (
        f"- {row.peer.name}: {', '.join(row.peer.requires) or 'this project'}; {row.peer.note}"
        for row in rows
    )
    return "\n".join(dict.fromkeys(lines))


def text(rows: Sequence[Row], head: dict[str, str], measure_s: float, tasks_max: int) -> str:
    stores = {row.variant.store for row in rows}
    versions = [head["versions"]]
    if stores & {catalog.REDIS, catalog.REDIS_FSYNC}:
        versions.append(servers.version("redis-server"))
    if catalog.POSTGRESQL in stores:
        versions.append(servers.version("postgres"))
    parts = [
        "## Beside its peers",
        f"{head['machine']}; {'; '.join(versions)}; {head['date']}. {head['load']}",
        f"`{head['command']}`",
    ]
    if noops := [row for row in rows if row.work is ECHO]:
        verdicts = standing.judge(noops)
        parts += [
            f"![{chart.TITLE}](peers.svg)",
            rates(noops),
            costs(noops),
            f"What is asked of fastqueue beside them, of the medians: "
            f"{verdict.conclusion(verdicts)}.\n\n" + verdict.to_table(verdicts),
            METHOD.format(measure_s=measure_s, tasks_max=tasks_max),
        ]
    if busy := [row for row in rows if row.work is not ECHO]:
        parts += [works(busy), WORK_METHOD]
    parts.append("Versions, and how each was run:\n\n" + configurations(rows))
    if failures := [f"- {row.name}: {why}" for row in rows for why in dict.fromkeys(row.failures)]:
        parts.append("What failed:\n\n" + "\n".join(failures))
    return "\n\n".join(parts)


def write(path: Path, part: str) -> None:
    """Put a part of the results in the place of its last one; leave the other parts alone."""
    old = path.read_text() if path.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2] or "\n"
    path.write_text(f"{before}{BEGIN}\n{part}\n{END}{after}")
