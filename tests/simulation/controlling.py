"""Own what people do to queues and limits in a simulated world, and what must hold of that."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace
from tests.simulation.peers import SimulatedClient

from fastqueue.core import commands as cmd
from fastqueue.core.records import LEASE_BITS, LimitId, QueueChange, RunLimit
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence

    from fastqueue.control_plane.engine import Engine
    from fastqueue.core.core import Core
    from fastqueue.core.lanes import Lane, Task
    from fastqueue.core.records import NewTask, TaskOptions
    from fastqueue.core.state import State
    from fastqueue.core.workers import Worker
    from fastqueue.store.memory import MemoryStore

QUEUES = ("default", "mail")
FAIR_KEYS = ("", "", "a", "b")
_PURGED = "Cancelled: its queue was purged"


class Controlling:
    """Let people pause, weigh and purge queues, and limit what runs."""

    random: random.Random
    now: float
    engine: Engine
    clients: list[SimulatedClient]
    is_settling: bool
    acknowledged: set[str]
    # When leases under a rate began, by limit and fair key, since a limit was last changed.
    begun_at: dict[tuple[LimitId, str], list[float]]

    def begin_controlling(self) -> None:
        self.begun_at = defaultdict(list)
        self.limits_seen: dict[tuple[LimitId, str], RunLimit] = {}
        self.epoch_seen = 0
        # Purges that were under way, and whether there was no room for a lane meanwhile.
        self.purging: dict[str, int] = {}
        self.was_crowded = False
        # Ids that were said to be the same as another; and how often a replaced one was seen.
        self.merged: set[str] = set()
        self.replaced = 0
        self.unreplaced: set[tuple[str, str]] = set()

    def put(self, command: cmd.Command) -> None:
        raise NotImplementedError

    def _connected(self, peers: Sequence[SimulatedClient]) -> SimulatedClient | None:
        raise NotImplementedError

    def control_queue(self) -> None:
        """Pause a queue or let it go on, weigh it, let it age."""
        client = self._connected(self.clients)
        if client is None:
            return
        chance = self.random
        name = chance.choice(QUEUES)
        change = chance.choice(
            (
                QueueChange(name=name, is_paused=True),
                QueueChange(name=name, is_paused=False),
                QueueChange(name=name, is_paused=False),
                QueueChange(name=name, weight=chance.choice((0.5, 1.0, 3.0))),
                QueueChange(name=name, ageing_s=chance.choice((None, 0.5, 5.0))),
            )
        )
        self.put(cmd.SetQueue(client.session, 0, change))

    def control_limit(self) -> None:
        """Set a limit, or remove it."""
        client = self._connected(self.clients)
        if client is None:
            return
        chance = self.random
        limit_id = chance.choice(
            (
                LimitId("task", "add"),
                LimitId("task", "add", is_each=True),
                LimitId("queue", "mail"),
                LimitId("queue", "default", is_each=True),
                LimitId("key", "a"),
            )
        )
        if chance.random() < 0.4:
            self.put(cmd.RemoveRunLimit(client.session, 0, limit_id))
        else:
            concurrency = chance.choice((None, 1, 2))
            rate = chance.choice((None, 0.5, 5.0))
            limit = RunLimit(limit_id, concurrency, rate, chance.choice((1, 3)))
            self.put(cmd.SetRunLimit(client.session, 0, limit))

    def purge(self) -> None:
        """Purge a queue."""
        client = self._connected(self.clients)
        if client is not None:
            self.put(cmd.Purge(client.session, 0, self.random.choice(QUEUES)))

    def with_unique_key(self, options: TaskOptions) -> TaskOptions:
        """Return options that ask for one of the kinds of uniqueness as well."""
        chance = self.random
        kind = chance.choice(("unique_for_s", "debounce_s", "latest_wins"))
        asked = (
            {"latest_wins": True} if kind == "latest_wins" else {kind: chance.choice((0.4, 9.0))}
        )
        return replace(options, unique_key=f"{kind}{chance.randint(1, 3)}", **asked)

    def check_same(self, pairs: Sequence[tuple[str, str]], known: Mapping[str, NewTask]) -> None:
        """Assert that what is said to be the same task is, and that it alone is stored."""
        for task_id, same_as in pairs:
            one, other = known[task_id], known[same_as]
            assert task_id not in self.acknowledged, "a stored task is said to be another"
            assert one.options is not None
            assert other.options is not None
            assert (one.name, one.options.unique_key) == (other.name, other.options.unique_key)
            self.merged.add(task_id)

    def check_unique(self, store: MemoryStore, known: Mapping[str, NewTask]) -> None:
        """Assert that of each unique key no more tasks wait than may."""
        waiting: Counter[tuple[str, str]] = Counter()
        state = self.engine.core.state
        for task_id, key in store._tables.keys.items():
            options = known[task_id].options
            task = state.tasks.get(task_id)
            # One that is leased isn't replaced by a debounced one, and may be given back.
            if options is None or not options.latest_wins:
                continue
            is_waiting = task is None or task.status is TaskStatus.QUEUED
            stored = store._tables.tasks[key]
            if is_waiting and not stored.attempt and not stored.cancelling:
                waiting[known[task_id].name, options.unique_key] += 1
        if len(state.lanes.by_id) >= state.limits.lanes_max:
            # One that waits for a time can't be ended without a lane.
            self.unreplaced.update(place for place, count in waiting.items() if count > 1)
        doubled = {place for place, count in waiting.items() if count > 1} - self.unreplaced
        assert not doubled, "the older one wasn't replaced"
        self.replaced += sum(
            (row[2].error or "").startswith("Replaced") for row in store._tables.results.values()
        )

    def check_purges(self, core: Core, store: MemoryStore) -> None:
        """Assert that a purge that has ended has left nothing waiting that was there before it."""
        state, delayed = core.state, store._tables.delayed
        assert state.purges == store._tables.purges
        for name, last in state.purges.items():
            assert last <= state.last_sequence, f"what comes to {name} later would be purged too"
        is_crowded = len(state.lanes.by_id) >= state.limits.lanes_max
        for name, last in self.purging.items():
            if name not in state.purges:
                left = [key for key, due in delayed.items() if due[1] == name and key <= last]
                # One that waits for a time can't be ended without a lane.
                assert not left or is_crowded or self.was_crowded, "a purge has left something"
        self.was_crowded = is_crowded or (self.was_crowded and bool(state.purges))
        self.purging = dict(state.purges)

    def end_control(self, session: int) -> None:
        """Let everything go on, so that all can come to its end."""
        for name in QUEUES:
            change = QueueChange(name=name, is_paused=False)
            self.put(cmd.SetQueue(session, 0, change))
        for limit_id in self.engine.core.state.gates.set:
            self.put(cmd.RemoveRunLimit(session, 0, limit_id))

    def check_control(self, old_tokens: set[int], *, is_same_core: bool) -> None:
        """Assert that gates count rightly and that what began in this turn was allowed to."""
        state = self.engine.core.state
        check_gates(state, self.now)
        if state.epoch != self.epoch_seen:
            # A crash forgets what was drawn from buckets in its last moment.
            self.begun_at.clear()
            self.epoch_seen = state.epoch
        if not is_same_core:
            return
        new = [t for t in _leased(state) if t.token not in old_tokens and _is_of_now(state, t)]
        for task in new:
            assert not task.lane.band.queue.settings.is_paused, "a paused queue's task begins"
        self._check_rates(state, new)

    def _check_rates(self, state: State, new: Iterable[Task]) -> None:
        gates = {gate.place: gate for lane in state.lanes for gate in lane.gates}
        for place in [place for place in self.begun_at if place not in gates]:
            del self.begun_at[place]
        for task in new:
            for gate in task.lane.gates:
                if gate.limit.rate is not None:
                    self.begun_at[gate.place].append(self.now)
        for place, times in self.begun_at.items():
            limit = gates[place].limit
            if self.limits_seen.setdefault(place, limit) != limit or limit.rate is None:
                self.limits_seen[place] = limit
                times.clear()
                continue
            for first, begun in enumerate(times):
                allowed = limit.burst + (times[-1] - begun) * limit.rate
                assert len(times) - first <= allowed + 1e-6, "more begin than a rate lets"


def _is_of_now(state: State, task: Task) -> bool:
    return task.token >> LEASE_BITS == state.epoch


def _leased(state: State) -> list[Task]:
    return [task for task in state.tasks.values() if task.status is TaskStatus.RUNNING]


def may_begin(state: State, lane: Lane, worker: Worker, now: float) -> bool:
    """Say whether a lane's first task may be leased to a subworker, from all there is."""
    return (
        bool(lane.ready)
        and lane.name in worker.names
        and worker.serves(lane.queue)
        and not state.queues.settings_of(lane.queue).is_paused
        and not any(gate.is_shut(now) for gate in lane.gates)
    )


