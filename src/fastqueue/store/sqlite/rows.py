"""Own how SQLite's rows become records, and its errors ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from fastqueue.core.commands import StoredTask
from fastqueue.core.records import Callback
from fastqueue.errors import StoreCorrupt, StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["store_error", "stored_task"]


def stored_task(row: Sequence[Any]) -> StoredTask:
    """Return a live task from its row, in the order of the statements' columns."""
    key, task_id, client, attempt, crashes, task_format, submitted_at, payload_bytes = row[:8]
    address, data, token, worker = row[8:]
    return StoredTask(
        key,
        task_id,
        client,
        attempt,
        crashes,
        task_format,
        submitted_at,
        payload_bytes,
        None if address is None else Callback(address, data),
        token or 0,
        worker or "",
    )


def store_error(what: str, error: apsw.Error) -> StoreError:
    """Return the error of ours that says what SQLite's means."""
    if isinstance(error, apsw.FullError):
        return StoreFull(f"the store can't be {what}: there is no room on its disk")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreCorrupt(f"the store is damaged, found as it was {what}: {error}")
    return StoreError(f"the store can't be {what}: {error}")
