"""Own the `Store` protocol: what the engine asks of durable storage.

One transaction is open from the first `write` to `commit`. Reads see what is written; the engine
answers nobody from a read before the commit. No code outside `store/` may assume one file or one
owner: another implementation is a database server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastqueue.core.changes import Change
    from fastqueue.core.commands import StoredTask
    from fastqueue.core.records import (
        AttemptRecord,
        DeadLetter,
        DeadLetterFilter,
        NewTask,
        PendingCallback,
        Result,
        UniqueHold,
    )
    from fastqueue.core.state import Snapshot
    from fastqueue.tasks.models import TaskStatus

__all__ = ["COUNTED_MAX", "Due", "Expired", "NumberedCallback", "Room", "Store", "WindowRow"]

COUNTED_MAX = 100_000
"""How many tasks before another are counted, at most."""


class WindowRow(NamedTuple):
    """Carry a task read into a window; its payload comes along if it is small, else None."""

    task: StoredTask
    payload: bytes | None


class Due(NamedTuple):
    """Carry delayed tasks that are due, and when, by rank, the next of the others is.

    That is `-inf` where there are more of them due than were asked for, or may be.
    """

    tasks: list[StoredTask]
    next_due: Sequence[float]


class Expired(NamedTuple):
    """Carry (expires at, task id) of tasks not to be started any more, and the next such time.

    That is `-inf` where there are more of them than were asked for, or may be.
    """

    rows: list[tuple[float, str]]
    next_expiry: float


class NumberedCallback(NamedTuple):
    """Carry a callback that is owed, under its number, and since when."""

    number: int
    callback: PendingCallback
    owed_at: float


class Room(NamedTuple):
    """Say how much more can be stored.

    Attributes:
        free_bytes: what the storage has free for this store and all others.
        reusable_bytes: what it holds already and doesn't use.
        where: how a person finds it.
    """

    free_bytes: int
    reusable_bytes: int
    where: str


class Store(Protocol):
    """Keep what must survive; see the module for the rules of transactions."""

    control_plane_id: str

    def load(self, wall_now: float) -> Snapshot:
        """Begin a boot epoch, durably, and return what the core starts from."""

    def write(self, changes: Iterable[Change]) -> None:
        """Apply changes to the open transaction, beginning one if none is open.

        Raises:
            StoreError: they can't be written; the transaction is to be rolled back.
        """

    @property
    def in_transaction(self) -> bool:
        """Say whether anything written waits for `commit`."""

    async def commit(self) -> None:
        """Make all that is written durable.

        Raises:
            StoreFull: there is no room; nothing of the transaction is kept.
            StoreError: it failed for another reason; whether it is durable is unknown.
        """

    def rollback(self) -> None:
        """Drop the open transaction, if there is one."""

    def find_known(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids that the store knows in any state, tombstones included."""

    def find_live(self, task_ids: Iterable[str]) -> dict[str, StoredTask]:
        """Return those tasks that are live."""

    def find_holders(self, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], UniqueHold]:
        """Return who holds unique keys, by (task name, key)."""

    def count_before(self, key: int) -> int:
        """Return how many tasks of its lane are before a key, or a bound if there are more."""

    def find_evicted(self, task_ids: Iterable[str]) -> frozenset[str]:
        """Return those ids whose result was recorded once and is evicted."""

    def find_results(self, task_ids: Iterable[str]) -> dict[str, Result]:
        """Return those results that are recorded."""

    def find_statuses(self, task_ids: Iterable[str]) -> dict[str, TaskStatus]:
        """Return the statuses of those results that are recorded."""

    def greatest_id(self) -> str:
        """Return an id that no known id is greater than; empty if none is known."""

    def read_window(self, lane_id: int, after_key: int, limit: int) -> list[WindowRow]:
        """Return the next tasks of a lane in the order of their keys."""

    def read_due(self, at: float, limit: int) -> Due:
        """Return delayed tasks that are due at `at`, the most urgent first."""

    def read_delayed(self, queue: str, after: int, last: int, limit: int) -> list[StoredTask]:
        """Return delayed tasks of a queue, in the order of their sequence numbers.

        Those whose number is greater than `after` and not than `last`.
        """

    def read_expired(self, at: float, limit: int) -> Expired:
        """Return tasks that aren't to be started at `at` any more, the earliest first."""

    def list_dead_letters(self, which: DeadLetterFilter) -> list[DeadLetter]:
        """Return dead letters, the oldest first."""

    def read_dead_letters(self, pairs: Iterable[tuple[str, str]]) -> dict[str, NewTask]:
        """Return dead letters by their ids, as submissions under other ids: (old, new) pairs."""

    def list_batch(self, batch_id: str, after: str, limit: int) -> list[str]:
        """Return the next live tasks of a batch in the order of their ids."""

    def find_attempts(self, task_id: str) -> list[AttemptRecord]:
        """Return the attempts of a task that were followed by another, in order."""

    def read_payloads(self, keys: Sequence[int]) -> dict[int, bytes]:
        """Return the payloads of live tasks by key."""

    def read_checkpoint(self, task_id: str) -> bytes | None:
        """Return the checkpoint of a live task, or None if it has none."""

    def read_callbacks(self, address: str, limit: int, bytes_goal: int) -> list[NumberedCallback]:
        """Return the first callbacks owed to an address, in order, until they make `bytes_goal`."""

    def room(self) -> Room:
        """Return how much more can be stored; called between transactions, and cheap.

        Raises:
            StoreError: nothing can: the storage itself was taken away.
        """

    def close(self) -> None:
        """Give the storage up; what isn't committed is dropped."""
