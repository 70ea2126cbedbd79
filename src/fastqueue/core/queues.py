"""Own the queues: their settings, and in which order what waits in one has its turn.

A *band* is what a queue has of one priority and one task name. Its lanes differ by their fair key
alone, so any subworker that offers the name and serves the queue can run any of its tasks. A *flow*
is what a queue has of one fair key, in all of its bands. Within a queue the order is: strictly by
priority; then that of the flows, which have equal shares unless a weight says otherwise; within a
flow first in, first out. What has no fair key is one flow.

Shares are counted as in start-time fair queueing (Goyal, Vin, Cheng: "Start-time fair queueing",
SIGCOMM 1996): a flow has a *turn*, a virtual time that each lease moves on by 1/weight, and the
least turn is next. One that begins to wait takes its place at the turn that was served last, so
that nobody saves up turns by staying away. Queues share the free slots in the same way.

The lanes tell a queue when they have a ready task (`wake`); `turns` asks it which is next.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from fastqueue.core.records import QueueSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.gates import Gate, Gates
    from fastqueue.core.lanes import Lane

__all__ = ["Band", "Flow", "Queue", "Queues"]

# By how many turns a queue that couldn't be served may be behind the others. More would let it
# have every slot for as long as it was kept away.
_BEHIND_MAX = 100.0
# Of how many were leased: one sample a second, for a minute.
_SAMPLE_S = 1.0
_SAMPLES_MAX = 60


class Flow:
    """Hold the share of one fair key in a queue."""

    __slots__ = ("lanes", "listed", "turn", "weight")

    def __init__(self, turn: float, weight: float) -> None:
        self.turn = turn
        self.weight = weight
        # How many lanes it has, and how many of these wait for their turn.
        self.lanes = 0
        self.listed = 0


class Band:
    """Hold the lanes of one queue, priority and task name, and find the next of them.

    Attributes:
        plain: the lane without a fair key, if there is one.
        gates: what limits all of its lanes together.
    """

    __slots__ = ("_heads", "gates", "name", "plain", "queue", "rank")

    def __init__(self, queue: Queue, rank: int, name: str, gates: tuple[Gate, ...]) -> None:
        self.queue = queue
        self.rank = rank
        self.name = name
        self.gates = gates
        self.plain: Lane | None = None
        # Lanes with a fair key that have a ready task, as (turn, sequence number, lane id, lane).
        # A row is void if it isn't what the lane is `listed` under.
        self._heads: list[tuple[float, int, int, Lane]] = []

    def list(self, lane: Lane) -> None:
        """Have a lane with a fair key wait for its turn; again, if its first task has changed."""
        flow = lane.flow
        if lane.listed is None:
            if not flow.listed:
                flow.turn = max(flow.turn, self.queue.served)
            flow.listed += 1
        standing = lane.standing
        if lane.listed != standing:
            lane.listed = standing
            heapq.heappush(self._heads, (*standing, lane.lane_id, lane))

    def first(self) -> Lane | None:
        """Return the lane that is next, or None if none has a ready task that may begin."""
        plain = self.plain
        if plain is not None and not plain.ready:
            plain = None
        if not self._heads:
            return plain
        keyed = self._first_keyed()
        if plain is None or (keyed is not None and keyed.standing < plain.standing):
            return keyed
        return plain

    def _first_keyed(self) -> Lane | None:
        heads = self._heads
        while heads:
            turn, sequence, lane_id, lane = heads[0]
            if lane.listed != (turn, sequence):
                heapq.heappop(heads)
            elif not lane.ready or lane.parked is not None:
                heapq.heappop(heads)
                lane.listed = None
                lane.flow.listed -= 1
            elif lane.standing != lane.listed:
                lane.listed = lane.standing
                heapq.heapreplace(heads, (*lane.listed, lane_id, lane))
            else:
                return lane
        return None


class Queue:
    """Hold one queue: its settings, its bands and flows, and its own turn among the queues."""

    __slots__ = (
        "_leased",
        "_samples",
        "awake",
        "bands",
        "flows",
        "keyed",
        "lanes",
        "name",
        "served",
        "settings",
        "turn",
    )

    def __init__(self, name: str, settings: QueueSettings, turn: float) -> None:
        self.name = name
        self.settings = settings
        self.turn = turn
        self.bands: dict[tuple[int, str], Band] = {}
        # The bands that may have a ready task.
        self.awake: dict[tuple[int, str], Band] = {}
        self.flows: dict[str, Flow] = {}
        self.lanes: dict[int, Lane] = {}
        # How many of its lanes have a fair key: without any there are no shares to count.
        self.keyed = 0
        # The turn of the flow that was served last.
        self.served = 0.0
        # How many were leased, and how many that were at some times of the last minute.
        self._leased = 0
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES_MAX)

    def note_leased(self, count: int, now: float) -> None:
        """Count the leases of one turn, for `rate`."""
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, self._leased))
        self._leased += count

    def rate(self, now: float) -> float:
        """Return how many tasks a second were leased lately; 0 if none in the last minute."""
        while self._samples and now - self._samples[0][0] > _SAMPLES_MAX * _SAMPLE_S:
            self._samples.popleft()
        if not self._samples:
            return 0.0
        since, leased = self._samples[0]
        return (self._leased - leased) / max(now - since, _SAMPLE_S)

    def charge(self, flow: Flow) -> None:
        """Count a lease of a flow."""
        self.served = flow.turn
        flow.turn += 1.0 / flow.weight


class Queues:
    """Hold all queues by name, and which of them may have a ready task.

    Args:
        settings: of those queues that have other settings than the default.
        gates: the limits of what runs.
    """

    def __init__(self, settings: Iterable[QueueSettings], gates: Gates) -> None:
        settings = list(settings)
        self._gates = gates
        self.settings = {one.name: one for one in settings}
        # How long tasks may wait, by queue.
        self.wait_limits = {
            one.name: one.wait_limit_s for one in settings if one.wait_limit_s is not None
        }
        self.by_name: dict[str, Queue] = {}
        self.awake: dict[str, Queue] = {}
        # The turn of the queue that was served last.
        self.served = 0.0

    def settings_of(self, name: str) -> QueueSettings:
        """Return what holds for a queue."""
        return self.settings.get(name) or QueueSettings(name)

    def configure(self, settings: QueueSettings) -> None:
        """Have other settings hold for a queue."""
        if settings == QueueSettings(settings.name):
            self.settings.pop(settings.name, None)
        else:
            self.settings[settings.name] = settings
        if settings.wait_limit_s is None:
            self.wait_limits.pop(settings.name, None)
        else:
            self.wait_limits[settings.name] = settings.wait_limit_s
        queue = self.by_name.get(settings.name)
        if queue is not None:
            queue.settings = settings

    def add(self, lane: Lane, queue_name: str, rank: int, name: str, fair_key: str) -> None:
        """Give a new lane its place."""
        queue = self.by_name.get(queue_name)
        if queue is None:
            queue = Queue(queue_name, self.settings_of(queue_name), self.served)
            self.by_name[queue_name] = queue
        band = queue.bands.get((rank, name))
        if band is None:
            gates = self._gates.of_band(queue_name, name)
            band = queue.bands[rank, name] = Band(queue, rank, name, gates)
        flow = queue.flows.get(fair_key)
        if flow is None:
            flow = queue.flows[fair_key] = Flow(queue.served, self._gates.weight_of(fair_key))
        lane.band, lane.flow = band, flow
        flow.lanes += 1
        queue.lanes[lane.lane_id] = lane
        if fair_key:
            queue.keyed += 1
            lane.own_gates = self._gates.of_key(queue_name, name, fair_key)
        else:
            band.plain = lane
        lane.gates = band.gates + lane.own_gates

    def remove(self, lane: Lane) -> None:
        """Forget a lane that has no task."""
        queue = lane.band.queue
        del queue.lanes[lane.lane_id]
        if lane.fair_key:
            queue.keyed -= 1
        else:
            lane.band.plain = None
        self._gates.leave(lane.own_gates)
        lane.flow.lanes -= 1
        if not lane.flow.lanes:
            del queue.flows[lane.fair_key]
        if not queue.lanes:
            del self.by_name[queue.name]
            self.awake.pop(queue.name, None)

    def join_gates(self) -> None:
        """Give every lane the gates that stand for the limits as they are now."""
        for queue in self.by_name.values():
            for (_, name), band in queue.bands.items():
                band.gates = self._gates.of_band(queue.name, name)
            for key, flow in queue.flows.items():
                flow.weight = self._gates.weight_of(key)
            for lane in queue.lanes.values():
                lane.parked = None
                if lane.fair_key:
                    lane.own_gates = self._gates.of_key(queue.name, lane.name, lane.fair_key)
                lane.gates = lane.band.gates + lane.own_gates
                if lane.ready:
                    self.wake(lane)

    def wake(self, lane: Lane) -> None:
        """Note that a lane has a ready task, or another first one."""
        if lane.parked is not None:
            return
        band = lane.band
        queue = band.queue
        if lane.fair_key:
            band.list(lane)
        place = (band.rank, band.name)
        if place not in queue.awake:
            queue.awake[place] = band
        if queue.name not in self.awake:
            self.awake[queue.name] = queue
            queue.turn = max(queue.turn, self.served)

    def charge(self, queue: Queue) -> None:
        """Count a lease of a queue while others wait too."""
        self.served = queue.turn
        queue.turn += 1.0 / queue.settings.weight

    def turn_of(self, queue: Queue) -> float:
        """Return a queue's turn; one that was kept away isn't behind for ever."""
        queue.turn = max(queue.turn, self.served - _BEHIND_MAX)
        return queue.turn
