"""Own one site under torture: its processes, who is killed, and that the dead are replaced.

A site is a control plane with a subworker of its own, further subworkers, clients and listeners for
callbacks, all of them real processes. Every connection goes through a proxy, but for those of the
control plane's own subworker and those to the listeners. One of the listeners is there only after
all has gone wrong that will: until then, whatever is owed to it must survive.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.certificates import Authority
from tests.harness import Running, eventually, free_address
from tests.torture.ledger import now, read_lines
from tests.torture.plan import CLIENT, CONTROL_PLANE, LISTENER, ROLES, SUBWORKER
from tests.torture.processes import Stopped, age_s, children, marked, send
from tests.torture.proxy import FaultyProxy

from fastqueue import Client

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
        is_secure: whether its connections use TLS, and all prove that they have a token.
    """

    def __init__(self, folder, seed, *, is_secure=False):
        self.folder = Path(folder)
        self.seed = seed
        self.is_secure = is_secure
        self.kills = []  # (when, which role)
        self.done = Counter()  # all that was done to it, by name
        self.troubles = []  # what happened by itself, and mustn't
        self._address = free_address()
        self._discovery_address = free_address()
        self._proxy = FaultyProxy(self._address, free_address())
        self._listeners = [free_address(), free_address()]
        self._token, self._authority = secrets.token_urlsafe(), None
        self._running = {role: [] for role in (*ROLES, LISTENER)}
        self._all = []
        self._clients_started = 0
        self._stopped = set()

    @property
    def early_cuts(self):
        """Return how many connections were cut as they began."""
        return self._proxy.early_cuts

    def client(self):
        """Return a client of ours, which goes around the proxy; not started."""
        options = {}
        if self.is_secure:
            options = {"token": self._token, "tls_ca": self._authority.ca}
        return Client(control_plane_address=self._reachable(self._address), **options)

    def _reachable(self, address):
        return address.replace("tcp://", "tls://") if self.is_secure else address

    # -- processes

    async def start(self):
        self.folder.mkdir(parents=True)
        if self.is_secure:
            self._authority = Authority(self.folder)
        await self._proxy.start()
        self._start_listener(0)
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
        if self.is_secure:
            environment["FASTQUEUE_TOKEN"] = self._token
            if role != CONTROL_PLANE:
                environment["FASTQUEUE_TLS_CA"] = self._authority.ca
        command = [sys.executable, "-m", *arguments]
        process = Running(name, command, folder=self.folder, environment=environment)
        process.role, process.place = role, place
        self._running[role].append(process)
        self._all.append(process)

    def _start_control_plane(self):
        options = []
        if self.is_secure:
            files = self._authority.issue("127.0.0.1")
            options = ["--tls-cert", files["tls_cert"], "--tls-key", files["tls_key"]]
        self._start(
            *(CONTROL_PLANE, 0, "control-plane", "fastqueue", "control-plane"),
            *("--base-address", self._reachable(self._address), *options),
            *("--task-modules", "tests.torture.tasks"),
            *("--processes", "1", "--concurrency", str(_CONCURRENCY)),
            *("--result-cache-size", str(_RESULTS_KEPT), "--result-cache-ttl", "86400"),
        )

    def _start_subworker(self, place):
        name = f"subworker-{place}"
        self._start(
            *(SUBWORKER, place, name, "fastqueue", "subworker", "--worker-id", name),
            *("--control-plane-address", self._reachable(self._proxy.address)),
            *("--task-modules", "tests.torture.tasks", "--concurrency", str(_CONCURRENCY)),
        )

    def _start_client(self, place):
        # Another name each time: it knows nothing of what the one before it did.
        name = f"{place}-{self._clients_started}"
        self._clients_started += 1
        arguments = (self._reachable(self._proxy.address), name, str(self.seed), *self._listeners)
        self._start(CLIENT, place, f"client-{name}", "tests.torture.client", *arguments)

    def _start_listener(self, place):
        name = f"listener-{place}"
        arguments = ("tests.torture.listener", self._listeners[place], name)
        self._start(LISTENER, place, name, *arguments)

    def _replace(self, process):
        self._running[process.role].remove(process)
        match process.role:
            case "control plane":
                self._start_control_plane()
            case "subworker":
                self._start_subworker(process.place)
            case "listener":
                self._start_listener(process.place)
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
        for process in [p for of_role in self._running.values() for p in of_role]:
            if not process.is_running:
                self.troubles.append(f"{process.name} ended: {process.popen.returncode}")
                self._replace(process)

    def _victim(self, act):
        """Return a process of ours, or the id of a subworker that the control plane started."""
        choice = list(self._running[act.whom])
        if act.whom == SUBWORKER:
            # Not one that is only starting: a control plane whose first subworker dies three times
            # before it has imported the task modules takes that for their fault, and ends.
            own = children(self._running[CONTROL_PLANE][0].pid)
            choice += [pid for pid in own if age_s(pid) > _IMPORTED_AFTER_S]
        return choice[int(act.pick * len(choice))]

    def _kill(self, act):
        victim = self._victim(act)
        if isinstance(victim, int):
            send(victim, signal.SIGKILL)
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
            going_on = asyncio.create_task(_go_on(Stopped(pid), act.for_s))
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
        """End all faults, kill all but the listeners, and start what tasks and callbacks need."""
        await asyncio.gather(*self._stopped)
        for role in ROLES:
            for process in self._running[role]:
                process.kill()
            self._running[role].clear()
        self._proxy.heal()
        self._start_listener(1)
        self._start_control_plane()
        for number in range(_SUBWORKERS):
            self._start_subworker(number)
        await self._running[CONTROL_PLANE][0].says("control plane ready")

    async def called_back(self, task_ids):
        """Wait until all of these were called back, for as long as that may take."""
        wanted = set(task_ids)

        def are_there():
            return wanted <= {line[1] for line in read_lines(self.folder, "listener-*.jsonl")}

        with contextlib.suppress(AssertionError):  # the verdict says which are missing
            await eventually(are_there, timeout_s=_RECOVERED_WITHIN_S)

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
            for pid in marked(_MARK, self.folder):
                send(pid, signal.SIGKILL)


async def _go_on(stopped, after_s):
    try:
        await asyncio.sleep(after_s)
    finally:
        stopped.go_on()
