"""Own a process and all that it starts: what the family uses, how it is stopped and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import cpu_s

if TYPE_CHECKING:
    from collections.abc import Sequence

END_S = 5.0
"""How long a family may take to end by itself after SIGTERM."""


class Family:
    """Start a command in a session of its own; what it writes goes to a log beside the others."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        name: str,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name == "producer" else log,
                stderr=log,
                start_new_session=True,
                user=user,
            )

    def pids(self) -> list[int]:
        """Return the living ones: of its session, or descended from its first process."""
        parents, found = {}, {self.process.pid}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, parent, _, session = stat.read_text().rsplit(")", 1)[1].split()[:4]
                if state != "Z":
                    parents[int(stat.parent.name)] = int(parent)
                    if int(session) == self.process.pid:
                        found.add(int(stat.parent.name))
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in found} - found
            found |= children
            grown = bool(children)
        return sorted(found & parents.keys())

    def cpu_s(self) -> float:
        total = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += cpu_s(pid)
        return total

    def pss_mb(self) -> float:
        """Return its share of memory, in MB (10^6 bytes): shared pages are split among sharers."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total / 1e6

    def send(self, signum: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def end(self) -> None:
        """Ask the first process to end, and kill what is left of the family."""
        self.send(signal.SIGCONT)
        left = set(self.pids())
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        deadline = time.monotonic() + END_S
        while (left := left & set(_living())) and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.01)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def last_words(self) -> str:
        """Return the last line of its log that isn't blank."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def _living() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(stat.parent.name))
    return found
