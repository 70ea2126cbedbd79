"""Own how one seed is played in the world of whole processes."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import random
import sys
import traceback
from typing import Any

from tests.simulation.stack.loop import VirtualLoop
from tests.simulation.stack.seams import sewn
from tests.simulation.stack.world import World

__all__ = ["play", "play_quietly", "trace_of", "verdict"]


def play(seed: int, *, shows_trace: bool = False) -> World:
    """Play one history to its end.

    Raises:
        AssertionError: something that must hold doesn't; its notes say how to play it again.
    """
    _set_modules_aside()
    # One collection at the end finds what was never awaited; those in between only cost time.
    gc.disable()
    chance = random.Random(f"stack {seed}")
    loop = VirtualLoop(chance)
    world: World | None = None
    try:
        world = World(loop, chance)
        with sewn(loop, chance, world.new_id, world.wall):
            loop.run_until_complete(_main(world))
            world.is_over = True
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
        gc.enable()
        if shows_trace and world is not None:
            print(f"\n-- the history of stack seed {seed}", *world.trace, sep="\n", file=sys.stderr)
        loop.close()
    return world


async def _main(world: World) -> None:
    playing = asyncio.ensure_future(world.guard(world.play))
    waits: list[asyncio.Future[Any]] = [playing, world.broken]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    playing.cancel()


@functools.cache
def _set_modules_aside() -> None:
    """Let the collection after each history look only at what the history left."""
    gc.collect()
    gc.freeze()


def play_quietly(seed: int) -> World | Exception:
    """Play one history without the package's log; return its world, or what broke."""
    logging.disable(logging.ERROR)
    try:
        return play(seed)
    except Exception as error:  # noqa: BLE001 - whatever went wrong is the verdict
        return error
    finally:
        logging.disable(logging.NOTSET)


def trace_of(seed: int) -> list[str]:
    """Play one history quietly; return its steps."""
    world = play_quietly(seed)
    if isinstance(world, Exception):
        raise world
    return world.trace


def verdict(seed: int) -> tuple[int, str]:
    """Play one history in a process of a pool; return its failure as text, or nothing."""
    end = play_quietly(seed)
    return seed, "".join(traceback.format_exception(end)) if isinstance(end, Exception) else ""
