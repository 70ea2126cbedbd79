"""Own the reports: what came of tasks is told until the control plane has acknowledged it.

They outlive a connection: the next one is told again what wasn't acknowledged.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.records import Outcome
    from fastqueue.link.connection import Connection

__all__ = ["Reports"]

_REPORT_OUTCOMES_MAX = 1_000
_REPORT_BYTES_GOAL = 1024**2


class Reports:
    """Hold outcomes from when they are known until they are acknowledged."""

    def __init__(self) -> None:
        # Those that are in no report yet.
        self.new: list[Outcome] = []
        self._unacknowledged: dict[int, list[Outcome]] = {}
        # Sequence numbers of reports that this connection hasn't carried yet.
        self._unsent: deque[int] = deque()
        self._last_sequence = 0

    @property
    def unacknowledged(self) -> int:
        """Return how many reports aren't acknowledged."""
        return len(self._unacknowledged)

    def make(self) -> int:
        """Make reports of the outcomes that are in none yet; return how many outcomes those are."""
        outcomes, self.new = self.new, []
        for chunk in _chunks(outcomes):
            self._last_sequence += 1
            self._unacknowledged[self._last_sequence] = chunk
            self._unsent.append(self._last_sequence)
        return len(outcomes)

    def send_again(self) -> None:
        """Have everything sent that isn't acknowledged: there is a new connection."""
        self._unsent = deque(self._unacknowledged)

    def send(self, connection: Connection | None) -> None:
        """Send what isn't sent yet, as fast as the control plane takes it."""
        while connection is not None and self._unsent and connection.is_writable:
            sequence = self._unsent.popleft()
            if sequence in self._unacknowledged:
                connection.send(encode(msg.Report(sequence, self._unacknowledged[sequence])))

    def acknowledge(self, sequence: int) -> Iterable[Outcome]:
        """Forget a report; return what was in it."""
        return self._unacknowledged.pop(sequence, ())


def _chunks(outcomes: list[Outcome]) -> Iterable[list[Outcome]]:
    chunk: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        chunk.append(outcome)
        size += len(outcome.result or b"") + len(outcome.json_result or b"")
        # In UTF-8 a character takes up to four bytes.
        size += 4 * (len(outcome.error or "") + len(outcome.traceback or ""))
        if size > _REPORT_BYTES_GOAL or len(chunk) >= _REPORT_OUTCOMES_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
