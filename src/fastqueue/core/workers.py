"""Own the subworkers as the core sees them: sessions, capacity, offered names, load."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastqueue.core.lanes import Task
    from fastqueue.core.offers import Offers
    from fastqueue.core.records import Offer

__all__ = ["Blocked", "Crew", "Death", "Worker", "Workers"]


class Blocked(NamedTuple):
    """Hold what is known of a blocked event loop: since when, by which task, and where in it.

    The task is unknown (empty) if what blocks isn't a task's own code.
    """

    since: float
    task_name: str
    task_id: str
    stack: str


class Death(NamedTuple):
    """Say how a subworker's process ended, and which tasks had begun in it.

    Attributes:
        cause: how it ended, to be read after "the subworker".
        running: the tokens of the leases it had begun, or None if nobody knows.
    """

    cause: str
    running: frozenset[int] | None = None


_UNSEEN = Death("lost its connection and didn't come back")


class Worker:
    """Hold one subworker process: its session, if connected, and the tasks leased to it.

    It outlives a session: until its grace time is over it can reconnect under the same instance
    and keep what it runs.
    """

    __slots__ = (
        "_lease_bytes_max",
        "at_most_once",
        "blocked",
        "capacity",
        "deadline",
        "death",
        "heard_at",
        "heartbeat_session",
        "instance",
        "is_reserved",
        "leased_bytes",
        "names",
        "offers",
        "queues",
        "session",
        "suspects",
        "tasks",
        "worker_id",
    )

    def __init__(self, instance: str, worker_id: str, lease_bytes_max: int) -> None:
        self.instance = instance
        self.worker_id = worker_id
        self.session = 0
        self.names: frozenset[str] = frozenset()
        # The queues that it serves; none named is all.
        self.queues: frozenset[str] = frozenset()
        self.offers: Sequence[Offer] = ()
        self.at_most_once: frozenset[str] = frozenset()
        self.capacity = 0
        self.tasks: dict[str, Task] = {}
        self.leased_bytes = 0
        # How many of its tasks are suspects, and whether it is being kept free for one.
        self.suspects = 0
        self.is_reserved = False
        self._lease_bytes_max = lease_bytes_max
        self.deadline = 0.0
        # When its process last sent anything; the rest is what its heartbeats told.
        self.heard_at = -math.inf
        self.heartbeat_session = 0
        self.blocked: Blocked | None = None
        # What its supervisor said of its end, if it did.
        self.death: Death | None = None

    @property
    def free(self) -> int:
        """Return how many more leases it can hold now."""
        if not self.session or self.suspects or self.is_reserved:
            return 0
        if self.leased_bytes >= self._lease_bytes_max:
            return 0
        return self.capacity - len(self.tasks)

    @property
    def end(self) -> Death:
        """Return what is known of its end, once it is given up."""
        return self.death or _UNSEEN

    def serves(self, queue: str) -> bool:
        """Say whether it takes tasks of a queue."""
        return not self.queues or queue in self.queues

    def add(self, task: Task) -> None:
        """Hold a lease of the task."""
        self.tasks[task.task_id] = task
        self.leased_bytes += task.payload_bytes + task.checkpoint_bytes
        self.suspects += task.is_suspect

    def remove(self, task: Task) -> None:
        """Hold a lease of the task no longer."""
        del self.tasks[task.task_id]
        self.leased_bytes -= task.payload_bytes + task.checkpoint_bytes
        self.suspects -= task.is_suspect

    @property
    def load(self) -> float:
        """Return the share of its capacity in use; 1 or more is full."""
        return len(self.tasks) / self.capacity if self.capacity > 0 else 1.0


class Crew:
    """Hand out the least loaded of some subworkers, again and again, while any is free."""

    __slots__ = ("_heap",)

    def __init__(self, workers: list[Worker]) -> None:
        self._heap = [(w.load, n, w) for n, w in enumerate(workers)]
        heapq.heapify(self._heap)

    def pick(self) -> Worker | None:
        """Return the least loaded subworker that is free, or None.

        A load that has changed since it was put in the heap is put right when it comes up.
        """
        heap = self._heap
        while heap:
            load, n, worker = heap[0]
            if worker.free <= 0:
                heapq.heappop(heap)
            elif worker.load != load:
                heapq.heapreplace(heap, (worker.load, n, worker))
            else:
                return worker
        return None


class Workers:
    """Hold all subworkers, by instance, by session and by the names they offer."""

    def __init__(self, lease_bytes_max: int, offers: Offers) -> None:
        self._lease_bytes_max = lease_bytes_max
        self.offers = offers
        self.by_instance: dict[str, Worker] = {}
        self.by_session: dict[int, Worker] = {}
        self._offers: dict[str, dict[str, Worker]] = {}
        # Before this time nobody connected has been silent for too long.
        self.silence_due = math.inf

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.by_instance.values())

    @property
    def connected(self) -> int:
        """Return how many subworkers have a session."""
        return len(self.by_session)

    def get_or_add(self, instance: str, worker_id: str) -> Worker:
        """Return the subworker of this instance, new if it isn't known."""
        worker = self.by_instance.get(instance)
        if worker is None:
            worker = self.by_instance[instance] = Worker(instance, worker_id, self._lease_bytes_max)
        return worker

    def connect(
        self,
        worker: Worker,
        session: int,
        names: frozenset[str],
        capacity: int,
        offers: Iterable[Offer] = (),
    ) -> None:
        """Begin a session of the subworker; `offers` tell more of some of the names."""
        worker.session = session
        worker.names = names
        worker.offers = self.offers.add(names, offers)
        worker.capacity = capacity
        self.by_session[session] = worker
        for name in names:
            self._offers.setdefault(name, {})[worker.instance] = worker

    def disconnect(self, worker: Worker) -> None:
        """End its session; what it holds stays its own until `forget`."""
        self.by_session.pop(worker.session, None)
        worker.session = 0
        self.offers.remove(worker.offers)
        worker.offers = ()
        for name in worker.names:
            offering = self._offers[name]
            offering.pop(worker.instance, None)
            if not offering:
                del self._offers[name]

    def expired(self, now: float) -> list[Worker]:
        """Return the subworkers that are gone and whose grace time is over."""
        return [worker for worker in self._gone() if worker.deadline <= now]

    def _gone(self) -> Iterator[Worker]:
        return (w for w in self.by_instance.values() if not w.session or w.death is not None)

    def next_deadline(self) -> float | None:
        """Return when the next grace time is over, or None."""
        return min((worker.deadline for worker in self._gone()), default=None)

    def forget(self, worker: Worker) -> None:
        """Drop a subworker that is gone for good and holds nothing."""
        self.by_instance.pop(worker.instance, None)

    def offering(self, name: str, queue: str) -> list[Worker]:
        """Return the connected subworkers that offer a name, serve a queue and have a free slot."""
        return [w for w in self._offers.get(name, {}).values() if w.free > 0 and w.serves(queue)]

    def able(self, name: str, queue: str) -> list[Worker]:
        """Return the connected subworkers that could run a task, were they free."""
        offering = self._offers.get(name, {}).values()
        return [w for w in offering if w.capacity > 0 and w.serves(queue)]

    def is_offered(self, name: str) -> bool:
        """Say whether a connected subworker offers a name."""
        return name in self._offers

    def names(self) -> list[str]:
        """Return the names that connected subworkers offer, sorted."""
        return sorted(self._offers)
