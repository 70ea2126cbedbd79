"""Own the writing and reading of what is asked of queues: settings, purges, limits, unique keys.

Used by `writer` and by the store's start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastqueue.core import changes as ch
from fastqueue.core.records import LimitId, QueueSettings, RateMark, RunLimit
from fastqueue.store.sqlite import statements as sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

__all__ = ["QueueWriter", "read_queues"]


class QueueWriter:
    """Write changes of queues and limits through a connection.

    Attributes:
        writers: what writes each kind of change.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self.writers: dict[type, Callable[[Any], None]] = {
            ch.QueueChanged: self._change_queue,
            ch.PurgeChanged: self._change_purge,
            ch.RunLimitSet: self._set_run_limit,
            ch.RunLimitRemoved: self._remove_run_limit,
            ch.RatesSpent: self._mark_rates,
            ch.UniquesHeld: self._hold_uniques,
            ch.UniquesForgotten: self._forget_uniques,
        }

    def _change_queue(self, change: ch.QueueChanged) -> None:
        one = change.settings
        if one == QueueSettings(one.name):
            self._execute(sql.REMOVE_QUEUE, (one.name,))
        else:
            row = (one.name, one.is_paused, one.weight, one.ageing_s, one.wait_limit_s)
            self._execute(sql.SET_QUEUE, row)

    def _change_purge(self, change: ch.PurgeChanged) -> None:
        if change.last_sequence:
            self._execute(sql.SET_PURGE, (change.queue, change.last_sequence))
        else:
            self._execute(sql.END_PURGE, (change.queue,))

    def _set_run_limit(self, change: ch.RunLimitSet) -> None:
        one = change.limit
        row = (*one.id, one.is_defined, one.concurrency, one.rate, one.burst, one.weight)
        self._execute(sql.SET_RUN_LIMIT, row)

    def _remove_run_limit(self, change: ch.RunLimitRemoved) -> None:
        self._execute(sql.REMOVE_RUN_LIMIT, (*change.id, change.is_defined))

    def _mark_rates(self, change: ch.RatesSpent) -> None:
        marks = ((*mark.limit, mark.fair_key, mark.full_at) for mark in change.marks)
        self._executemany(sql.MARK_RATE, marks)
        self._execute(sql.FORGET_RATES, (change.at,))

    def _hold_uniques(self, change: ch.UniquesHeld) -> None:
        rows = ((one.name, one.key, one.task_id, one.until) for one in change.holds)
        self._executemany(sql.HOLD_UNIQUE, rows)

    def _forget_uniques(self, change: ch.UniquesForgotten) -> None:
        self._execute(sql.FORGET_UNIQUES, (change.at,))
        if change.kept_max is not None:
            self._execute(sql.TRIM_UNIQUES, (change.kept_max,))


def read_queues(connection: apsw.Connection, wall_now: float) -> dict[str, Any]:
    """Return the parts of a `Snapshot` that are about queues and limits, by their names."""
    execute = connection.execute
    limits = [
        RunLimit(
            LimitId(scope, name, bool(is_each)), concurrency, rate, burst, weight, bool(is_defined)
        )
        for scope, name, is_each, is_defined, concurrency, rate, burst, weight in execute(
            sql.RUN_LIMITS
        )
    ]
    marks = [
        RateMark(LimitId(scope, name, bool(is_each)), fair_key, full_at - wall_now)
        for scope, name, is_each, fair_key, full_at in execute(sql.RATE_MARKS, (wall_now,))
    ]
    return {
        "queues": [
            QueueSettings(name, bool(is_paused), *rest)
            for name, is_paused, *rest in execute(sql.QUEUES)
        ],
        "purges": list(execute(sql.PURGES)),
        "run_limits": limits,
        "rate_marks": marks,
    }
