"""Own the command `subworker`: one in this process, or several under a supervisor.

A supervised one also watches its parent: when that is gone it takes nothing new, finishes what it
runs, and delivers the results to a control plane that comes back in time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

import uvloop

from fastqueue.cli.arguments import split_modules
from fastqueue.cli.exit_codes import DONE
from fastqueue.cli.logs import configure_logs, flush
from fastqueue.cli.stopping import StopSignals, first_of
from fastqueue.config import SubworkerSettings
from fastqueue.errors import ConfigurationError
from fastqueue.subworker.app import Subworker
from fastqueue.subworker.obituary import Obituary
from fastqueue.subworker.supervisor import CONNECTED, IMPORTED, STOP_MARGIN_S, Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastqueue.subworker.board import Board

__all__ = ["run_subworker"]

logger = logging.getLogger(__name__)

# How long an orphan keeps trying to deliver what it has finished.
_DELIVERY_S = 60.0
_END_S = 5.0
# A thread that computes gives way to the event loop after this long; the default is 5 ms.
_SWITCH_INTERVAL_S = 0.0005


def run_subworker(
    given: Mapping[str, object], *, exit_with_parent: bool, board: Board | None = None
) -> int:
    """Run a subworker until it is told to stop; return the exit code.

    Args:
        given: the arguments for `SubworkerSettings`, None where not given.
        exit_with_parent: whether stdin is a supervisor's socket, whose end means that it is gone.
        board: where to note what runs, for the supervisor.

    Raises:
        FastQueueError: it can't start; for one, a task module doesn't import.
    """
    parent = _Parent.at_stdin() if exit_with_parent else None
    settings = SubworkerSettings.resolve(**given)
    settings = dataclasses.replace(settings, task_modules=split_modules(settings.task_modules))
    if not settings.task_modules:
        raise ConfigurationError(
            "there are no task modules to run: name them with --task-modules or "
            "FASTQUEUE_TASK_MODULES"
        )
    configure_logs(settings.log_level, settings.worker_id)
    if settings.processes > 1:
        return uvloop.run(_supervise(settings))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what tasks print is seen when it is printed
    subworker = Subworker(settings, board=board)
    if not uvloop.run(_serve(subworker, settings, parent)):
        # A thread is still in a task; the interpreter isn't to wait for it.
        flush()
        os._exit(DONE)
    return DONE


async def _serve(subworker: Subworker, settings: SubworkerSettings, parent: _Parent | None) -> bool:
    """Run the subworker to its end; return whether every task ended by itself."""
    signals = StopSignals(settings.grace_s + STOP_MARGIN_S + _END_S)
    await subworker.start()
    if parent is None:
        await signals.requested.wait()
    else:
        telling = asyncio.create_task(parent.tell_progress(subworker))
        try:
            await first_of(signals.requested.wait(), parent.wait_gone())
        finally:
            telling.cancel()
    if not signals.requested.is_set():
        logger.info("the parent is gone; finishing what runs, then exiting")
        await first_of(signals.requested.wait(), subworker.finish(_DELIVERY_S))
        if not signals.requested.is_set():
            return await subworker.stop(0)
    logger.info("stopping")
    return await subworker.stop()


async def _supervise(settings: SubworkerSettings) -> int:
    obituary = Obituary(settings)
    supervisor = Supervisor(settings, settings.processes, obituary.tell)
    signals = StopSignals(settings.grace_s + STOP_MARGIN_S + _END_S, supervisor.kill)
    await obituary.start()
    await supervisor.start()
    try:
        await first_of(signals.requested.wait(), supervisor.wait())
        logger.info("stopping; Ctrl-C ends it at once")
    finally:
        await supervisor.stop()
        await obituary.stop()
    return DONE


class _Parent:
    """Be the supervisor as a child sees it: told how far the child is, gone when its end closes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setblocking(False)

    @classmethod
    def at_stdin(cls) -> _Parent:
        """Take the socket away from stdin, which tasks may read and pass on to programs.

        Raises:
            ConfigurationError: stdin is no socket.
        """
        try:
            connection = socket.socket(fileno=os.dup(0))
        except OSError as error:
            raise ConfigurationError(
                "--exit-with-parent is for subworkers that a supervisor starts: stdin must be a "
                "socket"
            ) from error
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(connection)

    async def tell_progress(self, subworker: Subworker) -> None:
        """Say that the task modules are imported, and then that the control plane knows us."""
        self._say(IMPORTED)
        await subworker.connected()
        self._say(CONNECTED)

    def _say(self, what: bytes) -> None:
        try:
            self._connection.send(what)
        except OSError as error:
            logger.debug("the parent doesn't listen: %s", error)

    async def wait_gone(self) -> None:
        """Wait until the parent's end of the socket is closed, as it is when it dies."""
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(self._connection, 64):
                pass
        except OSError as error:
            logger.debug("the parent's socket has failed: %s", error)
