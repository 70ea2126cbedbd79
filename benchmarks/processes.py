"""Own the processes that a benchmark measures: start them, read what they used, end them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process's threads have used, in seconds, user and system.

    The scheduler counts nanoseconds; `/proc/PID/stat` would give steps of 10 ms.
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def machine_cpu_s() -> float:
    """Return the CPU time that all processes have used, in seconds, with what a host took away."""
    user, nice, system, _, _, *interrupts_and_steal = (
        int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts_and_steal)) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pss_mb(pid: int) -> float:
    """Return a process's memory, what it shares divided among those that share it, in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:", 1)[1].split(maxsplit=1)[0]) * 1024 / 1e6


@dataclass
class System:
    """Hold the addresses and process ids of one running system."""

    address: str
    discovery_address: str
    data_dir: Path
    control_plane: subprocess.Popen[bytes]
    supervisors: list[subprocess.Popen[bytes]]

    @property
    def pids(self) -> dict[str, int]:
        """Return the processes that run when there is one subworker."""
        return {
            "control plane": self.control_plane.pid,
            "subworker": self.subworker_pid,
            "its supervisor": self.supervisors[0].pid,
        }

    @property
    def subworker_pid(self) -> int:
        """Return the process that the first supervisor has started."""
        while not (children := _children(self.supervisors[0].pid)):
            time.sleep(0.01)
        return children[0]


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def start_control_plane(
    data_dir: Path, address: str, discovery_address: str, durability: str = "full"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fastqueue", "control-plane", "--processes", "0"]
    command += ["--base-address", address, "--discovery-address", discovery_address]
    command += ["--data-dir", str(data_dir), "--durability", durability, "--log-level", "warning"]
    return subprocess.Popen(command, cwd=ROOT)


def start_subworker(address: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fastqueue", "subworker", "--task-modules", "benchmarks.tasks"]
    command += ["--control-plane-address", address, "--log-level", "warning", *options]
    return subprocess.Popen(command, cwd=ROOT)


def wait_listening(address: str, timeout_s: float = 30.0) -> None:
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens at {address}")
        time.sleep(0.01)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(
    data_dir: Path, *, subworkers: int = 1, durability: str = "full", concurrency: int = 32
) -> Iterator[System]:
    """Run a control plane and subworkers in processes of their own."""
    address = f"tcp://127.0.0.1:{free_port()}"
    discovery_address = f"tcp://127.0.0.1:{free_port()}"
    system = System(
        address,
        discovery_address,
        data_dir,
        start_control_plane(data_dir, address, discovery_address, durability),
        [],
    )
    try:
        wait_listening(address)
        options = ("--concurrency", str(concurrency))
        system.supervisors += [start_subworker(address, *options) for _ in range(subworkers)]
        yield system
    finally:
        for process in system.supervisors:
            end(process)
        end(system.control_plane)
