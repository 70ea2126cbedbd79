"""Own the demo's processes: a control plane with two local subworkers, started, killed, ended.

Everything goes through the command line, as a user would do it. The control plane is killed by its
process id. Its subworkers then finish what they run, deliver it to the next control plane and end
by themselves. `close` waits for that if there is one, and kills what is still there: the demo
leaves nothing behind however it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from examples.demo.tasks import FOLDER_VARIABLE

from fastqueue.errors import ControlPlaneUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue import Client

ROOT = Path(__file__).resolve().parents[2]
SUBWORKERS = 2

_START_S = 30.0
_ASK_S = 1.0
_GRACE_S = 5.0
_END_S = 20.0
_POLL_S = 0.02
# Below the range that systems take ports for outgoing connections from: nobody else is given one
# of these while the control plane is down.
_PORTS = range(11_000, 32_000)


class NotStarted(Exception):  # noqa: N818 - reads as what happened
    """Say how the control plane ended instead of starting, with the end of its log."""


class System:
    """Run a control plane in a folder, with its store and its log.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.address = _free_address()
        self.discovery_address = _free_address()
        self._log_path = folder / "control-plane.log"
        self._locks = folder / "processes"
        self._locks.mkdir()
        self._data_dir = folder / "data"
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FASTQUEUE_")},
            FOLDER_VARIABLE: str(folder),
            # What the authors of the surveyed files are warned of isn't ours to show.
            "PYTHONWARNINGS": "ignore",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the control plane

    def start(self) -> int:
        """Start the control plane and return its process id; it isn't waited for."""
        command = [sys.executable, "-m", "fastqueue", "control-plane"]
        command += ["--task-modules", "examples.demo.tasks", "--processes", str(SUBWORKERS)]
        command += ["--base-address", self.address, "--data-dir", str(self._data_dir)]
        command += ["--discovery-address", self.discovery_address]
        # The tasks compute: a third in one process would only wait for the other two.
        command += ["--concurrency", "2", "--grace", str(_GRACE_S)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for the demo, which then ends its processes in order.
                start_new_session=True,
            )
        return self._process.pid

    def kill(self) -> None:
        """End the control plane as a crash would: at once, with no last word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def ready(self, client: Client, *, after_epoch: int = -1) -> int:
        """Wait until the control plane serves with all its subworkers; return its boot epoch.

        Args:
            client: started, with this system's discovery address.
            after_epoch: the epoch of the control plane that was killed, if one was.

        Raises:
            NotStarted: it ended, or isn't there in time.
        """
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise NotStarted(f"the control plane has ended: {self.log_end()}")
            # Not for long: meanwhile the process may end.
            with suppress(ControlPlaneUnavailable, TimeoutError):
                async with asyncio.timeout(_ASK_S):
                    stats = await client.inspect()
                connected = sum(one["connected"] for one in stats["subworkers"])
                if stats["epoch"] > after_epoch and connected >= SUBWORKERS:
                    return int(stats["epoch"])
            await asyncio.sleep(_POLL_S)
        raise NotStarted(f"no control plane within {_START_S:g} s: {self.log_end()}")

    def log_end(self) -> str:
        """Return the last lines of the control plane's log."""
        with suppress(OSError):
            lines = self._log_path.read_text(errors="replace").splitlines()
            return "\n".join(lines[-20:])
        return "(it has no log)"

    # -- the end

    def subworker_pids(self) -> list[int]:
        """Return the process ids of the subworkers that still live."""
        return [int(lock.name) for lock in self._locks.iterdir() if _is_locked(lock)]

    def close(self) -> int:
        """End every process; return how many subworkers had to be killed.

        Raises:
            KeyboardInterrupt: Ctrl-C meanwhile; everything is killed then.
        """
        process = self._process
        try:
            if process is not None and process.poll() is None:
                process.terminate()
                _until(lambda: process.poll() is not None)
                _until(lambda: not self.subworker_pids())
        finally:
            self.kill()
            late = self.subworker_pids()
            for pid in late:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return len(late)


def _until(is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _END_S
    while not is_over() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _free_address() -> str:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"
