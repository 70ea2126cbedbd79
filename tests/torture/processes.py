"""Own the looks at the system's processes, and the signals to those we didn't start ourselves."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def send(pid, number):
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


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


def has_ended(pid):
    """Say whether a process is gone, or dead and not yet waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


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
