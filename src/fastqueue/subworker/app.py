"""Own the subworker as a whole: load the task modules, connect, run, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING

from fastqueue.errors import ConfigurationError
from fastqueue.link.dialer import Dialer
from fastqueue.protocol import greetings
from fastqueue.subworker.heartbeat import Heartbeats
from fastqueue.subworker.process_messages import Setup
from fastqueue.subworker.runtime import Runtime
from fastqueue.tasks.loading import load_task_modules
from fastqueue.tasks.serializer import allow_pickle

if TYPE_CHECKING:
    from fastqueue.config import SubworkerSettings
    from fastqueue.subworker.board import Board
    from fastqueue.tasks.registry import TaskRegistry

__all__ = ["Subworker"]

logger = logging.getLogger(__name__)

# After the tasks have ended, their reports still have to be acknowledged.
_FLUSH_TIMEOUT_S = 5.0
# How long to be without a control plane before saying so, and then before saying it again.
_UNCONNECTED_FIRST_S = 1.0
_UNCONNECTED_AGAIN_S = 30.0


class Subworker:
    """Run the tasks of some modules for a control plane.

    Args:
        settings: what to run, for whom, how many at one time.
        registry: the task definitions; by default those of the modules in the settings.
        board: where to note what runs, for a supervisor.

    Raises:
        TaskImportError: a module doesn't import.
        ConfigurationError: there is no task to run.
    """

    def __init__(
        self,
        settings: SubworkerSettings,
        registry: TaskRegistry | None = None,
        board: Board | None = None,
    ) -> None:
        self._settings = settings
        self._board = board
        if registry is None:
            registry = load_task_modules(settings.task_modules)
        self._registry = registry
        if len(self._registry) == 0:
            raise ConfigurationError(
                "there are no tasks to run: name the modules that define them with --task-modules"
            )
        allow_pickle(settings.allow_pickle)
        self._runtime: Runtime | None = None
        self._dialer: Dialer | None = None
        self._heartbeats: Heartbeats | None = None
        self._warning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for the control plane; returns at once."""
        settings = self._settings
        instance = uuid.uuid4().hex
        if self._board is not None:
            self._board.note_instance(instance)
        self._runtime = Runtime(
            self._registry,
            settings.concurrency,
            self._board,
            setup=self._process_setup(),
            processes_max=settings.task_processes,
            queues=settings.queues,
        )
        self._dialer = Dialer(
            self._runtime,
            role=greetings.ROLE_SUBWORKER,
            instance=instance,
            name=settings.worker_id,
            control_plane_address=settings.control_plane_address,
            discovery_address=settings.discovery_address,
            security=settings.security,
        )
        dialer = self._dialer
        await dialer.start()
        self._heartbeats = Heartbeats(
            instance=instance,
            name=settings.worker_id,
            security=settings.security,
            address=lambda: dialer.connected_address,
            task_of=self._runtime.task_of,
        )
        self._heartbeats.start()
        self._warning = asyncio.create_task(
            _warn_while_unconnected(self._runtime, self._dialer), name="fastqueue-unconnected"
        )

    def _process_setup(self) -> Setup:
        settings = self._settings
        modules = settings.task_modules or sorted(
            {one.module for one in self._registry if one.executor == "process"}
        )
        return Setup(list(modules), settings.worker_id, settings.log_level, settings.allow_pickle)

    def descriptors(self) -> list[int]:
        """Return the descriptors of what is open to the control plane, and to tasks' processes."""
        links = (self._dialer, self._heartbeats)
        own = [n for link in links if link is not None and (n := link.fileno()) >= 0]
        return own if self._runtime is None else own + self._runtime.descriptors()

    async def connected(self) -> None:
        """Wait until the control plane knows this subworker, once started."""
        if self._runtime is not None:
            await self._runtime.connected.wait()

    @property
    def is_worn_out(self) -> bool:
        """Say whether a task here can't be ended."""
        return self._runtime is not None and self._runtime.worn_out.is_set()

    async def worn_out(self) -> None:
        """Wait until a task here can't be ended: another process is to take over."""
        if self._runtime is not None:
            await self._runtime.worn_out.wait()

    async def finish(self, delivery_s: float) -> bool:
        """Take nothing new, finish what runs, and deliver it; `stop` is still to be called.

        Args:
            delivery_s: how long the control plane may take to come back for the results, in
                seconds from the end of the last task.

        Returns:
            Whether it took all of them.
        """
        return self._runtime is None or await self._runtime.finish(delivery_s)

    async def stop(self, grace_s: float | None = None) -> bool:
        """Drain, then disconnect.

        Args:
            grace_s: how long running tasks may go on, in seconds; by default as set.

        Returns:
            Whether every task ended by itself. If not, a thread may still be in one: end the
            process without waiting for it.
        """
        runtime, dialer, warning = self._runtime, self._dialer, self._warning
        self._runtime = self._dialer = self._warning = None
        heartbeats, self._heartbeats = self._heartbeats, None
        if runtime is None or dialer is None:
            return True
        if warning is not None:
            warning.cancel()
            await asyncio.wait([warning])
        ended = await runtime.drain(self._settings.grace_s if grace_s is None else grace_s)
        await runtime.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                await dialer.aclose()
        if heartbeats is not None:
            heartbeats.stop()
        return ended


async def _warn_while_unconnected(runtime: Runtime, dialer: Dialer) -> None:
    """Say where the control plane is looked for, whenever it hasn't been found for a while."""
    while True:
        await runtime.disconnected.wait()
        pause_s, waited_s = _UNCONNECTED_FIRST_S, 0.0
        while not await _happens(runtime.connected, pause_s):
            waited_s += pause_s
            logger.warning(
                "no connection to a control plane for %g s, looked for %s; nothing new is run "
                "until there is one",
                waited_s,
                dialer.where,
            )
            pause_s = _UNCONNECTED_AGAIN_S


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
