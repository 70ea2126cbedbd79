"""Power is cut at a random moment: what was acknowledged is there, and nothing is half there.

POWER_CUTS says how many cuts each test makes.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.power.disk import PowerDisk
from tests.power.workload import History, content

from fastqueue.errors import StoreError, StoreFull
from fastqueue.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

CUTS = int(os.environ.get("POWER_CUTS", "40"))
TRANSACTIONS = 25
# A history makes about this many changes and syncs; past its end, power is cut at rest.
CALLS = 980
# A store has been made and opened by then; what fails before is a start that fails.
OPENED_CALLS = 200


@dataclass
class Outcome:
    """Say what one cut did."""

    cut_in: str
    failed_in: str
    # How many transactions were acknowledged, and how many are there.
    acknowledged: int
    kept: int
    # Boot epochs that were begun, and that are remembered.
    epochs: int
    epochs_kept: int

    @property
    def lost(self) -> int:
        return max(0, self.acknowledged - self.kept)


@dataclass
class Told:
    """Say what was told to others before power was cut, and so must be remembered."""

    control_plane_id: str = ""
    epochs: int = 0
    acknowledged: int = 0


async def live_through(
    disk: PowerDisk, directory: Path, durability: str, history: History, pages: int
) -> Told:
    """Live until power is cut; what is done afterwards isn't told."""
    told = Told()
    store = SqliteStore(directory, durability, vfs=disk.name)
    try:
        if not disk.is_cut:
            told.control_plane_id = store.control_plane_id
        store._connection.wal_autocheckpoint(pages)
        store.load(0.0)
        if not disk.is_cut:
            told.epochs = 1
        while not disk.is_cut and told.acknowledged < TRANSACTIONS:
            store.write(history.next_transaction())
            await store.commit()
            told.acknowledged += not disk.is_cut
    except StoreFull:
        raise
    except StoreError:
        # The control plane ends when its store fails.
        if not disk.failed_in:
            raise
    finally:
        disk.cut()
        store.close()
    return told


def cut_once(folder: Path, seed: int, durability: str, *, failing_sync: bool = False) -> Outcome:
    """Live through a history, cut its power, and see what a store on what is left has."""
    rng = random.Random(seed)
    history = History(seed)
    lived, left = folder / "lived", folder / "left"
    lived.mkdir(parents=True)
    disk = PowerDisk(lived, seed=seed, cut_at=rng.randint(1, CALLS))
    try:
        if failing_sync:
            disk.fail_sync_at = rng.randint(OPENED_CALLS, CALLS)
        pages = rng.choice((4, 15, 40, 4_000))
        told = asyncio.run(live_through(disk, lived, durability, history, pages))
        disk.rebuild(left, rng.choice((0.0, 0.0, 0.2, 0.5, 0.9, 1.0)))
    finally:
        disk.unregister()
    # Opening it checks it: this is `quick_check`, and it must pass.
    store = SqliteStore(left, durability)
    try:
        assert store._connection.pragma("integrity_check") == "ok"
        snapshot = store.load(0.0)
        found = content(store, history.task_ids)
        matching = [n for n, expected in enumerate(history.contents) if expected == found]
        assert matching, f"a transaction is there in part: cut in {disk.cut_in}"
        assert sum(lane[4] for lane in snapshot.lanes) == len(found.live)
        if told.control_plane_id and durability == "full":
            assert store.control_plane_id == told.control_plane_id
        kept = matching[-1]
        assert kept <= told.acknowledged + 1
    finally:
        store.close()
    return Outcome(
        cut_in=disk.cut_in,
        failed_in=disk.failed_in,
        acknowledged=told.acknowledged,
        kept=kept,
        epochs=told.epochs,
        epochs_kept=snapshot.epoch - 1,
    )


def cut_often(folder: Path, durability: str, *, failing_sync: bool = False) -> list[Outcome]:
    outcomes = []
    for seed in range(CUTS):
        try:
            outcomes.append(
                cut_once(folder / str(seed), seed, durability, failing_sync=failing_sync)
            )
        except BaseException as error:
            error.add_note(f"seed {seed}, durability {durability}")
            raise
    places = Counter(outcome.cut_in for outcome in outcomes)
    failed = Counter(outcome.failed_in for outcome in outcomes)
    print(f"\n{durability}: {len(outcomes)} cuts in {dict(places)}; failed syncs {dict(failed)}")
    print(f"acknowledged {sum(o.acknowledged for o in outcomes)} transactions,")
    print(
        f"lost {sum(o.lost for o in outcomes)} of them in {sum(o.lost > 0 for o in outcomes)} cuts,"
    )
    print(f"kept {sum(o.kept > o.acknowledged for o in outcomes)} that nobody was told of,")
    print(f"forgot an epoch in {sum(o.epochs_kept < o.epochs for o in outcomes)} cuts")
    return outcomes


def test_nothing_acknowledged_is_lost_when_power_is_cut(tmp_path: Path) -> None:
    outcomes = cut_often(tmp_path, "full")
    assert [o for o in outcomes if o.lost or o.epochs_kept < o.epochs] == []
    places = {outcome.cut_in for outcome in outcomes}
    assert {"xWrite of fastqueue.db-wal", "xWrite of fastqueue.db", "rest"} <= places


def test_a_data_directory_that_is_made_is_synced_into_those_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    SqliteStore(tmp_path / "a" / "b").close()
    assert {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino} <= synced


def test_without_an_fsync_a_commit_power_cuts_lose_something_and_break_nothing(
    tmp_path: Path,
) -> None:
    # If nothing were lost here, the disk would forget nothing, and the test above prove nothing.
    outcomes = cut_often(tmp_path, "normal")
    assert sum(outcome.lost > 0 for outcome in outcomes) > CUTS // 10
    # A start is synced all the same: an epoch that came twice would void no lease of the first.
    assert [o for o in outcomes if o.epochs_kept < o.epochs] == []


def test_nothing_acknowledged_is_lost_when_a_sync_failed_before_the_cut(tmp_path: Path) -> None:
    outcomes = cut_often(tmp_path, "full", failing_sync=True)
    assert [o for o in outcomes if o.lost or o.epochs_kept < o.epochs] == []
    assert {"fastqueue.db-wal", "fastqueue.db"} <= {outcome.failed_in for outcome in outcomes}
