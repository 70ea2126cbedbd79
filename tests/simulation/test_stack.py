"""Run real clients, subworkers and a control plane's server through seeded histories of faults."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.simulation.stack.play import play, play_quietly, trace_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.pool import Pool

ONE = os.environ.get("STACK_SEED")
AT_ONCE = 100
STARTS = range(0, 800, AT_ONCE)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


@pytest.mark.parametrize("start", STARTS)
def test_no_history_of_whole_processes_breaks_a_promise(pool: Pool, start: int) -> None:
    for seed, failure in pool.imap(verdict, range(start, start + AT_ONCE), 10):
        assert not failure, f"{failure}\nstack seed {seed} failed"


def test_one_stack_history_played_again_is_the_same() -> None:
    """Also what `STACK_SEED=n make simulation` runs, to show one history's steps."""
    logging.disable(logging.ERROR)
    try:
        first = play(int(ONE or 0), shows_trace=ONE is not None)
        second = play(int(ONE or 0))
    finally:
        logging.disable(logging.NOTSET)
    assert first.trace == second.trace
    assert first.ledger.recorded == second.ledger.recorded


def test_a_stack_history_is_the_same_in_any_process_and_after_any_other(pool: Pool) -> None:
    elsewhere = pool.map(trace_of, range(8), 1)
    assert elsewhere == [trace_of(seed) for seed in range(8)]


def test_the_histories_of_whole_processes_reach_what_they_are_meant_to_reach() -> None:
    seen: Counter[str] = Counter()
    for seed in range(20):
        world = play_quietly(seed)
        assert not isinstance(world, BaseException), seed
        ledger = world.ledger
        seen["recorded"] += len(ledger.recorded)
        seen["acknowledged"] += len(ledger.acknowledged)
        seen["pushed"] += world.pushed
        seen["stale"] += ledger.stale
        seen["lost leases"] += len(ledger.lost_tokens)
        seen["twice"] += sum(1 for runs in ledger.runs.values() if len(runs) > 1)
        seen["resent"] += sum(1 for count in ledger.sent.values() if count > 1)
        seen["boots"] += world.control_plane.boots
        seen["errors"] += sum(world.errors.values())
        seen["faults"] += sum(world.faults.values())
        seen["called back"] += sum(ledger.called_back.values())
        seen["once"] += sum(1 for key in ledger.once if ledger.runs.get(key))
        seen["refused for room"] += world.refusals["disk_full"]
        seen["with tokens"] += bool(world.tokens)
        seen["turned away"] += world.turned_away
        seen["due"] += sum(1 for key in ledger.due if ledger.runs.get(key))
        seen["expired"] += ledger.expired
        seen["tried again"] += ledger.attempts
    wanted = {
        "recorded": 500,
        "acknowledged": 400,
        "pushed": 200,
        "stale": 1,
        "lost leases": 10,
        "twice": 20,
        "resent": 20,
        "boots": 40,
        "errors": 20,
        "faults": 500,
        "called back": 20,
        "once": 40,
        "refused for room": 5,
        "with tokens": 5,
        "turned away": 10,
        "due": 20,
        "expired": 5,
        "tried again": 20,
    }
    assert all(seen[what] >= count for what, count in wanted.items()), seen
