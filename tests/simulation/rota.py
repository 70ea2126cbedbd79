"""Own what must hold of schedules: in a core and its store, and over a history."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.core.delays import LOOK_AGAIN_S
from fastqueue.core.schedule_records import DEFINITION_PREFIX
from fastqueue.tasks.ids import run_id
from fastqueue.tasks.timetable import (
    GRACE_S,
    MissedRuns,
    Overlap,
    Timetable,
    due_between,
    jittered,
    newest_between,
)

if TYPE_CHECKING:
    from fastqueue.core.core import Core
    from fastqueue.core.schedule_records import ScheduleSpec, ScheduleState
    from fastqueue.store.memory import MemoryStore

__all__ = ["Rota", "check_schedules", "schedules_due"]

# More nominal times in one turn than that are not counted one by one.
_COUNTED_MAX = 10_000


def _due_of(state: ScheduleState) -> float:
    if state.next_at is None or state.is_paused or state.is_withdrawn:
        return math.inf
    return jittered(state.spec.timetable, state.spec.schedule_id, state.next_at)


def _endless(state: ScheduleState) -> Timetable:
    """Return its timetable without the count, which says nothing of which times there are."""
    return replace(state.spec.timetable, count_max=None)


def check_schedules(core: Core, store: MemoryStore) -> None:
    """Assert that what memory knows of schedules is true of the store, and bounded."""
    schedules, stored, limits = core.state.schedules, store._tables.schedules, core.state.limits
    assert schedules._by_id == stored, "a schedule in memory isn't what is stored"
    assert schedules.next_due == min(map(_due_of, stored.values()), default=math.inf)
    assert schedules.payload_bytes == sum(len(s.spec.payload) for s in stored.values())
    assert schedules.definitions == sum(i.startswith(DEFINITION_PREFIX) for i in stored)
    assert len(stored) <= limits.schedules_max
    assert schedules.payload_bytes <= limits.schedules_bytes_max
    for state in stored.values():
        if state.next_at is not None:
            assert state.next_at > state.settled_at, "what is dealt with comes again"
        count_max = state.spec.timetable.count_max
        assert count_max is None or state.fired <= count_max or state.next_at is None


def schedules_due(core: Core, store: MemoryStore) -> float | None:
    """Return when the engine must look at the schedules, from the store instead of a timer."""
    state = core.state
    due = min(map(_due_of, store._tables.schedules.values()), default=math.inf)
    if due == math.inf:
        return None
    held_off_s = state.schedules.held_off_until - state.last_tick
    assert held_off_s < LOOK_AGAIN_S + 1e-6, "schedules are held off for too long"
    wait_s = max(due - state.last_tick_at, held_off_s)
    return state.last_tick + max(0.0, min(wait_s, LOOK_AGAIN_S))


class Rota:
    """Hold what a history of one store has shown of its schedules.

    Attributes:
        touched: the schedules that somebody has sent a command about since the last turn.
        asked: the ids of runs that clients asked for.
        fired: every run there was, by its task's id: its schedule and nominal time.
        left_out: runs that were left out because the one before wasn't over.
        missed: turns that left out what came due in an outage.
        cancelled: older runs that were cancelled for a newer one.
        decided: how often a definition's schedule was changed by a subworker.
    """

    def __init__(self) -> None:
        self.touched: set[str] = set()
        # What subworkers have to say of the definition, by when they started; None is no schedule.
        self.words: dict[float, list[ScheduleSpec | None]] = {}
        # Those among them that may have been deleted, and made anew.
        self.deleted: set[str] = set()
        self.asked: set[str] = set()
        self.fired: dict[str, tuple[str, float]] = {}
        self.left_out = 0
        self.missed = 0
        self.cancelled = 0
        self.decided = 0
        self._before: dict[str, ScheduleState] = {}
        self._known: set[str] = set()

    def note_word(self, started_at: float, schedules: list[ScheduleSpec]) -> None:
        """Note what a subworker, that started then, says of its definition as it connects."""
        word = schedules[0] if schedules else None
        self.words.setdefault(started_at, []).append(word)

    def begin(self, store: MemoryStore) -> None:
        """Note what there is before a turn."""
        tables = store._tables
        self._before = dict(tables.schedules)
        self._known = tables.keys.keys() | tables.results.keys()

    def check(self, store: MemoryStore, core: Core, submitted: set[str]) -> set[str]:
        """Check what a turn did; return the tasks that schedules have submitted in it.

        Args:
            store: after the turn.
            core: the same.
            submitted: the ids that clients have submitted.
        """
        tables, at = store._tables, core.state.last_tick_at
        new = (tables.keys.keys() | tables.results.keys()) - self._known - submitted
        explained = new & self.asked
        for schedule_id, state in tables.schedules.items():
            before = self._before.get(schedule_id)
            # One that is withdrawn may have made room for another, and have come again.
            made_room = before is not None and before.is_withdrawn and bool(self.touched)
            if before is not None and schedule_id not in self.deleted and not made_room:
                assert state.settled_at >= before.settled_at, "a schedule goes back in time"
                self._check_definition(before, state)
            if (
                before is None
                or schedule_id in self.touched
                or (before.spec, before.decided_at) != (state.spec, state.decided_at)
            ):
                # What it was told in this turn came before what it did in it.
                explained |= self._runs_of_touched(before, state, new)
            else:
                explained |= self._check_advance(store, before, state, new, at)
        assert len(new - self.asked) <= core.state.limits.schedule_runs_max, "too much in one turn"
        assert new == explained, f"tasks that no schedule accounts for: {new - explained}"
        if tables.schedules == self._before and math.isfinite(at) and not self.touched:
            state_of = core.state
            is_held_off = state_of.schedules.held_off_until > state_of.last_tick
            assert is_held_off or state_of.schedules.next_due > at, "a run that is due waits"
        self.touched.clear()
        self.deleted.clear()
        return new

    def _runs_of_touched(
        self, before: ScheduleState | None, state: ScheduleState, new: set[str]
    ) -> set[str]:
        # No run is from before that, even if it was made in this turn and the clock set forward.
        since = (
            state.settled_at
            - 2 * GRACE_S
            - state.spec.window_s
            - 2 * (state.spec.timetable.every_s or 0.0)
        )
        if before is not None:
            since = min(since, before.settled_at)
        schedule_id, timetable = state.spec.schedule_id, _endless(state)
        times = due_between(timetable, since, state.settled_at, _COUNTED_MAX)
        newest = newest_between(timetable, since, state.settled_at)
        if newest is not None and newest not in times:
            times.append(newest)
        return {self._note(schedule_id, at) for at in times if run_id(schedule_id, at) in new}

    def _note(self, schedule_id: str, at: float) -> str:
        task_id = run_id(schedule_id, at)
        assert task_id not in self.fired, "a run was submitted twice"
        self.fired[task_id] = (schedule_id, at)
        return task_id

    def _check_definition(self, before: ScheduleState, state: ScheduleState) -> None:
        """Check what a subworker may have made of a schedule."""
        schedule_id = state.spec.schedule_id
        is_touched = schedule_id in self.touched
        assert state.decided_at >= before.decided_at, "an older subworker has decided"
        assert state.fired >= before.fired, "a schedule forgets its history"
        if (words := self.words.get(state.decided_at)) is not None:
            said = None if state.is_withdrawn else state.spec
            assert said in words, "a definition's schedule isn't what its subworker says"
        if before.spec == state.spec and before.is_withdrawn == state.is_withdrawn:
            return
        if schedule_id.startswith(DEFINITION_PREFIX):
            assert state.decided_at > before.decided_at, "a definition changed for no reason"
            assert is_touched or state.is_paused == before.is_paused, "a pause is over unasked"
            self.decided += 1
        else:
            assert is_touched, "a schedule changed for no reason"

    def _check_advance(
        self,
        store: MemoryStore,
        before: ScheduleState,
        state: ScheduleState,
        new: set[str],
        now: float,
    ) -> set[str]:
        """Check one schedule that nobody has touched; return the runs that it made."""
        spec, timetable = state.spec, _endless(state)
        if state.settled_at == before.settled_at:
            assert state.fired == before.fired
            return set()
        assert not state.is_paused, "a paused schedule runs"
        assert not state.is_withdrawn, "a withdrawn schedule runs"
        assert before.next_at is not None
        late_s = now - before.next_at
        is_outage = late_s > GRACE_S + timetable.jitter_s
        times = due_between(timetable, before.settled_at, state.settled_at, _COUNTED_MAX)
        runs = {}
        known = sum(run_id(spec.schedule_id, at) in self.fired for at in times)
        for at in times:
            task_id = run_id(spec.schedule_id, at)
            assert jittered(timetable, spec.schedule_id, at) <= now, "a run is early"
            if task_id in new:
                runs[self._note(spec.schedule_id, at)] = at
        newest = newest_between(timetable, before.settled_at, state.settled_at)
        assert newest is not None
        if newest not in times:
            known += run_id(spec.schedule_id, newest) in self.fired
            if run_id(spec.schedule_id, newest) in new:
                runs[self._note(spec.schedule_id, newest)] = newest
        assert len(runs) <= state.fired - before.fired <= len(runs) + known, "runs are miscounted"
        left_out = state.left_out - before.left_out
        assert not left_out or spec.overlap is Overlap.SKIP, "a run is left out for no reason"
        self.left_out += left_out
        if not is_outage:
            assert len(runs) + known + left_out >= len(times), "a run is lost"
        elif spec.missed is MissedRuns.ALL and runs:
            since = now - spec.window_s - timetable.jitter_s - GRACE_S
            assert min(runs.values()) >= since, "a run from before the window is run"
        if is_outage and len(runs) + known + left_out < len(times):
            self.missed += 1
            self._check_policy(spec.missed, state, times, runs, now, left_out + known)
        self._check_overlap(store, before, state, set(runs))
        return set(runs)

    def _check_policy(
        self,
        missed: MissedRuns,
        state: ScheduleState,
        times: list[float],
        runs: dict[str, float],
        now: float,
        excused: int,
    ) -> None:
        """Check an outage of which not all was made up for."""
        timetable = state.spec.timetable
        assert len(runs) <= 1 or missed is MissedRuns.ALL, "an outage is made up for unasked"
        oldest_run = min(runs.values(), default=now)
        if missed is MissedRuns.SKIP:
            assert oldest_run >= now - GRACE_S - timetable.jitter_s
        elif missed is MissedRuns.ONE:
            assert runs or excused, "the newest missed run isn't run"
        else:
            since = now - state.spec.window_s - timetable.jitter_s
            assert oldest_run >= since - 1e-6, "a run from before the window is run"
            within = sum(at >= now - state.spec.window_s for at in times)
            if len(times) < _COUNTED_MAX:
                assert len(runs) + excused >= within, "a run in the window is lost"

    def _check_overlap(
        self, store: MemoryStore, before: ScheduleState, state: ScheduleState, runs: set[str]
    ) -> None:
        tables, older, overlap = store._tables, before.last_task_id, state.spec.overlap
        if not runs or overlap is Overlap.ALLOW or older in runs:
            return
        assert len(runs) == 1, "runs that may not overlap are made at once"
        key = tables.keys.get(older)
        if overlap is Overlap.SKIP:
            assert key is None, "two runs of a schedule overlap"
        elif key is not None:
            is_ended = tables.tasks[key].cancelling or key in tables.delayed
            assert is_ended, "the older run isn't cancelled"
            self.cancelled += 1
        elif older in self._known:
            self.cancelled += 1
