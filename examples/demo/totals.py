"""Own what the demo counts, and the comparison that decides whether it has succeeded."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold what came of one file: what the task returned, or the error it raised."""

    path: str
    survey: Mapping[str, Any] | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Hold the sums over all files; those that failed count in `files` and `failures` alone.

    Attributes:
        fingerprint: a hash over the paths and the hashes of their contents.
        failures: the error of each file that failed.
    """

    files: int
    bytes: int
    lines: int
    tokens: int
    functions: int
    classes: int
    fingerprint: str
    failures: Mapping[str, str]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Totals:
        """Add up."""
        files = 0
        sums: Counter[str] = Counter()
        hashes, failures = {}, {}
        for outcome in outcomes:
            files += 1
            if outcome.survey is None:
                failures[outcome.path] = outcome.error or ""
            else:
                for name in ("bytes", "lines", "tokens", "functions", "classes"):
                    sums[name] += outcome.survey[name]
                hashes[outcome.path] = outcome.survey["sha256"]
        fingerprint = hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()
        return cls(
            files=files,
            bytes=sums["bytes"],
            lines=sums["lines"],
            tokens=sums["tokens"],
            functions=sums["functions"],
            classes=sums["classes"],
            fingerprint=fingerprint,
            failures=failures,
        )


def differences(found: Totals, expected: Totals) -> list[str]:
    """Say, a line each, in what two totals differ; nothing if they are the same."""
    lines = []
    for field in dataclasses.fields(Totals):
        here, there = getattr(found, field.name), getattr(expected, field.name)
        if field.name != "failures" and here != there:
            lines.append(f"{field.name}: {here} instead of {there}")
    for path in sorted({*found.failures, *expected.failures}):
        here, there = found.failures.get(path), expected.failures.get(path)
        if here != there:
            lines.append(f"{path}: {here or 'no failure'} instead of {there or 'no failure'}")
    return lines
