"""Own the schedules in memory: what there is, when the next of them is due, which runs that makes.

All of them are here, and the store has the same. Times are the wall clock's, which may be set: what
a schedule has once dealt with it never fires again, since `settled_at` only grows.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from fastqueue.core.delays import LOOK_AGAIN_S
from fastqueue.core.schedule_records import DEFINITION_PREFIX
from fastqueue.errors import ConfigurationError
from fastqueue.tasks.ids import run_id
from fastqueue.tasks.timetable import (
    GRACE_S,
    MissedRuns,
    Overlap,
    jittered,
    newest_between,
    next_after,
    runs_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.schedule_records import ScheduleState

__all__ = ["DueRuns", "Schedules", "advanced"]

# Entries of the heap that aren't true any more, beyond as many as there are schedules.
_STALE_MAX = 64


class DueRuns(NamedTuple):
    """Say what one schedule is to run now.

    Attributes:
        schedule_id: which one.
        runs: (nominal time, task id) of each, in order; none if all that is due is missed.
        settled_at: up to where its nominal times are dealt with then.
        missed_at: the oldest nominal time that is left out as missed, if any is.
        before: the task of the run before, if it matters whether that is over.
        problem: why its times can't be told on this machine.
    """

    schedule_id: str
    runs: Sequence[tuple[float, str]]
    settled_at: float
    missed_at: float | None = None
    before: str = ""
    problem: str = ""


class Schedules:
    """Hold all schedules.

    Args:
        states: what the store has.
        limits: the core's bounds.
    """

    def __init__(self, states: Iterable[ScheduleState], limits: CoreLimits) -> None:
        self._limits = limits
        self._by_id: dict[str, ScheduleState] = {}
        self._due: dict[str, float] = {}
        # Pairs of (due, id), of which those count that `_due` has.
        self._heap: list[tuple[float, str]] = []
        self._sorted: list[str] | None = None
        self.payload_bytes = 0
        self.definitions = 0
        # When the next run is to start; infinite if there is none.
        self.next_due = math.inf
        # By the monotonic clock: until then nothing runs, for there was no room for it.
        self.held_off_until = -math.inf
        for state in states:
            self.put(state)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, schedule_id: str) -> ScheduleState | None:
        """Return a schedule, withdrawn or not; None if there is none."""
        return self._by_id.get(schedule_id)

    def page(self, after: str, limit: int) -> list[ScheduleState]:
        """Return the schedules whose ids come after `after`, in the order of their ids."""
        if self._sorted is None:
            self._sorted = sorted(self._by_id)
        found: list[ScheduleState] = []
        for schedule_id in self._sorted[bisect_right(self._sorted, after) :]:
            if len(found) == limit:
                break
            if not self._by_id[schedule_id].is_withdrawn:
                found.append(self._by_id[schedule_id])
        return found

    def withdrawn(self) -> list[str]:
        """Return the ids of those that are kept for their history alone."""
        return [i for i, state in self._by_id.items() if state.is_withdrawn]

    def has_room_for(self, state: ScheduleState) -> bool:
        """Say whether a schedule, new or changed, is within the bounds."""
        old = self._by_id.get(state.spec.schedule_id)
        size = self.payload_bytes + len(state.spec.payload)
        if old is not None:
            size -= len(old.spec.payload)
        return (
            old is not None or len(self._by_id) < self._limits.schedules_max
        ) and size <= self._limits.schedules_bytes_max

    def put(self, state: ScheduleState) -> None:
        """Hold a schedule, new or changed."""
        schedule_id = state.spec.schedule_id
        old = self._by_id.get(schedule_id)
        if old is None:
            self._sorted = None
            self.definitions += schedule_id.startswith(DEFINITION_PREFIX)
        else:
            self.payload_bytes -= len(old.spec.payload)
        self.payload_bytes += len(state.spec.payload)
        self._by_id[schedule_id] = state
        due = _due(state)
        if due != self._due.get(schedule_id):
            self._due[schedule_id] = due
            if due < math.inf:
                heapq.heappush(self._heap, (due, schedule_id))
        self._look_at_head()

    def remove(self, schedule_id: str) -> None:
        """Hold a schedule no longer."""
        state = self._by_id.pop(schedule_id)
        self._sorted = None
        self.payload_bytes -= len(state.spec.payload)
        self.definitions -= schedule_id.startswith(DEFINITION_PREFIX)
        del self._due[schedule_id]
        self._look_at_head()

    def set_aside(self, schedule_id: str) -> None:
        """Run a schedule no more until it is put again, or the control plane started anew."""
        self._due[schedule_id] = math.inf
        self._look_at_head()

    def hold_off(self, now: float) -> None:
        """Run nothing for a moment: there is no room for it."""
        self.held_off_until = now + LOOK_AGAIN_S

    def wait_s(self, at: float, now: float) -> float | None:
        """Return in how many seconds from the time `at` there is something to run, or None.

        No longer than `LOOK_AGAIN_S`, since the clock may be set.
        """
        if self.next_due == math.inf:
            return None
        wait_s = max(self.next_due - at, self.held_off_until - now)
        return max(0.0, min(wait_s, LOOK_AGAIN_S))

    def due_runs(self, at: float) -> list[DueRuns]:
        """Return what is to run at the time `at`, within the bound of one turn.

        Nothing changes by being asked: whoever carries it out puts the schedules anew.
        """
        heap, budget = self._heap, self._limits.schedule_runs_max
        taken: list[tuple[float, str]] = []
        found: list[DueRuns] = []
        while heap and heap[0][0] <= at and budget > 0:
            entry = heapq.heappop(heap)
            due, schedule_id = entry
            if self._due.get(schedule_id) != due or (taken and taken[-1] == entry):
                continue
            taken.append(entry)
            runs = _runs_due(self._by_id[schedule_id], at, budget)
            budget -= max(1, len(runs.runs))
            found.append(runs)
        for entry in taken:
            heapq.heappush(heap, entry)
        self._look_at_head()
        return found

    def _look_at_head(self) -> None:
        heap, dues = self._heap, self._due
        if len(heap) > 2 * len(dues) + _STALE_MAX:
            heap[:] = [(due, i) for i, due in dues.items() if due < math.inf]
            heapq.heapify(heap)
        while heap and dues.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        self.next_due = heap[0][0] if heap else math.inf


def _due(state: ScheduleState) -> float:
    """Return when the next run is to start."""
    if state.next_at is None or state.is_paused or state.is_withdrawn:
        return math.inf
    return jittered(state.spec.timetable, state.spec.schedule_id, state.next_at)


def advanced(state: ScheduleState, settled_at: float) -> ScheduleState:
    """Return a schedule whose nominal times until then are dealt with; never fewer than before.

    Raises:
        ConfigurationError: this machine doesn't know its time zone.
    """
    settled_at = max(settled_at, state.settled_at)
    next_at = next_after(state.spec.timetable, settled_at, fired=state.fired)
    return replace(state, settled_at=settled_at, next_at=next_at)


def _runs_due(state: ScheduleState, at: float, budget: int) -> DueRuns:
    spec = state.spec
    before = "" if spec.overlap is Overlap.ALLOW else state.last_task_id
    try:
        times, settled_at, missed_at = _times_due(state, at, budget)
    except ConfigurationError as error:
        return DueRuns(spec.schedule_id, (), state.settled_at, problem=str(error))
    runs = [(time, run_id(spec.schedule_id, time)) for time in times]
    return DueRuns(spec.schedule_id, runs, settled_at, missed_at, before)


def _times_due(
    state: ScheduleState, at: float, budget: int
) -> tuple[list[float], float, float | None]:
    """Return the nominal times to run, up to where all is settled then, and the oldest missed.

    Late by no more than a restart takes, nothing is missed and all of it is run. After more than
    that it was an outage, and the policy says what becomes of it.
    """
    spec, timetable, oldest = state.spec, state.spec.timetable, state.next_at
    assert oldest is not None
    late_s = GRACE_S + timetable.jitter_s
    if at - oldest <= late_s or spec.missed is MissedRuns.ALL:
        since = state.settled_at
        missed_at = None
        if at - oldest > max(late_s, spec.window_s + timetable.jitter_s):
            missed_at = oldest
            window_begins_at = at - spec.window_s - timetable.jitter_s
            since = max(since, math.nextafter(window_begins_at, -math.inf))
        # Whether a run overlaps with the one before can be told of one at a time.
        limit = budget if spec.overlap is Overlap.ALLOW else 1
        times = _in_order(state, since, at, limit)
        return times, times[-1] if times else since, missed_at
    # Of what is left what could still come is dealt with next: it isn't late.
    newest = newest_between(timetable, state.settled_at, at - timetable.jitter_s)
    assert newest is not None
    times = runs_for(spec.missed, [newest], at, spec.window_s, grace_s=late_s)
    return times, newest, None if times == [oldest] else oldest


def _in_order(state: ScheduleState, since: float, at: float, limit: int) -> list[float]:
    timetable, schedule_id = state.spec.timetable, state.spec.schedule_id
    times: list[float] = []
    next_at = state.next_at
    if since != state.settled_at:
        next_at = next_after(timetable, since, fired=state.fired)
    while next_at is not None and next_at <= at and jittered(timetable, schedule_id, next_at) <= at:
        times.append(next_at)
        if len(times) == limit:
            break
        next_at = next_after(timetable, next_at, fired=state.fired + len(times))
    return times
