"""Own a world of whole processes: real clients, real subworkers, a real control plane's server.

Where `tests.simulation.world` plays the engine and the core against peers that are models, here all
of the package runs but sockets, threads and SQLite: on a clock that jumps, over a network that
breaks, on a disk that fills, in processes that are killed. A seed is a whole history.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.stack.agreement import check_agreement, connections_due, sessions_of
from tests.simulation.stack.calls import Calls
from tests.simulation.stack.disk import SimulatedStore
from tests.simulation.stack.faults import Faults
from tests.simulation.stack.ledger import Ledger
from tests.simulation.stack.loop import VirtualLoop
from tests.simulation.stack.processes import (
    PORT,
    ClientProcess,
    ControlPlaneProcess,
    Member,
    SubworkerProcess,
)
from tests.simulation.stack.seams import WALL_AT_0

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.simulation.stack.loop import Process

    from fastqueue.core.changes import TasksAdded, TasksDelayed

__all__ = ["World"]

STEPS = 35
# How long everything may take to come to its end once all faults have: three crashes of a task that
# kills, each with its restart, and what waits behind it.
_SETTLE_S_MAX = 90.0
_WRONG_TOKEN = "a-token-of-another-control-plane"
_TOKENS: tuple[dict[str, str], ...] = (
    {},
    {},
    {"token": "the-token-of-all-who-may"},
    {"token_submit": "the-token-of-clients", "token_worker": "the-token-of-subworkers"},
)
_POLL_S = 0.25
_RUNS_ELSEWHERE_S = 3.0
# How long a connection may take to be made, or to be noticed as over, when nothing goes wrong.
_RECONNECT_S = 1.0
# Longer than a subworker may be silent.
_REST_S = 12.0


class World(Faults):
    """Play one history.

    Args:
        seed: decides all of it.
        loop: where it is played.
        chance: what the seed makes.
    """

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self.loop = loop
        self.chance = chance
        self.trace: list[str] = []
        self.broken: asyncio.Future[Any] = loop.create_future()
        self.failure: Exception | None = None
        self.ledger = Ledger(self.broke)
        commit_s = chance.choice((0.0002, 0.002, 0.03))
        self.store = SimulatedStore(chance, self._on_durable, commit_s)
        self.tokens = chance.choice(_TOKENS)
        # How fast it goes: slow enough that what lasts long ends, or fast.
        self.step_s = chance.choice((0.05, 0.15, 0.15, 0.8))
        self.is_calm = False
        # By how much the wall clock of all is wrong, and the latest time that it has shown.
        self.clock_error_s = 0.0
        self.latest_wall = 0.0
        # What is still said then comes from processes that were killed long ago.
        self.is_over = False
        self.ids: list[str] = []
        self.keys = 0
        self.pushed = 0
        self.turned_away = 0
        self.refusals: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        # With discovery a control plane may come back at another port.
        self.moves = chance.random() < 0.4
        self.control_plane = ControlPlaneProcess(self, "control-plane")
        self.subworkers = [
            SubworkerProcess(self, "sub-0", ("work", "rare", "once"), 2),
            SubworkerProcess(self, "sub-1", ("work", "once"), 3),
            SubworkerProcess(self, "sub-2", ("rare",), 1),
        ]
        self.clients = [
            ClientProcess(self, f"client-{n}", chance.choice((2.2, 3.0, 6.0, 20.0)), retries)
            for n, retries in enumerate((3, chance.choice((0, 1, 2))))
        ]
        self.members: list[Member] = [self.control_plane, *self.subworkers, *self.clients]
        self.strangers: list[Member] = self._strangers()
        if self.tokens:
            self.ledger.strangers = {member.name for member in self.strangers}

    def _strangers(self) -> list[Member]:
        """Return who isn't to be let in, or, having a token, tells nothing to who has none."""
        client = ClientProcess(self, "stranger-client", 3.0, 1)
        others = (None, self.tokens.get("token_worker")) if self.tokens else ()
        client.token = self.chance.choice((_WRONG_TOKEN, *others))
        subworker = SubworkerProcess(self, "stranger-sub", ("work", "rare", "once"), 9)
        subworker.token = self.tokens.get("token_submit", _WRONG_TOKEN)
        return [client, subworker]

    def wall(self) -> float:
        """Return what the clock on the wall shows to every process."""
        shown = WALL_AT_0 + self.loop.time() + self.clock_error_s
        self.latest_wall = max(self.latest_wall, shown)
        return shown

    def token_for(self, setting: str) -> str | None:
        """Return the token of this control plane that those are given who need this one."""
        return self.tokens.get(setting) or self.tokens.get("token")

    def _on_durable(self, change: TasksAdded | TasksDelayed) -> None:
        is_short = self.store.is_surely_short(self.loop.time())
        self.ledger.claim(not is_short, "a task was taken although there is no room")
        self.ledger.on_durable(change)

    # -- what the others use

    def note(self, what: str) -> None:
        self.trace.append(f"{self.loop.time():.4f} {what}")

    def broke(self, error: Exception) -> None:
        """End the history: something that must hold doesn't."""
        if self.failure is None and not self.is_over:
            self.failure = error
            self.note(f"broken: {error}")
            if not self.broken.done():
                self.loop.schedule(None, 0.0, self.broken.set_result, None)

    async def guard(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run something in a process that isn't to fail."""
        try:
            await make()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is breaks the history
            self.broke(error)

    def new_id(self) -> str:
        task_id = f"{int(self.loop.time() * 1000):010x}-{len(self.ids):04d}"
        self.ids.append(task_id)
        return task_id

    def next_key(self, sends_max: int) -> int:
        self.keys += 1
        self.ledger.sends_max[self.keys] = sends_max
        return self.keys

    def acknowledge(self, key: int, task_id: str) -> None:
        self.note(f"{task_id} ({key}) is acknowledged")
        self.ledger.on_acknowledged(key, task_id)

    def address_of(self, member: Member) -> str | None:
        """Return where a member is told that the control plane is; None if it is to discover it."""
        return None if self.moves else f"tcp://127.0.0.1:{PORT}"

    def die(self, member: Member) -> None:
        """Kill a process from within it; it runs to its next wait."""
        self.loop.schedule(None, 0.0, self._die, member, member.process)

    def _die(self, member: Member, process: Process) -> None:
        if member.process is process:
            member.kill()
            self.boot_later(member)

    def cut_soon(self, process: Process, *, bytes_max: int = 60, hears: bool | None = None) -> None:
        """Cut a process's connection after a few more bytes.

        Args:
            process: the one that dialled.
            bytes_max: how many that are at most.
            hears: whether the bytes are those that it is sent; either way if it isn't said.
        """
        for link in self.loop.network.links_of(process):
            way = self.chance.randrange(2) if hears is None else int(hears)
            link.ways[way].cut_after = self.chance.randint(1, bytes_max)

    def cut_no_more(self, process: Process) -> None:
        for link in self.loop.network.links_of(process):
            for way in link.ways:
                way.cut_after = None

    def cut_now(self, process: Process) -> None:
        for link in self.loop.network.links_of(process):
            link.reset()

    # -- a history

    async def play(self) -> None:
        for member in (*self.members, *self.strangers):
            member.boot()
        await asyncio.sleep(0.2)
        for _ in range(STEPS):
            self.step()
            await asyncio.sleep(self.chance.expovariate(1 / self.step_s))
            self._look()
        await self._settle()
        await self._lose_one_connection_each()
        await self._lose_a_subworker()
        await self._rest()
        check_agreement(self)
        self.ledger.check_end()
        await self._end()

    def _look(self) -> None:
        """Check what is bounded in the processes, now that all of them wait."""
        for complaint in self.loop.complaints:
            self.broke(AssertionError(f"asyncio complains: {complaint}"))
        for member in self.clients:
            connection = member.client._connection if member.client and member.process else None
            if connection is not None:
                s = connection.submissions
                sent = sum(len(batch.tasks) for batch in s._sent.values())
                size = sum(batch.size_bytes for batch in s._sent.values())
                waiting = sum(len(batch.tasks) for batch in s._waiting)
                counted = (s._sent_tasks, s._sent_bytes, s._waiting_tasks)
                self.ledger.claim((sent, size, waiting) == counted, "a window is miscounted")
                self.ledger.claim(sent < 8 + 4, f"{sent} tasks are on their way")
                self.ledger.claim(waiting < 100, f"{waiting} tasks wait in a client")

    async def _settle(self) -> None:
        """End all faults; everything must come to its end in bounded time."""
        self.note("all faults end")
        # At last somebody offers what nobody did, and all of that has waited for it.
        late = SubworkerProcess(self, "sub-3", ("ghost",), 4)
        self.subworkers.append(late)
        self.members.append(late)
        self.end_faults()
        await self._until_quiet()

    async def _until_quiet(self) -> None:
        deadline = self.loop.time() + _SETTLE_S_MAX
        while not self._is_quiet():
            if self.loop.time() > deadline:
                raise AssertionError(f"it never ends: {self._what_is_left()}")
            await asyncio.sleep(_POLL_S)
            self._look()

    def _is_quiet(self) -> bool:
        engine = self.control_plane.engine
        return (
            all(member.is_up for member in self.members)
            and all(member.is_connected for member in self.clients)
            and engine is not None
            and not engine.core.state.lanes.live
            and not engine.core.state.delays.count
            and not engine.core.state.outbox.owed
            and self.calls_under_way() == 0
            and not any(s.subworker and s.subworker._runtime.held.by_id for s in self.subworkers)
        )

    def calls_under_way(self) -> int:
        return sum(process.calls_under_way for process in self.loop.processes if process.is_alive)

    def _what_is_left(self) -> str:
        engine = self.control_plane.engine
        state = engine.core.state if engine else None
        live = state.lanes.live + state.delays.count if state else "?"
        down = [member.name for member in self.members if not member.is_up]
        held = [
            list(s.subworker._runtime.held.by_id)
            for s in self.subworkers
            if s.subworker and s.subworker._runtime
        ]
        return f"{live} tasks, {self.calls_under_way()} calls, held {held}, down {down}"

    async def _lose_one_connection_each(self) -> None:
        self.note("each client loses a connection in each kind of call")
        await asyncio.sleep(_RECONNECT_S)
        too_many = len(self.control_plane.server._by_connection) - connections_due(self)
        self.ledger.claim(too_many <= 0, f"{too_many} connections are nobody's")
        self.ledger.last_risky_key = self.keys
        for member in self.clients:
            assert member.process is not None
            self.loop.spawn(member.process, self.guard(Calls(self, member).calm))
        for member in self.subworkers:
            assert member.process is not None
            self.loop.schedule(None, self.chance.random() / 2, self.cut_now, member.process)
        await asyncio.sleep(1.0)
        await self._until_quiet()
        await asyncio.sleep(1.5)
        await self._until_quiet()

    async def _lose_a_subworker(self) -> None:
        """Kill a subworker: what it runs must begin elsewhere within the time that is promised."""
        for client in self.clients:
            assert client.process is not None
            self.cut_no_more(client.process)
        member = self.clients[0]  # the one that has retries
        assert member.process is not None
        self.loop.spawn(member.process, self.guard(Calls(self, member).long))
        key = self.ledger.last_risky_key = self.keys + 1
        deadline = self.loop.time() + _RUNS_ELSEWHERE_S
        while not self.ledger.runs[key] and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        [runner] = [s for s in self.subworkers if s.running]
        runner.kill()
        self.boot_later(runner)
        await asyncio.sleep(_RUNS_ELSEWHERE_S)
        self.ledger.claim(len(self.ledger.runs[key]) == 2, f"{key} doesn't run elsewhere")
        await self._until_quiet()

    async def _rest(self) -> None:
        """Let nothing happen for so long that whoever takes silence for an end shows it."""
        await asyncio.sleep(1.0)
        before = sessions_of(self)
        await asyncio.sleep(_REST_S)
        self.ledger.claim(sessions_of(self) == before, "a session ended, and nothing had happened")

    async def _end(self) -> None:
        """Stop all in order: nothing may be left behind."""
        for member in (*self.clients, *self.subworkers, self.control_plane):
            member.begin_to_leave()
            while member.process is not None and self.failure is None:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        self._look()
