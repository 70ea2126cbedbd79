"""Own the process that tasks with `executor="process"` run in, one at a time.

A subworker starts it, as a fresh interpreter, and talks to it over a socket; stdout and stderr are
the subworker's own. The process ends when the subworker does, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import inspect
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Self

from fastqueue.errors import SoftTimeLimit, TaskImportError, TaskNameConflict
from fastqueue.protocol.framing import FrameDecoder, frame
from fastqueue.subworker.calls import await_coroutine, call_function
from fastqueue.subworker.interruption import Interruptions, ThreadInterrupts, limits_of
from fastqueue.subworker.outcomes import failed
from fastqueue.subworker.process_context import ProcessContexts
from fastqueue.subworker.process_messages import (
    CannotStart,
    CheckpointAnswered,
    Ended,
    FromProcess,
    Run,
    Setup,
    Started,
    ToProcess,
    decode_to_process,
    encode,
)
from fastqueue.tasks.loading import load_task_modules
from fastqueue.tasks.policies import TimeLimits
from fastqueue.tasks.serializer import allow_pickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.records import Lease, Outcome
    from fastqueue.tasks.registry import TaskDefinition, TaskRegistry

__all__ = ["serve"]

logger = logging.getLogger(__name__)

# What comes from above is bounded there.
_FRAME_BYTES_MAX = 2**32 - 1
_READ_BYTES = 256 * 1024
_PR_SET_PDEATHSIG = 1
_LOOK_FOR_PARENT_S = 1.0


def serve(descriptor: int, configure_logs: Callable[[str, str], None]) -> None:
    """Run tasks until the subworker hangs up.

    Args:
        descriptor: the socket to the subworker.
        configure_logs: called with a log level and the subworker's id.
    """
    _leave_signals_to_the_subworker()
    _end_with_parent()
    with socket.socket(fileno=descriptor) as connection, _Tasks() as tasks:
        connection.set_inheritable(False)
        channel = _Channel(connection)
        setup = channel.receive()
        if not isinstance(setup, Setup):
            return
        contexts = tasks.contexts = ProcessContexts(channel.send, channel.receive_beside)
        channel.on_answer = contexts.on_answer
        configure_logs(setup.log_level, setup.worker_id)
        allow_pickle(setup.allow_pickle)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)  # seen when it is printed
        try:
            tasks.registry = load_task_modules(setup.task_modules)
        except (TaskImportError, TaskNameConflict) as error:
            channel.send(CannotStart(f"{type(error).__name__}: {error}"))
            return
        with contextlib.suppress(OSError):  # the subworker is gone, or about to end us
            channel.send(Started())
            while isinstance(run := channel.receive(), Run):
                outcome = tasks.run(run)
                contexts.end()
                channel.send(Ended(outcome))


class _Channel:
    """Talk to the subworker, one message after the other.

    Attributes:
        on_answer: called with each answer to a checkpoint, if one was ever sent.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = FrameDecoder(_FRAME_BYTES_MAX)
        self._received: deque[bytes] = deque()
        self._sending = threading.Lock()
        self._beside: queue.SimpleQueue[ToProcess | None] | None = None
        self.on_answer: Callable[[CheckpointAnswered], None] = lambda _: None

    def send(self, message: FromProcess) -> None:
        """Send all of a message.

        Raises:
            OSError: nobody takes it.
        """
        data = frame(encode(message))
        with self._sending:
            self._connection.sendall(data)

    def receive(self) -> ToProcess | None:
        """Wait for the next message that isn't an answer; None if the subworker has hung up."""
        if self._beside is not None:
            return self._beside.get()
        return self._receive()

    def receive_beside(self) -> None:
        """Receive in a thread from now on; called while nothing is waited for here."""
        self._beside = queue.SimpleQueue()
        threading.Thread(
            target=self._run, args=(self._beside,), name="fastqueue-receive", daemon=True
        ).start()

    def _run(self, received: queue.SimpleQueue[ToProcess | None]) -> None:
        message: ToProcess | None = None
        with contextlib.suppress(OSError):
            while (message := self._receive()) is not None:
                if isinstance(message, CheckpointAnswered):
                    self.on_answer(message)
                else:
                    received.put(message)
        received.put(None)

    def _receive(self) -> ToProcess | None:
        while not self._received:
            data = self._connection.recv(_READ_BYTES)
            if not data:
                return None
            self._received.extend(self._decoder.feed(data))
        return decode_to_process(self._received.popleft())


