"""Own how a seed is played: by the tests, by `make simulate` and over planted faults.

`python -m tests.simulation.play --seeds 1000 --from 0` plays many seeds in a few processes and
stops at the first that breaks something.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import sys
import time
import traceback

from tests.simulation.stack.play import verdict as stack_verdict
from tests.simulation.world import World

STEPS = 250
_PROCESSES = 2
_CHUNK = 10
_PROGRESS_S = 5.0


async def play(seed: int, *, shows_trace: bool = False) -> World:
    """Play one history to its end.

    Raises:
        AssertionError: something that must hold doesn't; its notes say how to play it again.
    """
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
            elif fate < 0.04:
                await world.stop()
            await world.turn()
            if 0.04 < fate < 0.05:
                # After the commit and the effects, before anybody has reacted to them.
                world.crash()
        world.store.fail_next_commit = False
        await world.settle()
        world.check_end()
        await world.expire()
        await world.stop()
    except BaseException as error:
        error.add_note(f"the last steps: {'; '.join(world.trace[-30:])}")
        error.add_note(f"play it again, with all its steps: SEED={seed} make simulation")
        raise
    finally:
        if shows_trace:
            print(f"\n-- the history of seed {seed}", *world.trace, sep="\n", file=sys.stderr)
    return world


def play_quietly(seed: int) -> World | Exception:
    """Play one history without the engine's log; return its world, or what broke."""
    logging.disable(logging.ERROR)
    try:
        return asyncio.run(play(seed))
    except Exception as error:  # noqa: BLE001 - whatever went wrong is the verdict
        return error
    finally:
        logging.disable(logging.NOTSET)


def verdict(seed: int) -> tuple[int, str]:
    """Play one history in a process of a pool; return its failure as text, or nothing."""
    end = play_quietly(seed)
    return seed, "".join(traceback.format_exception(end)) if isinstance(end, Exception) else ""


def main() -> int:
    """Play seeds until one breaks something; return the exit code."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--world", choices=("engine", "stack"), default="engine")
    arguments = parser.parse_args()
    play_one = stack_verdict if arguments.world == "stack" else verdict
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    begun = shown = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        for count, (seed, failure) in enumerate(pool.imap(play_one, seeds, _CHUNK), start=1):
            if failure:
                print(f"{failure}\nseed {seed} failed", file=sys.stderr)
                return 1
            now = time.monotonic()
            if now - shown >= _PROGRESS_S:
                shown = now
                rate = count / (now - begun)
                print(f"{count:,} of {len(seeds):,} seeds held; {rate:.0f} a second", flush=True)

    took = time.monotonic() - begun
    print(f"{len(seeds):,} {arguments.world} seeds held, from {seeds.start}, in {took:.0f} s")

    return 0


if __name__ == "__main__":
    sys.exit(main())
