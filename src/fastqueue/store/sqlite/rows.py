"""Own how SQLite's rows become records, and its errors ours."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import apsw
import msgspec
from msgspec.structs import replace

from fastqueue.core.commands import StoredTask
from fastqueue.core.records import BatchCounts, Callback, NewTask, TaskOptions
from fastqueue.core.schedule_records import ScheduleSpec, ScheduleState
from fastqueue.errors import StoreCorrupt, StoreError, StoreFull
from fastqueue.store.sqlite.files import is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "batch",
    "dead_letter",
    "encode_options",
    "reads",
    "schedule",
    "schedule_row",
    "store_error",
    "stored_task",
]

_Parameters = ParamSpec("_Parameters")
_Read = TypeVar("_Read")

# What a row raises that no control plane wrote: text that isn't UTF-8, a status that is none, a
# number where there should be text.
_WRONG_ROW = (ValueError, TypeError, LookupError, OverflowError)


def reads(method: Callable[_Parameters, _Read]) -> Callable[_Parameters, _Read]:
    """Have a method that reads rows raise nothing but a StoreError."""

    @functools.wraps(method)
    def read(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Read:
        try:
            return method(*args, **kwargs)
        except apsw.Error as error:
            raise store_error("read", error) from error
        except _WRONG_ROW as error:
            raise StoreCorrupt(
                f"the store has a row in it that fastqueue can't have written, found as it was "
                f"read: {error}; restore it from a backup"
            ) from error

    return read


_decode_options = msgspec.msgpack.Decoder(TaskOptions).decode
encode_options = msgspec.msgpack.Encoder().encode


def stored_task(row: Sequence[Any]) -> StoredTask:
    """Return a live task from its row, in the order of the statements' columns."""
    key, task_id, client, attempt, crashes, task_format, submitted_at, payload_bytes = row[:8]
    address, data, failures, options, cancelling, checkpoint_bytes, *rest = row[8:]
    token, worker, at_most_once, queue, rank, name, *due = rest
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
        bool(at_most_once),
        failures,
        None if options is None else _decode_options(options),
        bool(cancelling),
        None if queue is None else (queue, rank, name),
        checkpoint_bytes,
        due[0] if due else None,
    )


def batch(row: Sequence[Any], wall_now: float) -> tuple[BatchCounts, float]:
    """Return a batch from its row, and how long ago it changed, in seconds."""
    counts = BatchCounts(*row)
    return counts, max(0.0, wall_now - counts.changed_at)


def dead_letter(task_id: str, row: Sequence[Any]) -> NewTask:
    """Return a dead letter from its row as a submission under another id.

    The times that its first submission asked for are over.
    """
    name, rank, task_format, payload, address, data, queue, options = row
    asked = None if options is None else _decode_options(options)
    if asked is not None:
        asked = replace(asked, due_at=None, expires_at=None)
    callback = None if address is None else Callback(address, data)
    return NewTask(task_id, name, rank, task_format, payload, callback, queue, asked)


_decode_spec = msgspec.msgpack.Decoder(ScheduleSpec).decode


def schedule(row: Sequence[Any]) -> ScheduleState:
    """Return a schedule from its row."""
    spec, settled_at, next_at, is_paused, fired, left_out, last_task_id, last_at, *rest = row
    decided_at, is_withdrawn = rest
    return ScheduleState(
        _decode_spec(spec),
        settled_at,
        next_at,
        bool(is_paused),
        fired,
        left_out,
        last_task_id,
        last_at,
        decided_at,
        bool(is_withdrawn),
    )


def schedule_row(state: ScheduleState) -> tuple[Any, ...]:
    """Return a schedule's columns, in the order of the statements: all but its spec."""
    return (
        state.settled_at,
        state.next_at,
        state.is_paused,
        state.fired,
        state.left_out,
        state.last_task_id,
        state.last_at,
        state.decided_at,
        state.is_withdrawn,
        state.spec.schedule_id,
    )


def store_error(
    what: str, error: apsw.Error, connection: apsw.Connection | None = None
) -> StoreError:
    """Return the error of ours that says what SQLite's means; `connection` had it, in a write."""
    if is_full(error, connection):
        return StoreFull(f"the store can't be {what}: there is no room on its disk, or its quota")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreCorrupt(f"the store is damaged, found as it was {what}: {error}")
    return StoreError(f"the store can't be {what}: {error}")
