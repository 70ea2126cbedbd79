"""Own how one seed is played in the world of whole processes."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from typing import TYPE_CHECKING, Any

from tests.simulation.stack.loop import VirtualLoop
from tests.simulation.stack.seams import sewn
from tests.simulation.stack.world import World

__all__ = ["play"]


def play(seed: int, *, shows_trace: bool = False) -> World:
    """Play one history to its end.

    Raises:
        AssertionError: something that must hold doesn't; its notes say how to play it again.
    """
    chance = random.Random(f"stack {seed}")
    loop = VirtualLoop(chance)
    world: World | None = None
    try:
        world = World(loop, chance)
        with sewn(loop, chance, world.new_id):
            loop.run_until_complete(_main(world))
            loop.bury()
        gc.collect()
        if world.failure is None and loop.complaints:
            world.failure = AssertionError(f"asyncio complains: {loop.complaints[0]}")
        if world.failure is not None:
            raise world.failure
    except BaseException as error:
        if world is not None:
            error.add_note(f"the last steps: {'; '.join(world.trace[-30:])}")
        error.add_note(f"play it again, with all its steps: STACK_SEED={seed} make simulation")
        raise
    finally:
        if shows_trace and world is not None:
            print(f"\n-- the history of stack seed {seed}", *world.trace, sep="\n", file=sys.stderr)
        loop.close()
    return world


async def _main(world: World) -> None:
    playing = asyncio.ensure_future(world.guard(world.play))
    waits: list[asyncio.Future[Any]] = [playing, world.broken]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    playing.cancel()
