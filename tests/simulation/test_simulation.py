"""Run the real engine and core through seeded histories of faults, checking after each turn."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.simulation.plant import FAULTS, PACKAGE, planted
from tests.simulation.play import play, play_quietly, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.pool import Pool

ONE = os.environ.get("SEED")
AT_ONCE = 100
STARTS = range(0, 1_200, AT_ONCE)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


@pytest.mark.parametrize("start", STARTS)
def test_no_history_breaks_an_invariant_and_every_acknowledged_task_ends(
    pool: Pool, start: int
) -> None:
    for seed, failure in pool.imap(verdict, range(start, start + AT_ONCE), 10):
        assert not failure, f"{failure}\nseed {seed} failed"


def test_one_history_played_again_is_the_same() -> None:
    """Also what `SEED=n make simulation` runs, to show one history's steps."""
    logging.disable(logging.ERROR)
    try:
        first = asyncio.run(play(int(ONE or 0), shows_trace=ONE is not None))
        second = asyncio.run(play(int(ONE or 0)))
    finally:
        logging.disable(logging.NOTSET)
    assert first.trace == second.trace
    assert first.recorded == second.recorded


def test_the_histories_reach_what_they_are_meant_to_reach() -> None:
    """A simulation that never spills, evicts, crashes or adopts would prove nothing."""
    seen: Counter[str] = Counter()
    for seed in range(50):
        world = play_quietly(seed)
        assert not isinstance(world, BaseException), seed
        state = world.engine.core.state
        seen["recorded"] += len(world.recorded)
        seen["refused"] += len(world.refused)
        seen["cancelled"] += len(world.cancelled)
        seen["stale"] += world.stale
        seen["tombstones"] += state.old_tombstones
        seen["epochs"] += state.epoch
        seen["twice"] += sum(1 for runs in world.starts.values() if runs > 1)
        seen["quarantined"] += len(world.quarantined)
        seen["counted alone"] += world.counted_alone
        seen["lost leases"] += len(world.lost_tokens)
        seen["called back"] += len(world.called_back)
        seen["pushed"] += world.pushed
        seen["silenced"] += world.silenced
        seen["refused for room"] += world.refused_for_room
        seen["refused unoffered"] += world.refused_unoffered
        seen["recorded while short"] += world.recorded_while_short
        seen["due"] += world.waits.due
        seen["expired"] += world.waits.expired
        seen["tried again"] += world.waits.retried
        seen["counted"] += world.store.happened.counted
        seen["forgotten"] += world.store.happened.forgotten
        seen["fired"] += len(world.rota.fired)
        seen["left out"] += world.rota.left_out
        seen["missed"] += world.rota.missed
        seen["cancelled for a newer one"] += world.rota.cancelled
        seen["decided"] += world.rota.decided
        seen["checkpoints handed over"] += world.checkpoints.handed_over
        seen["checkpoints refused"] += world.checkpoints.refused
        seen["checkpoints voided"] += world.checkpoints.voided
        seen["followed"] += world.followed
    wanted = {
        "recorded": 1_000,
        "refused": 20,
        "cancelled": 20,
        "stale": 20,
        "tombstones": 20,
        "epochs": 60,
        "twice": 20,
        "quarantined": 1,
        "counted alone": 20,
        "lost leases": 20,
        "called back": 100,
        "pushed": 200,
        "silenced": 3,
        "refused for room": 20,
        "recorded while short": 20,
        "due": 200,
        "expired": 100,
        "tried again": 200,
        "counted": 200,
        "forgotten": 50,
        "fired": 200,
        "left out": 20,
        "missed": 10,
        "cancelled for a newer one": 20,
        "decided": 5,
        "checkpoints handed over": 20,
        "checkpoints refused": 20,
        "checkpoints voided": 20,
        "followed": 100,
    }
    assert all(seen[what] >= count for what, count in wanted.items()), seen


@pytest.mark.parametrize("mutant", [m for _, m in FAULTS], ids=lambda mutant: mutant.name)
def test_each_planted_fault_still_finds_its_place(mutant: object) -> None:
    """`make mutants` shows that each is caught; here that the list is true of this source."""
    planted(PACKAGE, mutant)
