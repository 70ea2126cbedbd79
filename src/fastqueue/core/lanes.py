"""Own the ready queues: which tasks wait, in which order, and which of them memory holds.

A *lane* is one (queue, priority, task name, fair key): its tasks are alike, so any subworker that
offers the name and serves the queue can run any of them. A task's key is its lane's id and a
sequence number, so that the store keeps each lane in FIFO order without an index, and the order
across lanes is that of the numbers. Which lane is next is `queues`'s to say.

Memory holds a window of each lane: its first ready tasks. The others are *spilled*: only in the
store, counted here, and read back by `Refill` as the window drains.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

from fastqueue.tasks.models import TaskPriority, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastqueue.core.gates import Gate
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.queues import Band, Flow, Queues
    from fastqueue.core.records import Callback, TaskOptions
    from fastqueue.core.workers import Worker

__all__ = ["DELAYED_LANE", "SEQUENCE_BITS", "SEQUENCE_MASK", "Lane", "Lanes", "Task"]

# 2^44 tasks over a store's life, and 2^19 lanes at once, in SQLite's 63-bit key.
SEQUENCE_BITS = 44
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
# The lane of keys under which tasks wait for a time; memory holds none of them.
DELAYED_LANE = 0
_LANE_ID_MAX = (1 << 19) - 1


class Task:
    """Hold one live task that is in memory: ready in its lane's window, or running."""

    __slots__ = (
        "at_most_once",
        "attempt",
        "callback",
        "cancelling",
        "checkpoint_bytes",
        "client",
        "crashes",
        "failures",
        "format",
        "is_suspect",
        "key",
        "lane",
        "options",
        "payload_bytes",
        "ready_since",
        "status",
        "task_id",
        "token",
        "worker",
    )

    def __init__(
        self,
        task_id: str,
        key: int,
        lane: Lane,
        client: str,
        format: int,  # noqa: A002 - the word of the vocabulary
        callback: Callback | None,
        payload_bytes: int,
        attempt: int = 0,
        crashes: int = 0,
        failures: int = 0,
        options: TaskOptions | None = None,
        ready_since: float = 0.0,
    ) -> None:
        self.task_id = task_id
        self.key = key
        self.lane = lane
        self.client = client
        self.format = format
        self.callback = callback
        self.payload_bytes = payload_bytes
        self.attempt = attempt
        self.crashes = crashes
        self.failures = failures
        self.options = options
        # By the wall clock; a queue may let it count for the order.
        self.ready_since = ready_since
        # Somebody has asked for it to be cancelled: it isn't leased again.
        self.cancelling = False
        # The size of what an attempt has saved for the next one; 0 is nothing.
        self.checkpoint_bytes = 0
        self.is_suspect = False
        self.status = TaskStatus.QUEUED
        self.token = 0
        self.worker: Worker | None = None
        # Of the lease it has now.
        self.at_most_once = False


class Lane:
    """Hold the window of one lane and count what it has in all.

    Attributes:
        band: the lanes beside it, which differ by their fair key alone.
        flow: the share of its fair key.
        own_gates: what limits its fair key alone.
        gates: all that limits it; these count its leases.
        listed: under what it waits for its turn; None if it doesn't, or has no fair key.
        parked: the gate of its own that is shut, if it waits for that.
    """

    __slots__ = (
        "band",
        "base",
        "fair_key",
        "flow",
        "gates",
        "in_memory",
        "lane_id",
        "last_key",
        "listed",
        "live",
        "name",
        "own_gates",
        "parked",
        "queue",
        "rank",
        "ready",
        "refilling",
    )

    band: Band
    flow: Flow

    def __init__(
        self, lane_id: int, queue: str, rank: int, name: str, live: int = 0, fair_key: str = ""
    ) -> None:
        self.lane_id = lane_id
        self.queue = queue
        self.rank = rank
        self.name = name
        self.fair_key = fair_key
        self.base = lane_id << SEQUENCE_BITS
        self.live = live
        self.in_memory = 0
        self.last_key = self.base
        self.ready: OrderedDict[int, Task] = OrderedDict()
        self.refilling = False
        self.own_gates: tuple[Gate, ...] = ()
        self.gates: tuple[Gate, ...] = ()
        self.listed: tuple[float, int] | None = None
        self.parked: Gate | None = None

    @property
    def standing(self) -> tuple[float, int]:
        """Return its flow's turn and its first ready task's number; there must be one."""
        return self.flow.turn, next(iter(self.ready)) & SEQUENCE_MASK

    @property
    def spilled(self) -> int:
        """Return how many of its live tasks are only in the store."""
        return self.live - self.in_memory

    def restore_order(self) -> None:
        """Sort the window again, if what was put into it has broken the order."""
        keys = list(self.ready)
        if any(a > b for a, b in pairwise(keys)):
            self.ready = OrderedDict((key, self.ready[key]) for key in sorted(keys))

    @property
    def priority(self) -> TaskPriority:
        """Return the priority of its tasks."""
        return TaskPriority.of_rank(self.rank)


