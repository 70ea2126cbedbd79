"""Own submitting many tasks in one call: one wait for all of them, whatever their number."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastqueue.errors import ClientStateError, SubmissionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.client.submissions import Submissions
    from fastqueue.core.records import NewTask

__all__ = ["submit_all"]

# Tasks handed over before the event loop gets its turn.
_STEP = 1_000


class _Tally:
    """Stand where each task's own future would, and count them down."""

    __slots__ = ("_all_settled", "_remaining", "failed", "first_error")

    def __init__(self, count: int) -> None:
        self._remaining = count
        self._all_settled = asyncio.Event()
        self.failed = 0
        self.first_error: BaseException | None = None

    def done(self) -> bool:
        """Say that another task may still be settled."""
        return False

    def set_result(self, result: None) -> None:  # noqa: ARG002 - as a future's
        """Count a task that is stored."""
        self._remaining -= 1
        if self._remaining == 0:
            self._all_settled.set()

    def set_exception(self, exception: BaseException) -> None:
        """Count a task that isn't."""
        self.failed += 1
        self.first_error = self.first_error or exception
        self.set_result(None)

    async def wait(self) -> None:
        """Wait until every task is settled."""
        await self._all_settled.wait()


async def submit_all(submissions: Submissions, tasks: Sequence[NewTask]) -> None:
    """Submit tasks and wait until all are on disk; see `Client.submit_batch` for what it raises."""
    if not tasks:
        return
    tally = _Tally(len(tasks))
    for start in range(0, len(tasks), _STEP):
        await submissions.wait_for_room()
        for task in tasks[start : start + _STEP]:
            submissions.add(task, tally)
        await asyncio.sleep(0)
    await tally.wait()
    error = tally.first_error
    if error is None:
        return
    if isinstance(error, ClientStateError) and tally.failed < len(tasks):
        raise ClientStateError(
            f"{error}: {tally.failed:,} of {len(tasks):,} tasks weren't acknowledged"
        ) from error
    if tally.failed < len(tasks) or isinstance(error, SubmissionRefused):
        raise SubmissionRefused(
            f"{tally.failed:,} of {len(tasks):,} tasks weren't taken, the first because: {error}"
        ) from error
    raise error
