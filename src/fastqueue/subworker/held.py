"""Own the leases that a subworker holds: those that wait for a slot, and all it has yet to report.

A lease is held from its arrival until its report is acknowledged. One that waits here for too long
is given back, since another subworker may be idle.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from fastqueue.core.records import HeldLease
from fastqueue.protocol import messages as msg
from fastqueue.subworker.prefetch import Prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fastqueue.core.records import Lease

__all__ = ["HeldLeases"]

# A task that was prefetched and still waits after this is given back: others may be idle.
_WAIT_MAX_S = 0.25


class HeldLeases:
    """Hold leases on one event loop, and say how many more are wanted.

    Args:
        loop: the subworker's.
        slots: how many tasks run at one time.
        send: sends a message to the control plane, if there is a connection.

    Attributes:
        by_id: every lease whose outcome isn't acknowledged, by its task's id.
        quiet: set while there is none.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, slots: int, send: Callable[[object], None]
    ) -> None:
        self._loop = loop
        self._send = send
        self._prefetch = Prefetch(slots, time.monotonic())
        self.by_id: dict[str, Lease] = {}
        # Per priority, those not started: (arrived at, lease).
        self._queued: tuple[deque[tuple[float, Lease]], ...] = (deque(), deque(), deque(), deque())
        self._impatience: asyncio.TimerHandle | None = None
        self.quiet = asyncio.Event()
        self.quiet.set()

    @property
    def capacity(self) -> int:
        """Return how many leases to hold at once."""
        return self._prefetch.capacity

    @property
    def waiting(self) -> int:
        """Return how many leases wait for a slot; those that are void may be among them."""
        return sum(map(len, self._queued))

    def named(self) -> list[HeldLease]:
        """Return what is held as it is told to a control plane."""
        return [HeldLease(i, lease.token, lease.attempt) for i, lease in self.by_id.items()]

    def of_token(self, token: int) -> Lease | None:
        """Return the lease with this fencing token, or None if it isn't held."""
        return next((held for held in self.by_id.values() if held.token == token), None)

    def is_held(self, lease: Lease) -> bool:
        """Say whether this very lease is held, and not a newer one of its task."""
        return self.by_id.get(lease.task_id) is lease

    def take(self, leases: Iterable[Lease]) -> None:
        """Hold new leases."""
        now = self._loop.time()
        for lease in leases:
            self.by_id[lease.task_id] = lease
            self._queued[lease.rank].append((now, lease))
        self.quiet.clear()
        if self._impatience is None:
            self._impatience = self._loop.call_at(now + _WAIT_MAX_S, self._be_impatient)

    def take_ready(self) -> Iterator[Lease]:
        """Yield the leases that wait, the most urgent first; each that is yielded waits no more."""
        by_id = self.by_id
        for queued in self._queued:
            while queued:
                _, lease = queued.popleft()
                # It may have been revoked or given back, and even leased here again since.
                if by_id.get(lease.task_id) is lease:
                    yield lease

    def unqueue(self, lease: Lease) -> bool:
        """Say whether a lease waits here for a slot; if so, it doesn't any more."""
        queued = self._queued[lease.rank]
        for entry in queued:
            if entry[1] is lease:
                queued.remove(entry)
                return True
        return False

    def forget(self, task_id: str) -> None:
        """Hold the lease of a task no longer."""
        self.by_id.pop(task_id, None)
        if not self.by_id:
            self.quiet.set()

    def give_back(self, leases: Iterable[Lease]) -> None:
        """Hold leases no longer whose tasks haven't begun, or are begun anew elsewhere."""
        returned = [HeldLease(lease.task_id, lease.token, lease.attempt) for lease in leases]
        for lease in returned:
            self.forget(lease.task_id)
        # Without a connection they are forgotten all the same: the next hello doesn't name them.
        if returned:
            self._send(msg.GiveBack(returned))

    def give_back_queued(self) -> None:
        """Give back everything that waits."""
        self.give_back(list(self.take_ready()))

    def note_ended(self, count: int) -> bool:
        """Count tasks that ended; say whether the capacity is now another."""
        return self._prefetch.note_ended(count, time.monotonic())

    def stop(self) -> None:
        """Look no more after what waits."""
        if self._impatience is not None:
            self._impatience.cancel()

    def _be_impatient(self) -> None:
        """Give back what has waited too long here; prefetch nothing until tasks are short again."""
        self._impatience = None
        if not any(self._queued):
            return
        due = min(queued[0][0] for queued in self._queued if queued) + _WAIT_MAX_S
        if self._loop.time() >= due:
            if self._prefetch.drop():
                self._send(msg.Capacity(self.capacity))
            self.give_back_queued()
        else:
            self._impatience = self._loop.call_at(due, self._be_impatient)
