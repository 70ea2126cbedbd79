"""Draw the chart of the comparison: plain horizontal bars, as SVG."""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.rows import Row

TITLE = "Tasks a second, end to end: first submission to last result in hand"
SUBTITLE = "Median of the rounds; longer is better. One worker process, one producer process."
SERIES = (
    ("submitted task by task", "end_to_end_per_s", "#2f6f9f"),
    ("submitted by the client's call for many", "bulk_end_to_end_per_s", "#9dc3e0"),
)

WIDTH, LEFT, RIGHT = 1060, 430, 70
TOP, BAR, GAP = 84, 13, 10


def draw(rows: Sequence[Row]) -> str:
    """Return the chart, the fastest row first; a row without figures has no bar."""
    bars = [
        (row, [statistics.median(row.values(key) or [0.0]) for _, key, _ in SERIES]) for row in rows
    ]
    bars.sort(key=lambda bar: -max(bar[1]))
    scale = (WIDTH - LEFT - RIGHT) / max([1.0, *(max(values) for _, values in bars)])
    y, shapes = TOP, []
    for row, values in bars:
        shown = [
            (value, colour) for value, (_, _, colour) in zip(values, SERIES, strict=True) if value
        ]
        middle = y + BAR * max(len(shown), 1) / 2 + 4
        shapes.append(
            f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(row.name)}</text>'
        )
        said = "" if row.faults() == "none" else f" ({row.faults()})"
        if not shown:
            shapes.append(f'<text x="{LEFT + 4}" y="{middle}">nothing measured</text>')
        for value, colour in shown:
            width = max(value * scale, 1)
            shapes.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>'
                f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 3}" class="value">'
                f"{value:,.0f}{said}</text>"
            )
            y += BAR
        y += GAP if shown else GAP + BAR
    return _page(y + 4, [*_legend(), *shapes])


def _legend() -> list[str]:
    shapes, x = [], LEFT
    for label, _, colour in SERIES:
        shapes.append(f'<rect x="{x}" y="58" width="12" height="12" fill="{colour}"/>')
        shapes.append(f'<text x="{x + 18}" y="68">{label}</text>')
        x += 190
    return shapes


def _page(height: float, shapes: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" '
            'font-family="sans-serif" font-size="12" fill="#222">',
            "<style>.value{font-size:11px;fill:#555}</style>",
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
            f'<text x="16" y="26" font-size="17" font-weight="bold">{TITLE}</text>',
            f'<text x="16" y="45" fill="#555">{SUBTITLE}</text>',
            *shapes,
            "</svg>\n",
        ]
    )
