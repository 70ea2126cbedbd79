"""Own what the admin API tells of queues, limits and why a task isn't running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

__all__ = ["QueueInfo", "Reason", "RunLimitInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """Tell of one queue.

    Attributes:
        name: the queue.
        paused: whether nothing of it is started.
        weight: its share of the free slots, relative to other queues.
        ageing: how long a task waits to count for one priority more; None is never.
        wait_limit: how long its tasks may wait before they are cancelled; None is any time.
        ready: how many tasks could start now.
        running: how many run.
        fair_keys: how many fair keys have, or lately had, tasks in it.
        per_second: how many tasks began a second, lately.
        purging: whether it is being purged.
        subworkers: how many connected subworkers serve it.
    """

    name: str
    paused: bool
    weight: float
    ageing: timedelta | None
    wait_limit: timedelta | None
    ready: int
    running: int
    fair_keys: int
    per_second: float
    purging: bool
    subworkers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimitInfo:
    """Tell of one limit of what runs.

    Attributes:
        scope: what it is of: a task definition, a queue or a fair key.
        name: which of them.
        each_key: whether each fair key in it has the limit to itself.
        concurrency: how many tasks may run at once; None is any number.
        rate: how many may begin a second; None is any number.
        burst: how many of them may begin at once after a pause.
        weight: the share of a fair key, relative to others.
        defined: whether it comes from a task definition; otherwise somebody set it.
        running: how many run under it; None if nobody is counted, or each key apart.
    """

    scope: Literal["task", "queue", "key"]
    name: str
    each_key: bool
    concurrency: int | None
    rate: float | None
    burst: int
    weight: float
    defined: bool
    running: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Say why a task isn't running.

    Attributes:
        task_id: the task.
        reason: one word: `finished`, `unknown`, `running`, `cancelling`, `not_due`, `retrying`,
            `purged`, `paused`, `no_subworker`, `recovering`, `limit`, `rate`, `isolated`, `behind`.
        text: the same for people, with what ends it.
        details: what the word is about, by name: who holds a limit, when a rate opens, how many
            tasks are ahead.
    """

    task_id: str
    reason: str
    text: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"