class Lanes:
    """Hold all lanes, by id and by what they are for."""

    def __init__(self, limits: CoreLimits, queues: Queues) -> None:
        self._limits = limits
        self._queues = queues
        self.by_id: dict[int, Lane] = {}
        self._by_place: dict[tuple[str, int, str, str], Lane] = {}
        # The lanes that have a ready task in memory, or spilled ones to bring in.
        self.active: dict[int, Lane] = {}
        # Those that may have to be read back, or sleep: something of them was taken.
        self.touched: dict[int, Lane] = {}
        # Those without a live task, which are kept for the next one of their kind.
        self.idle: dict[int, Lane] = {}
        self.live = 0
        # How many ready tasks each lane may hold in memory now.
        self.window = limits.window_max
        self._next_id = 1

    def __iter__(self) -> Iterator[Lane]:
        return iter(self.by_id.values())

    def restore(self, lanes: Iterable[Lane]) -> None:
        """Take over the lanes that a store has, all of their tasks spilled."""
        for lane in lanes:
            self._add(lane)
            self.live += lane.live
            if lane.live:
                self._activate(lane)

    def find(self, queue: str, rank: int, name: str, fair_key: str = "") -> Lane | None:
        """Return the lane, or None if there is none yet."""
        return self._by_place.get((queue, rank, name, fair_key))

    def create(self, queue: str, rank: int, name: str, fair_key: str) -> Lane:
        """Return a new lane, under the next id that isn't in use."""
        while self._next_id in self.by_id:
            self._next_id = self._next_id % _LANE_ID_MAX + 1
        lane = Lane(self._next_id, queue, rank, name, fair_key=fair_key)
        self._add(lane)
        self._next_id = self._next_id % _LANE_ID_MAX + 1
        return lane

    def drop_idle(self) -> list[int]:
        """Forget all lanes that have no live task; return their ids."""
        idle, self.idle = list(self.idle.values()), {}
        for lane in idle:
            del self.by_id[lane.lane_id]
            del self._by_place[lane.queue, lane.rank, lane.name, lane.fair_key]
            self.touched.pop(lane.lane_id, None)
            self._deactivate(lane)
            self._queues.remove(lane)
        return [lane.lane_id for lane in idle]

    def _add(self, lane: Lane) -> None:
        self.by_id[lane.lane_id] = lane
        self._by_place[lane.queue, lane.rank, lane.name, lane.fair_key] = lane
        if not lane.live:
            self.idle[lane.lane_id] = lane
        self._queues.add(lane, lane.queue, lane.rank, lane.name, lane.fair_key)

    def _activate(self, lane: Lane) -> None:
        if lane.lane_id not in self.active:
            self.active[lane.lane_id] = lane
            self.touched[lane.lane_id] = lane
            self._share_out()

    def _deactivate(self, lane: Lane) -> None:
        if self.active.pop(lane.lane_id, None) is not None:
            self._share_out()

    def _share_out(self) -> None:
        limits = self._limits
        share = limits.window_total // (len(self.active) or 1)
        self.window = max(limits.window_min, min(limits.window_max, share))

    def admit(self, lane: Lane) -> bool:
        """Count a new task of the lane; say whether its window has room for it.

        Once a task is spilled, all later ones are too until the store is read back: that keeps
        the order.
        """
        has_room = lane.live == lane.in_memory and len(lane.ready) < self.window
        if not lane.live:
            del self.idle[lane.lane_id]
        lane.live += 1
        self.live += 1
        self._activate(lane)
        return has_room

    def put_last(self, task: Task) -> None:
        """Put a task that is in memory at the end of its lane's window."""
        lane = task.lane
        lane.last_key = task.key
        lane.ready[task.key] = task
        if len(lane.ready) == 1:
            self._queues.wake(lane)

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Put tasks whose lease ended without an outcome back at the front, in their old order."""
        changed: dict[int, Lane] = {}
        for task in sorted(tasks, key=lambda t: t.key, reverse=True):
            lane = task.lane
            lane.ready[task.key] = task
            lane.ready.move_to_end(task.key, last=False)
            changed[lane.lane_id] = lane
        for lane in changed.values():
            lane.restore_order()
            self._activate(lane)
            self._queues.wake(lane)

    def remove(self, task: Task) -> None:
        """Forget a task that is over."""
        lane = task.lane
        self.take_out(task)
        lane.in_memory -= 1
        lane.live -= 1
        self.live -= 1
        if not lane.live:
            self.idle[lane.lane_id] = lane

    def take_out(self, task: Task) -> None:
        """Take a task out of its lane's window, if it is there."""
        if task.lane.ready.pop(task.key, None) is not None:
            self.touched[task.lane.lane_id] = task.lane

    def put_in_order(self, lane: Lane) -> None:
        """Sort a window that was read back: of what it has already, some may come later."""
        lane.restore_order()
        self.touched[lane.lane_id] = lane
        if lane.ready:
            self._queues.wake(lane)

    def quieten(self, lane: Lane) -> None:
        """Drop a lane from the active ones if nothing of it waits any more."""
        if not lane.ready and not lane.spilled:
            self._deactivate(lane)

    def unpark(self, gate: Gate) -> None:
        """Have the lanes that waited for a gate wait for their turn again."""
        parked, gate.parked = gate.parked, {}
        for lane in parked.values():
            lane.parked = None
            if lane.ready:
                self._queues.wake(lane)
