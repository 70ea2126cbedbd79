"""Own what one attempt has to tell and hasn't told yet: the latest progress, the lines since.

Used where a task runs in the subworker and where it runs in a process of its own. Any thread may
write and any other take; whoever takes sets the pace.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fastqueue.core.records import News, ProgressRecord
from fastqueue.tasks.events import LINES_BYTES_MAX, LINES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.records import Lease

__all__ = ["NEWS_INTERVAL_S", "Notes"]

NEWS_INTERVAL_S = 0.1
"""How often what tasks tell is sent on, in seconds."""


class Notes:
    """Hold what is to be told of one attempt, within the bounds of `tasks.events`.

    Args:
        lease: the attempt's.
    """

    def __init__(self, lease: Lease) -> None:
        self._task_id = lease.task_id
        self._token = lease.token
        self._lock = threading.Lock()
        self._progress: ProgressRecord | None = None
        self._last_progress: ProgressRecord | None = None
        self._lines: list[str] = []
        self._count = 0
        self._bytes = 0
        self._dropped = 0
        self._dropped_elsewhere = 0
        self._is_drop_told = True

    def progress(self, progress: ProgressRecord) -> None:
        """Note how far the attempt has come; one that isn't taken yet is replaced."""
        with self._lock:
            self._progress = progress

    def log(self, lines: Iterable[str], dropped: int = 0) -> None:
        """Note lines, as far as there may be any; `dropped` is how many weren't noted elsewhere."""
        with self._lock:
            if dropped > self._dropped_elsewhere:
                self._dropped += dropped - self._dropped_elsewhere
                self._dropped_elsewhere = dropped
                self._is_drop_told = False
            for line in lines:
                # In UTF-8, with what can't be in it as escapes.
                encoded = line.encode("utf-8", "backslashreplace")
                size = len(encoded) + 1
                if self._count >= LINES_MAX or self._bytes + size > LINES_BYTES_MAX:
                    self._dropped += 1
                    self._is_drop_told = False
                    continue
                self._count += 1
                self._bytes += size
                self._lines.append(encoded.decode())

    def again(self) -> None:
        """Have the last progress told again, to one who may not have heard it."""
        with self._lock:
            self._progress = self._progress or self._last_progress

    def take(self) -> News | None:
        """Return what is to be told, once; None if there is nothing."""
        with self._lock:
            if self._progress is None and not self._lines and self._is_drop_told:
                return None
            lines, self._lines = self._lines, []
            progress, self._progress = self._progress, None
            self._last_progress = progress or self._last_progress
            self._is_drop_told = True
            first = self._count - len(lines)
            return News(self._task_id, self._token, progress, first, lines, self._dropped)
