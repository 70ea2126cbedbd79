"""Own which results are kept: least recently accessed out first, and none beyond its time.

Only ids, sizes and times are here; the results themselves are in the store. Reading a result
renews its place in the order, never its time to live, which counts from completion.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.limits import CoreLimits

__all__ = ["Retention"]


class Retention:
    """Hold the ids of recorded results in access order and in completion order."""

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self._sizes: OrderedDict[str, int] = OrderedDict()  # in access order
        self._expiries: OrderedDict[str, float] = OrderedDict()  # in completion order
        self._bytes = 0
        self.accesses = 0

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size_bytes(self) -> int:
        """Return the size of all results kept."""
        return self._bytes

    def restore(self, rows: Iterable[tuple[str, int, float]], accesses: int, now: float) -> None:
        """Take over what a store has: rows of (id, size, age in seconds), in access order."""
        ttl_s = self._limits.retained_ttl_s
        expiries = []
        for task_id, size, age_s in rows:
            self._sizes[task_id] = size
            self._bytes += size
            expiries.append((now + ttl_s - age_s, task_id))
        expiries.sort()
        self._expiries.update((task_id, expiry) for expiry, task_id in expiries)
        self.accesses = accesses

    def add(self, task_id: str, size: int, now: float) -> None:
        """Keep a new result."""
        self._sizes[task_id] = size
        self._expiries[task_id] = now + self._limits.retained_ttl_s
        self._bytes += size
        self.accesses += 1

    def access(self, task_id: str) -> int:
        """Move a result that was read to the end of the order; return its new place."""
        self._sizes.move_to_end(task_id)
        self.accesses += 1
        return self.accesses

    def evict(self, now: float) -> list[str]:
        """Drop what is over a bound or over its time; return the ids."""
        limits, sizes, expiries = self._limits, self._sizes, self._expiries
        dropped: list[str] = []
        while sizes and (
            len(sizes) > limits.retained_max or self._bytes > limits.retained_bytes_max
        ):
            task_id, size = sizes.popitem(last=False)
            del expiries[task_id]
            self._bytes -= size
            dropped.append(task_id)
        while expiries:
            task_id = next(iter(expiries))
            if expiries[task_id] > now:
                break
            del expiries[task_id]
            self._bytes -= sizes.pop(task_id)
            dropped.append(task_id)
        return dropped

    def next_expiry(self) -> float | None:
        """Return when the next result's time is over, or None."""
        return next(iter(self._expiries.values()), None)
