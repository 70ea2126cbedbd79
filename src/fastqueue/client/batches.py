"""Own what a client asks about batches: how far one is, which there are, and to cancel one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from fastqueue.client.completion import Completion
from fastqueue.core.records import BatchCounts
from fastqueue.errors import ResultExpired, TaskTimeout
from fastqueue.protocol import messages as msg
from fastqueue.tasks.models import Batch, BatchCancellation, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.requests import Requests

__all__ = ["cancel_batch", "find_batch", "iterate_batches"]

_PAGE = 500


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _to_batch(counts: BatchCounts) -> Batch:
    live = counts.submitted - counts.success - counts.failure - counts.cancelled
    return Batch(
        batch_id=counts.batch_id,
        submitted=counts.submitted,
        waiting=live - counts.running,
        running=counts.running,
        success=counts.success,
        failure=counts.failure,
        cancelled=counts.cancelled,
        created_at=_utc(counts.created_at),
        finished_at=None if live else _utc(counts.changed_at),
    )


async def _ask(
    requests: Requests, batch_id: str, after: str | None = None
) -> tuple[list[BatchCounts], list[str]]:
    """Return the counts of a batch, if there are any, and its live tasks that were asked for."""
    answer: msg.Inspected = await requests.ask(
        lambda request: msg.AskBatch(request, batch_id, after)
    )
    return msgspec.convert(answer.answer, tuple[list[BatchCounts], list[str]])


async def find_batch(requests: Requests, batch_id: str) -> Batch | None:
    """Return what is known of a batch; see `Client.batch`."""
    counts, _ = await _ask(requests, batch_id)
    return _to_batch(counts[0]) if counts else None


async def iterate_batches(requests: Requests) -> AsyncIterator[Batch]:
    """Yield batches, the youngest first; see `Client.batches`."""
    after: tuple[float, str] | None = None
    while True:
        answer: msg.Inspected = await requests.ask(
            lambda request, after=after: msg.ListBatches(request, after, _PAGE)  # type: ignore[misc]
        )
        page = msgspec.convert(answer.answer, list[BatchCounts])
        for counts in page:
            yield _to_batch(counts)
        if len(page) < _PAGE:
            return
        after = (page[-1].created_at, page[-1].batch_id)


async def cancel_batch(
    connection: ClientConnection, batch_id: str, timeout_s: float
) -> BatchCancellation:
    """Cancel all of a batch that isn't over; see `Client.cancel_batch`.

    Its live tasks are read a page at a time, and cancelled like any others: so a request that is
    sent again cancels and counts nothing twice.
    """
    cancelled = kept = 0
    after = ""
    deadline = connection.loop.time() + timeout_s
    running: list[str] = []
    while True:
        _, task_ids = await _ask(connection.requests, batch_id, after)
        if not task_ids:
            break
        after = task_ids[-1]
        answer: msg.Cancelled = await connection.requests.ask(
            lambda request, task_ids=task_ids: msg.Cancel(request, task_ids)  # type: ignore[misc]
        )
        for task_id, (is_cancelled, status) in zip(task_ids, answer.answers, strict=True):
            if is_cancelled:
                cancelled += 1
            elif status is TaskStatus.RUNNING:
                running.append(task_id)
            elif status is not None and not status.is_terminal:
                kept += 1
    left_s = max(0.0, deadline - connection.loop.time())
    interrupted, still = await _wait_for(connection, running, left_s)
    return BatchCancellation(
        batch_id=batch_id, cancelled=cancelled + interrupted, unfinished=kept + still
    )


async def _wait_for(
    connection: ClientConnection, task_ids: list[str], timeout_s: float
) -> tuple[int, int]:
    """Return how many tasks that ran ended as cancelled, and how many haven't ended."""
    cancelled = 0
    waits = Completion(connection, timeout_s)
    try:
        for task_id in task_ids:
            waits.add(task_id)
        while waits:
            try:
                result = await waits.next()
            except ResultExpired:
                continue  # over, and it isn't known how
            cancelled += result is not None and result.status is TaskStatus.CANCELLED
    except TaskTimeout:
        pass
    finally:
        unfinished = len(waits)
        waits.close()
    return cancelled, unfinished
