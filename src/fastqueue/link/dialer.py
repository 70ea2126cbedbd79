"""Own the way to the control plane: find it, connect, say hello, and again whenever it ends.

Used by the client and by the subworker. The address is given, or heard at the discovery address;
a control plane that moved or restarted is found by its next announcement, without waiting for a
backoff to pass.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from typing import TYPE_CHECKING, Protocol

from fastqueue.config import PeerSecurity, parse_address
from fastqueue.errors import ConfigurationError, ProtocolError
from fastqueue.link.connection import Connection
from fastqueue.link.discovery import DiscoveryListener
from fastqueue.link.tls import HANDSHAKE_TIMEOUT_S, SHUTDOWN_TIMEOUT_S, peer_context
from fastqueue.protocol import greetings
from fastqueue.protocol.handshake import Handshake, HandshakeRefused

if TYPE_CHECKING:
    from fastqueue.protocol.announcement import Announcement

__all__ = ["Dialer", "Link", "backoff_s"]

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 1.0
_UNSPECIFIED_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - recognised, not bound
# Another version may be installed there one day; until then asking often is of no use.
_REFUSED_PAUSE_S = 5.0
_NO_SECURITY = PeerSecurity()


def backoff_s(failures: int, first_s: float, max_s: float) -> float:
    """Return how long to wait after so many failures: doubled each time, half of it by chance.

    The chance keeps many peers of one control plane from coming back in the same instant.
    """
    full_s = min(max_s, first_s * 2.0 ** min(failures, 30))
    return full_s * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, hides nothing


class Link(Protocol):
    """Say what the dialer tells its owner."""

    def on_connected(self, connection: Connection, welcome: greetings.Welcome) -> None:
        """Use `connection` from now on."""

    def on_frames(self, bodies: list[bytes]) -> None:
        """Take frames that arrived on it.

        Raises:
            ProtocolError: they can't be understood; the connection is ended.
        """

    def on_disconnected(self, reason: Exception | None) -> None:
        """Note that it has ended; the dialer is trying again."""

    def on_writable(self) -> None:
        """Note that the control plane has caught up with what is sent, after it hadn't."""

    def on_refused(self, why: str) -> None:
        """Note why the control plane won't have us; the dialer asks again later."""