class _Tasks:
    """Run tasks, each in a context of its own; coroutines on one event loop, made when needed."""

    def __init__(self) -> None:
        self.registry: TaskRegistry | None = None
        self.contexts: ProcessContexts
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def run(self, run: Run) -> Outcome:
        """Return what comes of a task."""
        lease = run.lease
        definition = None if self.registry is None else self.registry.get(lease.name)
        if definition is None:
            error = LookupError(
                f"no task named {lease.name!r} is defined where its task modules are imported in a "
                "process of its own: define it whatever the process"
            )
            return failed(lease, error, time.time(), time.time())
        limits = limits_of(definition.limits, lease)
        self.contexts.begin(lease, limits)
        if inspect.iscoroutinefunction(definition.function):
            return self._run_coroutine(definition, run)
        limit = _SoftLimit(limits.soft_s)
        context = contextvars.Context()
        most = run.result_bytes_max
        return context.run(call_function, definition, lease, most, limit, self.contexts)

    def _run_coroutine(self, definition: TaskDefinition, run: Run) -> Outcome:
        if self._runner is None:
            import uvloop  # most processes need none

            self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        lease, most = run.lease, run.result_bytes_max
        soft_s = limits_of(definition.limits, lease).soft_s
        if soft_s is None:
            coroutine = await_coroutine(definition, lease, most, self.contexts)
        else:
            coroutine = _await_softly(definition, lease, most, self.contexts, soft_s)
        return self._runner.run(coroutine, context=contextvars.Context())


async def _await_softly(
    definition: TaskDefinition,
    lease: Lease,
    result_bytes_max: int,
    contexts: ProcessContexts,
    soft_s: float,
) -> Outcome:
    """Run a coroutine function, in which a soft limit is raised by this loop's own timer."""
    this_task = asyncio.current_task()
    interruptions = Interruptions(
        asyncio.get_running_loop(),
        ThreadInterrupts(),
        lambda _: this_task,
        lambda *_: False,
        lambda *_: None,
        lambda *_: None,
    )
    interruptions.watch(lease.token, TimeLimits(soft_s=soft_s))
    softened = partial(interruptions.softened, lease.token)
    try:
        return await await_coroutine(definition, lease, result_bytes_max, contexts, softened)
    finally:
        interruptions.forget(lease.token)


class _SoftLimit:
    """Raise `SoftTimeLimit` in what runs in this context for too long, by an alarm of the system.

    It comes out of a call that waits, too. None is no limit.
    """

    def __init__(self, soft_s: float | None) -> None:
        self._soft_s = soft_s

    def __enter__(self) -> None:
        if self._soft_s is not None:
            signal.signal(signal.SIGALRM, self._raise)
            # A timer of 0 would be none.
            signal.setitimer(signal.ITIMER_REAL, max(self._soft_s, 1e-6))

    def __exit__(self, *_: object) -> None:
        if self._soft_s is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _raise(self, *_: object) -> None:
        raise SoftTimeLimit(f"it has run for {self._soft_s:g} s, its soft time limit")


def _leave_signals_to_the_subworker() -> None:
    """Ignore what is sent to all processes of a terminal or a service: the subworker ends us.

    By a function, since what is ignored stays so in the programs that tasks start. What they fork
    has the usual again, from its first moment on: pools of processes end theirs by SIGTERM.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    for number in numbers:
        signal.signal(number, lambda *_: None)
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)


def _end_with_parent() -> None:
    """Have this process killed when the subworker ends, while it is busy with a task too."""
    if sys.platform == "linux":
        # If the subworker is gone already, the socket says so.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(_LOOK_FOR_PARENT_S)
        os._exit(1)

    threading.Thread(target=watch, name="fastqueue-parent", daemon=True).start()
