"""Own the callback service: what the outbox owes becomes JSON, is sent, and is accounted for."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from fastqueue.core.commands import CallbacksSent

if TYPE_CHECKING:
    from fastqueue.control_plane.callback_sender import CallbackSender
    from fastqueue.control_plane.engine import Engine
    from fastqueue.core.records import PendingCallback
    from fastqueue.store.base import NumberedCallback

__all__ = ["CallbackService", "callback_body"]

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


def callback_body(callback: PendingCallback) -> bytes:
    """Return what a listener receives: the seven keys of the client guide, `null` where absent."""
    return _encode(
        {
            "task_id": callback.task_id,
            "status": callback.status.value,
            "result": _raw(callback.result),
            "error": callback.error,
            "started_at": _iso(callback.started_at),
            "completed_at": _iso(callback.completed_at),
            "callback_data": _raw(callback.data),
        }
    )


def _raw(json: bytes | None) -> msgspec.Raw | None:
    # Already JSON, from whoever knew the value; the control plane never decodes it.
    return msgspec.Raw(json) if json else None


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


class CallbackService:
    """Deliver callbacks beside the engine, one delivery an address at a time.

    Args:
        engine: told by `CallbacksSent` what came of each delivery.
        sender: what speaks to the listeners.
        give_up_s: how long after completion a callback is tried, in seconds.
    """

    def __init__(self, engine: Engine, sender: CallbackSender, give_up_s: float) -> None:
        self._engine = engine
        self._sender = sender
        self._give_up_s = give_up_s
        self._deliveries: set[asyncio.Task[None]] = set()

    def deliver(self, address: str, callbacks: list[NumberedCallback]) -> None:
        """Begin a delivery; the core bounds how many are under way."""
        delivery = asyncio.create_task(self._deliver(address, callbacks))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, address: str, callbacks: list[NumberedCallback]) -> None:
        try:
            bodies = [callback_body(owed.callback) for owed in callbacks]
            count = await self._sender.deliver(address, bodies)
        except Exception:  # the top of a delivery: the address must not stay taken
            logger.exception("the callbacks to %s can't be delivered", address)
            count = 0
        delivered = [owed.number for owed in callbacks[:count]]
        given_up: list[int] = []
        if count < len(callbacks):
            oldest = self._engine.wall() - self._give_up_s
            for owed in callbacks[count:]:
                if owed.owed_at < oldest:
                    given_up.append(owed.number)
                    logger.error(
                        "gave up the callback of task %s: nobody listened at %s for %g s",
                        owed.callback.task_id,
                        address,
                        self._give_up_s,
                    )
        self._engine.put(
            CallbacksSent(
                address,
                delivered,
                given_up,
                reachable=count > 0,
                jitter=random.random(),  # noqa: S311 - spreads the retries, hides nothing
            )
        )

    def cancel_all(self) -> None:
        """End what is under way; what isn't accounted for is still owed, and delivered later."""
        for delivery in self._deliveries:
            delivery.cancel()

    async def stop(self) -> None:
        """End what is under way, and close the connections to listeners."""
        self.cancel_all()
        if self._deliveries:
            await asyncio.wait(self._deliveries)
        await self._sender.aclose()
