"""Own the demo's course: survey every file of the standard library, then again through a crash.

The exit code is 0 only if the totals equal those of a plain loop over the same files, and every
task that was acknowledged came through the crash with exactly one result.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from examples.demo.show import Meter, make_console, say, show_batch
from examples.demo.system import SUBWORKERS, NotStarted, System
from examples.demo.tasks import survey
from examples.demo.totals import Outcome, Totals, differences

from fastqueue import Client, TaskResult, TaskStatus
from fastqueue.errors import FastQueueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

# How long the plain loop may take: two processes then need half of it for the first batch and a
# sixth for the second, and all of it fits into a minute.
LOOP_S_MAX = 22.0
# So many files, spread over all, tell how fast this machine is now.
SAMPLE = 40
# The second batch is every third file, and all of them if there are few.
SECOND_BATCH_STEP = 3
FEW = 200
BATCH_TIMEOUT_S = 300.0
# Questions that are asked at one time.
QUERIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Hold what the two batches brought: every task by its id."""

    first: dict[str, str]
    second: dict[str, str]
    results: dict[str, TaskResult]
    recorded: int
    stored: dict[str, TaskResult | None]


def source_files(folder: Path) -> list[str]:
    """Return the Python files below a folder, without installed packages."""
    return sorted(
        str(path)
        for path in folder.rglob("*.py")
        if path.is_file() and not {"site-packages", "dist-packages"} & set(path.parts)
    )


