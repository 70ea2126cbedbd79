"""Own which changes wait for a later commit: leases too young to be written, and the lazy ones.

Most tasks are over before their lease would be written. So a lease is written only once it has
lasted; if the outcome comes first, only the result is. Losing an unwritten lease in a crash means
that the task may run a second time, which "at least once" allows. A lease of a task that is to run
at most once never waits: it is written in the turn that sends it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from fastqueue.core.changes import (
    LAZY,
    Change,
    LeasesAdded,
    LeasesEnded,
    LeasesLost,
    TasksFinished,
    TasksRetried,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LeaseBook"]


class LeaseBook:
    """Hold changes back until they are due, and drop leases that end before.

    Args:
        delay_s: how long a lazy change may wait, in seconds.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._leases: OrderedDict[int, tuple[float, tuple[int, int, str, bool]]] = OrderedDict()
        self._lazy: list[Change] = []
        self._lazy_due = 0.0

    def sift(self, changes: Iterable[Change], now: float) -> list[Change]:
        """Return the changes to be written now, in order; keep the others."""
        urgent: list[Change] = []
        for change in changes:
            match change:
                case LeasesAdded():
                    due = now + self._delay_s
                    self._leases.update((row[0], (due, row)) for row in change.rows if not row[3])
                    if at_once := [row for row in change.rows if row[3]]:
                        # After what waits: the end of an older lease of the same task, perhaps.
                        urgent += self._lazy
                        self._lazy = []
                        urgent.append(LeasesAdded(at_once))
                    continue
                case TasksFinished() | LeasesEnded():
                    self._forget(change.keys)
                case TasksRetried():
                    self._forget(row[3] for row in change.rows)
                case LeasesLost():
                    self._forget(key for _, _, key in change.rows)
                case _:
                    pass
            if isinstance(change, LAZY):
                if not self._lazy:
                    self._lazy_due = now + self._delay_s
                self._lazy.append(change)
            else:
                urgent.append(change)
        return urgent

    def _forget(self, keys: Iterable[int]) -> None:
        leases = self._leases
        if leases:
            for key in keys:
                leases.pop(key, None)

    def take(self, now: float, *, committing: bool) -> list[Change]:
        """Return what is to be written now: all lazy changes if there is a commit anyway."""
        taken: list[Change] = []
        if self._lazy and (committing or self._lazy_due <= now):
            taken, self._lazy = self._lazy, []
        rows = []
        leases = self._leases
        while leases:
            key = next(iter(leases))
            due, row = leases[key]
            if due > now:
                break
            del leases[key]
            rows.append(row)
        if rows:
            taken.append(LeasesAdded(rows))
        return taken

    def take_all(self) -> list[Change]:
        """Return everything that was kept, for the last commit."""
        return self.take(float("inf"), committing=True)

    def next_due(self) -> float | None:
        """Return when something is to be written even without another change, or None."""
        dues = [due for due, _ in (next(iter(self._leases.values())),)] if self._leases else []
        if self._lazy:
            dues.append(self._lazy_due)
        return min(dues, default=None)
