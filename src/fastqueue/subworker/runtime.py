"""Own the running of leased tasks: start them as slots become free, report what came of them.

A lease is held from its arrival until its report is acknowledged. What is held survives the end of
a connection: the next one begins with saying what is held and reporting again what wasn't
acknowledged. Nothing here decides about retries or validity; the control plane does.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from fastqueue.config import SerializationFormat
from fastqueue.core.records import HeldLease, Outcome
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode
from fastqueue.subworker.calls import call_function
from fastqueue.subworker.interruption import (
    Cancelled,
    Interruptions,
    ThreadInterrupts,
    limits_of,
)
from fastqueue.subworker.offers import run_limits_of
from fastqueue.subworker.outcomes import failed, interrupted, returned
from fastqueue.subworker.prefetch import Prefetch
from fastqueue.subworker.process_messages import Setup
from fastqueue.subworker.process_pool import ProcessPool
from fastqueue.subworker.schedules import schedules_of
from fastqueue.subworker.threads import ThreadExecutor
from fastqueue.tasks.policies import TimeLimits
from fastqueue.tasks.serializer import decode_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.records import Lease, RunningTask
    from fastqueue.link.connection import Connection
    from fastqueue.subworker.board import Board
    from fastqueue.tasks.registry import TaskDefinition, TaskRegistry

__all__ = ["Runtime"]

logger = logging.getLogger(__name__)

# A task that was prefetched and still waits after this is given back: others may be idle.
_WAIT_MAX_S = 0.25
_REPORT_OUTCOMES_MAX = 1_000
_REPORT_BYTES_GOAL = 1024**2
# How long a drain waits until what it interrupted is acknowledged as reported.
_INTERRUPTED_REPORT_S = 1.0
_NOTHING = object()


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
        self._definitions: dict[str, TaskDefinition] = {d.name: d for d in registry}
        self._names = list(registry.names())
        self._at_most_once = [d.name for d in registry if d.delivery == "at_most_once"]
        self._schedules = schedules_of(registry)
        self._started_at = time.time()
        self._queues = list(queues)
        self._run_limits = run_limits_of(registry)
        self._slots = slots
        self._board = board
        self._prefetch = Prefetch(slots, time.monotonic())
        self._threads = ThreadExecutor(self._loop, slots, self._on_outcomes)
        self._interrupts = ThreadInterrupts()
        self._interruptions = Interruptions(
            self._loop,
            self._interrupts,
            lambda token: self._running.get(token),
            self._kill_process,
            self._end_interrupted,
            self._on_stuck,
        )
        # Set when a task can't be ended: its slot is lost until another process takes over.
        self.worn_out = asyncio.Event()
        self._processes = ProcessPool(
            min(slots, processes_max or os.cpu_count() or 1),
            setup or Setup([], "", "info", allow_pickle=False),
            _current_folder(),
            self._on_process_begun,
            self._on_outcomes,
        )
        self._connection: Connection | None = None
        self._result_bytes_max = 0
        # Every lease whose outcome isn't acknowledged, by task id.
        self._held: dict[str, Lease] = {}
        # Per priority, those not started: (arrived at, lease).
        self._queued: tuple[deque[tuple[float, Lease]], ...] = (deque(), deque(), deque(), deque())
        # By token: a task may be leased here again while a run under a void lease still goes on.
        self._running: dict[int, asyncio.Task[None] | None] = {}
        self._outcomes: list[Outcome] = []
        self._unacknowledged: dict[int, list[Outcome]] = {}
        # Sequence numbers of reports that this connection hasn't carried yet.
        self._unsent: deque[int] = deque()
        self._last_sequence = 0
        self._impatience: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._is_closed = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._all_ended = asyncio.Event()
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.disconnected.set()

    # -- what the dialer calls

    def on_connected(self, connection: Connection, welcome: greetings.Welcome) -> None:
        """Say what is on offer and what is held, and report again what wasn't acknowledged."""
        self._connection = connection
        self._result_bytes_max = welcome.payload_bytes_max
        held = [HeldLease(i, lease.token, lease.attempt) for i, lease in self._held.items()]
        capacity = 0 if self._is_draining else self._prefetch.capacity
        ready = msg.Ready(
            self._names,
            capacity,
            held,
            self._at_most_once,
            self._schedules,
            self._started_at,
            self._queues,
            self._run_limits,
        )
        connection.send(encode(ready))
        self._unsent = deque(self._unacknowledged)
        self._send_reports()
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
        self._send_reports()

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
                    self._take(message.leases)
                case msg.Reported():
                    self._acknowledged(message.sequence)
                case msg.Revoked():
                    self._revoke(message.task_ids)
                case msg.CancelRunning():
                    self._cancel(message.tasks)
        self._start_ready()

    # -- leases

    def _take(self, leases: Iterable[Lease]) -> None:
        now = self._loop.time()
        for lease in leases:
            self._held[lease.task_id] = lease
            self._queued[lease.rank].append((now, lease))
        self._quiet.clear()
        if self._impatience is None:
            self._impatience = self._loop.call_at(now + _WAIT_MAX_S, self._be_impatient)

    def _revoke(self, task_ids: Iterable[str]) -> None:
        """Forget void leases; one that runs goes on, and its outcome will be refused."""
        for task_id in task_ids:
            lease = self._held.get(task_id)
            if lease is None:
                continue
            if self._processes.withdraw(lease.token):
                del self._running[lease.token]
            if lease.token not in self._running:
                self._forget(task_id)

    def _cancel(self, tasks: Iterable[RunningTask]) -> None:
        """End tasks that somebody cancelled, whether they have begun or not."""
        for task in tasks:
            lease = self._held.get(task.task_id)
            if lease is None or lease.token != task.token:
                continue
            if lease.token in self._running:
                definition = self._definitions[lease.name]
                self._interruptions.cancel(lease.token, definition.limits)
            elif self._is_queued(lease):
                now = time.time()
                self._running[lease.token] = None
                self._on_outcomes([failed(lease, Cancelled(), now, now)])

    def _is_queued(self, lease: Lease) -> bool:
        """Say whether a lease waits here for a slot; if so, it doesn't any more."""
        queued = self._queued[lease.rank]
        for entry in queued:
            if entry[1] is lease:
                queued.remove(entry)
                return True
        return False

    def _on_stuck(self, token: int, error: BaseException) -> None:
        """Report a task that goes on although it was interrupted, and ask for a replacement."""
        lease = self._lease_of(token)
        if lease is not None:
            logger.error(
                "task %s (%s) goes on although %s; this subworker is replaced",
                lease.name,
                lease.task_id,
                error,
            )
            self._end_interrupted(token, error)
            self.worn_out.set()

    def _end_interrupted(
        self, token: int, error: BaseException, started_at: float | None = None
    ) -> None:
        """Report a task that has no way to report itself why it was interrupted."""
        lease = self._lease_of(token)
        if lease is None:
            self._running.pop(token, None)  # it was revoked or given back: nobody wants to know
            return
        now = time.time()
        policy = self._definitions[lease.name].retry
        begun = now if started_at is None else started_at
        self._on_outcomes([failed(lease, error, begun, now, policy)])

    def _lease_of(self, token: int) -> Lease | None:
        return next((held for held in self._held.values() if held.token == token), None)

    def _forget(self, task_id: str) -> None:
        self._held.pop(task_id, None)
        if not self._held:
            self._quiet.set()

    def _start_ready(self) -> None:
        free = self._slots - len(self._running)
        if free <= 0 or self._is_draining:
            return
        held = self._held
        for queued in self._queued:
            while queued:
                _, lease = queued.popleft()
                # It may have been revoked or given back, and even leased here again since.
                if held.get(lease.task_id) is lease:
                    self._start(lease)
                    free -= 1
                    if free == 0:
                        return

    def _be_impatient(self) -> None:
        """Give back what has waited too long here; prefetch nothing until tasks are short again."""
        self._impatience = None
        if not any(self._queued):
            return
        due = min(queued[0][0] for queued in self._queued if queued) + _WAIT_MAX_S
        if self._loop.time() >= due:
            if self._prefetch.drop():
                self._tell_capacity(self._prefetch.capacity)
            self._give_back_queued()
        else:
            self._impatience = self._loop.call_at(due, self._be_impatient)

    def _give_back_queued(self) -> None:
        waiting = [lease for queued in self._queued for _, lease in queued]
        for queued in self._queued:
            queued.clear()
        self._give_back(lease for lease in waiting if self._held.get(lease.task_id) is lease)

    def _give_back(self, leases: Iterable[Lease]) -> None:
        returned_leases = [HeldLease(lease.task_id, lease.token, lease.attempt) for lease in leases]
        for lease in returned_leases:
            self._forget(lease.task_id)
        # Without a connection they are forgotten all the same: the next hello doesn't name them.
        if returned_leases and self._connection is not None:
            self._connection.send(encode(msg.GiveBack(returned_leases)))

    def _tell_capacity(self, capacity: int) -> None:
        if self._connection is not None:
            self._connection.send(encode(msg.Capacity(capacity)))

    # -- running

    def _start(self, lease: Lease) -> None:
        started_at = time.time()
        definition = self._definitions.get(lease.name)
        if definition is None:
            names = ", ".join(self._names[:20])
            error = LookupError(
                f"no task named {lease.name!r} is registered here; there are: {names}"
            )
            self._running[lease.token] = None
            self._on_outcomes([failed(lease, error, started_at, started_at)])
            return
        if definition.executor == "process":
            self._running[lease.token] = None
            self._processes.submit(definition, lease, self._result_bytes_max)
            return
        if self._board is not None:
            self._board.add(lease.token)
        if definition.limits or lease.options is not None:
            limits = limits_of(definition.limits, lease)
            if limits:
                self._interruptions.watch(lease.token, limits)
        if definition.executor == "thread":
            self._running[lease.token] = None
            running = self._interrupts.running(lease.token)
            self._threads.submit(
                partial(call_function, definition, lease, self._result_bytes_max, running)
            )
            return
        self._running[lease.token] = self._loop.create_task(
            self._run_coroutine(definition, lease, started_at),
            name=lease.name,
            context=contextvars.Context(),
        )

    def _on_process_begun(self, lease: Lease) -> None:
        if self._board is not None:
            self._board.add(lease.token)
        # The soft limit is kept in the process itself.
        hard_s = limits_of(self._definitions[lease.name].limits, lease).hard_s
        if hard_s is not None:
            self._interruptions.watch(lease.token, TimeLimits(hard_s=hard_s))

    def _kill_process(self, token: int, error: BaseException) -> bool:
        """End a task in a process of its own and report why; say whether it was one."""
        started_at = self._processes.kill(token)
        if started_at is None:
            return False
        self._end_interrupted(token, error, started_at)
        return True

    async def _run_coroutine(
        self, definition: TaskDefinition, lease: Lease, started_at: float
    ) -> None:
        try:
            args, kwargs = decode_arguments(
                lease.payload, SerializationFormat.of_code(lease.format)
            )
            coroutine = definition.function(*args, **kwargs)
            if definition.limits or lease.options is not None:
                coroutine = self._interruptions.softened(lease.token, coroutine)
            value = await coroutine
            outcome = returned(lease, value, started_at, time.time(), self._result_bytes_max)
        except BaseException as error:
            # Not isinstance, which asks the error itself what its class is.
            is_cancelled = issubclass(type(error), asyncio.CancelledError)
            if is_cancelled and self._held.get(lease.task_id) is not lease:
                raise  # by the drain, which has given the lease back
            if is_cancelled and (why := self._interruptions.error_of(lease.token)) is not None:
                error = why.with_traceback(error.__traceback__)
            outcome = failed(lease, error, started_at, time.time(), definition.retry)
        self._on_outcomes((outcome,))

    def task_of(self, running: asyncio.Task[object]) -> tuple[str, str] | None:
        """Return name and id of the task that an asyncio task runs; safe from any thread."""
        tokens = [token for token, task in list(self._running.items()) if task is running]
        for lease in list(self._held.values()):
            if lease.token in tokens:
                return lease.name, lease.task_id
        return None

    def _on_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        if not self._outcomes:
            self._loop.call_soon(self._report)
        for outcome in outcomes:
            if self._running.pop(outcome.token, _NOTHING) is _NOTHING:
                continue  # it was interrupted, and that is reported
            self._interruptions.forget(outcome.token)
            held = self._held.get(outcome.task_id)
            stays_noted = False
            if held is not None and held.token == outcome.token:
                self._outcomes.append(outcome)
                # Until it is recorded it must not be taken for one that hasn't begun.
                stays_noted = held.name in self._at_most_once
            if self._board is not None and not stays_noted:
                self._board.remove(outcome.token)

    # -- reporting

    def _report(self) -> None:
        """Report what has ended since the last turn of the loop, and start what can be."""
        outcomes, self._outcomes = self._outcomes, []
        for chunk in _chunks(outcomes):
            self._last_sequence += 1
            self._unacknowledged[self._last_sequence] = chunk
            self._unsent.append(self._last_sequence)
        self._send_reports()
        if self._prefetch.note_ended(len(outcomes), time.monotonic()) and not self._is_draining:
            self._tell_capacity(self._prefetch.capacity)
        self._start_ready()
        if self._is_draining and not self._running:
            self._all_ended.set()

    def _send_reports(self) -> None:
        """Send what isn't sent yet, as fast as the control plane takes it."""
        connection = self._connection
        while connection is not None and self._unsent and connection.is_writable:
            sequence = self._unsent.popleft()
            if sequence in self._unacknowledged:
                connection.send(encode(msg.Report(sequence, self._unacknowledged[sequence])))

    def _acknowledged(self, sequence: int) -> None:
        for outcome in self._unacknowledged.pop(sequence, ()):
            if self._board is not None:
                self._board.remove(outcome.token)
            lease = self._held.get(outcome.task_id)
            # The same task may be leased here again already, under another token.
            if lease is not None and lease.token == outcome.token:
                self._forget(outcome.task_id)

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
                await self._quiet.wait()
        except TimeoutError:
            pass
        else:
            return True
        unfinished = [lease for lease in self._held.values() if lease.token in self._running]
        logger.warning(
            "%d tasks didn't end within %g s and are given back: %s",
            len(unfinished),
            grace_s,
            ", ".join(f"{lease.name} ({lease.task_id})" for lease in unfinished[:10]),
        )
        for lease in unfinished:
            self._processes.kill(lease.token)
        stopped = [lease for lease in unfinished if lease.name in self._at_most_once]
        self._give_back(lease for lease in unfinished if lease.name not in self._at_most_once)
        running = list(self._running.values())
        self._on_outcomes([interrupted(lease, time.time()) for lease in stopped])
        for task in running:
            if task is not None:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INTERRUPTED_REPORT_S):
                await self._quiet.wait()
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
                await self._quiet.wait()
        except TimeoutError:
            logger.warning("%d tasks ended, but nobody took their results", len(self._held))
            return False
        return True

    def _take_nothing_new(self) -> None:
        self._is_draining = True
        self._tell_capacity(0)
        self._give_back_queued()
        waiting = self._processes.withdraw_all()
        for lease in waiting:
            del self._running[lease.token]
        self._give_back(waiting)
        if not self._running:
            self._all_ended.set()

    def descriptors(self) -> list[int]:
        """Return the descriptors of the sockets to the processes of tasks."""
        return self._processes.descriptors()

    async def aclose(self) -> None:
        """Let the threads end, and end the processes."""
        self._is_closed = True
        if self._impatience is not None:
            self._impatience.cancel()
        self._threads.stop()
        await self._processes.stop()


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _chunks(outcomes: list[Outcome]) -> Iterable[list[Outcome]]:
    chunk: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        chunk.append(outcome)
        size += len(outcome.result or b"") + len(outcome.json_result or b"")
        # In UTF-8 a character takes up to four bytes.
        size += 4 * (len(outcome.error or "") + len(outcome.traceback or ""))
        if size > _REPORT_BYTES_GOAL or len(chunk) >= _REPORT_OUTCOMES_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
