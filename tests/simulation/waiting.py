"""Own what must hold of tasks that wait for a time: in a core and its store, and over a history."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastqueue.core.commands import DueLoaded, ExpiredLoaded
from fastqueue.core.delays import LOOK_AGAIN_S
from fastqueue.core.lanes import DELAYED_LANE, SEQUENCE_BITS
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from fastqueue.control_plane.engine import Engine
    from fastqueue.core.core import Core
    from fastqueue.core.records import Lease, Result
    from fastqueue.store.memory import MemoryStore

__all__ = ["Waits", "check_waiting", "waiting_due"]


def check_waiting(core: Core, store: MemoryStore) -> None:
    """Assert that what memory knows of waiting tasks is true of the store."""
    state, tables = core.state, store._tables
    delays, delayed = state.delays, tables.delayed
    in_no_lane = {key for key in tables.tasks if key >> SEQUENCE_BITS == DELAYED_LANE}
    assert in_no_lane == delayed.keys(), "a task is in a lane and delayed, or in neither"
    assert delays.count == len(delayed), "delayed tasks are miscounted"
    for key in delayed:
        assert tables.tasks[key].new.task_id not in state.tasks, "a delayed task is in memory"
        assert key not in tables.leases, "a delayed task is leased"
    for rank, next_due in enumerate(delays.next_due):
        first = min((due for due, _, r, _ in delayed.values() if r == rank), default=math.inf)
        assert next_due <= first, "a due time is forgotten"
    assert delays.next_expiry <= min((at for at, _ in tables.expiries), default=math.inf)
    for task in state.tasks.values():
        stored = tables.tasks[task.key]
        assert (task.failures, task.options) == (stored.failures, stored.new.options)
    live_or_recorded = tables.keys.keys() | tables.results.keys()
    assert {task_id for task_id, _ in tables.attempts} <= live_or_recorded, "attempts are left over"


def waiting_due(core: Core, store: MemoryStore) -> float | None:
    """Return when the engine must look for waiting tasks, from the store instead of a timer."""
    tables, state = store._tables, core.state
    delays, at = state.delays, state.last_tick_at
    waits_s: list[float] = []
    # What the store is being asked for needs no timer: its answer is a command.
    if tables.delayed and not delays.is_loading_due:
        held_off_s = delays.held_off_until - state.last_tick
        assert held_off_s < LOOK_AGAIN_S + 1e-6, "what is due is held off for too long"
        waits_s.append(max(min(due for due, *_ in tables.delayed.values()) - at, held_off_s))
    if tables.expiries and not delays.is_loading_expired:
        waits_s.append(min(expires_at for expires_at, _ in tables.expiries) - at)
    if not waits_s:
        return None
    # The clock may be set, so not much later than in a moment.
    return state.last_tick + max(0.0, min(*waits_s, LOOK_AGAIN_S))


class Waits:
    """Hold what a history of one store has shown of its waiting tasks.

    Attributes:
        retried: attempts that failed and were followed by another.
        expired: tasks that were cancelled because they hadn't begun in time.
        due: delayed tasks whose time came.
    """

    def __init__(self) -> None:
        self.retried = 0
        self.expired = 0
        self.due = 0
        # The greatest time that the wall clock has shown since the last turn began.
        self.latest = -math.inf
        self._delayed: dict[str, float] = {}
        self._known: set[str] = set()
        self._attempts: set[tuple[str, int]] = set()

    def begin(self, store: MemoryStore) -> None:
        """Note what there is before a turn."""
        tables = store._tables
        delayed = tables.delayed.items()
        self._delayed = {tables.tasks[key].new.task_id: due for key, (due, *_) in delayed}
        self._known = set(tables.keys)
        self._attempts = set(tables.attempts)

    def check(self, store: MemoryStore, engine: Engine) -> list[tuple[str, str]]:
        """Check what a turn did with the tasks that wait, or waited.

        Returns:
            The attempts that it recorded as followed by another: (task id, error).
        """
        tables, latest = store._tables, self.latest
        for key, task in tables.tasks.items():
            task_id, options = task.new.task_id, task.new.options
            due = self._delayed.get(task_id)
            if due is None and task_id not in self._known and options is not None:
                due = options.due_at
            if due is not None and key not in tables.delayed:
                assert due <= latest, "a task is in its lane before its time"
                self.due += 1
        new = [tables.attempts[key] for key in tables.attempts.keys() - self._attempts]
        for attempt in new:
            key = tables.keys.get(attempt.task_id)
            if key is None:
                # A client cancelled it in the same turn.
                result = tables.results[attempt.task_id][2]
                assert result.status is TaskStatus.CANCELLED, "an attempt is followed by none"
                continue
            assert key in tables.delayed, "a task that failed waits for no time"
            count = sum(1 for task_id, _ in tables.attempts if task_id == attempt.task_id)
            assert count == tables.tasks[key].failures, "failures are miscounted"
        self.retried += len(new)
        self._check_loading(engine)
        # What is asked of the store in this turn is told to the next.
        ticked_at = engine.core.state.last_tick_at
        self.latest = ticked_at if math.isfinite(ticked_at) else -math.inf
        return [(attempt.task_id, attempt.error) for attempt in new]

    def _check_loading(self, engine: Engine) -> None:
        """Assert that whoever waits to be told by the store is."""
        delays = engine.core.state.delays
        coming = {type(command) for command, _ in engine._inbox}
        assert delays.is_loading_due == (DueLoaded in coming)
        assert delays.is_loading_expired == (ExpiredLoaded in coming)

    def check_expired(self, result: Result, expires_at: float | None) -> None:
        """Check a new result that says that its task hadn't begun in time."""
        assert result.status is TaskStatus.CANCELLED
        assert expires_at is not None, "a task expired that never does"
        assert result.completed_at is not None
        assert expires_at <= result.completed_at, "a task expired too early"
        self.expired += 1

    def check_leased(self, lease: Lease, retries: int) -> None:
        """Check a lease that reached its subworker."""
        assert lease.failures <= retries, "a task is tried more often than is allowed"
        assert lease.failures < lease.attempt
