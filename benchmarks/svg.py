"""Own how charts look: plain horizontal bars to one scale, as SVG; used by both reports."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DARK, LIGHT = "#2f6f9f", "#9dc3e0"

WIDTH, LEFT, RIGHT = 1060, 430, 90
TOP, BAR, GAP = 84, 13, 10


@dataclass(frozen=True)
class Bars:
    """Be what is drawn beside one label.

    Attributes:
        label: what it is of.
        values: each bar's value and colour, from above; none if nothing was measured.
        remark: what is said behind each value.
    """

    label: str
    values: Sequence[tuple[float, str]]
    remark: str = ""


def draw_bars(
    groups: Sequence[Bars], top: float, told: Callable[[float], str]
) -> tuple[list[str], float]:
    """Return the shapes of some bars to one scale, and where they end.

    Args:
        groups: what is drawn, from above.
        top: where they begin.
        told: how a value is written.
    """
    longest = max([0.0, *(value for group in groups for value, _ in group.values)])
    scale = (WIDTH - LEFT - RIGHT) / (longest or 1.0)
    y, shapes = top, []
    for group in groups:
        middle = y + BAR * max(len(group.values), 1) / 2 + 4
        shapes.append(
            f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(group.label)}</text>'
        )
        if not group.values:
            shapes.append(f'<text x="{LEFT + 4}" y="{middle}">nothing measured</text>')
            y += BAR
        for value, colour in group.values:
            width = max(value * scale, 1)
            shapes.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>'
                f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 3}" class="value">'
                f"{told(value)}{escape(group.remark)}</text>"
            )
            y += BAR
        y += GAP
    return shapes, y


def legend(series: Sequence[tuple[str, str]], y: float) -> list[str]:
    """Return the shapes that say which colour stands for what."""
    shapes, x = [], LEFT
    for label, colour in series:
        shapes.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        shapes.append(f'<text x="{x + 18}" y="{y + 10}">{escape(label)}</text>')
        x += 190
    return shapes


def page(title: str, subtitle: str, height: float, shapes: Sequence[str]) -> str:
    """Return a whole chart."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" '
            'font-family="sans-serif" font-size="12" fill="#222">',
            "<style>.value{font-size:11px;fill:#555}</style>",
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
            f'<text x="16" y="26" font-size="17" font-weight="bold">{escape(title)}</text>',
            f'<text x="16" y="45" fill="#555">{escape(subtitle)}</text>',
            *shapes,
            "</svg>\n",
        ]
    )
