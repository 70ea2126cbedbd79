"""Own the disk of a simulated control plane: commits take time, fail, and are cut by crashes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.batches import WitnessedStore

from fastqueue.core import changes as ch
from fastqueue.errors import StoreError, StoreFull

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from fastqueue.core.state import Snapshot

__all__ = ["DISK_FREE_MIN", "SimulatedStore"]

DISK_FREE_MIN = 1_000
"""The watermark, in bytes."""

_FREE_BYTES = 1_000_000
# How long the engine may take to notice, beside its commits: it looks four times a second.
_NOTICED_S = 0.5


class SimulatedStore(WitnessedStore):
    """Keep the queue on a disk that is slow, full or broken now and then.

    A process that is killed in a commit finds all of it on the disk afterwards or nothing: that is
    what the store promises, and all that the engine may rely on.

    Args:
        chance: decides how long a commit takes.
        on_added: told of each task of a transaction when it is durable.

    Attributes:
        free_bytes: how much room there is for all but what is under the watermark.
        is_full: there is no room; until there is, every transaction fails.
        breaks_next: the next commit fails by an I/O error, kept or not.
        crash: called in the middle of the next commit, before or after it is durable.
    """

    def __init__(
        self,
        chance: random.Random,
        on_added: Callable[[ch.TasksAdded | ch.TasksDelayed], None],
        commit_s: float,
    ) -> None:
        super().__init__()
        self._chance = chance
        self._on_added = on_added
        self._added: list[ch.TasksAdded | ch.TasksDelayed] = []
        self.commit_s = commit_s
        self.is_full = False
        self.breaks_next = False
        self.crash: Callable[[], None] | None = None
        self.free_bytes = _FREE_BYTES
        # Since when there is less room than the watermark, if there is.
        self._short_since: float | None = None
        self._is_committing = False

    def set_short(self, now: float | None) -> None:
        """Let there be less room than the watermark from now on, or enough of it."""
        self._short_since = now
        self.free_bytes = _FREE_BYTES if now is None else DISK_FREE_MIN // 2

    def is_surely_short(self, now: float) -> bool:
        """Say whether there has been less room for so long that new tasks are refused."""
        since = self._short_since
        return since is not None and now > since + _NOTICED_S + 4 * self.commit_s

    def restart(self) -> None:
        """Be what a process that starts finds: what was committed."""
        self.rollback()
        self._is_committing = False

    def load(self, wall_now: float) -> Snapshot:
        if self.is_full:
            raise StoreFull("there is no room to begin an epoch")
        return super().load(wall_now)

    def write(self, changes: Iterable[ch.Change]) -> None:
        assert not self._is_committing, "the store is written while a commit is under way"
        if self.is_full and self._chance.random() < 0.5:
            raise StoreFull("there is no room for more")
        changes = list(changes)
        news = (ch.TasksAdded, ch.TasksDelayed)
        self._added += (change for change in changes if isinstance(change, news))
        super().write(changes)

    def rollback(self) -> None:
        super().rollback()
        self._added.clear()

    async def commit(self) -> None:
        if not self.in_transaction:
            return
        self._is_committing = True
        try:
            await self._commit()
        finally:
            self._is_committing = False

    async def _commit(self) -> None:
        chance = self._chance
        commit_s = self.commit_s * (0.5 + chance.random())
        survives = chance.random()
        await asyncio.sleep(commit_s * survives)
        crash, self.crash = self.crash, None
        if crash is not None and survives < 0.5:
            crash()
            await asyncio.Event().wait()
        if self.is_full:
            raise StoreFull("there is no room for the transaction")
        breaks, self.breaks_next = self.breaks_next, False
        if not breaks or survives < 0.5:
            self.commit_now()
            for change in self._added:
                self._on_added(change)
            self._added.clear()
        if breaks:
            raise StoreError("the commit failed: an I/O error; whether it is durable is unknown")
        if crash is not None:
            crash()
            await asyncio.Event().wait()
        await asyncio.sleep(commit_s * (1 - survives))
