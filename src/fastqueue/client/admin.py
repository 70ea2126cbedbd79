"""Own what a client asks about failures: the attempts of a task, and the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from fastqueue.core import records
from fastqueue.errors import Overloaded
from fastqueue.protocol import messages as msg
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import Attempt, DeadLetter, TaskPriority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from fastqueue.client.requests import Requests

__all__ = ["find_attempts", "iterate_dead_letters", "requeue"]

_PAGE = 500


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def find_attempts(requests: Requests, task_id: str) -> list[Attempt]:
    """Return a task's failed attempts; see `Client.attempts`."""
    answer: msg.Inspected = await requests.ask(
        lambda request: msg.Inspect(request, "attempts", [task_id])
    )
    found = msgspec.convert(answer.answer[task_id], list[records.AttemptRecord])
    return [
        Attempt(
            attempt=one.attempt,
            started_at=_utc(one.started_at),
            completed_at=_utc(one.completed_at),
            worker_id=one.worker_id,
            error=one.error,
            traceback=one.traceback,
        )
        for one in found
    ]


async def iterate_dead_letters(
    requests: Requests, name: str | None, queue: str | None
) -> AsyncIterator[DeadLetter]:
    """Yield dead letters, the oldest first; see `Client.dead_letters`."""
    after: tuple[float, str] | None = None
    while True:
        which = records.DeadLetterFilter(name, queue, after, _PAGE)
        answer: msg.Inspected = await requests.ask(
            lambda request, which=which: msg.ListDead(request, which)  # type: ignore[misc]
        )
        page = msgspec.convert(answer.answer, list[records.DeadLetter])
        for letter in page:
            yield DeadLetter(
                task_id=letter.task_id,
                name=letter.name,
                queue=letter.queue,
                priority=TaskPriority.of_rank(letter.rank),
                attempt=letter.attempt,
                died_at=_utc(letter.died_at),
                error=letter.error,
                traceback=letter.traceback,
                payload_bytes=letter.payload_bytes,
            )
        # The control plane may give fewer than asked for, if they are large.
        if not page:
            return
        after = (page[-1].died_at, page[-1].task_id)


async def requeue(requests: Requests, task_ids: Iterable[str]) -> dict[str, str]:
    """Queue dead letters again; see `Client.requeue`."""
    ids = list(dict.fromkeys(task_ids))
    made: dict[str, str] = {}
    for start in range(0, len(ids), msg.REQUEUED_MAX):
        # Made here, so that a request that is sent again queues nothing twice.
        pairs = [(task_id, new_task_id()) for task_id in ids[start : start + msg.REQUEUED_MAX]]
        answer: msg.Inspected = await requests.ask(
            lambda request, pairs=pairs: msg.Requeue(request, pairs)  # type: ignore[misc]
        )
        for task_id, new in pairs:
            outcome = answer.answer[task_id]
            if outcome == "requeued":
                made[task_id] = new
            elif outcome:
                raise Overloaded(
                    f"{len(made):,} of {len(ids):,} dead letters are queued again; the next one "
                    f"isn't: {outcome}",
                    retry_after_s=1.0,
                )
    return made
