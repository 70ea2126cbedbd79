"""Own one tick's look at a queue: which bands have a free subworker, and whose turn it is.

Made by `leasing` for each queue that is awake; it picks, `leasing` leases.
"""

from __future__ import annotations

import heapq
import sys
from typing import TYPE_CHECKING

from fastqueue.core.delaying import expire, is_expired
from fastqueue.core.lanes import SEQUENCE_MASK
from fastqueue.core.workers import Crew

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.lanes import Lane, Task
    from fastqueue.core.queues import Band, Queue
    from fastqueue.core.state import Finished, State
    from fastqueue.core.workers import Worker

__all__ = ["QueueTurn"]

# Rank, turn and sequence number of the next lane, the number of the band, the band and its crew.
_Head = tuple[int, float, int, int, "Band", Crew]


class QueueTurn:
    """Lease what a queue has, in the order in which it is due.

    Args:
        state: the core's.
        queue: which queue.
        lease: leases a task to a subworker.
        now: the monotonic clock.
        expired: takes what isn't to be started any more.
    """

    def __init__(
        self,
        state: State,
        queue: Queue,
        lease: Callable[[Task, Worker], None],
        now: float,
        expired: Finished,
    ) -> None:
        self._state = state
        self._queue = queue
        self._lease_task = lease
        self._now = now
        self._expired = expired
        self._ageing_s = queue.settings.ageing_s
        self._heads: list[_Head] = []
        for place, band in list(queue.awake.items()):
            lane = band.first()
            if lane is None:
                del queue.awake[place]
            elif not (band.gates and state.gates.shut(band.gates, now)):
                workers = state.workers.offering(band.name, queue.name)
                if workers:
                    crew = Crew(workers)
                    self._heads.append((*self._standing(lane), len(self._heads), band, crew))
        heapq.heapify(self._heads)

    @property
    def is_over(self) -> bool:
        """Say whether nothing more can be leased."""
        return not self._heads

    def _standing(self, lane: Lane) -> tuple[int, float, int]:
        """Return what decides between the bands of the queue: the least is next."""
        key, task = next(iter(lane.ready.items()))
        rank, turn = lane.rank, 0.0
        if self._ageing_s:
            waited_s = max(0.0, self._expired.at - task.ready_since)
            rank = max(0, rank - int(waited_s / self._ageing_s))
        if self._queue.keyed:
            turn = lane.flow.turn
        return rank, turn, key & SEQUENCE_MASK

    def lease_all(self) -> None:
        """Lease as much as there are slots for."""
        self.lease(sys.maxsize)

    def lease(self, count: int) -> int:
        """Lease up to `count` tasks; return how many these were."""
        state, queue, heads, now = self._state, self._queue, self._heads, self._now
        touched = state.lanes.touched
        leased = 0
        while heads and leased < count:
            head = heads[0]
            band, crew = head[4], head[5]
            lane = band.first()
            worker = None if lane is None else crew.pick()
            if lane is None or worker is None:
                heapq.heappop(heads)
                continue
            if len(heads) > 1:
                standing = self._standing(lane)
                if standing != head[:3]:
                    heapq.heapreplace(heads, (*standing, *head[3:]))
                    continue
            gates = lane.gates
            if gates and not self._is_open(lane):
                if lane.parked is None:
                    heapq.heappop(heads)
                continue
            _, task = lane.ready.popitem(last=False)
            touched[lane.lane_id] = lane
            if task.options is not None and is_expired(task, self._expired.at):
                expire(state, task, now, self._expired)
                continue
            self._lease_task(task, worker)
            leased += 1
            if gates:
                state.gates.draw(gates, now)
            if queue.keyed:
                queue.charge(lane.flow)
        if leased:
            queue.note_leased(leased, now)
        return leased

    def _is_open(self, lane: Lane) -> bool:
        """Say whether a lane's next task may begin; park the lane if its own gate is shut."""
        gates = self._state.gates
        if gates.shut(lane.band.gates, self._now):
            return False
        gate = gates.shut(lane.own_gates, self._now)
        if gate is not None:
            lane.parked = gate
            gate.parked[lane.lane_id] = lane
        return gate is None
