"""Own how many leases a subworker holds beyond its slots: as much as keeps it busy, no more.

A slot that becomes free has to wait for the next lease as long as a round trip and a commit take.
Short tasks would spend most of their time in that gap, so some are fetched ahead: what the slots
get through in `_HORIZON_S`. Long tasks get through nothing in that time, so nothing waits behind
them here that another subworker could run.
"""

from __future__ import annotations

__all__ = ["Prefetch"]

_HORIZON_S = 0.05
_PREFETCH_MAX = 4_000
# The rate is measured over windows of at least this, and follows a rise at once, a fall by halves.
_WINDOW_S = 0.01
# Telling the control plane about a new capacity costs a frame; small changes aren't worth one.
_CHANGE_MIN = 0.2


class Prefetch:
    """Derive the capacity from the rate at which tasks end.

    Args:
        slots: how many tasks run at one time.
        now: the monotonic time, in seconds.
    """

    def __init__(self, slots: int, now: float) -> None:
        self._slots = slots
        self._prefetch = 0
        self._ended = 0
        self._window_start = now

    @property
    def capacity(self) -> int:
        """Return how many leases to hold at once."""
        return self._slots + self._prefetch

    def note_ended(self, count: int, now: float) -> bool:
        """Count tasks that ended; say whether the capacity is now another."""
        self._ended += count
        elapsed_s = now - self._window_start
        if elapsed_s < _WINDOW_S:
            return False
        wanted = min(_PREFETCH_MAX, int(self._ended / elapsed_s * _HORIZON_S))
        self._ended, self._window_start = 0, now
        if wanted < self._prefetch:
            wanted = (self._prefetch + wanted) // 2
        if abs(wanted - self._prefetch) <= self.capacity * _CHANGE_MIN:
            return False
        self._prefetch = wanted
        return True

    def drop(self) -> bool:
        """Prefetch nothing for now: what was prefetched had to wait; say if that is a change."""
        had_some, self._prefetch = self._prefetch > 0, 0
        return had_some
