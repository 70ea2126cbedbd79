"""Own what was seen of one peer on one store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.peers.works import ECHO, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.catalog import Peer, Variant


@dataclass
class Row:
    """Be a set of figures a round of one work, and what failed."""

    peer: Peer
    variant: Variant
    work: Work = ECHO
    tasks: int | None = None
    rounds: list[dict[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        work = "" if self.work is ECHO else f", {self.work.label}"
        return f"{self.peer.name}, {self.variant.text}{work}"

    @property
    def cannot(self) -> str:
        """Return why the peer can't do this work; nothing if it can."""
        return dict(self.peer.cannot).get(self.work, "")

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


def rows_of(peers: Sequence[Peer], works: Sequence[Work]) -> list[Row]:
    """Return the rows to measure: no-ops on every store, what does something on the fastest."""
    return [
        Row(peer, variant, work)
        for work in works
        for peer in peers
        for variant in peer.variants
        if work is ECHO or not variant.noops_only
    ]
