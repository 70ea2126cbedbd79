"""Own what a subworker tells of its definitions when it connects; it is made once at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.records import LimitId, Offer, RunLimit
from fastqueue.protocol.messages import SIGNATURES_BYTES_MAX
from fastqueue.tasks.signatures import encode_signature

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.tasks.registry import TaskDefinition
    from fastqueue.tasks.run_policies import Rate

__all__ = ["offers_of", "run_limits_of"]


def offers_of(definitions: Iterable[TaskDefinition]) -> list[Offer]:
    """Return an offer for each definition; past the bound of all signatures they are left out."""
    room = SIGNATURES_BYTES_MAX
    offers = []
    for definition in definitions:
        signature = encode_signature(definition.function)
        if len(signature) > room:
            signature = b""
        room -= len(signature)
        offers.append(Offer(definition.name, definition.queue, signature))
    return offers


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
