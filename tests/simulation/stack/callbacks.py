"""Own the listeners of a simulated world, and what stands for the sockets that reach them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from fastqueue.control_plane.callbacks import CallbackService
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.stack.world import World

    from fastqueue.control_plane.engine import Engine
    from fastqueue.control_plane.server import Server
    from fastqueue.store.base import NumberedCallback

__all__ = ["FORBIDDEN", "LISTENERS", "Peers", "check_callback"]

LISTENERS = ("tcp://127.0.0.1:7001", "tcp://127.0.0.1:7002")
FORBIDDEN = "tcp://127.0.0.1:7666"
"""Where this control plane calls nobody back."""


def check_callback(address: str) -> None:
    """Be the check of addresses that a control plane makes.

    Raises:
        ConfigurationError: the address is forbidden.
    """
    if address == FORBIDDEN:
        raise ConfigurationError(f"nobody is called back at {address}")


class _Sender:
    """Bring callbacks to their listeners, all, some of them or none."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def deliver(self, address: str, bodies: Sequence[bytes]) -> int:
        """Return how many were taken, the first ones."""
        world, chance = self._world, self._world.chance
        world.ledger.claim(address != FORBIDDEN, f"{address} is called back")
        taken = 0
        for body in bodies:
            await asyncio.sleep(world.loop.network.delay_s)
            if not world.is_calm and chance.random() < 0.2:
                break
            world.ledger.on_called_back(json.loads(body))
            taken += 1
        return taken

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class Peers:
    """Be what the engine talks to: the real server, and the real service of callbacks."""

    def __init__(self, world: World, engine: Engine, server: Server) -> None:
        self.send = server.send
        self.close = server.close
        self.is_writable = server.is_writable
        self.hold_back = server.hold_back
        self.read_again = server.read_again
        self.resume = server.resume
        self._server = server
        self.callbacks = CallbackService(engine, _Sender(world), 3600.0)  # type: ignore[arg-type]

    def close_all(self, reason: str) -> None:
        self._server.close_all(reason)
        self.callbacks.cancel_all()

    def deliver(self, address: str, callbacks: Sequence[NumberedCallback]) -> None:
        self.callbacks.deliver(address, list(callbacks))
