"""Draw the chart of the comparison."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.svg import DARK, LIGHT, TOP, Bars, draw_bars, legend, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.rows import Row

TITLE = "Tasks a second, end to end: first submission to last result in hand"
SUBTITLE = "Median of the rounds; longer is better. One worker process, one producer process."
SERIES = (
    ("submitted task by task", "end_to_end_per_s", DARK),
    ("submitted by the client's call for many", "bulk_end_to_end_per_s", LIGHT),
)


def draw(rows: Sequence[Row]) -> str:
    """Return the chart, the fastest row first; a row without figures has no bar."""
    groups = []
    for row in rows:
        medians = [(row.values(key), colour) for _, key, colour in SERIES]
        shown = [(statistics.median(values), colour) for values, colour in medians if values]
        remark = "" if row.faults() == "none" else f" ({row.faults()})"
        groups.append(Bars(row.name, shown, remark))
    groups.sort(key=lambda group: -max((value for value, _ in group.values), default=0.0))
    shapes, end = draw_bars(groups, TOP, "{:,.0f}".format)
    key = legend([(label, colour) for label, _, colour in SERIES], 58)
    return page(TITLE, SUBTITLE, end + 4, [*key, *shapes])
