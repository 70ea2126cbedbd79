"""Own the control plane's voice on the discovery bus; the control plane's app starts and stops it.

It says where the control plane is to whoever connects, at once, and to all every 2 s. A Bus drops
what a peer has no room for, so it repeats; and a listener may have come while nobody was there,
so it never matters who starts first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastqueue.errors import ConfigurationError, PatternClosed, PatternError
from fastqueue.patterns.nng_patterns import BusPattern
from fastqueue.protocol.announcement import ANNOUNCEMENT_BYTES_MAX

if TYPE_CHECKING:
    from fastqueue.protocol.announcement import Announcement

__all__ = ["Announcer"]

ANNOUNCE_INTERVAL_S = 2.0


class Announcer:
    """Announce one control plane at one discovery address.

    Args:
        discovery_address: where to listen, such as `tcp://127.0.0.1:5550`.
        announcement: what to say.
    """

    def __init__(self, discovery_address: str, announcement: Announcement) -> None:
        self._discovery_address = discovery_address
        self._data = announcement.encode()
        self._bus: BusPattern | None = None
        self._task: asyncio.Task[None] | None = None
        self._newcomer = asyncio.Event()

    @property
    def discovery_address(self) -> str:
        """Return where it listens; after `start` with TCP port 0, with the port chosen."""
        return self._discovery_address if self._bus is None else self._bus.address

    async def start(self) -> None:
        """Listen, and begin to announce; a second call does nothing.

        Raises:
            ConfigurationError: the address can't be listened at, for example because it is in use.
        """
        if self._task is not None:
            return
        bus = BusPattern(
            self._discovery_address,
            listen=True,
            on_connect=self._newcomer.set,
            # Nobody has anything to tell a control plane here: read nothing, keep little.
            recv_bytes_max=ANNOUNCEMENT_BYTES_MAX,
            buffer_max=16,
            linger_s=0,
        )
        try:
            await bus.start()
        except PatternError as error:
            raise ConfigurationError(
                f"can't announce the control plane at {self._discovery_address} ({error}): if "
                "another control plane runs there, stop it, or pass another --discovery-address"
            ) from error
        self._bus = bus
        self._task = asyncio.create_task(self._announce(bus), name="fastqueue-announcer")

    async def stop(self) -> None:
        """Stop announcing and free the address; calling it again does nothing."""
        task, self._task = self._task, None
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _announce(self, bus: BusPattern) -> None:
        try:
            while True:
                self._newcomer.clear()
                await bus.send(self._data)
                # However many connect in one turn of the loop, one announcement serves them all.
                try:
                    async with asyncio.timeout(ANNOUNCE_INTERVAL_S):
                        await self._newcomer.wait()
                except TimeoutError:
                    continue
        except PatternClosed:
            return
