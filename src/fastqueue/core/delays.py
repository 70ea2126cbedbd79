"""Own when tasks that wait for a time are due: the next time of each priority, and no task.

The tasks themselves are in the store alone, so that a million of them cost no memory. Times here
are the wall clock's: an `eta` is a time of day, and has to come true after a restart too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.core.commands import StoredTask

__all__ = ["LOOK_AGAIN_S", "NEVER", "Delays"]

NEVER: tuple[float, ...] = (math.inf,) * 4
# How long a jump of the wall clock may go unnoticed while something is delayed.
LOOK_AGAIN_S = 1.0


class Delays:
    """Hold how many tasks are delayed, and when the next ones are due.

    Args:
        count: how many there are.
        next_due: by rank, when the next one is due.
        next_expiry: when the next task isn't to be started any more, delayed or not.
    """

    def __init__(self, count: int, next_due: Sequence[float], next_expiry: float) -> None:
        self.count = count
        self.next_due = list(next_due)
        self.next_expiry = next_expiry
        # Whether the store is being asked for what is due, or over, or to go with its queue.
        self.is_loading_due = False
        self.is_loading_expired = False
        self.is_loading_purged = False
        # By the monotonic clock: until then nothing that is due is looked for.
        self.held_off_until = -math.inf

    @property
    def is_loading(self) -> bool:
        """Say whether tasks that wait for a time are being read."""
        return self.is_loading_due or self.is_loading_expired or self.is_loading_purged

    def add(self, rank: int, due_at: float) -> None:
        """Note one more."""
        self.count += 1
        self.next_due[rank] = min(self.next_due[rank], due_at)

    def note_expiry(self, expires_at: float) -> None:
        """Note when a task isn't to be started any more."""
        self.next_expiry = min(self.next_expiry, expires_at)

    def hold_off(self, stored: StoredTask, now: float) -> None:
        """Leave a task that is due where it is for a moment: no lane is free for it."""
        assert stored.belongs is not None
        self.next_due[stored.belongs[1]] = -math.inf
        self.held_off_until = now + LOOK_AGAIN_S

    def wait_s(self, at: float, now: float) -> float | None:
        """Return in how many seconds from the time `at` there is something to do, or None.

        No longer than `LOOK_AGAIN_S`, since the clock may be set.
        """
        waits_s: list[float] = []
        due = min(self.next_due)
        if due < math.inf and not self.is_loading_due:
            waits_s.append(max(due - at, self.held_off_until - now))
        if self.next_expiry < math.inf and not self.is_loading_expired:
            waits_s.append(self.next_expiry - at)
        return max(0.0, min(*waits_s, LOOK_AGAIN_S)) if waits_s else None
