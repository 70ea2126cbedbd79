"""Own the limits of what runs: how many tasks at once, and how many may begin in a time.

A *run limit* is what somebody asked for: of a task definition, a queue or a fair key, all together
or each fair key apart. A *gate* is one at work: it counts the leases that it let through, and gets
each back when the lease ends, however it ends. A lane whose own gate is shut is *parked* there
until the gate opens; what is shut for a whole band is seen by whoever looks at the band.

Rates are a token bucket kept as one number, the time at which the bucket would be full again
(the "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371). The store keeps
these times too, by the wall clock, so that a restart gives nobody a full bucket.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from fastqueue.core.records import LimitId, RateMark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.lanes import Lane
    from fastqueue.core.records import RunLimit

__all__ = ["Gate", "Gates"]

_Place = tuple[LimitId, str]
# Buckets that are kept without a gate before it is looked which of them are full.
_KEPT_MAX = 10_000


class Gate:
    """Hold how many leases one limit has let through, and when it lets the next through.

    Attributes:
        place: which limit it is, and the fair key it is for if each has its own.
        running: the leases under it.
        full_at: when its bucket would be full, by the monotonic clock.
        parked: the lanes that wait for it to open.
    """

    __slots__ = (
        "full_at",
        "interval_s",
        "lanes",
        "limit",
        "opens_noted",
        "parked",
        "place",
        "running",
    )

    def __init__(self, place: _Place, limit: RunLimit, full_at: float) -> None:
        self.place = place
        self.limit = limit
        self.interval_s = 1.0 / limit.rate if limit.rate else 0.0
        self.full_at = full_at
        self.running = 0
        self.lanes = 0
        self.parked: dict[int, Lane] = {}
        self.opens_noted = -math.inf

    @property
    def is_full(self) -> bool:
        """Say whether as many run as may."""
        concurrency = self.limit.concurrency
        return concurrency is not None and self.running >= concurrency

    @property
    def opens_at(self) -> float:
        """Return when its rate lets the next one begin."""
        return self.full_at - (self.limit.burst - 1) * self.interval_s

    def is_shut(self, now: float) -> bool:
        """Say whether nothing may begin now."""
        return self.is_full or (self.interval_s > 0 and self.opens_at > now)


class Gates:
    """Hold the limits, and the gates that stand for them.

    Args:
        limits: as the store has them.
        marks: when which bucket is full, in seconds from now.
        now: the monotonic clock.
    """

    def __init__(self, limits: Iterable[RunLimit], marks: Iterable[RateMark], now: float) -> None:
        limits = list(limits)
        # What subworkers said of their definitions, and what somebody set, which comes first.
        self.defined = {one.id: one for one in limits if one.is_defined}
        self.set = {one.id: one for one in limits if not one.is_defined}
        # Of buckets without a gate; past `_kept_max` of them those that are full are forgotten.
        self._full_at: dict[_Place, float] = {}
        self._kept_max = _KEPT_MAX
        for mark in marks:
            limit = self.find(mark.limit)
            if limit is not None and limit.rate is not None and mark.full_at > 0:
                # However the wall clock was set meanwhile, none is emptier than empty.
                full_in_s = min(mark.full_at, limit.burst / limit.rate)
                self._full_at[mark.limit, mark.fair_key] = now + full_in_s
        self._gates: dict[_Place, Gate] = {}
        # (when, counter, gate): when a gate's rate lets somebody through who waits for it.
        self._opening: list[tuple[float, int, Gate]] = []
        self._noted = 0
        # Gates whose bucket was drawn from since this was last asked for.
        self._drawn: dict[_Place, Gate] = {}

    @property
    def effective(self) -> dict[LimitId, RunLimit]:
        """Return the limits that hold."""
        return {**self.defined, **self.set}

    def find(self, limit_id: LimitId) -> RunLimit | None:
        """Return the limit that holds under an id, or None."""
        return self.set.get(limit_id) or self.defined.get(limit_id)

    def gate(self, limit_id: LimitId, fair_key: str = "") -> Gate | None:
        """Return the gate that stands for a limit, if there is one."""
        return self._gates.get((limit_id, fair_key))

    def weight_of(self, fair_key: str) -> float:
        """Return the share of a fair key, relative to others."""
        limit = self.set.get(LimitId("key", fair_key, is_each=False)) if fair_key else None
        return limit.weight if limit is not None else 1.0

    def of_band(self, queue: str, name: str) -> tuple[Gate, ...]:
        """Return what limits all tasks of a queue and a name."""
        if not (self.set or self.defined):
            return ()
        ids = (LimitId("task", name, is_each=False), LimitId("queue", queue, is_each=False))
        return tuple(gate for i in ids if (gate := self._join(i, "")) is not None)

    def of_key(self, queue: str, name: str, fair_key: str) -> tuple[Gate, ...]:
        """Return what limits one fair key's tasks alone; each is to be left by `leave`."""
        if not (self.set or self.defined):
            return ()
        wanted = (
            (LimitId("key", fair_key, is_each=False), ""),
            (LimitId("task", name, is_each=True), fair_key),
            (LimitId("queue", queue, is_each=True), fair_key),
        )
        gates = tuple(gate for place in wanted if (gate := self._join(*place)) is not None)
        for gate in gates:
            gate.lanes += 1
        return gates

    def _join(self, limit_id: LimitId, fair_key: str) -> Gate | None:
        limit = self.find(limit_id)
        if limit is None or not limit.is_limit:
            return None
        place = (limit_id, fair_key)
        gate = self._gates.get(place)
        if gate is None:
            full_at = self._full_at.pop(place, -math.inf)
            gate = self._gates[place] = Gate(place, limit, full_at)
        return gate

    def leave(self, gates: Iterable[Gate]) -> None:
        """Forget gates that no lane has any more."""
        for gate in gates:
            gate.lanes -= 1
            if gate.lanes == 0:
                del self._gates[gate.place]
                if gate.full_at > 0:
                    self._full_at[gate.place] = gate.full_at

    def rebuild(self, now: float) -> None:
        """Drop all gates, since the limits have changed; the lanes are to ask for theirs anew."""
        self._full_at.update((g.place, g.full_at) for g in self._gates.values())
        for place, full_at in self._full_at.items():
            limit = self.find(place[0])
            if limit is not None and limit.rate is not None:
                # What was owed at a lower rate isn't owed at a higher one.
                self._full_at[place] = min(full_at, now + limit.burst / limit.rate)
        self._gates.clear()
        self._opening.clear()

    def _forget_full(self, now: float) -> None:
        """Forget buckets that are full by now and that no gate draws from."""
        self._full_at = {place: at for place, at in self._full_at.items() if at > now}

    # -- leasing

    def shut(self, gates: Iterable[Gate], now: float) -> Gate | None:
        """Return the first gate that is shut, or None; note when it opens by itself."""
        for gate in gates:
            if gate.is_shut(now):
                if not gate.is_full and gate.opens_noted != gate.opens_at:
                    gate.opens_noted = gate.opens_at
                    self._noted += 1
                    heapq.heappush(self._opening, (gate.opens_at, self._noted, gate))
                return gate
        return None

    def draw(self, gates: Iterable[Gate], now: float) -> None:
        """Take a token from the bucket of each gate that has one."""
        for gate in gates:
            if gate.interval_s:
                gate.full_at = max(gate.full_at, now) + gate.interval_s
                self._drawn[gate.place] = gate

    def take_drawn(self, now: float, at: float) -> list[RateMark]:
        """Return when the buckets are full that were drawn from, by the wall clock."""
        if len(self._full_at) > self._kept_max:
            self._forget_full(now)
            self._kept_max = max(_KEPT_MAX, 2 * len(self._full_at))
        drawn, self._drawn = self._drawn, {}
        return [RateMark(*gate.place, at + (gate.full_at - now)) for gate in drawn.values()]

    def take_opened(self, now: float) -> list[Gate]:
        """Return the gates whose rate lets somebody through again."""
        opened = []
        while self._opening and self._opening[0][0] <= now:
            opened.append(heapq.heappop(self._opening)[2])
        return opened

    def next_due(self) -> float | None:
        """Return when the next gate opens by itself that somebody waits for, or None."""
        return self._opening[0][0] if self._opening else None
