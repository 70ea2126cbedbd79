"""Own the process of one subworker, which its supervisor alone starts, and its command line.

That is apart from the one of people because it is on the way from a start to the first task, and
from a crash to the next one: the parser for people takes longer to load than everything else a
subworker needs.

It also watches its parent: when that is gone it takes nothing new, finishes what it runs, and
delivers the results to a control plane that comes back in time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

import uvloop

from fastqueue.cli.exit_codes import DONE, exiting, leave
from fastqueue.cli.logs import configure_logs, flush
from fastqueue.cli.stopping import END_S, StopSignals, first_of
from fastqueue.config import SubworkerSettings
from fastqueue.errors import ConfigurationError
from fastqueue.subworker.app import Subworker
from fastqueue.subworker.board import Board
from fastqueue.subworker.forks import let_go_in_forks
from fastqueue.subworker.supervisor import CONNECTED, IMPORTED, STOP_MARGIN_S, WORN_OUT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

logger = logging.getLogger(__name__)

# How long an orphan keeps trying to deliver what it has finished.
_DELIVERY_S = 60.0
# A thread that computes gives way to the event loop after this long; the default is 5 ms.
_SWITCH_INTERVAL_S = 0.0005


def main() -> None:
    """Run a subworker with the process's arguments until its supervisor ends it, and exit."""
    try:
        with exiting():
            arguments = vars(_parser().parse_args(sys.argv[2:]))
            del arguments["exit_with_parent"]
            board = Board.attach(arguments.pop("board"))
            # What is set for the command isn't for its children.
            _run({**arguments, "processes": 1}, board)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else DONE)
    leave(DONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastqueue subworker", allow_abbrev=False)
    parser.add_argument("--exit-with-parent", action="store_true")
    parser.add_argument("--board", type=int, required=True)
    parser.add_argument("--task-modules", action="append")
    parser.add_argument("--queues", action="append")
    for name in ("worker-id", "control-plane-address", "discovery-address"):
        parser.add_argument(f"--{name}")
    for name in ("concurrency", "task-processes"):
        parser.add_argument(f"--{name}")
    for name in ("grace", "allow-pickle", "log-level", "tls-ca", "tls-cert", "tls-key"):
        parser.add_argument(f"--{name}")
    return parser


def _run(given: Mapping[str, object], board: Board) -> None:
    """Run a subworker until it is told to stop or its parent is gone.

    Raises:
        FastQueueError: it can't start; for one, a task module doesn't import.
    """
    parent = _Parent.at_stdin()
    settings = SubworkerSettings.resolve(**given)
    configure_logs(settings.log_level, settings.worker_id)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # what tasks print is seen when it is printed
    subworker = Subworker(settings, board=board)
    let_go_in_forks(subworker.descriptors)
    code = uvloop.run(_serve(subworker, settings, parent))
    if code is not None:
        # A thread is still in a task; the interpreter isn't to wait for it.
        flush()
        os._exit(code)


async def _serve(subworker: Subworker, settings: SubworkerSettings, parent: _Parent) -> int | None:
    """Run the subworker to its end.

    Returns:
        None if every task ended by itself; otherwise the code to exit with at once.
    """
    signals = StopSignals(settings.grace_s + STOP_MARGIN_S + END_S)
    await subworker.start()
    telling = asyncio.create_task(parent.tell_progress(subworker))
    try:
        await first_of(signals.requested.wait(), parent.wait_gone(), subworker.worn_out())
    finally:
        telling.cancel()
    if subworker.is_worn_out and not signals.requested.is_set():
        await subworker.stop()
        return WORN_OUT
    if not signals.requested.is_set():
        logger.info("the parent is gone; finishing what runs, then exiting")
        await first_of(signals.requested.wait(), subworker.finish(_DELIVERY_S))
        if not signals.requested.is_set():
            return None if await subworker.stop(0) else DONE
    logger.info("stopping")
    return None if await subworker.stop() else DONE


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
