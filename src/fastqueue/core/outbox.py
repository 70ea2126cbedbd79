"""Own what is owed to callback listeners: per address, how much, and when to try next.

The callbacks themselves are in the store, numbered in the order they were owed. One delivery an
address is under way at a time; after a failure the wait doubles, with jitter, up to a bound.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.limits import CoreLimits

__all__ = ["Outbox"]


class _Address:
    __slots__ = ("due", "failures", "owed", "sending")

    def __init__(self, due: float) -> None:
        self.owed = 0
        self.failures = 0
        self.due = due
        self.sending = False


class Outbox:
    """Hold the addresses to which callbacks are owed."""

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self._addresses: dict[str, _Address] = {}
        # (due, address); an entry that no longer tells the truth is dropped when it comes up.
        self._schedule: list[tuple[float, str]] = []
        self._sending = 0
        self.owed = 0
        self.next_number = 1

    def restore(self, owed: Iterable[tuple[str, int]], next_number: int, now: float) -> None:
        """Take over what a store has: rows of (address, callbacks owed)."""
        for address, count in owed:
            self._entry(address, now).owed += count
            self.owed += count
        self.next_number = next_number

    def has_room(self, address: str) -> bool:
        """Say whether a task may be accepted that will owe a callback to this address."""
        limits = self._limits
        if self.owed >= limits.callbacks_max:
            return False
        return address in self._addresses or len(self._addresses) < limits.callback_addresses_max

    def add(self, address: str, now: float) -> int:
        """Owe one more callback to an address; return its number."""
        self._entry(address, now).owed += 1
        self.owed += 1
        number = self.next_number
        self.next_number += 1
        return number

    def _entry(self, address: str, now: float) -> _Address:
        entry = self._addresses.get(address)
        if entry is None:
            entry = self._addresses[address] = _Address(now)
            heapq.heappush(self._schedule, (now, address))
        return entry

    def settle(
        self, address: str, done: int, *, reachable: bool, jitter: float, now: float
    ) -> None:
        """Account for a delivery that ended: `done` callbacks are delivered or given up.

        `jitter` in [0, 1) spreads the waits between half and all of the backoff.
        """
        entry = self._addresses[address]
        entry.sending = False
        self._sending -= 1
        entry.owed -= done
        self.owed -= done
        if entry.owed == 0:
            del self._addresses[address]
            return
        if reachable:
            entry.failures = 0
            entry.due = now
        else:
            limits = self._limits
            backoff_s = min(
                limits.callback_backoff_max_s,
                limits.callback_backoff_s * 2 ** min(entry.failures, 30),
            )
            entry.failures += 1
            entry.due = now + backoff_s * (0.5 + jitter / 2)
        heapq.heappush(self._schedule, (entry.due, address))

    def take_due(self, now: float) -> list[str]:
        """Return the addresses whose delivery is to begin now."""
        due = []
        while (next_due := self.next_due()) is not None and next_due <= now:
            _, address = heapq.heappop(self._schedule)
            self._addresses[address].sending = True
            self._sending += 1
            due.append(address)
        return due

    def next_due(self) -> float | None:
        """Return when the next delivery is to begin, or None if one has to end first."""
        schedule = self._schedule
        while schedule and self._sending < self._limits.callback_deliveries_max:
            due, address = schedule[0]
            entry = self._addresses.get(address)
            if entry is not None and not entry.sending and entry.due == due:
                return due
            heapq.heappop(schedule)
        return None
