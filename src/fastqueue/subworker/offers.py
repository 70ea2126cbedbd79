"""Own what a subworker tells of its definitions when it connects: the limits of what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.records import LimitId, RunLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.tasks.registry import TaskDefinition
    from fastqueue.tasks.run_policies import Rate

__all__ = ["run_limits_of"]


def run_limits_of(definitions: Iterable[TaskDefinition]) -> list[RunLimit]:
    """Return the limits that definitions say of themselves."""
    limits = []
    for one in definitions:
        policy = one.run
        for is_each, concurrency, rate in (
            (False, policy.concurrency, policy.rate),
            (True, policy.concurrency_per_key, policy.rate_per_key),
        ):
            if concurrency is not None or rate is not None:
                limits.append(_limit(LimitId("task", one.name, is_each), concurrency, rate))
    return limits


def _limit(limit_id: LimitId, concurrency: int | None, rate: Rate | None) -> RunLimit:
    if rate is None:
        return RunLimit(limit_id, concurrency)
    return RunLimit(limit_id, concurrency, rate.per_second, rate.burst)
