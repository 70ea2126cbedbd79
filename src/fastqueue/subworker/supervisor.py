"""Own the local subworker processes: start them, replace those that die, stop them.

Used by the command line, for a control plane's own subworkers and for `fastqueue subworker`. Each
child is a fresh interpreter in a session of its own, so that a terminal's Ctrl-C reaches only the
parent, which then drains its children. Its stdin is a socket to the parent: over it the child says
how far it is, and its end tells the child that the parent is gone. On a board in shared memory the
child notes what it runs, which is read when it has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from fastqueue.errors import ConfigurationError
from fastqueue.subworker.board import Board
from fastqueue.subworker.endings import how_it_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastqueue.config import SubworkerSettings

__all__ = [
    "CANNOT_START",
    "CONNECTED",
    "IMPORTED",
    "STOP_MARGIN_S",
    "WORN_OUT",
    "Supervisor",
    "numbered",
]

logger = logging.getLogger(__name__)

CANNOT_START = 2
"""The exit code of a child whose task modules don't import or whose settings are wrong."""

IMPORTED = b"i"
"""What a child writes once its task modules are imported."""

CONNECTED = b"c"
"""What a child writes once the control plane knows it."""

# Of the roles as well, and of files: what begins with this is a token or leads to one.
_TOKEN_VARIABLE = "FASTQUEUE_TOKEN"  # noqa: S105 - a name, no secret
_BACKOFF_FIRST_S = 0.1
# A child that dies by itself this often before it has imported its task modules dies of them.
_TRIES_MAX = 3
# What a process does to itself; any other signal is sent by somebody: an operator, or the kernel
# that is out of memory.
_FAULTS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
_BACKOFF_MAX_S = 5.0
# A child that ran for this long didn't die of what the one before it died of.
_STEADY_S = 10.0
WORN_OUT = 75
"""The exit code of a child that ran a task which can't be ended: another takes its place."""
# After the grace period a child still gives back leases and has its last reports acknowledged.
STOP_MARGIN_S = 6.0
"""What stopping a child may take beyond the grace period, in seconds."""


def numbered(worker_id: str, processes: int) -> list[str]:
    """Return the worker ids of so many processes that share a name."""
    return [f"{worker_id}-{number}" for number in range(1, processes + 1)]


