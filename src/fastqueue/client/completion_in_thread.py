"""Own waiting for many tasks without asyncio: `SyncClient.as_completed`.

The ids are read in the caller's thread, wherever they come from; the waiting is the client's.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING

from fastqueue.client.completion import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fastqueue.client.client import Client
    from fastqueue.client.client_thread import ClientThread
    from fastqueue.tasks.models import TaskResult

__all__ = ["iterate_completed_in"]


def iterate_completed_in(
    running: Callable[[], ClientThread],
    task_ids: Iterable[str],
    timeout: float | None,
    window: int,
) -> Iterator[TaskResult]:
    """Yield each task's result as it is there; see `Client.as_completed`."""
    # All in one life of the client: after a stop there is nothing to go on with.
    thread = running()
    if isinstance(task_ids, Collection):
        task_ids = dict.fromkeys(task_ids)
        window = max(1, len(task_ids))
    ids = iter(task_ids)

    async def begin(client: Client) -> Completion:
        return Completion(client._started(), timeout)  # noqa: SLF001 - a part of the client

    async def add(some: list[str]) -> None:
        for task_id in some:
            waits.add(task_id)

    waits = thread.call(begin)
    try:
        while True:
            some = list(itertools.islice(ids, window - len(waits)))
            if some:
                thread.call(lambda _, some=some: add(some))  # type: ignore[misc]
            if not waits:
                return
            result = thread.call(lambda _: waits.next())
            assert result is not None
            yield result
    finally:
        thread.tell(waits.close)
