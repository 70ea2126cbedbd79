"""Own the ready queues: which tasks wait, in which order, and which of them memory holds.

A *lane* is one (queue, priority, task name): its tasks are alike, so any subworker that offers the
name can run any of them. A task's key is its lane's id and a sequence number, so that the store
keeps each lane in FIFO order without an index, and the order across lanes is that of the numbers.

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

    from fastqueue.core.limits import CoreLimits
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
        "client",
        "crashes",
        "failures",
        "format",
        "is_suspect",
        "key",
        "lane",
        "options",
        "payload_bytes",
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
        # Somebody has asked for it to be cancelled: it isn't leased again.
        self.cancelling = False
        self.is_suspect = False
        self.status = TaskStatus.QUEUED
        self.token = 0
        self.worker: Worker | None = None
        # Of the lease it has now.
        self.at_most_once = False


class Lane:
    """Hold the window of one lane and count what it has in all."""

    __slots__ = (
        "base",
        "in_memory",
        "lane_id",
        "last_key",
        "live",
        "name",
        "queue",
        "rank",
        "ready",
        "refilling",
    )

    def __init__(self, lane_id: int, queue: str, rank: int, name: str, live: int = 0) -> None:
        self.lane_id = lane_id
        self.queue = queue
        self.rank = rank
        self.name = name
        self.base = lane_id << SEQUENCE_BITS
        self.live = live
        self.in_memory = 0
        self.last_key = self.base
        self.ready: OrderedDict[int, Task] = OrderedDict()
        self.refilling = False

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
    """Hold all lanes, by name and by priority."""

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self.by_id: dict[int, Lane] = {}
        self._by_name: dict[tuple[str, int, str], Lane] = {}
        # Per rank, the lanes that have a ready task in memory, or spilled ones to bring in.
        self.active: tuple[dict[int, Lane], ...] = ({}, {}, {}, {})
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

    def find(self, queue: str, rank: int, name: str) -> Lane | None:
        """Return the lane, or None if there is none yet."""
        return self._by_name.get((queue, rank, name))

    def create(self, queue: str, rank: int, name: str) -> Lane:
        """Return a new lane, under the next id that isn't in use."""
        while self._next_id in self.by_id:
            self._next_id = self._next_id % _LANE_ID_MAX + 1
        lane = Lane(self._next_id, queue, rank, name)
        self._add(lane)
        self._next_id = self._next_id % _LANE_ID_MAX + 1
        return lane

    def drop_idle(self) -> list[int]:
        """Forget all lanes that have no live task; return their ids."""
        idle = [lane for lane in self.by_id.values() if lane.live == 0]
        for lane in idle:
            del self.by_id[lane.lane_id], self._by_name[lane.queue, lane.rank, lane.name]
            self._deactivate(lane)
        return [lane.lane_id for lane in idle]

    def _add(self, lane: Lane) -> None:
        self.by_id[lane.lane_id] = lane
        self._by_name[lane.queue, lane.rank, lane.name] = lane

    def _activate(self, lane: Lane) -> None:
        active = self.active[lane.rank]
        if lane.lane_id not in active:
            active[lane.lane_id] = lane
            self._share_out()

    def _deactivate(self, lane: Lane) -> None:
        if self.active[lane.rank].pop(lane.lane_id, None) is not None:
            self._share_out()

    def _share_out(self) -> None:
        limits = self._limits
        active = sum(map(len, self.active)) or 1
        self.window = max(limits.window_min, min(limits.window_max, limits.window_total // active))

    def admit(self, lane: Lane) -> bool:
        """Count a new task of the lane; say whether its window has room for it.

        Once a task is spilled, all later ones are too until the store is read back: that keeps
        the order.
        """
        has_room = lane.live == lane.in_memory and len(lane.ready) < self.window
        lane.live += 1
        self.live += 1
        self._activate(lane)
        return has_room

    def put_last(self, task: Task) -> None:
        """Put a task that is in memory at the end of its lane's window."""
        task.lane.last_key = task.key
        task.lane.ready[task.key] = task

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Put tasks whose lease ended without an outcome back at the front, in their old order."""
        touched: dict[int, Lane] = {}
        for task in sorted(tasks, key=lambda t: t.key, reverse=True):
            lane = task.lane
            lane.ready[task.key] = task
            lane.ready.move_to_end(task.key, last=False)
            touched[lane.lane_id] = lane
        for lane in touched.values():
            lane.restore_order()
            self._activate(lane)

    def remove(self, task: Task) -> None:
        """Forget a task that is over."""
        lane = task.lane
        lane.ready.pop(task.key, None)
        lane.in_memory -= 1
        lane.live -= 1
        self.live -= 1

    def quieten(self, lane: Lane) -> None:
        """Drop a lane from the active ones if nothing of it waits any more."""
        if not lane.ready and not lane.spilled:
            self._deactivate(lane)
