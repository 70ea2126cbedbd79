"""Own what is said of figures beside what is asked of them: a table, and whether all is met."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPARE = {"≥": operator.ge, ">": operator.gt, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True)
class Verdict:
    """Be one figure beside what it must be and what it is to become.

    Attributes:
        figure: what was measured, with its unit.
        compare: how it is to stand to `must` and `aim`: `≥`, `>`, `≤` or `<`.
        must: what fails if it isn't met.
        seen: what was measured; `None` if nothing was, which fails, too.
        aim: what is aimed at; `None` if that is nothing more.
    """

    figure: str
    compare: str
    must: float | None
    seen: float | None
    aim: float | None = None

    @property
    def is_met(self) -> bool:
        return self._stands_to(self.must)

    @property
    def told(self) -> str:
        """Return in a word how it stands."""
        if self.seen is None or self.must is None:
            return "**not measured**"
        if not self.is_met:
            return "**no**"
        return "yes, the aim too" if self._stands_to(self.aim) else "yes"

    def _stands_to(self, bound: float | None) -> bool:
        if self.seen is None or bound is None:
            return False
        return bool(_COMPARE[self.compare](self.seen, bound))


def to_table(verdicts: Sequence[Verdict]) -> str:
    """Return all of them as Markdown."""
    return table(
        ["figure", "must", "aim", "seen", "met"],
        [
            [
                each.figure,
                f"{each.compare} {_number(each.must)}" if each.must is not None else "",
                f"{each.compare} {_number(each.aim)}" if each.aim is not None else "",
                _number(each.seen) if each.seen is not None else "",
                each.told,
            ]
            for each in verdicts
        ],
    )


def conclusion(verdicts: Sequence[Verdict]) -> str:
    """Return in a line how many are met."""
    met = sum(each.is_met for each in verdicts)
    return f"{met} met, {len(verdicts) - met} not met or not measured"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
