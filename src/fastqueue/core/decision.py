"""Own what the core answers: changes to be made durable, then effects to be released."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastqueue.core.changes import Change
    from fastqueue.core.effects import Effect

__all__ = ["Decision"]


@dataclass(slots=True)
class Decision:
    """Carry what one command leads to."""

    changes: list[Change] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
