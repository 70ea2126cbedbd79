"""Own the words in which people are told that no subworker offers a task name."""

from __future__ import annotations

from bisect import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["describe_unoffered"]

_SHOWN_MAX = 20
# A look for close matches takes some ten microseconds a name.
_COMPARED_MAX = 200


def describe_unoffered(name: str, offered: Sequence[str]) -> str:
    """Return that no subworker offers a name, what is offered, and which of that may be meant.

    Args:
        name: the name.
        offered: the names that connected subworkers offer, sorted; of very many only those near it
            in this order are compared and shown.
    """
    said = f"no connected subworker offers a task named {name!r}"
    if not offered:
        return f"{said}; none offers any"
    near = offered
    if len(offered) > _COMPARED_MAX:
        middle = bisect(offered, name)
        near = offered[max(0, middle - _COMPARED_MAX // 2) :][:_COMPARED_MAX]
    # Loaded when it is needed: every process that submits tasks would pay for it.
    from difflib import get_close_matches

    close = get_close_matches(name, near, n=3)
    start = max(0, min(bisect(near, name) - _SHOWN_MAX // 2, len(near) - _SHOWN_MAX))
    shown = near[start:][:_SHOWN_MAX]
    more = f" and {len(offered) - len(shown):,} more" if len(offered) > len(shown) else ""
    text = f"{said}; registered are: {', '.join(shown)}{more}"
    return f"{text}; did you mean {' or '.join(map(repr, close))}?" if close else text
