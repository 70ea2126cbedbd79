"""Own the SQLite store: its transactions, its start, and its reads, which become records.

Statements run on the caller's thread, the event loop's; only COMMIT runs in a thread of its own,
because it alone waits for the disk. (The other way round, every row would fight for the
interpreter lock.) While a COMMIT is under way nobody may use the connection; the engine sees to it.
"""

from __future__ import annotations

import contextlib
import math
import sys
import uuid
from typing import TYPE_CHECKING, Any

import apsw

from fastqueue.core.lanes import DELAYED_LANE, SEQUENCE_BITS, SEQUENCE_MASK
from fastqueue.core.records import AttemptRecord, DeadLetter, PendingCallback, Result, UniqueHold
from fastqueue.core.state import LeasedRow, Snapshot
from fastqueue.errors import StoreError
from fastqueue.store.base import COUNTED_MAX, Due, Expired, NumberedCallback, Room, WindowRow
from fastqueue.store.sqlite import statements as sql
from fastqueue.store.sqlite.committer import Committer
from fastqueue.store.sqlite.files import (
    DATABASE_NAME,
    LOCK_NAME,
    DirectoryLock,
    InPlace,
    is_full,
    no_room,
    open_database,
)
from fastqueue.store.sqlite.queue_writer import read_queues
from fastqueue.store.sqlite.rows import (
    batch,
    dead_letter,
    reads,
    schedule,
    store_error,
    stored_task,
)
from fastqueue.store.sqlite.writer import Writer
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from fastqueue.core import changes as ch
    from fastqueue.core.commands import StoredTask
    from fastqueue.core.records import DeadLetterFilter, NewTask

__all__ = ["SqliteStore"]

# A payload up to this size is read along with its task's row; larger ones when they are leased.
_WINDOW_PAYLOAD_BYTES_MAX = 4 * 1024

# What a row of a window hasn't got.
_NO_LEASE = _IN_A_LANE = (None, None, None)


def _or_never(found: float | None) -> float:
    return math.inf if found is None else found


