"""Own which results are kept: least recently accessed out first, and none beyond its time.

Only ids, sizes and times are here; the results themselves are in the store. Reading a result
renews its place in the order, never its time to live, which counts from completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.recency import Recency

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.limits import CoreLimits

__all__ = ["Retention"]


class Retention:
    """Hold the ids of recorded results in access order and in completion order."""

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self._sizes: Recency[int] = Recency()  # in access order
        self._expiries: Recency[float] = Recency()  # in completion order
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
        for expiry, task_id in expiries:
            self._expiries[task_id] = expiry
        self.accesses = accesses

    def add(self, task_id: str, size: int, now: float) -> None:
        """Keep a new result."""
        self._sizes[task_id] = size
        self._expiries[task_id] = now + self._limits.retained_ttl_s
        self._bytes += size
        self.accesses += 1

    def access(self, task_id: str) -> int:
        """Move a result that was read to the end of the order; return its new place."""
        self._sizes.touch(task_id)
        self.accesses += 1
        return self.accesses

    def evict(self, now: float) -> list[str]:
        """Drop what is over a bound or over its time; return the ids."""
        limits, sizes = self._limits, self._sizes
        dropped: list[str] = []
        while (len(sizes) > limits.retained_max or self._bytes > limits.retained_bytes_max) and (
            entry := sizes.oldest()
        ):
            dropped.append(self._drop(entry[0]))
        while (expiry := self._expiries.oldest()) and expiry[1] <= now:
            dropped.append(self._drop(expiry[0]))
        return dropped

    def _drop(self, task_id: str) -> str:
        self._bytes -= self._sizes.pop(task_id) or 0
        self._expiries.pop(task_id)
        return task_id

    def next_expiry(self) -> float | None:
        """Return when the next result's time is over, or None."""
        oldest = self._expiries.oldest()
        return None if oldest is None else oldest[1]
