"""Own what a planted fault is; the lists of them are in `mutants`, and in those beside it."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """Hold one fault: where, what it replaces by what, and why it must be caught."""

    name: str
    file: str
    old: str
    new: str
    why: str
