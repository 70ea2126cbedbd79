"""Own the client for code without an event loop: a Flask or Django view, a script, a REPL.

It runs a `Client` on an event loop in a thread of its own (`client_thread.py`), and every call
waits for its answer. Any number of threads may share one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import copy
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from fastqueue.client.client import Client
from fastqueue.client.client_thread import ClientThread
from fastqueue.client.completion_in_thread import iterate_completed_in
from fastqueue.client.mapping import MapCall, SyncMappedTasks
from fastqueue.client.optioned import SyncOptionedClient
from fastqueue.client.queues import SyncLimits, SyncQueues
from fastqueue.client.schedules import SyncSchedules
from fastqueue.client.window import WINDOW, check_window
from fastqueue.errors import ClientStateError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from types import TracebackType

    from fastqueue.client.options import SubmitOptions
    from fastqueue.config import SerializationFormat
    from fastqueue.tasks.events import WatchEvent
    from fastqueue.tasks.models import (
        Attempt,
        Batch,
        BatchCancellation,
        Cancellation,
        DeadLetter,
        TaskPriority,
        TaskResult,
        TaskStatus,
    )
    from fastqueue.tasks.queue_models import Reason

__all__ = ["SyncClient"]

_T = TypeVar("_T")


class SyncClient:
    """Submit tasks to a control plane, and wait for or query their results, without asyncio.

    It starts at its first call, and again at the first one after `stop`. So one that is made before
    a web server forks its workers starts in each of them. (A fork of a process in which it has
    discovered a control plane can't discover one again; with a given `control_plane_address` it
    goes on there.) `Client` has the same methods as coroutines; see there for what they do and
    raise.

    Args:
        discovery_address: where control planes announce themselves.
        serialization_format: how arguments are encoded; PICKLE opts this process in to it.
        timeout: how long one call waits, in seconds.
        retries: how often a submission that wasn't acknowledged is sent again.
        control_plane_address: the control plane, if it needn't be discovered.
        result_cache_size: how many results `get_result` can return.
        token: the secret of the control plane; both prove that they have it, and neither sends it.
        tls_ca: the file of the certificates that are trusted; by default the system's.
        tls_cert: the file of this client's certificate, if the control plane asks for one.
        tls_key: the file of that certificate's key.
        validate: whether arguments are checked before a task is submitted.

    Raises:
        ConfigurationError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        discovery_address: str | None = None,
        serialization_format: SerializationFormat | str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        *,
        control_plane_address: str | None = None,
        result_cache_size: int | None = None,
        token: str | None = None,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        validate: bool | None = None,
    ) -> None:
        # Never started: each start is of a copy, with the settings that were found here.
        self._unstarted = Client(
            discovery_address,
            serialization_format,
            timeout,
            retries,
            control_plane_address=control_plane_address,
            result_cache_size=result_cache_size,
            token=token,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            validate=validate,
        )
        self._thread: ClientThread | None = None
        self._lock = threading.Lock()
        _all_clients.add(self)

    # -- life

    def start(self) -> None:
        """Find the control plane and connect to it; calls do it by themselves."""
        self._call(_ready)

    def stop(self) -> None:
        """Wait until everything submitted is acknowledged, then stop; twice does no harm.

        Calls of other threads that still wait then raise `ClientStateError`.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            atexit.unregister(self.stop)
        if thread is not None:
            thread.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- what a client does

    def delay(
        self,
        name_or_task: str | Callable[..., Any],
        /,
        *args: Any,
        priority: TaskPriority | str = "normal",
        **kwargs: Any,
    ) -> str:
        """Submit a task and return its id once the control plane has it on disk."""
        return self._call(
            lambda client: client.delay(name_or_task, *args, priority=priority, **kwargs)
        )

    def submit_task(
        self,
        task_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: TaskPriority | str = "normal",
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Submit a task and wait for its final state."""
        return self._call(
            lambda client: client.submit_task(task_name, args, kwargs, priority, **options)
        )

    def options(
        self, *, priority: TaskPriority | str = "normal", **options: Unpack[SubmitOptions]
    ) -> SyncOptionedClient:
        """Return what submits tasks with options; see `Client.options`."""
        return SyncOptionedClient(self, priority, options)

    def delay_with_callback(
        self,
        name_or_task: str | Callable[..., Any],
        callback_address: str,
        /,
        *args: Any,
        callback_data: Any = None,
        priority: TaskPriority | str = "normal",
        **kwargs: Any,
    ) -> TaskResult:
        """Submit a task whose completion is told to a listener."""
        return self._call(
            lambda client: client.delay_with_callback(
                name_or_task,
                callback_address,
                *args,
                callback_data=callback_data,
                priority=priority,
                **kwargs,
            )
        )

    def submit_batch(
        self,
        calls: Iterable[tuple[Any, ...]],
        *,
        priority: TaskPriority | str = "normal",
        **options: Unpack[SubmitOptions],
    ) -> list[str]:
        """Submit many tasks at once; return their ids, in order, once all are on disk."""
        return self._call(lambda client: client.submit_batch(calls, priority=priority, **options))

    def get_task_result(self, task_id: str) -> TaskResult | None:
        """Return what the control plane knows of a task, or `None` if unknown or expired."""
        return self._call(lambda client: client.get_task_result(task_id))

    def get_result(self, task_id: str) -> TaskResult | None:
        """Return a task's result from this client's own cache, without asking anybody."""
        thread = self._thread
        return None if thread is None else thread.client.get_result(task_id)

    def get_status(self, task_id: str) -> TaskStatus | None:
        """Return a task's status from this client's own cache; otherwise as `get_result`."""
        thread = self._thread
        return None if thread is None else thread.client.get_status(task_id)

    def as_completed(
        self, task_ids: Iterable[str], *, timeout: float | None = None, window: int = WINDOW
    ) -> Iterator[TaskResult]:
        """Iterate over the results of tasks in the order in which they finish."""
        return iterate_completed_in(self._running, task_ids, timeout, check_window(window))

    def map(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        window: int = WINDOW,
        priority: TaskPriority | str = "normal",
        **options: Unpack[SubmitOptions],
    ) -> SyncMappedTasks:
        """Submit a task for each item; iterate over the results, in the order of the items."""
        call = MapCall(task, window, priority, options, spread=False)
        return SyncMappedTasks(self._running, call, items)

    def starmap(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        window: int = WINDOW,
        priority: TaskPriority | str = "normal",
        **options: Unpack[SubmitOptions],
    ) -> SyncMappedTasks:
        """Do as `map` does, with each item a tuple (or list) of all the positional arguments."""
        call = MapCall(task, window, priority, options, spread=True)
        return SyncMappedTasks(self._running, call, items)

    def gather(self, *task_ids: str, timeout: float | None = None) -> list[TaskResult]:
        """Wait for tasks, and return their results in the order of the ids."""
        return self._call(lambda client: client.gather(*task_ids, timeout=timeout))

    def batch(self, batch_id: str) -> Batch | None:
        """Return how far the tasks of a batch are, or `None` if there is none."""
        return self._call(lambda client: client.batch(batch_id))

    def cancel_batch(self, batch_id: str) -> BatchCancellation:
        """Cancel all tasks of a batch that aren't over: those that wait, and those that run."""
        return self._call(lambda client: client.cancel_batch(batch_id))

    def batches(self) -> list[Batch]:
        """Return the batches that are remembered, the youngest first."""

        async def collect(client: Client) -> list[Batch]:
            return [batch async for batch in client.batches()]

        return self._call(collect)

    def watch(self, task_id: str) -> Iterator[WatchEvent]:
        """Iterate over what happens to a task, up to its result; see `Client.watch`."""
        return self._iterate(lambda client: client.watch(task_id))

    def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task, whether it waits or runs; one that is over is left as it is."""
        return self._call(lambda client: client.cancel(task_id))

    def why_waits(self, task_name: str) -> str | None:
        """Return why a task of this name would wait: no connected subworker offers it."""

        async def find(client: Client) -> str | None:
            return client.why_waits(task_name)

        return self._call(find)

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task that failed and were followed by another, in order."""
        return self._call(lambda client: client.attempts(task_id))

    def dead_letters(
        self, *, name: str | None = None, queue: str | None = None
    ) -> list[DeadLetter]:
        """Return the tasks that failed for good, the oldest first."""

        async def collect(client: Client) -> list[DeadLetter]:
            return [letter async for letter in client.dead_letters(name=name, queue=queue)]

        return self._call(collect)

    def requeue(self, task_ids: Iterable[str]) -> dict[str, str]:
        """Queue dead letters again; return the new ids by the old ones."""
        return self._call(lambda client: client.requeue(task_ids))

    @property
    def queues(self) -> SyncQueues:
        """Return what sees, pauses, weighs and purges queues."""
        return SyncQueues(self)

    @property
    def limits(self) -> SyncLimits:
        """Return what sees, sets and removes limits of what runs."""
        return SyncLimits(self)

    def why(self, task_id: str) -> Reason:
        """Return why a task isn't running: the one reason, and what ends it."""
        return self._call(lambda client: client.why(task_id))

    @property
    def schedules(self) -> SyncSchedules:
        """Return what makes, lists, changes and runs schedules."""
        return SyncSchedules(self)

    def inspect(self, topic: str = "stats", task_ids: Sequence[str] = ()) -> dict[str, Any]:
        """Return what the control plane tells about itself."""
        return self._call(lambda client: client.inspect(topic, task_ids))

    # -- inside

    def _iterate(self, make: Callable[[Client], AsyncIterator[_T]]) -> Iterator[_T]:
        """Iterate over what the client does, each step on its loop."""

        async def begin(client: Client) -> Any:
            return make(client)

        # All in one life of the client: after a stop there is nothing to go on with.
        thread = self._running()
        items = thread.call(begin)
        try:
            while (item := thread.call(lambda _: _next(items))) is not None:
                yield item
        finally:
            with contextlib.suppress(ClientStateError):
                thread.call(lambda _: items.aclose())

    def _call(self, make: Callable[[Client], Coroutine[Any, Any, _T]]) -> _T:
        """Run what `make` makes on the client's loop and wait for what it returns."""
        return self._running().call(make)

    def _running(self) -> ClientThread:
        """Return the thread that the client runs in, begun if need be."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ClientStateError(
                "SyncClient was called on an event loop, which it would block; use "
                "`fastqueue.Client` there, and await it"
            )
        with self._lock:
            if self._thread is None:
                atexit.register(self.stop)
            if self._thread is None or self._thread.is_over:
                self._thread = ClientThread(copy.copy(self._unstarted))
            return self._thread

    def _on_fork(self) -> None:
        # Another thread may have held it, and there is none here to let it go.
        self._lock = threading.Lock()


_all_clients: weakref.WeakSet[SyncClient] = weakref.WeakSet()


def _on_fork() -> None:
    for client in list(_all_clients):
        client._on_fork()  # noqa: SLF001 - nobody else is to call it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_on_fork)


async def _ready(_: Client) -> None:
    """Do nothing; calling it has started the client."""


async def _next(items: Any) -> Any:
    return await anext(items, None)
