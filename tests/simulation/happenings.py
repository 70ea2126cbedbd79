"""Own what may happen in a simulated world: each step is one thing that a peer, or chance, does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tests.simulation.controlling import FAIR_KEYS, QUEUES, Controlling
from tests.simulation.peers import SimulatedClient, SimulatedSubworker

from fastqueue.core import commands as cmd
from fastqueue.core.records import (
    Callback,
    HeldLease,
    Lease,
    News,
    NewTask,
    Offer,
    Outcome,
    ProgressRecord,
    TaskOptions,
)
from fastqueue.core.schedule_records import ScheduleSpec
from fastqueue.tasks.timetable import MissedRuns, Overlap, Timetable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tests.simulation.batches import WitnessedStore
    from tests.simulation.checkpoints import Checkpoints
    from tests.simulation.rota import Rota
    from tests.simulation.waiting import Waits

    from fastqueue.control_plane.engine import Engine
    from fastqueue.core.records import Result
    from fastqueue.store.base import NumberedCallback

_HEARD = (
    cmd.WorkerReady,
    cmd.Report,
    cmd.GiveBack,
    cmd.SetCapacity,
    cmd.SaveCheckpoint,
    cmd.Tell,
)
HEARTBEAT_SESSION = 1_000_000_000
NAMES = ("add", "mul", "pow", "ghost")  # nobody offers the last until the end
DISK_FREE_MIN = 1_000
AT_MOST_ONCE = frozenset({"pow"})
# How often a task of the name is tried again, if its submission doesn't say.
RETRIES = {"add": 2, "mul": 0, "pow": 1, "ghost": 0}
# More than are remembered at one time.
BATCHES = tuple(f"batch-{n}" for n in range(6))
SCHEDULE_IDS = ("hourly", "often", "seldom")
DEFINED = "task:add"
ADDRESSES = tuple(f"tcp://127.0.0.1:{port}" for port in (6001, 6002, 6003, 6004))


class Happenings(Controlling):
    """Let things happen; the world that is made of it plays everything else."""

    random: random.Random
    now: float
    clock_error_s: float
    engine: Engine
    clients: list[SimulatedClient]
    subworkers: list[SimulatedSubworker]
    last_id: int
    last_session: int
    last_request: int
    acknowledged: set[str]
    recorded: dict[str, Result]
    starts: dict[str, int]
    token_of: dict[bytes | None, int]
    gone_at: dict[str, float]
    heard_at: dict[str, float]
    blocked_at: dict[str, float]
    store: WitnessedStore
    short_since: float
    # Which lease a task that is to run at most once has begun under.
    begun_once: dict[str, int]
    submitted: dict[str, NewTask]
    waits: Waits
    rota: Rota
    checkpoints: Checkpoints
    # Subworkers whose supervisor told of their end, with what had begun in them.
    dead: dict[str, frozenset[int] | None]
    # By token, tasks whose own process was reported dead.
    crashed_alone: dict[int, str]
    # Sessions of dead processes whose connection hasn't ended.
    lingering: set[int]
    deliveries: list[tuple[str, list[NumberedCallback]]]

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        raise NotImplementedError

    def _receive(self, peer: SimulatedClient | SimulatedSubworker, count: int) -> None:
        raise NotImplementedError

    def _called_back(self, owed: NumberedCallback) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """Let one thing happen."""
        actions: list[tuple[float, Callable[[], None]]] = [
            (10, self.submit),
            (8, self.beat),
            (1, self.lose_heartbeats),
            (1, self.stop_or_go_on),
            (3, self.resend),
            (3, self.begin),
            (12, self.report),
            (2, self.report_stale),
            (3, self.give_back),
            (2, self.set_capacity),
            (6, self.save_checkpoint),
            (4, self.tell),
            (3, self.follow),
            (3, self.cancel),
            (3, self.query),
            (2, self.watch),
            (5, self.connect),
            (2, self.lose_connection),
            (1, self.replace_connection),
            (4, self.end_delivery),
            (6, self.pass_time),
            (8, self.receive),
            (1, self.change_room),
            (1, self.slow_down),
            (1, self.jump_clock),
            (2, self.control_queue),
            (2, self.control_limit),
            (0.3, self.purge),
            (2, self.put_schedule),
            (2, self.change_schedule),
            (1, self.run_schedule_now),
            (1, self.make_schedule_anew),
        ]
        weights, choices = zip(*actions, strict=True)
        action = self.random.choices(choices, weights)[0]
        self.note(action.__name__)
        action()

    def slow_down(self) -> None:
        """Let a client read nothing for a while; results may expire meanwhile."""
        client = self._connected(self.clients)
        if client is not None:
            client.slow_until = self.now + self.random.choice((1.0, 10.0, 40.0))

    def receive(self) -> None:
        """Let what is on its way to a peer arrive, or some of it."""
        peers = [peer for peer in (*self.clients, *self.subworkers) if peer.inbound]
        if peers:
            peer = self.random.choice(peers)
            self._receive(peer, self.random.randint(1, len(peer.inbound)))

    def wall(self) -> float:
        shown = 1_700_000_000.0 + self.now + self.clock_error_s
        self.waits.latest = max(self.waits.latest, shown)
        return shown

    def jump_clock(self) -> None:
        """Set the wall clock, forward or back; only what waits for a time of day may notice."""
        self.clock_error_s += self.random.choice((-3600.0, -5.0, 5.0, 3600.0))

    def put_schedule(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            spec = self._new_schedule(self.random.choice(SCHEDULE_IDS), self.random.choice(NAMES))
            replaces = self.random.random() < 0.5
            self.rota.touched.add(spec.schedule_id)
            self.put(cmd.PutSchedule(client.session, 0, spec, replaces, self.wall()))

    def _new_schedule(self, schedule_id: str, name: str) -> ScheduleSpec:
        chance = self.random
        every_s = chance.choice((2.0, 7.0, 60.0, 900.0))
        return ScheduleSpec(
            schedule_id,
            Timetable(
                every_s=every_s,
                jitter_s=chance.choice((0.0, 0.0, every_s)),
                count_max=chance.choice((None, None, None, 3)),
            ),
            name,
            chance.choice((0, 2, 3)),
            0,
            b"run" * chance.randint(1, 4),
            missed=chance.choice(tuple(MissedRuns)),
            window_s=every_s * chance.choice((0.5, 3.0, 8.0)),
            overlap=chance.choice(tuple(Overlap)),
        )

    def change_schedule(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            schedule_id = self.random.choice((*SCHEDULE_IDS, DEFINED))
            action = self.random.choice(("pause", "resume", "resume", "delete"))
            self._change_schedule(client, schedule_id, action)

    def _change_schedule(
        self,
        client: SimulatedClient,
        schedule_id: str,
        action: Literal["pause", "resume", "delete"],
    ) -> None:
        self.rota.touched.add(schedule_id)
        if action == "delete":
            self.rota.deleted.add(schedule_id)
        self.put(cmd.ChangeSchedule(client.session, 0, schedule_id, action, self.wall()))

    def make_schedule_anew(self) -> None:
        """Delete a schedule, set the clock back, and make it again: its runs are known."""
        client = self._connected(self.clients)
        made = [i for i in SCHEDULE_IDS if i in self.store._tables.schedules]
        if client is not None and made:
            spec = self.store._tables.schedules[self.random.choice(made)].spec
            self._change_schedule(client, spec.schedule_id, "delete")
            self.clock_error_s -= self.random.choice((1.0, 5.0, 60.0))
            self.put(cmd.PutSchedule(client.session, 0, spec, False, self.wall()))

    def run_schedule_now(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            schedule_id = self.random.choice((*SCHEDULE_IDS, DEFINED))
            self.last_id += 1
            task_id = f"{self.last_id:06d}-{self.last_id}"
            self.rota.touched.add(schedule_id)
            self.rota.asked.add(task_id)
            for _ in range(self.random.choice((1, 1, 2))):
                at = self.wall()
                self.put(cmd.RunScheduleNow(client.session, 0, schedule_id, task_id, at))

    def put(self, command: cmd.Command) -> None:
        self.engine.put(command)
        if isinstance(command, _HEARD):
            for subworker in self.subworkers:
                if subworker.session == command.session:
                    self.heard_at[subworker.instance] = self.now

    def beat(self) -> None:
        """Let a subworker's heartbeat come, connected or not; some say that it is blocked."""
        subworker = self.random.choice(self.subworkers)
        if not subworker.is_stopped:
            self._beat(subworker, self.random.choice((0.0, 0.0, 1.0)))

    def _beat(self, subworker: SimulatedSubworker, blocked_s: float) -> None:
        instance = subworker.instance
        self.heard_at[instance] = self.now
        if blocked_s:
            self.blocked_at[instance] = self.now
        else:
            self.blocked_at.pop(instance, None)
        self.put(cmd.Heartbeat(HEARTBEAT_SESSION, instance, blocked_s))

    def lose_heartbeats(self) -> None:
        instance = self.random.choice(self.subworkers).instance
        self.blocked_at.pop(instance, None)
        self.put(cmd.HeartbeatLost(HEARTBEAT_SESSION, instance))

    def stop_or_go_on(self) -> None:
        subworker = self.random.choice(self.subworkers)
        subworker.is_stopped = not subworker.is_stopped

    def _connected(self, peers: Sequence[SimulatedClient]) -> SimulatedClient | None:
        connected = [peer for peer in peers if peer.session]
        return self.random.choice(connected) if connected else None

    def _subworker(self) -> SimulatedSubworker | None:
        connected = [s for s in self.subworkers if s.session and not s.is_stopped]
        return self.random.choice(connected) if connected else None

    def submit(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            tasks = [self._new_task() for _ in range(self.random.randint(1, 8))]
            if self.random.random() < 0.1:
                tasks.append(tasks[-1])
            client.submitted.update((new.task_id, new) for new in tasks)
            self.submitted.update((new.task_id, new) for new in tasks)
            self._send_submission(client, tasks)

    def _new_task(self) -> NewTask:
        chance = self.random
        self.last_id += 1
        # Mostly growing, as UUIDv7 is, but not always: clocks differ.
        task_id = f"{self.last_id + chance.choice((0, 0, 0, 5000)):06d}-{self.last_id}"
        name = chance.choices(NAMES, (6, 4, 2, 1))[0]
        callback = None
        if chance.random() < 0.2:
            callback = Callback(chance.choice(ADDRESSES), b"null")
        rank = chance.choice((0, 1, 2, 2, 3))
        options = self._new_options() if chance.random() < 0.3 else None
        queue = chance.choices(QUEUES, (3, 1))[0]
        return NewTask(
            task_id,
            name,
            rank,
            0,
            task_id.encode(),
            callback,
            queue,
            options,
            require_worker=chance.random() < 0.1,
        )

    def _new_options(self) -> TaskOptions:
        chance, at = self.random, self.wall()
        due_at = expires_at = retries = None
        if chance.random() < 0.6:
            due_at = at + chance.choice((-1.0, 0.0, 0.05, 0.4, 2.0, 9.0, 3600.0))
        if chance.random() < 0.4:
            expires_at = at + chance.choice((0.0, 0.05, 0.4, 2.0, 9.0, 3700.0))
        if chance.random() < 0.3:
            retries = chance.choice((0, 1, 3))
        fair_key = chance.choice(FAIR_KEYS)
        batch = chance.choice(BATCHES) if chance.random() < 0.6 else None
        options = TaskOptions(due_at, expires_at, retries, fair_key=fair_key, batch=batch)
        return self.with_unique_key(options) if chance.random() < 0.3 else options

    def new_of(self, task_id: str) -> NewTask:
        """Return what was submitted under an id; what a schedule did is first seen in the store."""
        if task_id not in self.submitted:
            tables = self.store._tables
            self.submitted[task_id] = tables.tasks[tables.keys[task_id]].new
        return self.submitted[task_id]

    def retries_of(self, task_id: str) -> int:
        """Return how often a task may be tried again."""
        new = self.new_of(task_id)
        asked = new.options.retries if new.options is not None else None
        return RETRIES[new.name] if asked is None else asked

    def _send_submission(self, client: SimulatedClient, tasks: list[NewTask]) -> None:
        self.last_request += 1
        client.sent[self.last_request] = tasks
        self.put(
            cmd.Submit(
                client.session,
                self.last_request,
                client.instance,
                self.wall(),
                tasks,
            )
        )

    def resend(self) -> None:
        client = self._connected(self.clients)
        if client is not None and client.submitted:
            count = min(len(client.submitted), self.random.randint(1, 5))
            # A client resends for a limited time; what is evicted in it is remembered for longer.
            again = self.random.sample(list(client.submitted)[-50:], min(count, 50))
            if self.random.random() < 0.2:
                again.append(again[0])
            self._send_submission(client, [client.submitted[task_id] for task_id in again])

    def connect(self) -> None:
        peers = [p for p in (*self.clients, *self.subworkers) if not p.session]
        if peers:
            self._connect(self.random.choice(peers))

    def _connect(self, peer: SimulatedClient | SimulatedSubworker) -> None:
        peer.end()
        self.gone_at[peer.instance] = float("inf")
        self.last_session += 1
        peer.session = self.last_session
        if isinstance(peer, SimulatedClient):
            self.put(cmd.ClientReady(peer.session, peer.instance))
            self.put(cmd.WatchOffers(peer.session))
            waiting = self.acknowledged - self.recorded.keys()
            waits_for = [task_id for task_id in peer.submitted if task_id in waiting]
            if waits_for:
                self.last_request += 1
                peer.asked[self.last_request] = waits_for
                self.put(cmd.Watch(peer.session, self.last_request, waits_for))
            return
        # What it said before may have come to a core that didn't know it.
        self.blocked_at.pop(peer.instance, None)
        held = [HeldLease(i, lease.token, lease.attempt) for i, lease in peer.held.items()]
        at = self.wall()
        if "add" in peer.names:
            self.rota.note_word(min(peer.started_at, at), peer.schedules)
        self.put(
            cmd.WorkerReady(
                peer.session,
                peer.instance,
                peer.instance,
                peer.names,
                peer.capacity,
                held,
                at_most_once=AT_MOST_ONCE,
                queues=peer.queues,
                schedules=peer.schedules,
                started_at=peer.started_at,
                at=at,
                offers=self._offers_of(peer),
            )
        )
        for sequence, outcomes in peer.unacknowledged.items():
            self.put(cmd.Report(peer.session, sequence, outcomes, self.wall()))
        for sequence in peer.saving:
            self._send_checkpoint(peer, sequence)

    def _offers_of(self, subworker: SimulatedSubworker) -> list[Offer]:
        """Return what one of two versions of a program offers, or one that tells its names only."""
        version = self.random.choice((b"", b"one", b"another"))
        return [Offer(name, "mail", version) for name in subworker.names] if version else []

    def disconnect(self, peer: SimulatedClient | SimulatedSubworker) -> None:
        self.put(cmd.SessionLost(peer.session))
        self.gone_at[peer.instance] = self.now
        peer.end()

    def lose_connection(self) -> None:
        peers = [p for p in (*self.clients, *self.subworkers) if p.session]
        if not peers:
            return
        peer = self.random.choice(peers)
        if isinstance(peer, SimulatedSubworker) and self.random.random() < 0.5:
            self._die(peer)
        else:
            self.disconnect(peer)

    def _die(self, peer: SimulatedSubworker) -> None:
        """End a subworker's process: the next one is another instance and knows nothing."""
        chance = self.random
        if is_told := chance.random() < 0.6:
            running = frozenset(peer.begun) if chance.random() < 0.8 else None
            self.dead[peer.instance] = running
            self.put(cmd.WorkerDied(peer.instance, "was killed by SIGKILL", running))
        if is_told and chance.random() < 0.3:
            # A program that a task started has inherited its connection.
            self.lingering.add(peer.session)
            self.gone_at[peer.instance] = self.now
            peer.end()
        else:
            self.disconnect(peer)
        peer.instance = f"{peer.instance}'"
        self._start(peer)
        peer.held.clear()
        peer.begun.clear()
        peer.unacknowledged.clear()
        peer.saving.clear()
        peer.lines.clear()

    def _start(self, peer: SimulatedSubworker) -> None:
        """Begin a process: by its version of the code a task has a schedule, another, or none."""
        peer.started_at = self.wall()
        is_scheduled = "add" in peer.names and self.random.random() < 0.5
        peer.schedules = [self._new_schedule(DEFINED, "add")] if is_scheduled else []

    def begin(self) -> None:
        """Begin some of what a subworker holds, connected or not."""
        subworker = self.random.choice(self.subworkers)
        for lease in list(subworker.held.values())[: self.random.randint(1, 3)]:
            self._begin(subworker, lease)

    def _begin(self, subworker: SimulatedSubworker, lease: Lease) -> None:
        if lease.token in subworker.begun:
            return
        subworker.begun.add(lease.token)
        if lease.name in AT_MOST_ONCE:
            token = self.begun_once.setdefault(lease.task_id, lease.token)
            assert token == lease.token, "a task to be run at most once has begun twice"

    def replace_connection(self) -> None:
        """Connect anew before the old connection's end is noticed."""
        peers = [p for p in (*self.clients, *self.subworkers) if p.session]
        if peers:
            self._replace_connection(self.random.choice(peers))

    def _replace_connection(self, peer: SimulatedClient | SimulatedSubworker) -> None:
        old = peer.session
        self._connect(peer)
        if isinstance(peer, SimulatedSubworker) and self.random.random() < 0.5:
            self.put(cmd.Report(old, 1, [], self.wall()))
        self.put(cmd.SessionLost(old))

    def report(self) -> None:
        subworker = self._subworker()
        if subworker is None:
            return
        reported = {o.task_id for many in subworker.unacknowledged.values() for o in many}
        ready = [lease for i, lease in subworker.held.items() if i not in reported]
        if ready:
            self._report(subworker, ready[: self.random.randint(1, len(ready))])

    def _report(self, subworker: SimulatedSubworker, leases: list[Lease]) -> None:
        outcomes = []
        for lease in leases:
            self._begin(subworker, lease)
            self.starts[lease.task_id] += 1
            # Each run makes another value, so that a second record would be noticed.
            run = self.starts[lease.task_id]
            value = f'"{lease.task_id}/{run}"'.encode()
            error = f"ValueError: {lease.task_id}/{run}"
            chance = self.random.random()
            succeeded, crashed = chance < 0.8, chance > 0.95
            retry_in_s = None
            if crashed:
                error = "was killed by SIGKILL"
                self.crashed_alone[lease.token] = lease.task_id
            else:
                self.token_of[value if succeeded else error.encode()] = lease.token
                if not succeeded and lease.failures < self.retries_of(lease.task_id):
                    retry_in_s = self.random.choice((0.0, 0.1, 1.0, 7.0))
            outcomes.append(
                Outcome(
                    lease.task_id,
                    lease.token,
                    succeeded,
                    self.now,
                    self.wall(),
                    value if succeeded else None,
                    None if succeeded else error,
                    retry_in_s=retry_in_s,
                    crashed=crashed,
                )
            )
        subworker.last_sequence += 1
        subworker.unacknowledged[subworker.last_sequence] = outcomes
        self.put(cmd.Report(subworker.session, subworker.last_sequence, outcomes, self.wall()))
        if self.random.random() < 0.1:
            self.put(cmd.Report(subworker.session, subworker.last_sequence, outcomes, self.wall()))

    def report_stale(self) -> None:
        """Report what nobody leased: a token of the past, of another task, of nothing."""
        subworker = self._subworker()
        ids = sorted(self.engine.core.state.tasks) or ["000000-0"]
        if subworker is not None:
            token = self.random.randint(0, 1 << 45)
            outcome = Outcome(self.random.choice(ids), token, True, 0.0, 0.0, b'"stale"')
            self.put(cmd.Report(subworker.session, 0, [outcome], self.wall()))

    def give_back(self) -> None:
        subworker = self._subworker()
        if subworker is not None and subworker.held:
            reported = {o.task_id for many in subworker.unacknowledged.values() for o in many}
            count = self.random.randint(1, len(subworker.held))
            chosen = [
                task_id
                for task_id, lease in list(subworker.held.items())[-count:]
                if task_id not in reported
                and not (lease.name in AT_MOST_ONCE and lease.token in subworker.begun)
            ]
            leases = [subworker.held.pop(task_id) for task_id in chosen]
            held = [HeldLease(lease.task_id, lease.token, lease.attempt) for lease in leases]
            self.put(cmd.GiveBack(subworker.session, held))

    def save_checkpoint(self) -> None:
        """Let an attempt save something; it may have lost its lease without knowing."""
        subworker = self._subworker()
        if subworker is not None and subworker.held:
            lease = self.random.choice(list(subworker.held.values()))
            self._begin(subworker, lease)
            subworker.last_sequence += 1
            sequence, value = subworker.last_sequence, self.checkpoints.make(lease)
            subworker.saving[sequence] = (lease, value)
            self._send_checkpoint(subworker, sequence)

    def _send_checkpoint(self, subworker: SimulatedSubworker, sequence: int) -> None:
        lease, value = subworker.saving[sequence]
        self.put(cmd.SaveCheckpoint(subworker.session, sequence, lease.task_id, lease.token, value))

    def tell(self) -> None:
        """Let an attempt tell of itself."""
        subworker = self._subworker()
        if subworker is not None and subworker.held:
            lease = self.random.choice(list(subworker.held.values()))
            self._begin(subworker, lease)
            first = subworker.lines.get(lease.token, 0)
            count = self.random.randint(0, 5)
            subworker.lines[lease.token] = first + count
            lines = [f"{lease.token}/{n}" for n in range(first, first + count)]
            progress = ProgressRecord(float(first)) if self.random.random() < 0.7 else None
            news = News(lease.task_id, lease.token, progress, first, lines)
            self.put(cmd.Tell(subworker.session, [news]))

    def follow(self) -> None:
        """Let a client follow a task, or one no more."""
        client = self._connected(self.clients)
        if client is not None:
            task_id, ends = self._some_ids()[0], self.random.random() < 0.2
            self.last_request += 1
            self.put(cmd.Follow(client.session, self.last_request, task_id, ends))

    def set_capacity(self) -> None:
        subworker = self._subworker()
        if subworker is not None:
            subworker.capacity = self.random.randint(0, 6)
            self.put(cmd.SetCapacity(subworker.session, subworker.capacity))

    def _some_ids(self) -> list[str]:
        ids = sorted(self.acknowledged) or ["nothing"]
        return [self.random.choice([*ids, "unknown"]) for _ in range(self.random.randint(1, 4))]

    def _ask(self, client: SimulatedClient) -> tuple[int, list[str]]:
        self.last_request += 1
        client.asked[self.last_request] = self._some_ids()
        return self.last_request, client.asked[self.last_request]

    def cancel(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            request, ids = self._ask(client)
            self.put(cmd.Cancel(client.session, request, ids, self.wall()))

    def query(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            request, ids = self._ask(client)
            self.put(cmd.Query(client.session, request, ids))
            self.put(cmd.Inspect(client.session, 0, "tasks", self._some_ids()))
            self.put(cmd.Inspect(client.session, 0, "stats"))
            batch = self.random.choice(BATCHES)
            self.put(cmd.AskBatch(client.session, 0, batch, self.random.choice((None, ""))))
            self.put(cmd.ListBatches(client.session, 0, None, 2))

    def watch(self) -> None:
        client = self._connected(self.clients)
        if client is not None:
            request, ids = self._ask(client)
            self.put(cmd.Watch(client.session, request, ids))

    def end_delivery(self) -> None:
        if self.deliveries:
            address, callbacks = self.deliveries.pop(self.random.randrange(len(self.deliveries)))
            count = self.random.choice((0, len(callbacks), self.random.randint(0, len(callbacks))))
            for owed in callbacks[:count]:
                self._called_back(owed)
            self.put(
                cmd.CallbacksSent(
                    address,
                    [owed.number for owed in callbacks[:count]],
                    reachable=count > 0,
                    jitter=self.random.random(),
                )
            )

    def change_room(self, free_bytes: int | None = None) -> None:
        """Let others fill the disk, or make room on it."""
        if free_bytes is None:
            free_bytes = self.random.choice((500, 999, 1_100, 2_000, 2_000, 2_000))
        if self.store.free_bytes >= DISK_FREE_MIN > free_bytes:
            self.short_since = self.now
        self.store.free_bytes = free_bytes

    def pass_time(self) -> None:
        self.now += self.random.choice((0.01, 0.06, 0.3, 1.1, 2.5, 6.0))
