"""Own what is asked of fastqueue beside its peers, as one run has seen them."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.peers.catalog import FASTQUEUE
from benchmarks.peers.works import ECHO
from benchmarks.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.peers.rows import Row

TIMES_MIN = 5


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """Return how the medians of no-ops stand; a peer counts also where results were missing."""
    noops = [row for row in rows if row.work is ECHO]
    rate, best_rate, fastest = _both(noops, "full", "end_to_end_per_s", max)
    bulk, best_bulk, best_at_bulk = _both(noops, "full", "bulk_submit_per_s", max)
    p50, best_p50, quickest = _both(noops, "normal", "p50_ms", min)
    times = rate / best_rate if rate is not None and best_rate else None
    return [
        Verdict(
            f"end to end, task by task, full, as a multiple of the fastest: {fastest}",
            "≥",
            TIMES_MIN,
            times,
        ),
        Verdict(f"bulk: submit/s, full, beside the best: {best_at_bulk}", ">", best_bulk, bulk),
        Verdict(f"p50 ms, normal, beside the best: {quickest}", "<", best_p50, p50),
    ]


def _both(
    rows: Sequence[Row], choice: str, key: str, best: Callable[..., tuple[float, str]]
) -> tuple[float | None, float | None, str]:
    """Return a figure of fastqueue's, the best of the peers', and whose that is."""
    measured = [(statistics.median(row.values(key)), row) for row in rows if row.values(key)]
    own = [
        value for value, row in measured if row.peer is FASTQUEUE and row.variant.choice == choice
    ]
    others = [(value, row.name) for value, row in measured if row.peer is not FASTQUEUE]
    value, name = best(others) if others else (None, "no peer")
    return (own[0] if own else None), value, name