class SqliteStore:
    """Keep the queue in one SQLite file, or in memory for `durability="memory"`.

    Args:
        directory: the data directory; made if it isn't there, and held until `close`.
        durability: "full" (a commit survives power loss), "normal" (a crash of the process),
            "memory" (nothing).
        room_for_log: whether the log gets its usual size, 16 MiB, at once, so that no commit has
            to lengthen it.
        vfs: the SQLite VFS that does the files' I/O, for tests of power loss; None is SQLite's own.

    Raises:
        ConfigurationError: the directory can't be written.
        StoreError: it is locked, damaged, too new, or can't be opened.
    """

    def __init__(
        self,
        directory: Path,
        durability: str = "full",
        *,
        room_for_log: bool = False,
        vfs: str | None = None,
    ) -> None:
        self._directory = directory
        self._lock = DirectoryLock(directory)
        try:
            self._connection = open_database(
                directory, durability, self._lock, room_for_log=room_for_log, vfs=vfs
            )
            names = (LOCK_NAME,) if durability == "memory" else (LOCK_NAME, DATABASE_NAME)
            self._in_place = InPlace(directory, names)
        except BaseException:
            self._lock.release()
            raise
        self._execute = self._connection.execute
        self._page_bytes: int = self._connection.pragma("page_size")
        self._committer = Committer() if durability != "memory" else None
        self._writer = Writer(self._connection)
        self._in_transaction = False
        try:
            self.control_plane_id = self._get_or_make_id()
        except StoreError:
            self.close()
            raise

    # -- transactions

    @property
    def in_transaction(self) -> bool:
        """Say whether anything written waits for `commit`."""
        return self._in_transaction

    def write(self, changes: Iterable[ch.Change]) -> None:
        """Apply changes to the open transaction, beginning one if none is open.

        Raises:
            StoreError: they can't be written; the transaction is to be rolled back.
        """
        try:
            for change in changes:
                if not self._in_transaction:
                    self._execute("BEGIN IMMEDIATE")
                    self._in_transaction = True
                self._writer.write(change)
        except apsw.Error as error:
            raise store_error("written", error, self._connection) from error

    async def commit(self) -> None:
        """Make all that is written durable.

        Raises:
            StoreFull: there is no room; nothing of the transaction is kept.
            StoreError: it failed for another reason; whether it is durable is unknown.
        """
        if not self._in_transaction:
            return
        try:
            self._writer.count_lanes()
            if self._committer is None:
                self._execute("COMMIT")
            else:
                await self._committer.run(self._commit)
        except apsw.Error as error:
            raise store_error("committed", error, self._connection) from error
        self._in_transaction = False

    def _commit(self) -> None:
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Drop the open transaction, if there is one; `load` is to follow."""
        self._in_transaction = False
        self._writer.forget()
        # SQLite may have rolled back by itself.
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        """Give the file up; what isn't committed is dropped."""
        if self._committer is not None:
            self._committer.stop()
        self.rollback()
        self._connection.close()
        self._lock.release()

    def room(self) -> Room:
        """Return what the file system has free, and the pages of the file that nothing is on.

        Raises:
            StoreError: the files were removed or replaced while they were in use.
        """
        self._in_place.check()
        if self._committer is None:
            return Room(sys.maxsize, 0, "memory")
        pages = self._connection.pragma("freelist_count")
        return Room(self._lock.free_bytes(), pages * self._page_bytes, self._lock.where)

    # -- start-up

    @reads
    def load(self, wall_now: float) -> Snapshot:
        """Begin a boot epoch, durably, and return what the core starts from.

        Raises:
            StoreError: it can't be read, or there is no room; no epoch is begun.
        """
        # Fsynced whatever the durability: an epoch that came twice would void no older lease.
        synchronous = self._connection.pragma("synchronous")
        self._connection.pragma("synchronous", "full")
        try:
            with self._needing_room():
                snapshot = self._begin_epoch(wall_now)
        finally:
            self._connection.pragma("synchronous", synchronous)
        return snapshot

    def _begin_epoch(self, wall_now: float) -> Snapshot:
        epoch: int = 1 + (self._scalar(sql.GET_META, ("epoch",)) or 0)
        crashed = epoch > 1 and not self._scalar(sql.GET_META, ("stopped",))
        self._execute(sql.SET_META, ("epoch", epoch))
        self._execute(sql.SET_META, ("stopped", 0))
        self._execute(sql.REMOVE_IDLE_LANES)
        self._execute(sql.REMOVE_ORPHANED_LEASES)
        young = self._scalar(sql.GET_META, ("tombstone_generation",)) or 0
        lanes = list(self._execute(sql.LANES))
        last_sequence = 0
        for lane_id, *_ in lanes:
            base = lane_id << SEQUENCE_BITS
            last_key = self._scalar(sql.LAST_KEY, (base, base | SEQUENCE_MASK)) or 0
            last_sequence = max(last_sequence, last_key & SEQUENCE_MASK)
        leased = [
            LeasedRow(row[0] >> SEQUENCE_BITS, stored_task((*row, *_IN_A_LANE)))
            for row in self._execute(sql.LEASED)
        ]
        if strays := {row.lane_id for row in leased} - {lane_id for lane_id, *_ in lanes}:
            raise LookupError(f"there is no lane {min(strays)}, but a task in it")
        [(dead_letters, dead_bytes)] = self._execute(sql.COUNT_DEAD_LETTERS)
        base_delayed = DELAYED_LANE << SEQUENCE_BITS
        last_key = self._scalar(sql.LAST_KEY, (base_delayed, base_delayed | SEQUENCE_MASK)) or 0
        last_sequence = max(last_sequence, last_key & SEQUENCE_MASK)
        self._writer.go_on_from(
            {row.task.key for row in leased},
            young,
            has_attempts=bool(self._scalar(sql.HAS_ATTEMPTS)),
        )
        results = []
        accesses = 0
        for task_id, size, recorded_at, accessed in self._execute(sql.RESULT_INDEX):
            results.append((task_id, size, max(0.0, wall_now - recorded_at)))
            accesses = accessed
        return Snapshot(
            epoch=epoch,
            lanes=lanes,
            leased=leased,
            results=results,
            accesses=accesses,
            tombstones=(
                self._scalar(sql.COUNT_TOMBSTONES[young]),
                self._scalar(sql.COUNT_TOMBSTONES[1 - young]),
            ),
            owed=list(self._execute(sql.CALLBACKS_OWED)),
            next_callback=1 + self._scalar(sql.LAST_CALLBACK),
            last_sequence=last_sequence,
            delayed=self._scalar(sql.COUNT_DELAYED),
            dead_letters=(dead_letters, round(dead_bytes)),
            next_due=self._next_due(-math.inf),
            next_expiry=self._next_expiry(-math.inf),
            crashed=crashed,
            schedules=[schedule(row) for row in self._execute(sql.SCHEDULES)],
            **read_queues(self._connection, wall_now),
            batches=[batch(row, wall_now) for row in self._execute(sql.BATCHES)],
            checkpoints_bytes=round(self._scalar(sql.CHECKPOINTS_BYTES)),
        )

    @reads
    def _get_or_make_id(self) -> str:
        found = self._scalar(sql.GET_META, ("control_plane_id",))
        if found is None:
            found = uuid.uuid4().hex
            with self._needing_room():
                self._execute(sql.SET_META, ("control_plane_id", found))
        return str(found)

    @contextlib.contextmanager
    def _needing_room(self) -> Iterator[None]:
        """Have a transaction that is part of a start.

        Raises:
            StoreFull: there is no room for it; the error names the directory.
        """
        try:
            with self._connection:
                yield
        except apsw.Error as error:
            if is_full(error, self._connection):
                raise no_room(self._directory) from error
            raise

    def _scalar(self, statement: str, bindings: tuple[object, ...] = ()) -> Any:
        for row in self._execute(statement, bindings):
            return row[0]
        return None

    # -- reading

    @reads
    def find_known(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids that the store knows in any state, tombstones included."""
        return frozenset(i for i in task_ids if self._scalar(sql.IS_KNOWN, (i,)))

    @reads
    def find_live(self, task_ids: Iterable[str]) -> dict[str, StoredTask]:
        """Return those tasks that are live."""
        return {
            row[1]: stored_task(row)
            for task_id in task_ids
            for row in self._execute(sql.FIND_LIVE, (task_id,))
        }

    @reads
    def find_holders(self, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], UniqueHold]:
        """Return who holds unique keys, by (task name, key)."""
        return {
            place: UniqueHold(*place, *row)
            for place in places
            for row in self._execute(sql.FIND_HOLDER, place)
        }

    @reads
    def count_before(self, key: int) -> int:
        """Return how many tasks of its lane are before a key, or a bound if there are more."""
        base = key >> SEQUENCE_BITS << SEQUENCE_BITS
        return int(self._scalar(sql.COUNT_BEFORE, (base, key, COUNTED_MAX)))

    @reads
    def find_evicted(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids whose result was recorded once and is evicted."""
        return frozenset(i for i in task_ids if self._scalar(sql.IS_EVICTED, (i,)))

    @reads
    def find_results(self, task_ids: Iterable[str]) -> dict[str, Result]:
        """Return those results that are recorded."""
        return {
            row[0]: Result(row[0], TaskStatus(row[1]), *row[2:])
            for task_id in task_ids
            for row in self._execute(sql.READ_RESULT, (task_id,))
        }

    @reads
    def find_statuses(self, task_ids: Iterable[str]) -> dict[str, TaskStatus]:
        """Return the statuses of those results that are recorded."""
        return {
            found: TaskStatus(status)
            for task_id in task_ids
            for found, status in self._execute(sql.READ_STATUS, (task_id,))
        }

    @reads
    def greatest_id(self) -> str:
        """Return an id that no known id is greater than; empty if none is known."""
        return str(self._scalar(sql.GREATEST_ID))

    @reads
    def read_window(self, lane_id: int, after_key: int, limit: int) -> list[WindowRow]:
        """Return the next tasks of a lane in the order of their keys."""
        base = lane_id << SEQUENCE_BITS
        last = base | SEQUENCE_MASK
        bindings = (max(after_key, base), last, limit, _WINDOW_PAYLOAD_BYTES_MAX)
        return [
            WindowRow(stored_task((*row[:14], *_NO_LEASE, *_IN_A_LANE)), row[14])
            for row in self._execute(sql.READ_WINDOW, bindings)
        ]

    @reads
    def read_due(self, at: float, limit: int) -> Due:
        """Return delayed tasks that are due at `at`, the most urgent first."""
        tasks: list[StoredTask] = []
        next_due = list(self._next_due(at))
        for rank in range(4):
            for row in self._execute(sql.READ_DUE, (rank, at, limit + 1 - len(tasks))):
                if len(tasks) == limit:
                    # There are more of this rank, and of the next ones perhaps.
                    next_due[rank:] = [-math.inf] * (4 - rank)
                    return Due(tasks, next_due)
                tasks.append(stored_task(row))
        return Due(tasks, next_due)

    @reads
    def read_delayed(self, queue: str, after: int, last: int, limit: int) -> list[StoredTask]:
        """Return delayed tasks of a queue, in the order of their sequence numbers."""
        rows = self._execute(sql.READ_DELAYED, (after, last, queue, limit))
        return [stored_task(row) for row in rows]

    def _next_due(self, after: float) -> tuple[float, ...]:
        return tuple(_or_never(self._scalar(sql.NEXT_DUE, (rank, after))) for rank in range(4))

    @reads
    def read_expired(self, at: float, limit: int) -> Expired:
        """Return tasks that aren't to be started at `at` any more, the earliest first."""
        rows = list(self._execute(sql.READ_EXPIRED, (at, limit)))
        return Expired(rows, -math.inf if len(rows) == limit else self._next_expiry(at))

    def _next_expiry(self, after: float) -> float:
        return _or_never(self._scalar(sql.NEXT_EXPIRY, (after,)))

    @reads
    def list_batch(self, batch_id: str, after: str, limit: int) -> list[str]:
        """Return the next live tasks of a batch in the order of their ids."""
        return [i for (i,) in self._execute(sql.LIST_BATCH, (batch_id, after, limit))]

    @reads
    def find_attempts(self, task_id: str) -> list[AttemptRecord]:
        """Return the attempts of a task that were followed by another, in order."""
        return [AttemptRecord(*row) for row in self._execute(sql.READ_ATTEMPTS, (task_id,))]

    @reads
    def list_dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        """Return dead letters, the oldest first."""
        after = which.after or (-math.inf, "")
        bindings = (*after, which.name, which.queue, which.limit)
        return [DeadLetter(*row) for row in self._execute(sql.LIST_DEAD_LETTERS, bindings)]

    @reads
    def read_dead_letters(self, pairs: Iterable[tuple[str, str]]) -> dict[str, NewTask]:
        """Return dead letters by their ids, as submissions under other ids: (old, new) pairs."""
        return {
            old: dead_letter(new, row)
            for old, new in pairs
            for row in self._execute(sql.READ_DEAD_LETTER, (old,))
        }

    @reads
    def read_payloads(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the payloads of live tasks by key."""
        return {
            key: payload for key in keys for (payload,) in self._execute(sql.READ_PAYLOAD, (key,))
        }

    @reads
    def read_checkpoint(self, task_id: str) -> bytes | None:
        """Return the checkpoint of a live task, or None if it has none."""
        value: bytes | None = self._scalar(sql.READ_CHECKPOINT, (task_id,))
        return value

    @reads
    def read_callbacks(self, address: str, limit: int, bytes_goal: int) -> list[NumberedCallback]:
        """Return the first callbacks owed to an address, in order, until they make `bytes_goal`."""
        found: list[NumberedCallback] = []
        for number, owed_at, *row in self._execute(sql.READ_CALLBACKS, (address, limit)):
            callback = PendingCallback(row[0], row[1], TaskStatus(row[2]), *row[3:])
            found.append(NumberedCallback(number, callback, owed_at))
            bytes_goal -= len(callback.result or b"") + len(callback.data)
            if bytes_goal <= 0:
                break
        return found