def check_gates(state: State, now: float) -> None:
    """Assert that each gate counts what runs under it, and that nobody waits at an open one."""
    running: Counter[tuple[LimitId, str]] = Counter()
    for task in _leased(state):
        running.update(_places(task.lane, state))
    gates = {gate.place: gate for lane in state.lanes for gate in lane.gates}
    for place, gate in gates.items():
        assert gate.running == running[place], "a limit miscounts what runs"
        assert gate.limit == state.gates.find(place[0]), "a gate stands for a limit of before"
    for lane in state.lanes:
        expected = {p for p in _places(lane, state) if _is_limit(state, p[0])}
        assert {gate.place for gate in lane.gates} == expected, "a limit isn't kept"
        if lane.parked is not None:
            assert lane.parked in lane.own_gates
            assert lane.parked.is_shut(now), "a lane waits at an open gate"
            assert lane.parked.parked[lane.lane_id] is lane
        elif lane.ready:
            queue = lane.band.queue
            assert state.queues.awake.get(queue.name) is queue, "a queue that waits is asleep"
            assert queue.awake[lane.rank, lane.name] is lane.band, "a band that waits is asleep"
            assert not lane.fair_key or lane.listed is not None, "a lane isn't in its band's order"


def _is_limit(state: State, limit_id: LimitId) -> bool:
    limit = state.gates.find(limit_id)
    return limit is not None and limit.is_limit


def _places(lane: Lane, state: State) -> list[tuple[LimitId, str]]:
    places = [(LimitId("task", lane.name), ""), (LimitId("queue", lane.queue), "")]
    if key := lane.fair_key:
        places += [
            (LimitId("key", key), ""),
            (LimitId("task", lane.name, is_each=True), key),
            (LimitId("queue", lane.queue, is_each=True), key),
        ]
    return places
