"""Own telling the control plane how subworker processes ended, from where no control plane is.

Used by `fastqueue subworker`; a control plane's own supervisor tells it directly. What can't be
told is no loss: without it the tasks of a dead subworker are leased again all the same, only a
second later and with more of them under suspicion.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections import deque
from typing import TYPE_CHECKING

from fastqueue.link.dialer import Dialer
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode

if TYPE_CHECKING:
    from fastqueue.config import SubworkerSettings
    from fastqueue.link.connection import Connection

__all__ = ["Obituary"]

logger = logging.getLogger(__name__)

# Deaths that wait for a control plane; of older ones it has found out by itself.
_WAITING_MAX = 100


class Obituary:
    """Keep a connection to the control plane and tell of deaths on it.

    Args:
        settings: the subworkers' own: where their control plane is.
    """

    def __init__(self, settings: SubworkerSettings) -> None:
        self._dialer = Dialer(
            self,
            role=greetings.ROLE_SUPERVISOR,
            instance=uuid.uuid4().hex,
            name=settings.worker_id,
            control_plane_address=settings.control_plane_address,
            discovery_address=settings.discovery_address,
            security=settings.security,
        )
        self._connection: Connection | None = None
        self._waiting: deque[bytes] = deque(maxlen=_WAITING_MAX)

    async def start(self) -> None:
        """Begin to look for the control plane; returns at once."""
        await self._dialer.start()

    async def stop(self) -> None:
        """End the connection once what is sent is written."""
        with contextlib.suppress(TimeoutError):
            await self._dialer.aclose()

    def tell(self, instance: str, cause: str, running: frozenset[int] | None) -> None:
        """Tell how a subworker ended and which leases had begun in it, now or once connected."""
        tokens = None if running is None else sorted(running)
        body = encode(msg.Died(instance, cause, tokens))
        if self._connection is None:
            self._waiting.append(body)
        else:
            self._connection.send(body)

    # -- what the dialer calls

    def on_connected(self, connection: Connection, welcome: greetings.Welcome) -> None:  # noqa: ARG002
        """Tell what waited."""
        self._connection = connection
        while self._waiting:
            connection.send(self._waiting.popleft())

    def on_disconnected(self, reason: Exception | None) -> None:  # noqa: ARG002
        """Keep what is to be told for the next connection."""
        self._connection = None

    def on_frames(self, bodies: list[bytes]) -> None:
        """Do nothing: a supervisor is sent nothing."""

    def on_writable(self) -> None:
        """Do nothing: what is told is little."""

    def on_refused(self, why: str) -> None:
        """Do nothing: the subworkers say it."""
        logger.debug("%s", why)
