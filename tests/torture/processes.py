"""Own the looks at the system's processes, and the signals to those we didn't start ourselves."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def send(pid, number):
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid):
    """Return the processes that one has started and that haven't ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def age_s(pid):
    """Return how long a process has been there, in seconds; 0 if it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def marked(variable, value):
    """Return the processes that have a variable of this value in their environment."""
    mark = f"{variable}={value}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def stands_still(pid):
    """Say whether every thread of a process has stopped, or it has gone."""
    states = []
    with contextlib.suppress(OSError):
        for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return all(state in "TZX" for state in states)


class Stopped:
    """Be a process that was told to stop; it stays that one, whoever gets its number.

    Raises:
        ProcessLookupError: it has gone.
    """

    def __init__(self, pid):
        self.pid = pid
        self._handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGSTOP)
        except BaseException:
            os.close(self._handle)
            raise

    def stands_still(self):
        return stands_still(self.pid)

    def go_on(self):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGCONT)
        os.close(self._handle)
