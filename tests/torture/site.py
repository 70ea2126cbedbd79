"""Own one site under torture: its processes, who is killed, and that the dead are replaced.

A site is a control plane with a subworker of its own, further subworkers and clients, all of them
real processes; every connection but that of the control plane's own subworker goes through a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.harness import Running, eventually, free_address
from tests.torture.ledger import now, read_lines
from tests.torture.plan import CLIENT, CONTROL_PLANE, ROLES, SUBWORKER
from tests.torture.proxy import FaultyProxy

ROOT = Path(__file__).resolve().parents[2]
# By this variable a site finds what its processes started, and ended without.
_MARK = "FASTQUEUE_TORTURE_FOLDER"
_SUBWORKERS = 2
_CLIENTS = 2
_CONCURRENCY = 8
# None may be forgotten before the end: what isn't known any more must be what was lost.
_RESULTS_KEPT = 5_000_000
_RECOVERED_WITHIN_S = 60.0
_IMPORTED_AFTER_S = 2.0


class TortureSite:
    """Run one site; do to it what a plan says.

    Args:
        folder: holds its store, its ledger and its logs.
        seed: that of all the clients' choices.
    """

    def __init__(self, folder, seed):
        self.folder = Path(folder)
        self.seed = seed
        self.kills = []  # (when, which role)
        self.done = Counter()  # all that was done to it, by name
        self.troubles = []  # what happened by itself, and mustn't
        self._address = free_address()
        self._discovery_address = free_address()
        self._proxy = FaultyProxy(self._address, free_address())
        self._running = {role: [] for role in ROLES}
        self._all = []
        self._clients_started = 0
        self._stopped = set()

    # -- processes

    async def start(self):
        self.folder.mkdir(parents=True)
        await self._proxy.start()
        self._start_control_plane()
        for number in range(_SUBWORKERS):
            self._start_subworker(number)
        for place in range(_CLIENTS):
            self._start_client(place)

    def _start(self, role, place, name, *arguments):
        environment = {
            "FASTQUEUE_DISCOVERY_ADDRESS": self._discovery_address,
            "FASTQUEUE_DATA_DIR": str(self.folder / "data"),
            "PYTHONPATH": str(ROOT),
            _MARK: str(self.folder),
        }
        command = [sys.executable, "-m", *arguments]
        process = Running(name, command, folder=self.folder, environment=environment)
        process.role, process.place = role, place
        self._running[role].append(process)
        self._all.append(process)

    def _start_control_plane(self):
        self._start(
            *(CONTROL_PLANE, 0, "control-plane", "fastqueue", "control-plane"),
            *("--base-address", self._address, "--task-modules", "tests.torture.tasks"),
            *("--processes", "1", "--concurrency", str(_CONCURRENCY)),
            *("--result-cache-size", str(_RESULTS_KEPT), "--result-cache-ttl", "86400"),
        )

    def _start_subworker(self, place):
        name = f"subworker-{place}"
        self._start(
            *(SUBWORKER, place, name, "fastqueue", "subworker", "--worker-id", name),
            *("--control-plane-address", self._proxy.address),
            *("--task-modules", "tests.torture.tasks", "--concurrency", str(_CONCURRENCY)),
        )

    def _start_client(self, place):
        # Another name each time: it knows nothing of what the one before it did.
        name = f"{place}-{self._clients_started}"
        self._clients_started += 1
        arguments = (self._proxy.address, name, str(self.seed))
        self._start(CLIENT, place, f"client-{name}", "tests.torture.client", *arguments)

    def _replace(self, process):
        self._running[process.role].remove(process)
        match process.role:
            case "control plane":
                self._start_control_plane()
            case "subworker":
                self._start_subworker(process.place)
            case _:
                self._start_client(process.place)

    # -- what is done to them

    async def suffer(self, acts):
        """Do all that is planned, then let the site work until it has recovered."""
        await self._recovered(since=now())
        begun = now()
        for act in acts:
            await asyncio.sleep(max(0.0, begun + act.at_s - now()))
            self._look_for_the_dead()
            if act.what == "kill":
                self._kill(act)
            elif act.what == "stop":
                self._stop(act)
            else:
                self._proxy.fail(act.what, act.pick, act.for_s)
                self.done[act.what] += 1
        await self._recovered(since=now())
        self._look_for_the_dead()

    def _look_for_the_dead(self):
        """Nobody may end but those who are killed."""
        for process in [p for role in ROLES for p in self._running[role]]:
            if not process.is_running:
                self.troubles.append(f"{process.name} ended: {process.popen.returncode}")
                self._replace(process)

    def _victim(self, act):
        """Return a process of ours, or the id of a subworker that the control plane started."""
        choice = list(self._running[act.whom])
        if act.whom == SUBWORKER:
            # Not one that is only starting: a control plane whose first subworker dies three times
            # before it has imported the task modules takes that for their fault, and ends.
            children = _children(self._running[CONTROL_PLANE][0].pid)
            choice += [pid for pid in children if _age_s(pid) > _IMPORTED_AFTER_S]
        return choice[int(act.pick * len(choice))]

    def _kill(self, act):
        victim = self._victim(act)
        if isinstance(victim, int):
            _send(victim, signal.SIGKILL)
        else:
            victim.kill()
        self.kills.append((now(), act.whom))
        self.done[f"kill {act.whom}"] += 1
        if not isinstance(victim, int):
            self._replace(victim)

    def _stop(self, act):
        victim = self._victim(act)
        pid = victim if isinstance(victim, int) else victim.pid
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)  # stays that process, whoever gets its number
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
            going_on = asyncio.create_task(_go_on(handle, act.for_s))
            self._stopped.add(going_on)
            going_on.add_done_callback(self._stopped.discard)
            self.done[f"stop {act.whom}"] += 1

    async def _recovered(self, since):
        """Wait until something that was submitted after `since` is completed."""

        def is_there():
            for client in self._running[CLIENT]:
                for word, *rest in read_lines(self.folder, f"{client.name}.jsonl"):
                    if word == "result" and rest[2] is not None and rest[2] >= since:
                        return True
            return False

        try:
            await eventually(is_there, timeout_s=_RECOVERED_WITHIN_S)
        except AssertionError:
            self.troubles.append(f"nothing was completed within {_RECOVERED_WITHIN_S:g} s")

    # -- the end

    async def restart(self):
        """End all faults, kill everything, and start a control plane and subworkers anew.

        Returns:
            The address of the control plane.
        """
        await asyncio.gather(*self._stopped)
        for role in ROLES:
            for process in self._running[role]:
                process.kill()
            self._running[role].clear()
        self._proxy.heal()
        self._start_control_plane()
        for number in range(_SUBWORKERS):
            self._start_subworker(number)
        await self._running[CONTROL_PLANE][0].says("control plane ready")
        return self._address

    async def restart_control_plane(self):
        """Have the control plane end by itself, and start another on its store."""
        [process] = self._running[CONTROL_PLANE]
        process.terminate()
        code = await process.exit_code()
        if code != 0:
            self.troubles.append(f"the control plane ended with {code} when it was told to stop")
        self._replace(process)
        await self._running[CONTROL_PLANE][0].says("control plane ready")

    async def close(self):
        """End every process of this site, also those whose parents are gone."""
        for task in self._stopped:
            task.cancel()
        await self._proxy.stop()
        for process in self._all:
            if process.is_running:
                process.kill()
        # One that was just being started may appear after the first look.
        for _ in range(2):
            for pid in _marked(self.folder):
                _send(pid, signal.SIGKILL)


async def _go_on(handle, after_s):
    try:
        await asyncio.sleep(after_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGCONT)
        os.close(handle)


def _send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid):
    """Return the processes that one has started and that haven't ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def _age_s(pid):
    """Return how long a process has been there, in seconds; 0 if it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def _marked(folder):
    """Return the processes that a site's processes started, and those processes themselves."""
    mark = f"{_MARK}={folder}\0".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found
