"""Own the log lines about dropped connections: a flood of them must not become a flood of lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

__all__ = ["DropLog"]

_LINES_MAX = 20
_PERIOD_S = 10.0


class DropLog:
    """Log the first drops of each period one by one, and count the others.

    Args:
        logger: where the lines go.
        clock: the monotonic clock, in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._period_ends = float("-inf")
        self._count = 0

    def note(self, who: str, reason: Exception) -> None:
        """Log that somebody was dropped, unless many were just now."""
        now = self._clock()
        if now >= self._period_ends:
            self.flush()
            self._period_ends = now + _PERIOD_S
        self._count += 1
        if self._count <= _LINES_MAX:
            self._logger.warning("dropped %s: %s", who, reason)
        elif self._count == _LINES_MAX + 1:
            self._logger.warning("more are being dropped; they are counted for %g s", _PERIOD_S)

    def flush(self) -> None:
        """Log how many were dropped without a line."""
        if self._count > _LINES_MAX:
            self._logger.warning("%s more were dropped", f"{self._count - _LINES_MAX:,}")
        self._count = 0
