"""Own a world in one process: clients, subworkers and a control plane on a clock of its own.

The engine, the core and the lease book are the real ones, on the memory store. Everything else is
played from one seeded source of chance, so that a seed is a whole history: who connects, submits,
resends, reports twice or late, gives back, vanishes; what is still on its way to a peer when its
connection ends; when the control plane stops, or crashes before or after a commit; when its disk
is full. A turn is taken only when the engine itself would take one, so a timer that is lost shows.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from tests.simulation.batches import WitnessedStore
from tests.simulation.checkpoints import Checkpoints
from tests.simulation.controlling import QUEUES
from tests.simulation.happenings import (
    AT_MOST_ONCE,
    DEFINED,
    DISK_FREE_MIN,
    NAMES,
    SCHEDULE_IDS,
    Happenings,
)
from tests.simulation.invariants import (
    check,
    check_new_leases,
    check_stopped,
    memory_of,
    true_due,
)
from tests.simulation.peers import SimulatedClient, SimulatedSubworker
from tests.simulation.rota import Rota
from tests.simulation.waiting import Waits

from fastqueue.client.watching import Feed
from fastqueue.control_plane.engine import Engine
from fastqueue.core import commands as cmd
from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import NewTask, Result
from fastqueue.protocol import messages as msg
from fastqueue.tasks.events import LogLine, StatusChanged
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.core.records import Happening, Lease
    from fastqueue.store.base import NumberedCallback

LIMITS = CoreLimits(
    live_tasks_max=100,
    lanes_max=25,
    lanes_idle_max=6,
    purge_max=3,
    window_max=4,
    window_total=24,
    window_min=2,
    retained_max=40,
    retained_ttl_s=30.0,
    tombstones_max=240,
    batches_max=4,
    batches_ttl_s=25.0,
    payload_bytes_max=100,
    callbacks_max=20,
    callback_addresses_max=3,
    callback_deliveries_max=2,
    disk_free_min=DISK_FREE_MIN,
    waiting_read_max=3,
    watched_max=10,
    schedules_max=3,
    schedules_bytes_max=30,
    schedule_runs_max=3,
    followed_max=4,
    told_max=3,
    told_lines_max=4,
    told_bytes_max=60,
    checkpoints_bytes_max=120,
)
# No timer of the core is longer, with these limits.
LONGEST_WAIT_S = 31.0
# How long the engine may take to notice that the room has changed.
LOOKED_AT_WITHIN_S = 0.25

_to_client = msgspec.msgpack.Decoder(msg.ToClient).decode
_to_subworker = msgspec.msgpack.Decoder(msg.ToSubworker).decode


class World(Happenings):
    """Play one history; `seed` decides all of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.clock_error_s = 0.0
        self.store = WitnessedStore()
        self.trace: list[str] = []
        self.is_settling = False
        self.clients = [SimulatedClient(f"client-{n}") for n in range(2)]
        self.subworkers = [
            SimulatedSubworker(f"sub-{n}", names, capacity, queues)
            for n, (names, capacity, queues) in enumerate(
                [
                    (frozenset(NAMES[:3]), 3, frozenset()),
                    (frozenset(NAMES[:2]), 5, frozenset(QUEUES[:1])),
                    (frozenset(NAMES[2:3]), 1, frozenset()),
                    (frozenset(NAMES[:2]), 2, frozenset(QUEUES[1:])),
                ]
            )
        ]
        self.begin_controlling()
        self.last_id = 0
        self.last_session = 0
        self.last_request = 0
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.refused_unoffered = 0
        # What was ever seen recorded, by a push or in the store: it may never be otherwise.
        self.recorded: dict[str, Result] = {}
        self.cancelled: set[str] = set()
        self.has_crashed = False
        # When each subworker's and client's connection ended; infinite while it has one.
        self.gone_at: dict[str, float] = {}
        # When each subworker was last heard of, and when it last said that it is blocked.
        self.heard_at: dict[str, float] = {}
        self.blocked_at: dict[str, float] = {}
        self.silenced = 0
        self.starts: dict[str, int] = defaultdict(int)
        self.begun_once: dict[str, int] = {}
        self.dead: dict[str, frozenset[int] | None] = {}
        self.crashed_alone: dict[int, str] = {}
        self.lingering: set[int] = set()
        # Which lease each run's value came from, and the leases that were declared lost: a crash
        # or a late reconnect may bring back any other, but never one of these.
        self.token_of: dict[bytes | None, int] = {}
        self.lost_tokens: set[int] = set()
        self.recorded_tokens: set[int | None] = set()
        # How often each task's subworker was given up, and the tasks that were quarantined.
        self.losses: dict[str, int] = defaultdict(int)
        self.quarantined: set[str] = set()
        self.counted_alone = 0
        # Outcomes refused for their token, and results that reached clients by a push.
        self.stale = 0
        self.pushed = 0
        # Since when there has been less room than the watermark, if there is.
        self.short_since = self.now
        self.recorded_while_short = 0
        self.refused_for_room = 0
        # What was submitted, by id, and by its lease how often a task had failed before.
        self.submitted: dict[str, NewTask] = {}
        self.failures_of: dict[int, int] = {}
        self.waits = Waits()
        self.rota = Rota()
        self.checkpoints = Checkpoints()
        self.followed = 0
        self.deliveries: list[tuple[str, list[NumberedCallback]]] = []
        self.called_back: dict[str, int] = defaultdict(int)
        for subworker in self.subworkers:
            self._start(subworker)
        self.boot()

    # -- the control plane

    def boot(self) -> None:
        self.engine = Engine(
            self.store,
            LIMITS,
            clock=lambda: self.now,
            wall=self.wall,
            full_retry_s=0,
        )
        self.deliveries.clear()
        # What it was told of deaths it has forgotten.
        self.dead.clear()
        # After a crash subworkers have time to come back with leases that aren't stored.
        self._expect_quiet(self.has_crashed)
        self.has_crashed = True

    def _expect_quiet(self, has_crashed: bool) -> None:
        self.quiet_until = self.now
        if has_crashed and any(key >> SEQUENCE_BITS for key in self.store._tables.tasks):
            self.quiet_until += LIMITS.recovery_pause_s

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:.3f} {what}")

    def crash(self) -> None:
        """Lose everything but what is committed; all connections end."""
        self.note("the control plane crashes")
        self.store.rollback()
        self._end_all()
        self.boot()

    async def stop(self) -> None:
        """Stop the control plane in order; what it starts from must be what it ended with."""
        self.note("the control plane stops and starts")
        self.store.fail_next_commit = False
        for _ in range(100):
            await self.turn()
            if not self.is_turn_due:
                break
        self.engine.stop()
        await self.engine.run(self)
        check(self.engine.core, self.store, frozenset(self.crashed_alone.values()))
        check_stopped(self.engine.core, self.store)
        before = memory_of(self.engine.core)
        # Stopped while leases may still be out that a crash forgot, it isn't in order.
        self.has_crashed = self.now < self.quiet_until
        self._end_all()
        self.boot()
        assert memory_of(self.engine.core) == before, "a rebuilt core isn't what it was"
        is_waiting = self.now < self.engine.core.state.leases_begin_at
        assert is_waiting == (self.now < self.quiet_until), "it waits without need, or in vain"

    def _end_all(self) -> None:
        self.blocked_at.clear()
        for peer in (*self.clients, *self.subworkers):
            self.gone_at[peer.instance] = self.now
            peer.end()
        self.lingering.clear()
        self.deliveries.clear()

    @property
    def due(self) -> float | None:
        """Return when the engine would take a turn by itself, or None."""
        core_due, book_due = self.engine.core.next_due(), self.engine._book.next_due()
        due = min((d for d in (core_due, book_due) if d is not None), default=None)
        true = true_due(self.engine.core, self.engine._book, self.store)
        assert true is None or (due is not None and due <= true), "a timer is lost"
        return due

    @property
    def is_turn_due(self) -> bool:
        """Say whether the engine would take a turn now."""
        if self.engine._inbox or self.engine._wake.is_set():
            return True
        due = self.due
        return due is not None and due <= self.now

    async def turn(self) -> None:
        """Take a turn if the engine would, and check everything after it."""
        if not self.is_turn_due:
            assert not self.engine.answers._owed, "what is owed waits for the next command"
            return
        self.engine._wake.clear()
        tables = self.store._tables
        crashes = {task.new.task_id: task.crashes for task in tables.tasks.values()}
        held = [task for task in self.engine.core.state.tasks.values() if task.token]
        tokens = {task.task_id: task.token for task in held}
        holders = {task.task_id: task.worker.instance for task in held if task.worker is not None}
        self.waits.begin(self.store)
        self.rota.begin(self.store)
        core = self.engine.core
        stale = core.state.stale_outcomes
        stored, recorded = set(tables.keys), set(tables.results)
        reports = [c for c, _ in self.engine._inbox if isinstance(c, cmd.Report)]
        crashed = {o.task_id: o.token for c in reports for o in c.outcomes if o.crashed}
        await self.engine.turn(self)
        self._note_runs()
        self._check_room(stored, recorded)
        self.stale += core.state.stale_outcomes - stale
        for task in self.store._tables.tasks.values():
            task_id = task.new.task_id
            if task.crashes > crashes.get(task_id, 0):
                self.losses[task_id] += 1
                # One that is told dead may be adopted and given up within one turn.
                if task_id in tokens:
                    token = tokens[task_id]
                    if task_id in crashed and token not in self.crashed_alone:
                        # In place of that lease the one was adopted that was reported so.
                        token = crashed[task_id]
                    assert token not in self.recorded_tokens, "a lease was lost once reported"
                    self.lost_tokens.add(token)
                    if token in self.crashed_alone:
                        self.counted_alone += 1
                    else:
                        self._check_blame(holders[task_id], token)
        for task_id, error in self.waits.check(self.store, self.engine):
            self._check_retried(task_id, error)
        check(self.engine.core, self.store, frozenset(self.crashed_alone.values()))
        cached = self.engine.payloads._payloads.keys()
        assert cached <= self.store._tables.tasks.keys(), "payloads are kept that nobody will take"
        self.check_control(set(tokens.values()), is_same_core=self.engine.core is core)
        self.check_unique(self.store, self.submitted)
        self.check_purges(self.engine.core, self.store)
        if self.engine.core is core:
            check_new_leases(core, set(tokens.values()), self.now, self.quiet_until)
        self._check_recorded(self.store.find_results(list(self.store._tables.results)))
        self._check_subworkers()
        self._check_told()
        for command, _ in self.engine._inbox:
            if isinstance(command, cmd.Loaded):
                ready = len(self.engine.core.state.lanes.by_id[command.lane_id].ready)
                assert ready + len(command.tasks) <= LIMITS.window_max, "a refill is too large"

    def _check_told(self) -> None:
        """Assert that every client that asked to be told what is offered was, if it reads."""
        listeners = self.engine.core.state.workers.offers.listeners
        for client in self.clients:
            if client.offered is None and client.session in listeners:
                told = any(isinstance(_to_client(body), msg.Offered) for body in client.inbound)
                assert told or self.engine.answers.owes(client.session), "a client isn't told"

    def _note_runs(self) -> None:
        """Check what schedules did; what they have submitted is acknowledged as any other task."""
        by_clients = {i for client in self.clients for i in client.submitted}
        for task_id in self.rota.check(self.store, self.engine.core, by_clients):
            if task_id in self.store._tables.keys:
                self.new_of(task_id)
            else:
                # A client cancelled it in the turn in which it was asked for.
                result = self.store._tables.results[task_id][2]
                self.submitted.setdefault(task_id, NewTask(task_id, result.name, 2, 0, b"run"))
            self.acknowledged.add(task_id)

    def _check_retried(self, task_id: str, error: str) -> None:
        """Assert that an attempt that is followed by another was the task's last until then."""
        token = self.token_of[error.encode()]
        assert token not in self.lost_tokens, "a lost lease reported"
        assert token not in self.recorded_tokens, "an attempt is recorded twice"
        self.recorded_tokens.add(token)
        assert self.failures_of[token] < self.retries_of(task_id), "tried again once too often"
        # It has failed as a task may, and begins again.
        self.begun_once.pop(task_id, None)

    def _check_room(self, stored: set[str], recorded: set[str]) -> None:
        tables, is_short = self.store._tables, self.store.free_bytes < LIMITS.disk_free_min
        if is_short and self.now >= self.short_since + LOOKED_AT_WITHIN_S:
            new = {*tables.keys, *tables.results} - stored - recorded
            assert not new, "a task was taken although there is no room"
            self.recorded_while_short += len(tables.results.keys() - recorded)

    def _check_blame(self, instance: str, token: int) -> None:
        """Assert that a crash was rightly counted for the task that a subworker held."""
        if instance in self.dead:
            running = self.dead[instance]
            assert running is None or token in running, "a task is blamed that hadn't begun"
            return
        gone_at = self.gone_at[instance]
        if gone_at == float("inf") or gone_at == self.now:
            heard_at = self.heard_at[instance]
            assert self.now >= heard_at + LIMITS.silence_max_s, "given up though it was heard of"
            self.silenced += 1
            return
        assert self.now >= gone_at + LIMITS.session_grace_s, "given up too early"
        blocked_at = self.blocked_at.get(instance)
        if blocked_at is not None:
            assert self.now >= blocked_at + LIMITS.blocked_grace_s, "given up while it is blocked"

    def _check_subworkers(self) -> None:
        """Assert that the core and a subworker agree, once all that was said has arrived."""
        for subworker in self.subworkers:
            worker = self.engine.core.state.workers.by_session.get(subworker.session)
            owes = self.engine.answers.owes(subworker.session)
            if worker is None or subworker.inbound or self.engine._inbox or owes:
                continue
            assert worker.capacity == subworker.capacity, "a capacity isn't what was said"
            reported = {o.task_id for many in subworker.unacknowledged.values() for o in many}
            running = {i: lease.token for i, lease in subworker.held.items() if i not in reported}
            leased = {i: task.token for i, task in worker.tasks.items() if i not in reported}
            assert running == leased, "a subworker runs other leases than the core believes"

    def _check_recorded(self, results: dict[str, Result]) -> None:
        for task_id, result in results.items():
            if self.recorded.get(task_id) is result:
                continue  # it was checked when it was new
            assert result.status.is_terminal
            made_by = result.result if result.result is not None else (result.error or "").encode()
            token = self.token_of.get(made_by)
            assert token not in self.lost_tokens, "a lost lease reported"
            self.recorded_tokens.add(token)
            assert self.recorded.setdefault(task_id, result) == result, "a result has changed"
            if task_id in self.cancelled:
                assert result.status is TaskStatus.CANCELLED, "a cancelled task has run"
            if result.status is TaskStatus.FAILURE and made_by.startswith(b"ValueError"):
                assert token is not None
                failures = self.failures_of[token]
                assert failures == self.retries_of(task_id), "a task that may be isn't tried again"
                # They go with the result, which may be evicted in the turn that records it.
                if task_id in self.store._tables.results:
                    assert failures == len(self.store.find_attempts(task_id)), "an attempt is lost"
            if made_by.startswith(b"Expired"):
                options = self.submitted[task_id].options
                self.waits.check_expired(result, options.expires_at if options else None)
            if made_by.startswith(b"LeaseLost"):
                assert result.name in AT_MOST_ONCE, "a task failed that can be run again"
            if made_by.startswith(b"TaskQuarantined") and task_id not in self.quarantined:
                self.quarantined.add(task_id)
                blame = self.losses[task_id] + 1
                assert blame == LIMITS.crashes_max, f"quarantined after {blame} lost leases"

    # -- what the engine calls

    def send(self, session: int, bodies: Sequence[bytes]) -> None:
        for peer in (*self.clients, *self.subworkers):
            if peer.session == session:
                peer.inbound.extend(bodies)
                if self.is_settling or self.random.random() < 0.6:
                    self._receive(peer, len(peer.inbound))

    def _receive(self, peer: SimulatedClient | SimulatedSubworker, count: int) -> None:
        for _ in range(count):
            body = peer.inbound.popleft()
            if isinstance(peer, SimulatedClient):
                self._client_receives(peer, _to_client(body))
            else:
                self._subworker_receives(peer, _to_subworker(body))

    def close(self, session: int, reason: str) -> None:
        if session in self.lingering:
            self.lingering.discard(session)
            self.put(cmd.SessionLost(session))
        for peer in (*self.clients, *self.subworkers):
            if peer.session == session:
                self.disconnect(peer)

    def close_all(self, reason: str) -> None:
        self.note("the disk is full")
        self.dead.clear()
        self._end_all()
        self._expect_quiet(has_crashed=True)

    def resume(self) -> None:
        pass

    def is_writable(self, session: int) -> bool | None:
        if all(session != peer.session for peer in (*self.clients, *self.subworkers)):
            return None
        is_slow = any(session == c.session and self.now < c.slow_until for c in self.clients)
        # Others are slow for a moment.
        if self.is_settling or (not is_slow and self.random.random() < 0.8):
            return True
        # The server says so when such a peer can take more.
        self.engine.wake()
        return False

    def hold_back(self, session: int) -> None:
        pass

    def read_again(self, session: int) -> None:
        pass

    def deliver(self, address: str, callbacks: list[NumberedCallback]) -> None:
        assert callbacks, "a delivery of nothing was begun"
        assert all(address != under_way for under_way, _ in self.deliveries)
        assert len(self.deliveries) < LIMITS.callback_deliveries_max
        self.deliveries.append((address, callbacks))

    def _called_back(self, owed: NumberedCallback) -> None:
        callback = owed.callback
        self.called_back[callback.task_id] += 1
        result = self.recorded[callback.task_id]
        succeeded = result.status is TaskStatus.SUCCESS
        assert callback.status is (TaskStatus.SUCCESS if succeeded else TaskStatus.FAILURE)
        assert (callback.result, callback.error) == (result.result, result.error)
        wanted = [c.submitted[callback.task_id].callback for c in self.clients if c.has(callback)]
        assert [w.address for w in wanted if w is not None] == [callback.address]

    def _client_receives(self, client: SimulatedClient, message: msg.ToClient) -> None:
        match message:
            case msg.Submitted():
                refused = {r.task_id for r in message.refused}
                for refusal in message.refused:
                    if refusal.code == "disk_full":
                        self.refused_for_room += 1
                    is_offered = refusal.task_id.startswith(NAMES[3])
                    assert refusal.code != "not_offered" or not is_offered, "one offers it"
                    self.refused_unoffered += refusal.code == "not_offered"
                self.check_same(message.same, self.submitted)
                same = {task_id for task_id, _ in message.same}
                for new in client.sent.pop(message.request, []):
                    if new.task_id in same:
                        continue
                    if new.task_id in refused:
                        assert new.task_id not in self.acknowledged, "a stored task is refused"
                        self.refused.add(new.task_id)
                    else:
                        is_offered = not new.require_worker or new.name != NAMES[3]
                        known = self.is_settling or new.task_id in self.acknowledged
                        assert is_offered or known, "taken although nobody offers it"
                        self.acknowledged.add(new.task_id)
                        client.owed.add(new.task_id)
            case msg.Push():
                self._check_recorded({r.task_id: r for r in message.results})
                client.told.update(r.task_id for r in message.results)
                self.pushed += len(message.results)
            case msg.Expired():
                for task_id in message.task_ids:
                    assert task_id in self.recorded, "a result expired that never was"
                client.told.update(message.task_ids)
            case msg.Found():
                asked = client.asked.pop(message.request)
                for task_id, result in zip(asked, message.results, strict=True):
                    if result is not None and result.status.is_terminal:
                        self._check_recorded({task_id: result})
                    elif result is None and task_id in self.acknowledged:
                        assert task_id in self.recorded, "a live task is said to be unknown"
            case msg.Offered():
                client.offered = message.offers
            case msg.Watched():
                for task_id in message.unknown:
                    assert task_id in self.recorded or task_id not in self.acknowledged
                client.owed.update(set(client.asked.pop(message.request)) - set(message.unknown))
            case msg.Following():
                if message.happening is not None:
                    self._happened(client, message.happening)
            case msg.Happened():
                for happening in message.happenings:
                    self._happened(client, happening)
            case msg.Cancelled():
                asked = client.asked.pop(message.request)
                for task_id, (is_cancelled, _) in zip(asked, message.answers, strict=True):
                    if is_cancelled:
                        self.cancelled.add(task_id)
                        known = self.recorded.get(task_id)
                        is_so = known is None or known.status is TaskStatus.CANCELLED
                        assert is_so, "a task that has run is said to be cancelled"
            case _:
                pass

    def _subworker_receives(self, subworker: SimulatedSubworker, message: msg.ToSubworker) -> None:
        match message:
            case msg.Leases():
                for lease in message.leases:
                    assert lease.name in subworker.names, "a task went where nobody offers it"
                    assert self._is_served(subworker, lease), "a task went where nobody serves it"
                    assert lease.task_id not in self.recorded, "a recorded task is run again"
                    assert lease.payload == self.new_of(lease.task_id).payload, (
                        "a payload is mixed up"
                    )
                    self.waits.check_leased(lease, self.retries_of(lease.task_id))
                    self.checkpoints.check_leased(lease)
                    self.failures_of[lease.token] = lease.failures
                    subworker.held[lease.task_id] = lease
            case msg.Reported():
                for outcome in subworker.unacknowledged.pop(message.sequence, []):
                    held = subworker.held.get(outcome.task_id)
                    if held is not None and held.token == outcome.token:
                        del subworker.held[outcome.task_id]
            case msg.Revoked():
                for task_id in message.task_ids:
                    subworker.held.pop(task_id, None)
            case msg.CheckpointSaved():
                self._checkpoint_saved(subworker, message)
            case _:
                pass

    def _checkpoint_saved(
        self, subworker: SimulatedSubworker, message: msg.CheckpointSaved
    ) -> None:
        lease, value = subworker.saving.pop(message.sequence, (None, b""))
        if lease is None:
            return
        if message.is_lease_lost:
            self.checkpoints.voided += 1
        elif message.refusal:
            self.checkpoints.refused += 1
        else:
            self.checkpoints.acknowledge(lease, value)

    def _happened(self, client: SimulatedClient, happening: Happening) -> None:
        """Take what is told of a task as the real client does; every line is its run's own."""
        feed = client.feeds.setdefault(happening.task_id, Feed(happening.task_id))
        feed.take(happening)
        while (event := feed.next_event()) is not None:
            self.followed += 1
            if isinstance(event, LogLine):
                assert event.text == f"{happening.token}/{event.number}", "lines got mixed up"
            if isinstance(event, StatusChanged):
                assert not event.status.is_terminal, "an end was told otherwise than by the result"

    def _is_served(self, subworker: SimulatedSubworker, lease: Lease) -> bool:
        return not subworker.queues or self.new_of(lease.task_id).queue in subworker.queues

    # -- the end of all faults

    async def settle(self) -> None:
        """End all faults: everything must come to its end, in bounded turns and by its timers."""
        self.is_settling = True
        self.change_room(2_000)
        self._let_all_be_due()
        for subworker in self.subworkers:
            subworker.is_stopped = False
        if self.random.random() < 0.3:
            # One never says a word again: all that it offers others offer too.
            self.random.choice(self.subworkers).is_stopped = True
        # At last somebody offers what nobody did, and all of that has waited for it.
        late = SimulatedSubworker("sub-late", frozenset(NAMES[3:]), 5, frozenset())
        self.subworkers.append(late)
        for peer in (*self.clients, *self.subworkers):
            if isinstance(peer, SimulatedSubworker) and peer.is_stopped:
                continue
            if not peer.session:
                self._connect(peer)
            elif self.random.random() < 0.3:
                self._replace_connection(peer)
            self._receive(peer, len(peer.inbound))
        self.end_control(self.clients[0].session)
        self._submit_what_is_offered(self.clients[0])
        self.engine.wake()
        for subworker in self.subworkers:
            if not subworker.is_stopped:
                subworker.capacity = 5
                self.put(cmd.SetCapacity(subworker.session, 5))
        for schedule_id in (*SCHEDULE_IDS, DEFINED):
            self._change_schedule(self.clients[0], schedule_id, "pause")
        for _ in range(2_000):
            await self.turn()
            self._work()
            state = self.engine.core.state
            live = state.lanes.live + state.delays.count
            if self.is_turn_due:
                continue
            if not live and not state.outbox.owed and not self.engine.answers._owed:
                return
            self._wait_until_due()
        raise AssertionError(f"{live} tasks, {state.outbox.owed} callbacks never end")

    def _submit_what_is_offered(self, client: SimulatedClient) -> None:
        """Require a subworker of a task that one offers since just now."""
        name = NAMES[3]
        task_id = f"{name}-{self.last_id}"
        new = NewTask(task_id, name, 0, 0, task_id.encode(), require_worker=True)
        client.submitted[new.task_id] = self.submitted[new.task_id] = new
        self._send_submission(client, [new])

    def _let_all_be_due(self) -> None:
        """Set the wall clock so that what waits is due soon, if it isn't."""
        last = max((due for due, *_ in self.store._tables.delayed.values()), default=0.0)
        self.clock_error_s += max(0.0, last - 20.0 - self.wall())

    def _work(self) -> None:
        for subworker in self.subworkers:
            reported = {o.task_id for many in subworker.unacknowledged.values() for o in many}
            ready = [lease for i, lease in subworker.held.items() if i not in reported]
            if ready and not subworker.is_stopped:
                self._report(subworker, ready)
        while self.deliveries:
            address, callbacks = self.deliveries.pop()
            for owed in callbacks:
                self._called_back(owed)
            self.put(cmd.CallbacksSent(address, [owed.number for owed in callbacks]))

    def _wait_until_due(self) -> None:
        due, state = self.due, self.engine.core.state
        live = state.lanes.live + state.delays.count
        left = f"{live} tasks and {state.outbox.owed} callbacks are left"
        assert due is not None, f"{left}, and no timer is set"
        assert due <= self.now + LONGEST_WAIT_S, f"{left}, and the next timer is in {due:g} s"
        self.now = max(self.now, due)
        for subworker in self.subworkers:
            if subworker.session and not subworker.is_stopped:
                self._beat(subworker, 0.0)

    async def expire(self) -> None:
        """Let the results' time pass: nothing of them may stay, nor anything unwritten."""
        for subworker in self.subworkers:
            if subworker.session:
                self.disconnect(subworker)
        await self.turn()
        # What isn't to begin any more is remembered for longer than the results.
        self.clock_error_s += 100_000.0
        for _ in range(1_000):
            if not self.is_turn_due:
                if self.due is None:
                    break
                self._wait_until_due()
            await self.turn()
        for client in self.clients:
            self._receive(client, len(client.inbound))
            assert client.offered == [], "a client believes that what is gone is offered"
        assert not len(self.engine.core.state.retention), "a result never expires"
        assert not self.store._tables.attempts, "attempts outlive the result"
        assert not self.store._tables.expiries, "an expiry is kept for ever"
        assert not self.store._tables.batches, "a batch is never forgotten"
        assert not self.engine._book._lazy
        assert not self.engine._book._leases

    def check_end(self) -> None:
        """Assert what must be true of every history once it has settled."""
        for task_id in self.acknowledged:
            assert task_id in self.recorded, f"{task_id} was acknowledged and is lost"
        callbacks = {
            i
            for client in self.clients
            for i, new in client.submitted.items()
            if new.callback is not None and i in self.acknowledged
        }
        assert callbacks <= set(self.called_back), "a callback is lost"
        for client in self.clients:
            missing = client.owed - client.told
            assert not missing, f"{client.instance} was never pushed {sorted(missing)}"
        for task_id, result in self.recorded.items():
            if result.status is TaskStatus.SUCCESS:
                assert result.result is not None
                assert result.result.startswith(f'"{task_id}/'.encode()), "results got mixed up"
