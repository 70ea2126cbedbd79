"""Own what must hold of the core and its store after every turn, whatever happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.batches import check_batches
from tests.simulation.checkpoints import check_checkpoints
from tests.simulation.controlling import may_begin
from tests.simulation.rota import check_schedules, schedules_due
from tests.simulation.waiting import check_waiting, waiting_due

from fastqueue.core.lanes import DELAYED_LANE, SEQUENCE_BITS
from fastqueue.core.records import LEASE_BITS
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from tests.simulation.batches import WitnessedStore

    from fastqueue.control_plane.lease_book import LeaseBook
    from fastqueue.core.core import Core
    from fastqueue.store.memory import MemoryStore


def check(core: Core, store: WitnessedStore, crashed_alone: frozenset[str] = frozenset()) -> None:
    """Assert every invariant of a core between two turns, when its store is committed.

    `crashed_alone` are the tasks of which a crash was reported that was theirs for sure.
    """
    assert not store.in_transaction
    _check_tasks(core, store, crashed_alone)
    _check_lanes(core, store)
    _check_workers(core, crashed_alone)
    _check_offers(core)
    _check_results(core, store)
    _check_bounds(core)
    check_waiting(core, store)
    check_batches(core, store)
    check_schedules(core, store)
    check_checkpoints(core, store)


def _check_tasks(core: Core, store: MemoryStore, crashed_alone: frozenset[str]) -> None:
    state = core.state
    tokens = Counter(task.token for task in state.tasks.values() if task.token)
    assert all(count == 1 for count in tokens.values()), "a token is valid for two tasks"
    for task_id, task in state.tasks.items():
        assert task.task_id == task_id
        assert task_id not in state.retention, "a task is live and recorded at once"
        assert task.crashes < state.limits.crashes_max, "a task that kills is run again"
        is_suspect = task.crashes >= state.limits.isolate_after_crashes
        if task.is_suspect or task_id not in crashed_alone:
            assert task.is_suspect == is_suspect, "a suspect isn't known as one"
        if task.status is TaskStatus.QUEUED:
            waits = state.suspects if task.is_suspect else task.lane.ready
            assert waits.get(task.key) is task, "a queued task waits nowhere"
            assert task.worker is None
            assert task.token == 0
            stored = store._tables.tasks[task.key]
            spent = (stored.attempt, stored.crashes)
            assert spent == (task.attempt, task.crashes), "a rebuilt core would count otherwise"
        else:
            assert task.status is TaskStatus.RUNNING
            assert task.key not in task.lane.ready, "a running task waits to run again"
            assert task.key not in state.suspects, "a running task waits to run again"
            assert task.worker is not None
            assert task.worker.tasks[task_id] is task
            assert task.token > 0
            assert task.attempt >= 1


def _check_lanes(core: Core, store: MemoryStore) -> None:
    state = core.state
    stored = Counter(key >> SEQUENCE_BITS for key in store._tables.tasks)
    del stored[DELAYED_LANE]
    in_memory = Counter(task.lane.lane_id for task in state.tasks.values())
    assert store._tables.keys.keys() >= state.tasks.keys(), "memory holds a task the store doesn't"
    for lane in state.lanes:
        assert lane.live == stored[lane.lane_id]
        assert lane.in_memory == in_memory[lane.lane_id]
        assert lane.spilled >= 0
        for key, task in lane.ready.items():
            assert key == task.key
            assert state.tasks.get(task.task_id) is task, "a task that is over waits to run"
        if len(lane.ready) > 1:
            assert list(lane.ready) == sorted(lane.ready), "a lane is out of order"
        if lane.ready or lane.spilled:
            assert lane.lane_id in state.lanes.active, "a lane that waits is asleep"
    assert state.lanes.live == sum(stored.values())


def _check_workers(core: Core, crashed_alone: frozenset[str]) -> None:
    state = core.state
    running = sum(1 for task in state.tasks.values() if task.worker is not None)
    assert running == sum(len(worker.tasks) for worker in state.workers)
    for worker in state.workers:
        # One whose own process died may have been read back, and so become one, while it ran.
        alone = [t for i, t in worker.tasks.items() if t.is_suspect and i not in crashed_alone]
        assert not alone or len(worker.tasks) == 1, "a suspect runs beside others"
        assert worker.suspects == sum(task.is_suspect for task in worker.tasks.values())
        held = worker.tasks.values()
        assert worker.leased_bytes == sum(t.payload_bytes + t.checkpoint_bytes for t in held)
        assert worker.is_reserved == (worker is state.reserved)
        if not worker.session:
            assert worker.tasks, "a subworker that is gone and holds nothing is remembered"


def _check_offers(core: Core) -> None:
    state, offers = core.state, core.state.workers.offers
    made = Counter(o for worker in state.workers if worker.session for o in worker.offers)
    assert {o: n for same in offers.by_name.values() for o, n in same.items()} == made
    assert all(o.name == name for name, same in offers.by_name.items() for o in same)
    assert offers._size_bytes == sum(len(o.name + o.queue) + len(o.signature) for o in made)
    assert offers.by_name.keys() == set(state.workers.names())
    assert offers.listeners.keys() <= state.clients_by_session.keys()
    waiting = {lane.name for lane in state.lanes if lane.live} - offers.by_name.keys()
    assert waiting <= state.unoffered.since.keys(), "a task waits for nobody, and nobody is told"
    assert offers.by_name.keys().isdisjoint(state.unoffered.since)
    assert state.unoffered._untold.keys() <= state.unoffered.since.keys()


def _check_results(core: Core, store: MemoryStore) -> None:
    state, tables = core.state, store._tables
    results, sizes = tables.results.keys(), state.retention._sizes
    assert results == set(sizes)
    assert results == set(state.retention._expiries)
    for tombstones in (tables.young_tombstones, tables.old_tombstones):
        assert results.isdisjoint(tombstones)
        assert tables.keys.keys().isdisjoint(tombstones)
    assert results.isdisjoint(tables.keys)
    assert state.young_tombstones == len(tables.young_tombstones)
    assert state.old_tombstones == len(tables.old_tombstones)
    assert state.outbox.owed == len(tables.callbacks)
    addresses = Counter(owed.callback.address for owed in tables.callbacks.values())
    assert {a: e.owed for a, e in state.outbox._addresses.items()} == addresses
    assert state.retention.size_bytes == sum(r.size_bytes for _, _, r in tables.results.values())


def _check_bounds(core: Core) -> None:
    state, limits = core.state, core.state.limits
    assert len(state.retention) <= limits.retained_max
    assert state.young_tombstones < limits.tombstones_max // 2 + limits.retained_max
    assert state.lanes.live + state.delays.count <= limits.live_tasks_max
    assert len(state.lanes.by_id) <= limits.lanes_max
    for lane in state.lanes:
        # Tasks given back join a full window, so leases come on top of it.
        assert len(lane.ready) <= limits.window_max + len(state.tasks)
    assert all(count <= limits.watched_max for count in state.watched.values())
    watchers = Counter(session for sessions in state.watchers.values() for session in sessions)
    assert watchers == Counter(state.watched), "watches are miscounted"


def check_new_leases(core: Core, old_tokens: set[int], now: float, quiet_until: float) -> None:
    """Assert that the leases a turn made went to whom they should, in order, and none is missing.

    `old_tokens` were valid before the turn; nothing may be leased before `quiet_until`.
    """
    state = core.state
    at = state.last_tick_at
    for worker in state.workers:
        new = [
            task
            for task in worker.tasks.values()
            if task.token not in old_tokens and task.token >> LEASE_BITS == state.epoch
        ]
        if new:
            assert now >= quiet_until, "leased before subworkers could come back"
            assert len(worker.tasks) <= worker.capacity, "a subworker got more than it wants"
        lanes = [lane for lane in state.lanes if may_begin(state, lane, worker, now)]
        for task in new:
            expires_at = task.options.expires_at if task.options is not None else None
            assert expires_at is None or expires_at > at, "a task begins after it has expired"
            if not task.is_suspect:
                ranks = [lane.rank for lane in lanes if lane.queue == task.lane.queue]
                is_aging = task.lane.band.queue.settings.ageing_s
                assert is_aging or all(r >= task.lane.rank for r in ranks), "out of priority"
                assert all(key > task.key for key in task.lane.ready), "not first in, first out"
        if now >= quiet_until and worker.free > 0:
            assert not lanes, "a task waits though a subworker that offers it is free"
    assert state.reserved is None or state.suspects, "a subworker is kept free for nobody"


def true_due(core: Core, book: LeaseBook, store: MemoryStore) -> float | None:
    """Return when something is to be done, from all there is instead of the timers."""
    state, outbox = core.state, core.state.outbox
    dues = [w.deadline for w in state.workers if not w.session or w.death is not None]
    silence_max_s, put_off_until = state.limits.silence_max_s, state.workers.silence_due
    connected = state.workers.by_session.values()
    dues += (max(w.heard_at + silence_max_s, put_off_until) for w in connected)
    expiries = state.retention._expiries
    dues += (expiries.get(task_id) for task_id in expiries)
    dues += state.batches._expiries.values()
    offers, unoffered = state.workers.offers, state.unoffered
    if unoffered._untold:
        dues.append(unoffered._due)
    if offers.listeners and offers.version != offers._told_version:
        dues.append(offers._quiet_until)
    if state.leases_begin_at > state.last_tick:
        dues.append(state.leases_begin_at)
    waiting = [entry.due for entry in outbox._addresses.values() if not entry.sending]
    if len(outbox._addresses) - len(waiting) < state.limits.callback_deliveries_max:
        dues += waiting
    dues += (due for due, _ in book._leases.values())
    dues.append(waiting_due(core, store))
    if state.purges and state.is_purge_due:
        dues.append(state.last_tick)
    for lane in state.lanes:
        shut = [g for g in lane.gates if g.is_shut(state.last_tick) and not g.is_full]
        is_full = any(gate.is_full for gate in lane.gates)
        may_wait = lane.ready and not is_full and not lane.band.queue.settings.is_paused
        if lane.parked is not None and not lane.parked.is_full:
            dues.append(lane.parked.opens_at)
        elif shut and may_wait and state.workers.offering(lane.name, lane.queue):
            dues.append(max(state.leases_begin_at, *(gate.opens_at for gate in shut)))
    dues.append(schedules_due(core, store))
    if book._lazy:
        dues.append(book._lazy_due)
    return min((due for due in dues if due is not None), default=None)


def check_stopped(core: Core, store: MemoryStore) -> None:
    """Assert that a control plane that stopped in order has written what it kept back."""
    running = [task for task in core.state.tasks.values() if task.worker is not None]
    assert store._tables.leases == {
        task.key: (task.token, task.worker.instance, task.at_most_once)
        for task in running
        if task.worker is not None
    }, "a lease wasn't written at the end"


def memory_of(core: Core) -> dict[str, Any]:
    """Return all that a core must know again when it is rebuilt from the store."""
    state = core.state
    return {
        "lanes": {
            n.lane_id: (n.queue, n.rank, n.name, n.fair_key, n.live) for n in state.lanes if n.live
        },
        "queues": state.queues.settings,
        "limits": (state.gates.defined, state.gates.set),
        "purges": state.purges,
        "running": {
            task.key: (
                task.task_id,
                task.token,
                task.attempt,
                task.crashes,
                task.failures,
                task.worker.instance,
                task.at_most_once,
            )
            for task in state.tasks.values()
            if task.worker is not None
        },
        "results": [(i, state.retention._sizes.get(i)) for i in state.retention._sizes],
        "tombstones": (state.young_tombstones, state.old_tombstones),
        "owed": {address: entry.owed for address, entry in state.outbox._addresses.items()},
        "checkpoints": state.checkpoints_bytes,
        "live": state.lanes.live,
        "delayed": state.delays.count,
        "batches": {
            i: (b.created_at, b.changed_at, b.submitted, b.success, b.failure, b.cancelled)
            for i, b in state.batches._by_id.items()
        },
        "schedules": dict(state.schedules._by_id),
    }
