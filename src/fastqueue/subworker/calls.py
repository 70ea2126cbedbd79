"""Own the call of a task's function outside of the subworker's event loop.

Used in the subworker's threads and in the processes of tasks. Whatever the function does, an
outcome comes of it, unless the process ends.
"""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

from fastqueue.config import SerializationFormat
from fastqueue.subworker.interruption import explain
from fastqueue.subworker.outcomes import failed, returned
from fastqueue.tasks.context import running_task
from fastqueue.tasks.serializer import decode_arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractContextManager

    from fastqueue.core.records import Lease, Outcome
    from fastqueue.tasks.context import ContextMaker
    from fastqueue.tasks.registry import TaskDefinition

__all__ = ["await_coroutine", "call_function"]


def call_function(
    definition: TaskDefinition,
    lease: Lease,
    result_bytes_max: int,
    running: AbstractContextManager[object],
    contexts: ContextMaker,
) -> Outcome:
    """Run a plain function in the thread that called this.

    Args:
        definition: the task's.
        lease: the task.
        result_bytes_max: how large its result may be.
        running: in this it may be interrupted.
        contexts: makes its context, if it asks for it.
    """
    started_at = time.time()
    running_task.set((contexts, lease, started_at))
    try:
        with running:
            args, kwargs = decode_arguments(
                lease.payload, SerializationFormat.of_code(lease.format)
            )
            value = definition.function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError(
                    f"task {lease.name!r} returned a coroutine that nothing awaits; "
                    "make the function itself `async def`"
                )
            return returned(lease, value, started_at, time.time(), result_bytes_max)
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome
        explain(error, definition.limits, lease)
        return failed(lease, error, started_at, time.time(), definition.retry)


async def await_coroutine(
    definition: TaskDefinition,
    lease: Lease,
    result_bytes_max: int,
    contexts: ContextMaker,
    softened: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] | None = None,
) -> Outcome:
    """Run a coroutine function to its end, on a loop that has nobody else to serve.

    Args:
        definition: the task's.
        lease: the task.
        result_bytes_max: how large its result may be.
        contexts: makes its context, if it asks for it.
        softened: returns what is awaited in the coroutine's place.
    """
    started_at = time.time()
    running_task.set((contexts, lease, started_at))
    try:
        args, kwargs = decode_arguments(lease.payload, SerializationFormat.of_code(lease.format))
        coroutine = definition.function(*args, **kwargs)
        value = await (coroutine if softened is None else softened(coroutine))
        return returned(lease, value, started_at, time.time(), result_bytes_max)
    except BaseException as error:  # noqa: BLE001 - as above; nobody else cancels it
        return failed(lease, error, started_at, time.time(), definition.retry)
