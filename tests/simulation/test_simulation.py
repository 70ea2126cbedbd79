"""Run the real engine and core through seeded histories of faults, checking after each turn."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest
from tests.simulation.world import World

SEEDS = range(int(os.environ.get("SEED", "0")), int(os.environ.get("SEED", "0")) + 100)
if "SEED" in os.environ:
    SEEDS = range(int(os.environ["SEED"]), int(os.environ["SEED"]) + 1)
STEPS = 250


async def play(seed: int) -> World:
    world = World(seed)
    try:
        for _ in range(STEPS):
            for _ in range(world.random.randint(1, 4)):
                world.step()
            fate = world.random.random()
            if fate < 0.02:
                world.crash()
            elif fate < 0.03:
                world.store.fail_next_commit = True
            await world.turn()
            if 0.03 < fate < 0.04:
                # After the commit and the effects, before anybody has reacted to them.
                world.crash()
        world.store.fail_next_commit = False
        await world.settle()
        world.check_end()
    except BaseException as error:
        error.add_note(f"replay with: SEED={seed} pytest tests/simulation -x")
        error.add_note("the last steps: " + " ".join(world.trace[-40:]))
        raise
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_breaks_an_invariant_and_every_acknowledged_task_ends(seed: int) -> None:
    logging.disable(logging.ERROR)
    try:
        asyncio.run(play(seed))
    finally:
        logging.disable(logging.NOTSET)


def test_the_histories_reach_what_they_are_meant_to_reach() -> None:
    """A simulation that never spills, evicts, crashes or adopts would prove nothing."""

    async def reach() -> dict[str, int]:
        seen = {"recorded": 0, "refused": 0, "stale": 0, "tombstones": 0, "epochs": 0, "twice": 0}
        for seed in range(10):
            world = await play(seed)
            state = world.engine.core.state
            seen["recorded"] += len(world.recorded)
            seen["refused"] += len(world.refused)
            seen["stale"] += state.stale_outcomes
            seen["tombstones"] += state.old_tombstones
            seen["epochs"] += state.epoch
            seen["twice"] += sum(1 for runs in world.starts.values() if runs > 1)
        return seen

    logging.disable(logging.ERROR)
    try:
        seen = asyncio.run(reach())
    finally:
        logging.disable(logging.NOTSET)
    assert all(count > 0 for count in seen.values()), seen
    assert seen["epochs"] > 20, seen