class _Child:
    """Hold one place for a child: the process in it now, and how far that has come."""

    __slots__ = ("connected", "imported", "process", "worker_id")

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.process: asyncio.subprocess.Process | None = None
        self.imported = asyncio.Event()
        self.connected = asyncio.Event()

    def send_signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class Supervisor:
    """Keep a number of subworker processes running.

    Args:
        settings: of each, but for its worker id.
        worker_ids: those of the processes, of which there are to be as many.
        on_death: told the instance of a child that ended, how, and the tokens of the leases that
            had begun in it, None if that isn't known.
    """

    def __init__(
        self,
        settings: SubworkerSettings,
        worker_ids: Sequence[str],
        on_death: Callable[[str, str, frozenset[int] | None], None] | None = None,
    ) -> None:
        self._settings = settings
        self._on_death = on_death
        self._children = [_Child(worker_id) for worker_id in worker_ids]
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        # One is spawned at a time, so that an order to stop is heard while many are.
        self._spawning = asyncio.Lock()
        self._abandoned = False

    @property
    def processes(self) -> int:
        """Return how many children there are to be."""
        return len(self._children)

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the children that run now."""
        processes = [child.process for child in self._children]
        return [p.pid for p in processes if p is not None and p.returncode is None]

    # -- life

    async def start(self) -> None:
        """Start the children; returns at once, and a second call does nothing.

        The others wait until the first has imported its task modules, so that a module that
        doesn't import is reported once.
        """
        if self._tasks or self._stopping.is_set():
            return
        for child in self._children:
            name = f"supervise {child.worker_id}"
            self._tasks.append(asyncio.create_task(self._keep(child), name=name))

    async def connected(self) -> None:
        """Wait until the control plane knows every child."""
        for child in self._children:
            await child.connected.wait()

    async def wait(self) -> None:
        """Wait until all children have been stopped.

        Raises:
            ConfigurationError: one can't start, or dies by itself, again and again, before it has
                imported its task modules.
        """
        if not self._tasks:
            await self._stopping.wait()
            return
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def stop(self, grace_s: float | None = None) -> None:
        """Have the children drain, and kill those that don't end; a second call waits as well.

        Args:
            grace_s: how long their running tasks may go on, in seconds; by default as set. What
                the children were told when they started is not changed by it.
        """
        self._stopping.set()
        for child in self._children:
            child.send_signal(signal.SIGTERM)
        if not self._tasks:
            return
        grace = self._settings.grace_s if grace_s is None else grace_s
        _, late = await asyncio.wait(self._tasks, timeout=grace + STOP_MARGIN_S)
        if late:
            logger.warning("%d subworkers didn't end in time and are killed", len(late))
            self.kill()
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.exception()  # `wait` is who raises it, if anybody asks

    def kill(self) -> None:
        """Kill all children at once; their tasks are run again elsewhere."""
        self._stopping.set()
        for child in self._children:
            child.send_signal(signal.SIGKILL)

    def abandon(self) -> None:
        """Leave the children to themselves, as if this process had died.

        They finish what they run and deliver it to a control plane that comes back.
        """
        self._abandoned = True
        self._stopping.set()
        for task in self._tasks:
            task.cancel()

    # -- one child

    async def _keep(self, child: _Child) -> None:
        """Run a child, and another when it dies, until told to stop."""
        if child is not self._children[0]:
            await self._unless_stopping(self._children[0].imported.wait())
        backoff_s = _BACKOFF_FIRST_S
        tries = 0
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                how, by_itself, is_worn_out = await self._run(child)
            except OSError as error:
                how, by_itself, is_worn_out = f"can't be started: {error}", True, False
            if self._stopping.is_set():
                return
            if is_worn_out:
                logger.warning("subworker %s is replaced", child.worker_id)
                continue
            tries = tries + 1 if by_itself else 0
            if tries >= _TRIES_MAX and not child.imported.is_set():
                raise ConfigurationError(
                    f"subworker {child.worker_id} {how} before its task modules were imported, "
                    f"{tries} times in a row; nothing runs"
                )
            if time.monotonic() - started_at >= _STEADY_S:
                backoff_s = _BACKOFF_FIRST_S
            logger.error("subworker %s %s; starting it in %g s", child.worker_id, how, backoff_s)
            await self._unless_stopping(asyncio.sleep(backoff_s))
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    async def _unless_stopping(self, awaited: object) -> None:
        """Wait for something, or for the order to stop."""
        waits = [asyncio.ensure_future(awaited), asyncio.ensure_future(self._stopping.wait())]  # type: ignore[call-overload]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _run(self, child: _Child) -> tuple[str, bool, bool]:
        """Run one process to its end.

        Returns:
            How it ended, whether nobody else ended it, and whether it is to be replaced at once.
        """
        ours, theirs = socket.socketpair()
        with ours, contextlib.closing(Board.create(self._settings.concurrency)) as board:
            with theirs:
                process = await self._spawn(child, board, theirs)
            if process is None:
                return "wasn't started", False, False
            if self._stopping.is_set():
                child.send_signal(signal.SIGTERM)
            logger.debug("subworker %s is process %d", child.worker_id, process.pid)
            ours.setblocking(False)
            listening = asyncio.create_task(_listen(ours, child))
            try:
                code = await process.wait()
            finally:
                listening.cancel()
                await asyncio.wait([listening])
            instance, running = board.read()
        if code == CANNOT_START and not child.imported.is_set() and not self._stopping.is_set():
            raise ConfigurationError(
                f"subworker {child.worker_id} can't start, for the reason it gives above; "
                "nothing runs"
            )
        how = how_it_ended(code)
        if instance and self._on_death is not None:
            self._on_death(instance, how, running)
        return f"(process {process.pid}) {how}", code >= 0 or -code in _FAULTS, code == WORN_OUT

    async def _spawn(
        self, child: _Child, board: Board, theirs: socket.socket
    ) -> asyncio.subprocess.Process | None:
        """Start one process; None if the order to stop came first."""
        async with self._spawning:
            if self._stopping.is_set():
                return None
            child.process = await asyncio.create_subprocess_exec(
                *self._command(child.worker_id, board),
                stdin=theirs.fileno(),
                env=self._environment(),
                pass_fds=[board.fileno()],
                start_new_session=True,
            )
            return child.process

    def _environment(self) -> dict[str, str]:
        """Return the variables of a child: of the tokens, its own alone.

        What is on a command line, every user of the machine can read.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_TOKEN_VARIABLE)
        }
        if self._settings.token is not None:
            environment[_TOKEN_VARIABLE] = self._settings.token
        return environment

    def _command(self, worker_id: str, board: Board) -> list[str]:
        settings = self._settings
        # Safe of the project's own files: without -P its queue.py would be taken for Python's.
        command = [sys.executable, "-P", "-m", "fastqueue", "subworker", "--exit-with-parent"]
        command += [f"--board={board.fileno()}"]
        command += [f"--worker-id={worker_id}", f"--log-level={settings.log_level}"]
        command += [f"--task-modules={module}" for module in settings.task_modules]
        command += [f"--queues={queue}" for queue in settings.queues]
        if settings.control_plane_address is not None:
            command.append(f"--control-plane-address={settings.control_plane_address}")
        command.append(f"--discovery-address={settings.discovery_address}")
        for name in ("tls_ca", "tls_cert", "tls_key"):
            if (path := getattr(settings, name)) is not None:
                command.append(f"--{name.replace('_', '-')}={path}")
        command += [f"--concurrency={settings.concurrency}", f"--grace={settings.grace_s!r}"]
        shared = -(-(os.cpu_count() or 1) // len(self._children))
        command.append(f"--task-processes={settings.task_processes or shared}")
        command.append(f"--allow-pickle={settings.allow_pickle}")
        return command


async def _listen(ours: socket.socket, child: _Child) -> None:
    """Note how far a child says it is."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while said := await loop.sock_recv(ours, 64):
            if IMPORTED in said:
                child.imported.set()
            if CONNECTED in said:
                child.connected.set()