def spread(paths: Sequence[str], count: int) -> list[str]:
    """Return at most `count` of the files, spread evenly over all of them."""
    count = min(count, len(paths))
    return [paths[n * len(paths) // count] for n in range(count)]


def count_that_fits(paths: Sequence[str]) -> int:
    """Return how many of the files can be surveyed in a minute, as fast as this machine is now."""
    sample = spread(paths, SAMPLE)
    began = time.monotonic()
    for path in sample:
        survey_here(path)
    bytes_a_second = _bytes_of(sample) / (time.monotonic() - began)
    return int(len(paths) * min(1.0, LOOP_S_MAX * bytes_a_second / _bytes_of(paths)))


def _bytes_of(paths: Sequence[str]) -> int:
    # A file that can't be looked at is one that the task fails on; an empty one takes time too.
    return sum(1 + (os.path.getsize(path) if os.path.exists(path) else 0) for path in paths)


async def run(console: Console, system: System, paths: list[str], runs_path: Path) -> Work:
    """Do both batches, and kill the control plane in the second."""
    began = time.monotonic()
    pid = system.start()
    async with Client(
        discovery_address=system.discovery_address, timeout=30.0, retries=3
    ) as client:
        epoch = await system.ready(client)
        say(
            console,
            f"control plane (process {pid}) with {SUBWORKERS} subworker processes at "
            f"{system.address}, ready after {time.monotonic() - began:.2f} s",
        )
        first, results = await first_batch(console, client, paths)
        second, again = await second_batch(console, client, system, epoch, paths, runs_path)
        recorded = (await client.inspect())["results"]
    ids = [*first, *second]
    return Work(
        first=first,
        second=second,
        results={**results, **again},
        recorded=recorded,
        stored=await ask_again(system, ids),
    )


async def first_batch(
    console: Console, client: Client, paths: Sequence[str]
) -> tuple[dict[str, str], dict[str, TaskResult]]:
    """Survey every file; show what was found."""
    began = time.monotonic()
    ids = await client.submit_batch((survey, (path,)) for path in paths)
    submitted_s = time.monotonic() - began
    say(console, f"\n{len(ids):,} tasks submitted and on disk after {submitted_s * 1e3:,.0f} ms")
    path_of = dict(zip(ids, paths, strict=True))
    results = {}
    with Meter(console, "first batch", len(ids)) as meter:
        async for result in client.as_completed(ids, timeout=BATCH_TIMEOUT_S):
            results[result.task_id] = result
            meter.advance()
    found = outcomes(path_of, results)
    show_batch(console, found, Totals.of(found), time.monotonic() - began)
    return path_of, results


async def second_batch(
    console: Console,
    client: Client,
    system: System,
    epoch: int,
    paths: Sequence[str],
    runs_path: Path,
) -> tuple[dict[str, str], dict[str, TaskResult]]:
    """Survey some files again; kill the control plane half-way and start it again."""
    paths = paths if len(paths) <= FEW else paths[::SECOND_BATCH_STEP]
    ids = await client.submit_batch((survey, (path, str(runs_path))) for path in paths)
    say(console, f"\n{len(ids):,} tasks submitted; half-way the control plane will be killed")
    results: dict[str, TaskResult] = {}
    with Meter(console, "second batch", len(ids)) as meter:

        async def come_back(killed_at: float) -> None:
            await system.ready(client, after_epoch=epoch)
            meter.say(f"it serves again, {time.monotonic() - killed_at:.2f} s after it was killed")

        async with asyncio.TaskGroup() as group:
            async for result in client.as_completed(ids, timeout=BATCH_TIMEOUT_S):
                results[result.task_id] = result
                meter.advance()
                if len(results) == max(1, len(ids) // 2):
                    killed_at = time.monotonic()
                    system.kill()
                    pid = system.start()
                    meter.say(
                        f"SIGKILL: {len(ids) - len(results):,} results are still to come; "
                        f"started again as process {pid}"
                    )
                    group.create_task(come_back(killed_at))
    return dict(zip(ids, paths, strict=True)), results


async def ask_again(system: System, ids: Sequence[str]) -> dict[str, TaskResult | None]:
    """Ask the restarted control plane for every result, as a client that has none."""
    stored: dict[str, TaskResult | None] = {}
    async with Client(
        discovery_address=system.discovery_address, timeout=30.0, retries=3
    ) as client:
        for start in range(0, len(ids), QUERIES):
            some = ids[start : start + QUERIES]
            answers = await asyncio.gather(*(client.get_task_result(one) for one in some))
            stored.update(zip(some, answers, strict=True))
    return stored


def outcomes(path_of: dict[str, str], results: dict[str, TaskResult]) -> list[Outcome]:
    """Return what came of each file of a batch."""
    return [
        Outcome(
            path=path,
            survey=result.result if result.status is TaskStatus.SUCCESS else None,
            error=result.error,
        )
        for task_id, path in path_of.items()
        if (result := results.get(task_id)) is not None
    ]


def survey_here(path: str) -> Outcome:
    """Survey a file in this process."""
    try:
        return Outcome(path=path, survey=survey(path), error=None)
    except Exception as error:  # noqa: BLE001 - as a subworker does with any task's error
        return Outcome(path=path, survey=None, error=f"{type(error).__name__}: {error}")


def plain_loop(console: Console, paths: Sequence[str]) -> tuple[list[Outcome], float]:
    """Survey every file in this process, one after the other; return how long it took too."""
    began = time.monotonic()
    found = []
    with Meter(console, "plain loop", len(paths)) as meter:
        for path in paths:
            found.append(survey_here(path))
            meter.advance()
    return found, time.monotonic() - began


def problems_of(work: Work, expected: Sequence[Outcome]) -> list[str]:
    """Say, a line each, what isn't as it must be."""
    problems = []
    by_path = {outcome.path: outcome for outcome in expected}
    for name, path_of in (("first", work.first), ("second", work.second)):
        found = Totals.of(outcomes(path_of, work.results))
        wanted = Totals.of(by_path[path] for path in path_of.values())
        problems += [f"{name} batch: {line}" for line in differences(found, wanted)]
    for task_id, path in {**work.first, **work.second}.items():
        if work.stored.get(task_id) != work.results.get(task_id):
            problems.append(f"task {task_id} ({path}) has another result now than it had before")
    tasks = len(work.first) + len(work.second)
    if work.recorded != tasks:
        problems.append(f"{work.recorded:,} results are recorded for {tasks:,} tasks")
    return problems


def show_crash(console: Console, work: Work, runs: Counter[str]) -> None:
    """Show that the second batch came through."""
    tasks = len(work.second)
    more = sum(1 for count in runs.values() if count > 1)
    say(
        console,
        f"\nthrough the crash: {tasks:,} tasks acknowledged, "
        f"{sum(one in work.results for one in work.second):,} results, one each; "
        f"{runs.total():,} runs, {more:,} {'task' if more == 1 else 'tasks'} ran more than once "
        "(the promise is at least once)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--files",
        type=positive_number,
        help="survey at most so many files [default: as many as fit into a minute]",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(sysconfig.get_path("stdlib")),
        help="survey the Python files below this folder [default: the standard library]",
    )
    options = parser.parse_args(arguments)
    console = make_console()
    # What the authors of the files are warned of isn't ours to show.
    warnings.simplefilter("ignore")
    # The client warns while no control plane is there; here that is part of the show.
    logging.getLogger("fastqueue").setLevel(logging.ERROR)
    began = time.monotonic()
    there = source_files(options.folder.resolve())
    if not there:
        say(console, f"there are no Python files below {options.folder}")
        return 2
    paths = spread(there, options.files or count_that_fits(there))
    say(console, f"{len(paths):,} of the {len(there):,} Python files below {options.folder}")
    with tempfile.TemporaryDirectory(prefix="fastqueue-demo-") as temporary:
        folder = Path(temporary)
        runs_path = folder / "runs"
        with System(folder) as system:
            work = asyncio.run(run(console, system, paths, runs_path))
            late = system.close()
        show_crash(console, work, Counter(runs_path.read_text().splitlines()))
    say(console, "\nnow the same in a plain loop, to check")
    expected, loop_s = plain_loop(console, paths)
    problems = problems_of(work, expected)
    if late:
        problems.append(f"{late} subworkers didn't end by themselves and were killed")
    for problem in problems[:20]:
        say(console, f"WRONG: {problem}", style="red")
    if problems:
        return 1
    say(
        console,
        f"all totals equal those of the plain loop (which took {loop_s:.1f} s); the whole demo "
        f"took {time.monotonic() - began:.1f} s",
        style="green",
    )
    return 0


def positive_number(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def guarded_main() -> int:
    """Run the demo; turn every way it can end into an exit code."""
    # To be told to stop is the same as Ctrl-C: the processes are ended in order. The first line
    # is for a shell that started us in the background, with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("demo: interrupted; every process it started is ended\n")
        return 130
    except (FastQueueError, NotStarted) as error:
        sys.stderr.write(f"demo: {error}\n")
    except ExceptionGroup as group:
        expected, others = group.split((FastQueueError, NotStarted))
        if others is not None:
            raise
        for one in expected.exceptions if expected else ():
            sys.stderr.write(f"demo: {one}\n")
    return 1


if __name__ == "__main__":
    sys.exit(guarded_main())
