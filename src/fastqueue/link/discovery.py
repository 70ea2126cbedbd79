"""Own how a client or a subworker hears of control planes; its owner decides which one to use.

It only listens. A control plane is known by its id: its address is replaced when it moves, and it
is forgotten when it has been silent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from fastqueue.errors import PatternClosed
from fastqueue.protocol.announcement import ANNOUNCEMENT_BYTES_MAX, Announcement

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.patterns.nng_patterns import BusPattern

__all__ = ["DiscoveryListener"]

logger = logging.getLogger(__name__)

SILENCE_TIMEOUT_S = 7.0
"""Three announcements missed, and a little."""

KNOWN_MAX = 64

RECONNECT_MAX_S = 0.2
"""A control plane that comes later than its listeners is to be found within 0.5 s."""


class DiscoveryListener:
    """Listen for the announcements made at one discovery address.

    Args:
        discovery_address: where control planes announce themselves.
        on_announcement: called on the event loop with each announcement heard, repetitions too.
    """

    def __init__(
        self, discovery_address: str, on_announcement: Callable[[Announcement], None]
    ) -> None:
        self.discovery_address = discovery_address
        self._on_announcement = on_announcement
        self._bus: BusPattern | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        # By time of hearing: the one heard last is last.
        self._heard: dict[str, tuple[Announcement, float]] = {}
        self._has_reported_garbage = False

    @property
    def known(self) -> dict[str, Announcement]:
        """Return what each control plane last said, by its id, for those not yet silent."""
        self._forget_silent()
        return {id_: announcement for id_, (announcement, _) in self._heard.items()}

    def current(self) -> Announcement | None:
        """Return the announcement heard most recently, or None if all are silent."""
        self._forget_silent()
        return next((heard for heard, _ in reversed(self._heard.values())), None)

    async def start(self) -> None:
        """Begin to listen; returns at once, whether a control plane is there or not.

        Raises:
            PatternError: the address can't be one.
            PatternClosed: it was closed before.
        """
        # Here, so that `import fastqueue` doesn't load NNG and its threads.
        from fastqueue.patterns.nng_patterns import BusPattern

        if self._is_closed:
            raise PatternClosed(f"discovery at {self.discovery_address} is closed; make a new one")
        if self._task is not None:
            return
        bus = BusPattern(
            self.discovery_address,
            recv_bytes_max=ANNOUNCEMENT_BYTES_MAX,
            buffer_max=256,
            linger_s=0,
            reconnect_max_s=RECONNECT_MAX_S,
        )
        await bus.start()
        self._bus = bus
        self._task = asyncio.create_task(self._listen(bus), name="fastqueue-discovery")

    def close(self) -> None:
        """Stop listening; calling it again does nothing."""
        self._is_closed = True
        if self._bus is not None:
            self._bus.close()

    async def _listen(self, bus: BusPattern) -> None:
        while True:
            try:
                data = await bus.recv()
            except PatternClosed:
                return
            announcement = Announcement.decode(data)
            if announcement is None:
                self._note_garbage(len(data))
            else:
                self._note(announcement)

    def _note(self, announcement: Announcement) -> None:
        id_ = announcement.control_plane_id
        self._forget_silent()
        self._heard.pop(id_, None)
        if len(self._heard) >= KNOWN_MAX:
            del self._heard[next(iter(self._heard))]
        self._heard[id_] = (announcement, time.monotonic())
        self._on_announcement(announcement)

    def _note_garbage(self, data_bytes: int) -> None:
        if self._has_reported_garbage:
            return
        self._has_reported_garbage = True
        logger.warning(
            "somebody at %s sends what is no announcement (%d bytes): ignored, and not reported "
            "again",
            self.discovery_address,
            data_bytes,
        )

    def _forget_silent(self) -> None:
        limit = time.monotonic() - SILENCE_TIMEOUT_S
        while self._heard:
            id_, (_, heard_at) = next(iter(self._heard.items()))
            if heard_at > limit:
                break
            del self._heard[id_]
