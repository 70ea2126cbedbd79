"""Measure what more subworkers and more producers bring, and how quickly a system starts."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.processes import ROOT, free_port, running
from fastqueue import SyncClient

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 20_000


def with_producers(folder: Path, producers: int, subworkers: int) -> float:
    """Return the tasks a second of several producers, from the first submit to the last result."""
    with running(folder / f"scaling-{producers}-{subworkers}", subworkers=subworkers) as system:
        command = [sys.executable, "-m", "benchmarks.producer", system.address, str(_COUNT)]
        processes = [
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(producers)
        ]
        try:
            for process in processes:
                _read_line(process)
            begun = time.time()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            ended = max(float(_read_line(process)) for process in processes)
            return producers * _COUNT / (ended - begun)
        finally:
            for process in processes:
                process.communicate(timeout=30)


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the producer ended with {process.wait()}"
    return line


def import_ms() -> float:
    """Return how long `import fastqueue` takes in a new process, less what Python itself takes."""

    def run(program: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - begun

    times = sorted(run("import fastqueue") - run("pass") for _ in range(7))
    return times[len(times) // 2] * 1e3


def start_to_first_task_s(folder: Path) -> float:
    """Return how long it takes from `fastqueue control-plane` to the first result in hand."""
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "fastqueue", "control-plane"]
    command += ["--task-modules", "benchmarks.tasks", "--processes", "1"]
    command += ["--base-address", address, "--discovery-address", f"tcp://127.0.0.1:{free_port()}"]
    command += ["--data-dir", str(folder / "start"), "--log-level", "error"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with SyncClient(control_plane_address=address, timeout=30) as client:
            client.submit_task("noop")
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(30)
