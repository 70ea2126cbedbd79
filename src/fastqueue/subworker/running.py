"""Own what runs: a task begins in its executor, may be interrupted, and comes to an outcome.

A task that is interrupted and has no way to say so itself is reported from here; what its executor
says of it afterwards is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING

from fastqueue.config import SerializationFormat
from fastqueue.subworker.calls import call_function
from fastqueue.subworker.contexts import Contexts
from fastqueue.subworker.interruption import Interruptions, ThreadInterrupts, limits_of
from fastqueue.subworker.outcomes import failed, returned
from fastqueue.subworker.process_messages import Setup
from fastqueue.subworker.process_pool import ProcessPool
from fastqueue.subworker.threads import ThreadExecutor
from fastqueue.tasks.context import running_task
from fastqueue.tasks.policies import TimeLimits
from fastqueue.tasks.serializer import decode_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastqueue.core.records import Lease, Outcome
    from fastqueue.subworker.board import Board
    from fastqueue.subworker.held import HeldLeases
    from fastqueue.tasks.registry import TaskDefinition, TaskRegistry

__all__ = ["Running"]

logger = logging.getLogger(__name__)

_NAMES_SHOWN_MAX = 20
_NOTHING = object()


class Running:
    """Run tasks on one event loop, in threads and in processes of their own.

    Args:
        registry: the task definitions on offer.
        slots: how many tasks run at one time.
        held: the leases of the tasks.
        board: where to note what runs, for a supervisor.
        setup: what processes of tasks are told when they start.
        processes_max: how many of them there are at one time, at most; by default one a CPU.
        on_outcomes: called with the outcomes of tasks.
        send: sends a message to the control plane, if there is a connection.
        is_writable: says whether the control plane takes what is sent.

    Attributes:
        tasks: by token the asyncio task of each task that runs, None for those in threads and
            processes. A task may be leased here again while a run under a void lease still goes on.
        worn_out: set when a task can't be ended: its slot is lost until another process takes over.
        result_bytes_max: how large a result may be.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        slots: int,
        held: HeldLeases,
        *,
        board: Board | None,
        setup: Setup | None,
        processes_max: int | None,
        on_outcomes: Callable[[Iterable[Outcome]], None],
        send: Callable[[object], None],
        is_writable: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._definitions: dict[str, TaskDefinition] = {d.name: d for d in registry}
        self._held = held
        self._board = board
        self._on_outcomes = on_outcomes
        self._threads = ThreadExecutor(self._loop, slots, on_outcomes)
        self._interrupts = ThreadInterrupts()
        self.tasks: dict[int, asyncio.Task[None] | None] = {}
        self.contexts = Contexts(self._loop, self.tasks, self._limits_of, send, is_writable)
        self.interruptions = Interruptions(
            self._loop,
            self._interrupts,
            self.tasks.get,
            self._kill_process,
            self._end_interrupted,
            self._on_stuck,
        )
        self.worn_out = asyncio.Event()
        self.processes = ProcessPool(
            min(slots, processes_max or os.cpu_count() or 1),
            setup or Setup([], "", "info", allow_pickle=False),
            _current_folder(),
            self._on_process_begun,
            on_outcomes,
            self.contexts.on_process,
        )
        self.result_bytes_max = 0

    def start(self, lease: Lease) -> None:
        """Run the task of a lease."""
        started_at = time.time()
        definition = self._definitions.get(lease.name)
        if definition is None:
            self.tasks[lease.token] = None
            error = self._unknown(lease)
            self._on_outcomes([failed(lease, error, started_at, started_at)])
            return
        if definition.executor == "process":
            self.tasks[lease.token] = None
            self.processes.submit(definition, lease, self.result_bytes_max)
            return
        if self._board is not None:
            self._board.add(lease.token)
        if definition.limits or lease.options is not None:
            limits = limits_of(definition.limits, lease)
            if limits:
                self.interruptions.watch(lease.token, limits)
        if definition.executor == "thread":
            self.tasks[lease.token] = None
            running = self._interrupts.running(lease.token)
            self._threads.submit(
                partial(
                    call_function,
                    definition,
                    lease,
                    self.result_bytes_max,
                    running,
                    self.contexts,
                )
            )
            return
        self.tasks[lease.token] = self._loop.create_task(
            self._run_coroutine(definition, lease, started_at),
            name=lease.name,
            context=contextvars.Context(),
        )

    def _unknown(self, lease: Lease) -> LookupError:
        names = ", ".join(list(self._definitions)[:_NAMES_SHOWN_MAX])
        return LookupError(f"no task named {lease.name!r} is registered here; there are: {names}")

    async def _run_coroutine(
        self, definition: TaskDefinition, lease: Lease, started_at: float
    ) -> None:
        running_task.set((self.contexts, lease, started_at))
        try:
            args, kwargs = decode_arguments(
                lease.payload, SerializationFormat.of_code(lease.format)
            )
            coroutine = definition.function(*args, **kwargs)
            if definition.limits or lease.options is not None:
                coroutine = self.interruptions.softened(lease.token, coroutine)
            value = await coroutine
            outcome = returned(lease, value, started_at, time.time(), self.result_bytes_max)
        except BaseException as error:
            # Not isinstance, which asks the error itself what its class is.
            is_cancelled = issubclass(type(error), asyncio.CancelledError)
            if is_cancelled and not self._held.is_held(lease):
                raise  # by the drain, which has given the lease back
            if is_cancelled and (why := self.interruptions.error_of(lease.token)) is not None:
                error = why.with_traceback(error.__traceback__)
            outcome = failed(lease, error, started_at, time.time(), definition.retry)
        self._on_outcomes((outcome,))

    def end(self, token: int) -> bool:
        """Note that a task has come to an outcome; say whether it ran until now."""
        if self.tasks.pop(token, _NOTHING) is _NOTHING:
            return False  # it was interrupted, and that is reported
        self.interruptions.forget(token)
        if self.contexts.is_used:
            self.contexts.end(token)
        return True

    def task_of(self, running: asyncio.Task[object]) -> tuple[str, str] | None:
        """Return name and id of the task that an asyncio task runs; safe from any thread."""
        tokens = [token for token, task in list(self.tasks.items()) if task is running]
        for lease in list(self._held.by_id.values()):
            if lease.token in tokens:
                return lease.name, lease.task_id
        return None

    # -- interrupting

    def cancel(self, lease: Lease) -> None:
        """Interrupt a task that runs, because somebody cancelled it."""
        self.interruptions.cancel(lease.token, self._definitions[lease.name].limits)

    def withdraw(self, token: int) -> bool:
        """Take a task back that waits for a process; say whether it did."""
        is_withdrawn = self.processes.withdraw(token)
        if is_withdrawn:
            del self.tasks[token]
        return is_withdrawn

    def withdraw_all(self) -> list[Lease]:
        """Take back all tasks that wait for a process."""
        waiting = self.processes.withdraw_all()
        for lease in waiting:
            del self.tasks[lease.token]
        return waiting

    def _on_stuck(self, token: int, error: BaseException) -> None:
        """Report a task that goes on although it was interrupted, and ask for a replacement."""
        lease = self._held.of_token(token)
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
        lease = self._held.of_token(token)
        if lease is None:
            self.end(token)  # it was revoked or given back: nobody wants to know
            return
        now = time.time()
        policy = self._definitions[lease.name].retry
        begun = now if started_at is None else started_at
        self._on_outcomes([failed(lease, error, begun, now, policy)])

    def _on_process_begun(self, lease: Lease) -> None:
        if self._board is not None:
            self._board.add(lease.token)
        # The soft limit is kept in the process itself.
        hard_s = self._limits_of(lease).hard_s
        if hard_s is not None:
            self.interruptions.watch(lease.token, TimeLimits(hard_s=hard_s))

    def _limits_of(self, lease: Lease) -> TimeLimits:
        return limits_of(self._definitions[lease.name].limits, lease)

    def _kill_process(self, token: int, error: BaseException) -> bool:
        """End a task in a process of its own and report why; say whether it was one."""
        started_at = self.processes.kill(token)
        if started_at is None:
            return False
        self._end_interrupted(token, error, started_at)
        return True

    async def aclose(self) -> None:
        """Let the threads end, and end the processes."""
        self.contexts.stop()
        self._threads.stop()
        await self.processes.stop()


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None