class Dialer:
    """Keep one connection to the control plane, whichever address it has.

    Args:
        link: who is told, always on the event loop.
        role: what the connection is for.
        instance: who we are; new for each process life.
        name: who we are, for people.
        control_plane_address: where to connect, or None to discover it.
        discovery_address: where to listen for announcements then.
        security: how the control plane and we know each other.

    Attributes:
        connected_address: where the last connection was made; empty if there was none yet.
    """

    def __init__(
        self,
        link: Link,
        *,
        role: str,
        instance: str,
        name: str,
        control_plane_address: str | None,
        discovery_address: str,
        security: PeerSecurity = _NO_SECURITY,
    ) -> None:
        self._link = link
        self._role, self._instance, self._name = role, instance, name
        self._security = security
        # Files that can't be used are an error now, wherever the control plane will be.
        self._tls = peer_context(security) if security.wants_tls else None
        self._address = control_plane_address
        self._listener: DiscoveryListener | None = None
        if control_plane_address is None:
            self._listener = DiscoveryListener(discovery_address, self._on_announcement)
        self._discovery_address = discovery_address
        self._announced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._welcome: greetings.Welcome | None = None
        self._attempt: (
            asyncio.Task[tuple[Connection, greetings.Welcome | greetings.Refusal]] | None
        ) = None
        self._attempted = ""
        self.connected_address = ""
        self._refusal = ""
        self._nonsense = ""
        self._last_error = ""
        self._handshake: Handshake | None = None
        self._greeted: Connection | None = None
        self._greeting: asyncio.Future[greetings.Welcome | greetings.Refusal] | None = None

    @property
    def where(self) -> str:
        """Return where the control plane is looked for and what came of it, for errors."""
        last = f"; last error: {self._last_error}" if self._last_error else ""
        if self._welcome is not None and self._connection is not None:
            return f"at {self._connection.peer}, which is connected but hasn't answered yet"
        if self._listener is None:
            return f"at {self._address}{last}"
        current = self._listener.current()
        heard = f"; last announced at {current.address}" if current else "; nothing is announced"
        return f"by its announcements at {self._discovery_address}{heard}{last}"

    def fileno(self) -> int:
        """Return the descriptor of the connection, also while it is greeted; -1 if none is open."""
        return -1 if self._greeted is None else self._greeted.fileno()

    async def start(self) -> None:
        """Begin to look for the control plane; returns at once."""
        if self._listener is not None:
            await self._listener.start()
        self._task = asyncio.create_task(self._run(), name="fastqueue-dialer")
        self._task.add_done_callback(_log_failure)

    def close(self) -> None:
        """Stop looking, and end the connection once what is sent is written."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._listener is not None:
            self._listener.close()
        if self._connection is not None:
            self._connection.close()

    async def aclose(self) -> None:
        """Stop as `close` does, and wait until the connection has ended."""
        connection, task = self._connection, self._task
        self.close()
        if task is not None:
            await asyncio.wait([task])
        if connection is not None:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await connection.closed.wait()
            except TimeoutError:
                connection.abort()

    # -- the loop

    async def _run(self) -> None:
        failures = 0
        while True:
            address = await self._next_address()
            self._announced.clear()
            attempt = asyncio.create_task(self._connect(address))
            self._attempt, self._attempted = attempt, address
            try:
                await asyncio.wait([attempt])
            finally:
                self._attempt = None
                attempt.cancel()
            if attempt.cancelled():
                continue  # the control plane was announced elsewhere meanwhile
            pause_s = 0.0
            try:
                connection, greeting = attempt.result()
            except HandshakeRefused as error:
                failures += 1
                pause_s = _REFUSED_PAUSE_S
                self._last_error = str(error)
                self._note_refusal(f"not connecting to {address}: {error}")
            except (OSError, ProtocolError, TimeoutError) as error:
                logger.debug("no connection to %s: %s", address, error)
                self._last_error = str(error) or type(error).__name__
                failures += 1
            else:
                if isinstance(greeting, greetings.Refusal):
                    failures += 1
                    pause_s = 0.0 if greeting.retry else _REFUSED_PAUSE_S
                    self._note_refusal(f"{address} turned us down: {greeting.message}")
                else:
                    failures, self._refusal, self._last_error = 0, "", ""
                    self.connected_address = address
                    await self._use(connection, greeting)
            await self._pause(pause_s or backoff_s(failures, _BACKOFF_FIRST_S, _BACKOFF_MAX_S))

    def _note_refusal(self, why: str) -> None:
        if why != self._refusal:
            self._refusal = why
            self._link.on_refused(why)

    async def _next_address(self) -> str:
        if self._listener is None:
            assert self._address is not None
            return self._address
        while (address := self._announced_address(self._listener.current())) is None:
            self._announced.clear()
            await self._announced.wait()
        return address

    def _announced_address(self, announcement: Announcement | None) -> str | None:
        """Return where an announcement says to connect, or None if that can't be an address."""
        if announcement is None:
            return None
        try:
            address = parse_address(
                announcement.address, setting="the announced address", allow_tls=True
            )
            if self._tls is not None and address.scheme != "tls":
                raise ConfigurationError(
                    f"the announced address {announcement.address!r} is not encrypted, although "
                    "TLS is set up here (tls_ca or tls_cert): start the control plane with a "
                    "tls:// address"
                )
        except ConfigurationError as error:
            if announcement.address != self._nonsense:
                self._nonsense = announcement.address
                logger.warning("ignored an announcement at %s: %s", self._discovery_address, error)
            return None
        if address.host in _UNSPECIFIED_HOSTS:
            # It listens at every interface: the one where it is heard is one of them.
            heard_at = parse_address(self._discovery_address, setting="discovery_address")
            address = dataclasses.replace(address, host=heard_at.host)
        return str(address)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._announced.wait()
        except TimeoutError:
            pass

    async def _connect(
        self, address: str
    ) -> tuple[Connection, greetings.Welcome | greetings.Refusal]:
        loop = asyncio.get_running_loop()
        parsed = parse_address(address, setting="control_plane_address", allow_tls=True)
        self._greeting = loop.create_future()
        self._handshake = handshake = Handshake(
            role=self._role,
            instance=self._instance,
            name=self._name,
            token=self._security.token,
        )
        connection = Connection(self._on_frames, self._on_closed, on_writable=self._on_writable)
        self._greeted = connection
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                if parsed.scheme == "ipc":
                    await loop.create_unix_connection(lambda: connection, parsed.path)
                elif parsed.scheme == "tls":
                    await loop.create_connection(
                        lambda: connection,
                        parsed.host,
                        parsed.port,
                        ssl=self._tls or peer_context(self._security),
                        server_hostname=parsed.host,
                        ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                        ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
                    )
                else:
                    await loop.create_connection(lambda: connection, parsed.host, parsed.port)
                connection.send(handshake.hello)
                return connection, await self._greeting
        except BaseException:
            connection.abort()
            raise
        finally:
            self._greeting = None

    async def _use(self, connection: Connection, welcome: greetings.Welcome) -> None:
        self._connection, self._welcome = connection, welcome
        connection.decoder.frame_bytes_max = welcome.frame_bytes_max
        self._link.on_connected(connection, welcome)
        try:
            await connection.closed.wait()
        finally:
            self._welcome = None

    def _on_announcement(self, announcement: Announcement) -> None:
        self._announced.set()
        if self._attempt is not None and self._announced_address(announcement) != self._attempted:
            self._attempt.cancel()
        welcome, connection = self._welcome, self._connection
        if (
            welcome is not None
            and connection is not None
            and announcement.control_plane_id == welcome.control_plane_id
            and announcement.epoch > welcome.epoch
        ):
            # It restarted, perhaps elsewhere, and the old connection hasn't noticed.
            connection.abort(ProtocolError("the control plane restarted"))

    # -- what the connection calls

    def _is_greeting(self, connection: Connection) -> bool:
        # One that was given up may end, or say something, while the next one is greeted.
        greeting = self._greeting
        return greeting is not None and not greeting.done() and connection is self._greeted

    def _on_frames(self, connection: Connection, bodies: list[bytes]) -> None:
        if self._is_greeting(connection):
            assert self._greeting is not None
            assert self._handshake is not None
            answer = self._handshake.on_greeting(bodies[0])
            if isinstance(answer, bytes):
                connection.send(answer)
            else:
                self._greeting.set_result(answer)
            bodies = bodies[1:]
        if bodies and connection is self._connection:
            self._link.on_frames(bodies)

    def _on_writable(self, connection: Connection) -> None:
        if connection is self._connection:
            self._link.on_writable()

    def _on_closed(self, connection: Connection, reason: Exception | None) -> None:
        if self._is_greeting(connection):
            assert self._greeting is not None
            self._greeting.set_exception(reason or ConnectionResetError("it hung up"))
        if connection is self._connection:
            self._connection = None
            self._link.on_disconnected(reason)


def _log_failure(task: asyncio.Task[None]) -> None:
    """Tell of a defect that ended the dialer: nothing would be connected again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the way to the control plane is given up: %r", error, exc_info=error)
