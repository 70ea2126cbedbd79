"""Tell what each process spends its CPU time on, by stage: `make profile`.

Under a steady load of no-ops, submitted one by one, py-spy looks 250 times a second at where each
process is; a look counts for the stage of the innermost frame that is ours. The share of a stage,
times the CPU time a task that the process used meanwhile, is the stage's cost.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks import report
from benchmarks.floor import measure_floor
from benchmarks.load import collect, submit_one_by_one
from benchmarks.machine import describe_machine
from benchmarks.processes import ROOT, cpu_s, running
from fastqueue import Client

_RATE = 250
_SECONDS = 12
_CHUNK = 20_000
_EVENT_LOOP = "event loop, sockets"

# By the beginning of the path below src/fastqueue: the first that fits.
_STAGES = (
    ("store/sqlite/committer", "commit"),
    ("store/", "rows into SQLite"),
    ("core/", "decisions"),
    ("control_plane/engine", "turns"),
    ("control_plane/outlet", "effects sent"),
    ("control_plane/", "sessions, payloads, leases"),
    ("protocol/", "messages, framing"),
    ("link/", "messages, framing"),
    ("client/submissions", "submissions and acknowledgements"),
    ("client/results", "results and waiters"),
    ("client/completion", "results and waiters"),
    ("client/", "calls"),
    ("tasks/serializer", "arguments and results"),
    ("tasks/", "tasks"),
    ("subworker/runtime", "leases, reports"),
    ("subworker/held", "leases, reports"),
    ("subworker/reports", "leases, reports"),
    ("subworker/", "running tasks"),
)


def stage_of(stack: str) -> str:
    """Return the stage of one line of frames, the outermost first."""
    for frame in reversed(stack.split(";")):
        _, found, rest = frame.partition("fastqueue/")
        path = rest.partition(":")[0] if found else ""
        for beginning, stage in _STAGES:
            if path.startswith(beginning):
                return stage
        if "benchmarks/" in frame:
            return "the benchmark's own code"
    return _EVENT_LOOP


async def profile(folder: Path) -> dict[str, dict[str, float]]:
    """Return microseconds of CPU time a task, by process and stage."""
    with running(folder / "profile") as system:
        async with Client(control_plane_address=system.address, timeout=60) as client:
            await _run(client)
            pids = {
                "client": os.getpid(),
                "control plane": system.control_plane.pid,
                "subworker": system.subworker_pid,
            }
            outputs = {process: folder / f"{process}.txt" for process in pids}
            watchers = [
                await asyncio.create_subprocess_exec(*_watch(pid, outputs[process]), cwd=ROOT)
                for process, pid in pids.items()
            ]
            before = {process: cpu_s(pid) for process, pid in pids.items()}
            tasks = 0
            while any(watcher.returncode is None for watcher in watchers):
                await _run(client)
                tasks += _CHUNK
            used = {process: cpu_s(pid) - before[process] for process, pid in pids.items()}
            for watcher in watchers:
                if await watcher.wait():
                    sys.exit("py-spy failed; it may need the right to look into processes (root)")
    return {
        process: _shares(outputs[process].read_text(), used[process] / tasks * 1e6)
        for process in pids
    }


async def _run(client: Client) -> None:
    await collect(client, await submit_one_by_one(client, "noop", _CHUNK))


def _watch(pid: int, output: Path) -> list[str]:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"]
    command += ["--rate", str(_RATE), "--duration", str(_SECONDS), "--full-filenames"]
    return [*command, "--nonblocking", "--output", str(output), "--pid", str(pid)]


def _shares(looks: str, total_us: float) -> dict[str, float]:
    stages: Counter[str] = Counter()
    for line in looks.splitlines():
        stack, _, count = line.rpartition(" ")
        stages[stage_of(stack)] += int(count)
    whole = stages.total()
    return {stage: count / whole * total_us for stage, count in stages.most_common()}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="fastqueue-profile-") as temporary:
        floor = measure_floor(Path(temporary))
        found = uvloop.run(profile(Path(temporary)))
    where = describe_machine()
    print(f"{where['machine']}; {where['versions']}; {where['date']}.\n")
    rows = [
        [process, stage, f"{us:.2f}"]
        for process, stages in found.items()
        for stage, us in stages.items()
    ]
    print(report.table(["process", "stage", "µs a task"], rows))
    print(
        f"\nThe floor: messages {floor.messages_us:.2f} µs, a bare socket {floor.socket_us:.2f}, "
        f"rows into bare SQLite, with commits, {floor.sqlite_us:.2f}."
    )


if __name__ == "__main__":
    main()
