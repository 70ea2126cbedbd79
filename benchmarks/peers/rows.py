"""Own what was seen of one peer on one store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.peers.catalog import Peer, Variant


@dataclass
class Row:
    """Be a set of figures a round, and what failed."""

    peer: Peer
    variant: Variant
    tasks: int | None = None
    rounds: list[dict[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.peer.name}, {self.variant.text}"

    def values(self, key: str) -> list[float]:
        return [figures[key] for figures in self.rounds if key in figures]

    def faults(self) -> str:
        """Return in a few words what wasn't as it should be."""
        said = [
            f"{total:,.0f} {fault}"
            for fault in ("missing", "wrong")
            if (total := sum(self.values(fault)))
        ]
        if self.failures:
            said.append(f"failed in {len(self.failures)} of {len(self.rounds)} rounds, see below")
        return ", ".join(said) or "none"
