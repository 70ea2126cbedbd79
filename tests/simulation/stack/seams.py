"""Own what a simulated world puts in the place of clocks, chance, threads and sockets.

The package's own code isn't changed for it: these are names in its modules, put back afterwards.
Bounds are made small, so that a short history reaches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.simulation.stack.heartbeats import TaskHeartbeats
from tests.simulation.stack.loop import VirtualLoop

from fastqueue.client import connection as client_connection
from fastqueue.client import lifecycle, options, requests, submissions, submitting
from fastqueue.config import files
from fastqueue.control_plane import answers, callbacks, engine, outlet
from fastqueue.link import connection, dialer, discovery
from fastqueue.subworker import app as subworker_app
from fastqueue.subworker import held, outcomes, reports, running, runtime

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

__all__ = ["WALL_AT_0", "Ear", "sewn"]

# The file of settings is the same for every client of every history, whichever it is.
_read_document = functools.cache(files._read_document)

WALL_AT_0 = 1_700_000_000.0

_BOUNDS = (
    (requests, "IDS_MAX", 3),
    (client_connection, "IDS_MAX", 3),
    (submissions, "_BATCH_TASKS_MAX", 4),
    (submissions, "_WINDOW_TASKS", 8),
    (submissions, "_WINDOW_BYTES", 1_000),
    (submissions, "_WAITING_TASKS_MAX", 16),
    (connection, "_WRITE_HIGH_BYTES", 200),
    (engine, "_TURN_COMMANDS_MAX", 6),
    (engine, "_INBOX_HIGH", 4),
    (answers, "CHUNK_BYTES_GOAL", 100),
    (answers, "_CHUNK_RESULTS_MAX", 2),
    (answers, "_ANSWERS_HIGH", 2),
    (outlet, "_FRAME_ITEMS_MAX", 2),
    (outlet, "_PUSH_BYTES_MAX", 300),
    (reports, "_REPORT_OUTCOMES_MAX", 3),
)


class Ear(discovery.DiscoveryListener):
    """Hear announcements over the simulated network; what is made of them is the real thing."""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.ears.append((loop.process, self))

    def close(self) -> None:
        self._is_closed = True

    def hear(self, announcement: Any) -> None:
        if not self._is_closed:
            self._note(announcement)


@contextlib.contextmanager
def sewn(
    loop: VirtualLoop,
    chance: random.Random,
    new_id: Callable[[], str],
    wall: Callable[[], float],
) -> Iterator[None]:
    """Let the package take its time, chance and ids from a world, while this is open."""
    clock = SimpleNamespace(monotonic=loop.time, time=wall)
    uuids = SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=f"{chance.getrandbits(128):032x}"))
    replaced: list[tuple[Any, str, Any]] = [
        *_BOUNDS,
        (submitting, "new_task_id", new_id),
        (lifecycle, "uuid", uuids),
        (subworker_app, "uuid", uuids),
        (subworker_app, "Heartbeats", TaskHeartbeats),
        (held, "time", clock),
        (running, "time", clock),
        (runtime, "time", clock),
        (options, "time", clock),
        (discovery, "time", clock),
        (files, "_read_document", _read_document),
        (outcomes, "random", chance),
        (dialer, "random", chance),
        (callbacks, "random", chance),
        (dialer, "DiscoveryListener", Ear),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
