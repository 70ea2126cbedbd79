"""Own a subworker's part in the conversation with the control plane: leases in, outcomes out.

What is held survives the end of a connection: the next one begins with saying what is held and
reporting again what wasn't acknowledged. Nothing here decides about retries or validity; the
control plane does.

What waits and is held is in `held.py`, what runs in `running.py`, what is yet to be acknowledged in
`reports.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode
from fastqueue.subworker.held import HeldLeases
from fastqueue.subworker.interruption import Cancelled
from fastqueue.subworker.offers import offers_of, run_limits_of
from fastqueue.subworker.outcomes import failed, interrupted
from fastqueue.subworker.reports import Reports
from fastqueue.subworker.running import Running
from fastqueue.subworker.schedules import schedules_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.records import Outcome, RunningTask
    from fastqueue.link.connection import Connection
    from fastqueue.subworker.board import Board
    from fastqueue.subworker.process_messages import Setup
    from fastqueue.tasks.registry import TaskRegistry

__all__ = ["Runtime"]

logger = logging.getLogger(__name__)

# How long a drain waits until what it interrupted is acknowledged as reported.
_INTERRUPTED_REPORT_S = 1.0


class Runtime:
    """Run leases on one event loop.

    Args:
        registry: the task definitions on offer.
        slots: how many tasks run at one time.
        board: where to note what runs, for a supervisor.
        setup: what processes of tasks are told when they start.
        processes_max: how many of them there are at one time, at most; by default one a CPU.
        queues: the queues that are served; none named is all.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        slots: int,
        board: Board | None = None,
        *,
        setup: Setup | None = None,
        processes_max: int | None = None,
        queues: Iterable[str] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._names = list(registry.names())
        self._at_most_once = [d.name for d in registry if d.delivery == "at_most_once"]
        self._schedules = schedules_of(registry)
        self._started_at = time.time()
        self._queues = list(queues)
        self._run_limits = run_limits_of(registry)
        self._offers = offers_of(registry)
        self._slots = slots
        self._board = board
        self.held = HeldLeases(self._loop, slots, self._send)
        self.running = Running(
            registry,
            slots,
            self.held,
            board=board,
            setup=setup,
            processes_max=processes_max,
            on_outcomes=self._on_outcomes,
            send=self._send,
            is_writable=self._is_writable,
        )
        self.reports = Reports()
        self._connection: Connection | None = None
        self._is_draining = False
        self._is_closed = False
        self._all_ended = asyncio.Event()
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.disconnected.set()

    @property
    def worn_out(self) -> asyncio.Event:
        """Return what is set when a task can't be ended."""
        return self.running.worn_out

    # -- what the dialer calls

    def on_connected(self, connection: Connection, welcome: greetings.Welcome) -> None:
        """Say what is on offer and what is held, and report again what wasn't acknowledged."""
        self._connection = connection
        self.running.result_bytes_max = welcome.payload_bytes_max
        held = self.held.named()
        capacity = 0 if self._is_draining else self.held.capacity
        ready = msg.Ready(
            self._names,
            capacity,
            held,
            self._at_most_once,
            self._schedules,
            self._started_at,
            self._queues,
            self._run_limits,
            self._offers,
        )
        connection.send(encode(ready))
        self.reports.send_again()
        self.reports.send(connection)
        self.running.contexts.on_connected()
        self.disconnected.clear()
        self.connected.set()
        logger.info(
            "connected to control plane %s; %d tasks on offer", connection.peer, len(self._names)
        )

    def on_disconnected(self, reason: Exception | None) -> None:
        """Go on with what runs; it is reported on the next connection."""
        self._connection = None
        self.connected.clear()
        self.disconnected.set()
        if not self._is_closed:
            why = reason or "it hung up"
            logger.info("the connection to the control plane ended (%s); connecting anew", why)

    def on_writable(self) -> None:
        """Go on reporting."""
        self.reports.send(self._connection)
        self.running.contexts.on_writable()

    def on_refused(self, why: str) -> None:
        """Say why the control plane won't have us."""
        logger.error("%s", why)

    def on_frames(self, bodies: list[bytes]) -> None:
        """Take frames from the control plane.

        Raises:
            ProtocolError: one can't be understood.
        """
        for body in bodies:
            message = msg.decode_to_subworker(body)
            match message:
                case msg.Leases():
                    self.held.take(message.leases)
                case msg.Reported():
                    self._acknowledged(message.sequence)
                case msg.Revoked():
                    self._revoke(message.task_ids)
                case msg.CancelRunning():
                    self._cancel(message.tasks)
                case msg.CheckpointSaved():
                    self.running.contexts.on_saved(message)
        self._start_ready()

    def _send(self, message: object) -> None:
        if self._connection is not None:
            self._connection.send(encode(message))

    def _is_writable(self) -> bool:
        return self._connection is not None and self._connection.is_writable

    # -- leases

    def _revoke(self, task_ids: Iterable[str]) -> None:
        """Forget void leases; one that runs goes on, and its outcome will be refused."""
        for task_id in task_ids:
            lease = self.held.by_id.get(task_id)
            if lease is None:
                continue
            self.running.withdraw(lease.token)
            if lease.token not in self.running.tasks:
                self.held.forget(task_id)

    def _cancel(self, tasks: Iterable[RunningTask]) -> None:
        """End tasks that somebody cancelled, whether they have begun or not."""
        for task in tasks:
            lease = self.held.by_id.get(task.task_id)
            if lease is None or lease.token != task.token:
                continue
            if lease.token in self.running.tasks:
                self.running.cancel(lease)
            elif self.held.unqueue(lease):
                now = time.time()
                self.running.tasks[lease.token] = None
                self._on_outcomes([failed(lease, Cancelled(), now, now)])

    def _start_ready(self) -> None:
        free = self._slots - len(self.running.tasks)
        if free <= 0 or self._is_draining:
            return
        start = self.running.start
        for lease in self.held.take_ready():
            start(lease)
            free -= 1
            if free == 0:
                return

    def task_of(self, running: asyncio.Task[object]) -> tuple[str, str] | None:
        """Return name and id of the task that an asyncio task runs; safe from any thread."""
        return self.running.task_of(running)

    # -- outcomes

    def _on_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        if not self.reports.new:
            self._loop.call_soon(self._report)
        for outcome in outcomes:
            if not self.running.end(outcome.token):
                continue
            held = self.held.by_id.get(outcome.task_id)
            stays_noted = False
            if held is not None and held.token == outcome.token:
                self.reports.new.append(outcome)
                # Until it is recorded it must not be taken for one that hasn't begun.
                stays_noted = held.name in self._at_most_once
            if self._board is not None and not stays_noted:
                self._board.remove(outcome.token)

    def _report(self) -> None:
        """Report what has ended since the last turn of the loop, and start what can be."""
        ended = self.reports.make()
        self.reports.send(self._connection)
        if self.held.note_ended(ended) and not self._is_draining:
            self._send(msg.Capacity(self.held.capacity))
        self._start_ready()
        if self._is_draining and not self.running.tasks:
            self._all_ended.set()

    def _acknowledged(self, sequence: int) -> None:
        for outcome in self.reports.acknowledge(sequence):
            if self._board is not None:
                self._board.remove(outcome.token)
            lease = self.held.by_id.get(outcome.task_id)
            # The same task may be leased here again already, under another token.
            if lease is not None and lease.token == outcome.token:
                self.held.forget(outcome.task_id)

    # -- the end

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new, give back what isn't started, wait for what runs.

        What still runs after `grace_s` seconds is given back without spending an attempt:
        coroutines are cancelled, processes killed, threads left to the end of this process. What is
        to run at most once fails instead.

        Returns:
            Whether everything ended by itself.
        """
        self._take_nothing_new()
        try:
            async with asyncio.timeout(grace_s):
                await self.held.quiet.wait()
        except TimeoutError:
            pass
        else:
            return True
        held, tasks = self.held.by_id.values(), self.running.tasks
        unfinished = [lease for lease in held if lease.token in tasks]
        if not unfinished:
            logger.warning(
                "all tasks have ended, but no control plane took the results of %d of them within "
                "%g s: to it they are lost",
                len(self.held.by_id),
                grace_s,
            )
            return True
        logger.warning(
            "%d tasks didn't end within %g s and are given back: %s",
            len(unfinished),
            grace_s,
            ", ".join(f"{lease.name} ({lease.task_id})" for lease in unfinished[:10]),
        )
        for lease in unfinished:
            self.running.processes.kill(lease.token)
        stopped = [lease for lease in unfinished if lease.name in self._at_most_once]
        self.held.give_back(lease for lease in unfinished if lease.name not in self._at_most_once)
        running = list(self.running.tasks.values())
        self._on_outcomes([interrupted(lease, time.time()) for lease in stopped])
        for task in running:
            if task is not None:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INTERRUPTED_REPORT_S):
                await self.held.quiet.wait()
        return False

    async def finish(self, delivery_s: float) -> bool:
        """Take nothing new, and wait for what runs however long it takes.

        Args:
            delivery_s: how long the reports may then take to be acknowledged, in seconds.

        Returns:
            Whether every report was acknowledged.
        """
        self._take_nothing_new()
        await self._all_ended.wait()
        try:
            async with asyncio.timeout(delivery_s):
                await self.held.quiet.wait()
        except TimeoutError:
            logger.warning("%d tasks ended, but nobody took their results", len(self.held.by_id))
            return False
        return True

    def _take_nothing_new(self) -> None:
        self._is_draining = True
        self._send(msg.Capacity(0))
        self.held.give_back_queued()
        self.held.give_back(self.running.withdraw_all())
        if not self.running.tasks:
            self._all_ended.set()

    def descriptors(self) -> list[int]:
        """Return the descriptors of the sockets to the processes of tasks."""
        return self.running.processes.descriptors()

    async def aclose(self) -> None:
        """Let the threads end, and end the processes."""
        self._is_closed = True
        self.held.stop()
        await self.running.aclose()
