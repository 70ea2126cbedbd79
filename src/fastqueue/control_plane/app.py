"""Own the control plane as a whole: what it is made of, and the order of start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastqueue.config import IPC_PATH_BYTES_MAX, Address, parse_address
from fastqueue.control_plane.callback_sender import CallbackSender, validate_callback_address
from fastqueue.control_plane.callbacks import CallbackService
from fastqueue.control_plane.discovery import Announcer
from fastqueue.control_plane.engine import Engine
from fastqueue.control_plane.open_files import sessions_max
from fastqueue.control_plane.server import Server
from fastqueue.core.commands import WorkerDied
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import StoreFull
from fastqueue.link.tls import server_context
from fastqueue.protocol.announcement import Announcement
from fastqueue.protocol.greetings import PROTOCOL_VERSION
from fastqueue.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastqueue.config import ControlPlaneSettings
    from fastqueue.store.base import NumberedCallback

__all__ = ["ControlPlane"]

logger = logging.getLogger(__name__)

_SOCKET_NAME = "local.sock"

# At a start on a full disk: how often room is looked for, and how often it says so.
_FULL_RETRY_S = 1.0
_SAY_FULL_EVERY_S = 30.0


class ControlPlane:
    """Own the queue of one data directory and serve it.

    Args:
        settings: where it listens, what it keeps, how durably.
        limits: the core's bounds; by default those the settings lead to.

    Attributes:
        address: where clients and subworkers connect, once started.
        local_address: where its own subworkers do.
        discovery_address: where it announces itself.
    """

    def __init__(self, settings: ControlPlaneSettings, limits: CoreLimits | None = None) -> None:
        self._settings = settings
        self._limits = limits or CoreLimits(
            retained_max=settings.result_cache_size,
            retained_ttl_s=settings.result_cache_ttl_s,
            disk_free_min=settings.disk_free_min,
            payload_bytes_max=settings.payload_bytes_max,
            crashes_max=settings.max_crashes,
        )
        self._stack = contextlib.AsyncExitStack()
        self._engine: Engine | None = None
        self._running: asyncio.Task[None] | None = None
        self.address = self.local_address = settings.base_address
        self.discovery_address = settings.discovery_address

    async def start(self) -> None:
        """Open the store, recover what it has, listen, and announce.

        On a full disk it waits for room, and says so; to be cancelled then is safe.

        Raises:
            ConfigurationError: an address can't be listened at, the directory can't be written.
            StoreError: the store can't be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            settings = self._settings
            store, engine = await self._open()
            stack.callback(store.close)
            self._engine = engine
            callbacks = CallbackService(engine, CallbackSender(), settings.callback_give_up_s)

            def check_callback(address: str) -> None:
                validate_callback_address(address, settings.callback_allow)

            server = Server(
                engine, store.control_plane_id, check_callback, settings.tokens, sessions_max()
            )
            peers = _Peers(server, callbacks)
            self._running = asyncio.create_task(engine.run(peers), name="engine")
            stack.push_async_callback(self._end, engine)
            stack.push_async_callback(callbacks.stop)
            stack.push_async_callback(server.stop)
            await self._listen(server, stack)
            announcer = Announcer(
                settings.discovery_address,
                Announcement(
                    control_plane_id=store.control_plane_id,
                    address=self.address,
                    epoch=engine.epoch,
                    protocol=PROTOCOL_VERSION,
                ),
            )
            await announcer.start()
            self.discovery_address = announcer.discovery_address
            stack.push_async_callback(announcer.stop)
            self._stack = stack.pop_all()
        logger.info("control plane listens at %s", self.address)

    async def _listen(self, server: Server, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        wanted = parse_address(
            settings.base_address, setting="base_address", allow_port_zero=True, allow_tls=True
        )
        tls = None
        if wanted.scheme == "tls":
            assert settings.tls_cert is not None
            assert settings.tls_key is not None
            tls = server_context(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        self.address = self.local_address = str(await server.start(wanted, tls))
        if tls is not None:
            self.local_address = str(await server.start(self._private_socket(stack)))

    def _private_socket(self, stack: contextlib.AsyncExitStack) -> Address:
        """Return a Unix socket that only this user can reach, and that needs no certificates.

        It is where the data directory is, so that subworkers that outlive a control plane find
        the next one there; unless that is too long a path for a socket.
        """
        directory = Path(self._settings.data_dir).resolve()
        if (
            len(os.fsencode(directory / _SOCKET_NAME)) > IPC_PATH_BYTES_MAX
            or directory.stat().st_mode & 0o077
        ):
            temporary = tempfile.TemporaryDirectory(prefix="fastqueue-")  # its mode is 0700
            stack.callback(temporary.cleanup)
            directory = Path(temporary.name)
        return Address(scheme="ipc", path=str(directory / _SOCKET_NAME))

    async def _open(self) -> tuple[SqliteStore, Engine]:
        """Open the store and load it, as soon as there is room to note that."""
        said_at = float("-inf")
        while True:
            store: SqliteStore | None = None
            try:
                store = SqliteStore(
                    Path(self._settings.data_dir), self._settings.durability, room_for_log=True
                )
                return store, Engine(store, self._limits)
            except StoreFull as error:
                if store is not None:
                    store.close()
                if time.monotonic() - said_at >= _SAY_FULL_EVERY_S:
                    said_at = time.monotonic()
                    logger.warning("%s; waiting for room to start, Ctrl-C ends it", error)
            except BaseException:
                if store is not None:
                    store.close()
                raise
            await asyncio.sleep(_FULL_RETRY_S)

    async def wait(self) -> None:
        """Wait until it has ended.

        Raises:
            StoreError: the store failed; nothing acknowledged is lost, a restart recovers.
        """
        if self._running is not None:
            await asyncio.shield(self._running)

    def note_death(self, instance: str, cause: str, running: frozenset[int] | None) -> None:
        """Take note of how a subworker's process ended, once started.

        Args:
            instance: the subworker's instance.
            cause: how it ended, to be read after "the subworker".
            running: the tokens of the leases that had begun in it, or None if nobody knows.
        """
        if self._engine is not None:
            self._engine.put(WorkerDied(instance, cause, running))

    async def stop(self) -> None:
        """Stop announcing and serving, commit what was held back, close the store."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    async def _end(self, engine: Engine) -> None:
        engine.stop()
        if self._running is not None:
            await asyncio.wait([self._running])
            if not self._running.cancelled() and (error := self._running.exception()):
                logger.error("the control plane ended: %s", error)


class _Peers:
    """Be the one whom the engine talks to: the server for sessions, the service for callbacks."""

    def __init__(self, server: Server, callbacks: CallbackService) -> None:
        self.send = server.send
        self.close = server.close
        self.is_writable = server.is_writable
        self.hold_back = server.hold_back
        self.read_again = server.read_again
        self.resume = server.resume
        self._server = server
        self._callbacks = callbacks

    def close_all(self, reason: str) -> None:
        """End every session and every delivery: the core is about to forget them all."""
        self._server.close_all(reason)
        self._callbacks.cancel_all()

    def deliver(self, address: str, callbacks: Sequence[NumberedCallback]) -> None:
        """Deliver callbacks beside the engine."""
        self._callbacks.deliver(address, list(callbacks))
