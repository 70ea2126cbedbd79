"""Own the watermark of free space: below it nothing new is accepted, so that the rest can go on.

The engine asks once a turn; the store is looked at a few times a second, or sooner when much is
being submitted. What the core is told here refuses submissions; reports, leases and callbacks go on
in the room that is left. If the storage itself was taken away, the look says so, and the control
plane ends: nothing that it acknowledged then would survive it. See docs/adr/0013-disk-space.md.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastqueue.core.commands import DiskSpace

if TYPE_CHECKING:
    from fastqueue.store.base import Store

__all__ = ["DiskWatch"]

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
# Submitted since the last look: a fast disk takes a great deal in a quarter of a second.
_LOOK_EVERY_BYTES = 4 * 1024**2
# Submissions are accepted again past this much of the watermark, so that they don't come and go.
_ENOUGH_PERCENT = 125
# Space inside the store's file counts as long as this much of the watermark is free outside: what
# is written goes through a log, which needs room of its own.
_OUTSIDE_PERCENT = 25


class DiskWatch:
    """Tell when the store's room falls below the watermark, and when there is enough again.

    Args:
        store: what has the room.
        free_min: the watermark, in bytes; 0 for none.
    """

    def __init__(self, store: Store, free_min: int) -> None:
        self._store = store
        self._free_min = free_min
        self._is_short = False
        self._due = float("-inf")
        self._submitted_bytes = 0

    def note_submitted(self, size_bytes: int) -> None:
        """Count what is being submitted."""
        self._submitted_bytes += size_bytes

    def look(self, now: float, *, at_once: bool = False) -> DiskSpace | None:
        """Return what the core is to know, or None if it is too early to look again.

        Raises:
            StoreError: the storage was taken away.
        """
        if now < self._due and self._submitted_bytes < _LOOK_EVERY_BYTES and not at_once:
            return None
        self._due = now + _LOOK_EVERY_S
        self._submitted_bytes = 0
        room = self._store.room()
        usable = room.free_bytes
        if usable * 100 >= self._free_min * _OUTSIDE_PERCENT:
            usable += room.reusable_bytes
        was_short = self._is_short
        enough = self._free_min * _ENOUGH_PERCENT // 100 if was_short else self._free_min
        self._is_short = usable < enough
        if self._is_short and not was_short:
            logger.error(
                "only %s bytes are free at %s, which is under the watermark of %s: new tasks are "
                "refused, running ones go on; make room there, or set --disk-free-min",
                f"{usable:,}",
                room.where,
                f"{self._free_min:,}",
            )
        elif was_short and not self._is_short:
            logger.warning(
                "%s bytes are free at %s again: new tasks are accepted", f"{usable:,}", room.where
            )
        return DiskSpace(self._is_short, usable, enough, room.where)

    def next_due(self) -> float | None:
        """Return when to look although nothing happens.

        While new tasks are refused, and once after some were accepted: an acknowledgement by a
        storage that was taken away is noticed, even if it was the last.
        """
        return self._due if self._is_short or self._submitted_bytes else None
