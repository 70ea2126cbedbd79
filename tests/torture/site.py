"""Own one site under torture: its processes, who is killed, and that the dead are replaced.

A site is a control plane with a subworker of its own, further subworkers, clients and listeners for
callbacks, all of them real processes. Every connection goes through a proxy, but for those of the
control plane's own subworker and those to the listeners. One of the listeners is there only when
all tasks are done: until then, whatever is owed to it must survive.
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
from tests.harness import Running, eventually
from tests.ports import free_address
from tests.torture.ledger import now, read_lines
from tests.torture.plan import CLIENT, CONTROL_PLANE, LISTENER, ROLES, SUBWORKER, LongStop
from tests.torture.processes import Stopped, has_ended, marked, send, stands_still
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
# By then the tasks of a silent subworker must be somebody else's; it is given up after 10 s.
_SILENT_SUBWORKER_S = 15.0
_SILENT_CONTROL_PLANE_S = 11.0
_GIVEN_UP = "nothing was heard of it for"


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
        self.long_stops = []
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
        self._standing = []  # what makes the long stops
        # Nothing else is done to these, or, while there are long stops, to the control plane.
        self._silent = set()
        self._spares_control_plane = False

    @property
    def early_cuts(self):
        """Return how many connections were cut as they began."""
        return self._proxy.early_cuts

    @property
    def given_up(self):
        """Return how many subworkers the control planes have given up for their silence."""
        log = self.folder / "control-plane.log"
        return log.read_text(errors="replace").count(_GIVEN_UP)

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
            elif act.what == "long stops":
                self._standing.append(asyncio.create_task(self._stop_for_long(act)))
            else:
                self._proxy.fail(act.what, act.pick, act.for_s)
                self.done[act.what] += 1
        await asyncio.gather(*self._standing)
        await self._recovered(since=now())
        self._look_for_the_dead()
        silent = sum(stop.whom == SUBWORKER for stop in self.long_stops)
        own_silent = sum(act.what == "long stops" and act.pick for act in acts)
        if not own_silent <= self.given_up <= silent:
            self.troubles.append(
                f"{self.given_up} subworkers were given up for silence; {silent} were silent, of "
                f"which {own_silent} the control plane's own"
            )

    def _look_for_the_dead(self):
        """Nobody may end but those who are killed."""
        for process in [p for of_role in self._running.values() for p in of_role]:
            if not process.is_running:
                self.troubles.append(f"{process.name} ended: {process.popen.returncode}")
                self._replace(process)

    def _own_subworkers(self):
        """Return the ids of the subworkers that the control plane started."""
        return self._running[CONTROL_PLANE][0].children

    def _other_subworkers(self):
        """Return the ids of the subworkers that supervisors started."""
        return [pid for process in self._running[SUBWORKER] for pid in process.children]

    def _victim(self, act):
        """Return a role, and a process of ours or the id of a subworker that one of them started.

        A supervisor is a victim too: its subworker then finishes what it runs, and ends.
        """
        whom = act.whom
        if whom == CONTROL_PLANE and self._spares_control_plane:
            whom = CLIENT
        choice = list(self._running[whom])
        if whom == SUBWORKER:
            choice = [p for p in choice if not self._silent.intersection(p.children)]
            choice += [*self._own_subworkers(), *self._other_subworkers()]
        choice = [one for one in choice if getattr(one, "pid", one) not in self._silent]
        return whom, choice[int(act.pick * len(choice))]

    def _kill(self, act):
        whom, victim = self._victim(act)
        if isinstance(victim, int):
            send(victim, signal.SIGKILL)
        else:
            victim.kill()
        self.kills.append((now(), whom))
        self.done[f"kill {whom}"] += 1
        if not isinstance(victim, int):
            self._replace(victim)

    def _stop(self, act):
        whom, victim = self._victim(act)
        pid = victim if isinstance(victim, int) else victim.pid
        with contextlib.suppress(ProcessLookupError):
            going_on = asyncio.create_task(_go_on(Stopped(pid), act.for_s))
            self._stopped.add(going_on)
            going_on.add_done_callback(self._stopped.discard)
            self.done[f"stop {whom}"] += 1

    async def _stop_for_long(self, act):
        """Have a subworker stand still while it works, then the control plane.

        The control plane isn't killed meanwhile: it is to notice the silence, and to refuse what
        the subworker reports when it goes on. Only if that is its own is silence all there is to
        notice; the connection of another may be cut by the proxy too.
        """
        self._spares_control_plane = True
        try:
            control_plane = self._running[CONTROL_PLANE][0]
            await control_plane.says("control plane ready")
            await self._make_a_zombie(self._own_subworkers if act.pick else self._other_subworkers)
            await eventually(lambda: not stands_still(control_plane.pid))
            stopped = await self._silence(control_plane.pid)
            await asyncio.sleep(_SILENT_CONTROL_PLANE_S)
            self._end_silence(CONTROL_PLANE, stopped)
            self._silent.discard(stopped.pid)
        except AssertionError as error:
            self.troubles.append(f"at the long stops: {error}")
        finally:
            self._spares_control_plane = False

    async def _make_a_zombie(self, candidates):
        """Have a subworker go on with what is no longer its own; wait until that is refused."""
        stopped, under_way = await self._catch_at_work(candidates)
        await asyncio.sleep(_SILENT_SUBWORKER_S)
        async with self.client() as client:
            before = await _refused_reports(client)
            self._end_silence(SUBWORKER, stopped)

            async def are_refused():
                return await _refused_reports(client) >= before + under_way

            # Until then it is spared: whoever is killed first reports nothing.
            try:
                await eventually(are_refused, f"{under_way} reports of a subworker to be refused")
            finally:
                self._silent.discard(stopped.pid)

    async def _catch_at_work(self, candidates):
        """Stop a subworker in the middle of some runs; return it and how many these are."""

        async def catch():
            for pid in candidates():
                if stands_still(pid):
                    continue
                stopped = await self._silence(pid)
                words = Counter(line[0] for line in read_lines(self.folder, f"runs-{pid}.jsonl"))
                under_way = words["start"] - words["end"]
                # It may have been killed just before.
                if under_way and not has_ended(pid):
                    return stopped, under_way
                self._silent.discard(pid)
                stopped.go_on()
            return None

        return await eventually(catch, "a subworker to be at work")

    async def _silence(self, pid):
        self._silent.add(pid)
        stopped = Stopped(pid)
        await eventually(stopped.stands_still)
        stopped.at = now()
        return stopped

    def _end_silence(self, whom, stopped):
        self.long_stops.append(LongStop(whom, stopped.pid, stopped.at, now()))
        self.done[f"long stop {whom}"] += 1
        stopped.go_on()

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
        self._start_control_plane()
        for number in range(_SUBWORKERS):
            self._start_subworker(number)
        await self._running[CONTROL_PLANE][0].says("control plane ready")

    async def restart_control_plane(self):
        """Have the control plane end by itself, and start another on its store.

        Only now the last listener is there; as no task is left to be done, nothing but what the
        store knows to be owed brings it a callback.
        """
        [process] = self._running[CONTROL_PLANE]
        process.terminate()
        code = await process.exit_code()
        if code != 0:
            self.troubles.append(f"the control plane ended with {code} when it was told to stop")
        self._start_listener(1)
        self._replace(process)
        await self._running[CONTROL_PLANE][0].says("control plane ready")

    async def called_back(self, task_ids):
        """Wait until all of these were called back, for as long as that may take."""
        wanted = set(task_ids)

        def are_there():
            return wanted <= {line[1] for line in read_lines(self.folder, "listener-*.jsonl")}

        with contextlib.suppress(AssertionError):  # the verdict says which are missing
            await eventually(are_there, timeout_s=_RECOVERED_WITHIN_S)

    async def close(self):
        """End every process of this site, also those whose parents are gone."""
        for task in (*self._stopped, *self._standing):
            task.cancel()
        await self._proxy.stop()
        for process in self._all:
            if process.is_running:
                process.kill()
        # One that was just being started may appear after the first look.
        for _ in range(2):
            for pid in marked(_MARK, self.folder):
                send(pid, signal.SIGKILL)


async def _refused_reports(client):
    return (await client.inspect("stats"))["stale_outcomes"]


async def _go_on(stopped, after_s):
    try:
        await asyncio.sleep(after_s)
    finally:
        stopped.go_on()
