"""Own the submitting of tasks with options: what `Client.options` and `SyncClient.options` return.

Here every keyword argument is the task's own; the options were given before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastqueue.client.checks import make_callback
from fastqueue.client.options import parse_options
from fastqueue.client.window import WINDOW
from fastqueue.tasks.models import TaskPriority, TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence

    from fastqueue.client.batching import Batching
    from fastqueue.client.mapping import MappedTasks, SyncMappedTasks
    from fastqueue.client.options import SubmitOptions
    from fastqueue.client.sync import SyncClient

__all__ = ["OptionedClient", "SyncOptionedClient"]


class OptionedClient:
    """Submit tasks through a client, all with the same options.

    The methods are those of `Client`, and raise what they raise.

    Raises:
        ConfigurationError: an option can't be what it is; the message names it.
        TypeError: there is no such option.
        ValueError: the priority is none of the four.
    """

    def __init__(
        self, client: Batching, priority: TaskPriority | str, options: SubmitOptions
    ) -> None:
        self._client = client
        self._priority = TaskPriority.parse(priority)
        self._options = options
        parse_options(options)

    async def delay(
        self, name_or_task: str | Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> str:
        """Submit a task and return its id once the control plane has it on disk."""
        new = await self._client._submit(  # noqa: SLF001 - a part of the client
            name_or_task, args, kwargs, self._priority, self._options
        )
        return new.task_id

    async def delay_with_callback(
        self,
        name_or_task: str | Callable[..., Any],
        callback_address: str,
        /,
        *args: Any,
        callback_data: Any = None,
        **kwargs: Any,
    ) -> TaskResult:
        """Submit a task whose completion is told to a listener."""
        new = await self._client._submit(  # noqa: SLF001 - a part of the client
            name_or_task,
            args,
            kwargs,
            self._priority,
            self._options,
            make_callback(callback_address, callback_data),
        )
        return TaskResult(task_id=new.task_id, status=TaskStatus.PENDING, name=new.name)

    async def submit_task(
        self,
        task_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> TaskResult:
        """Submit a task and wait for its final state."""
        return await self._client.submit_task(
            task_name, args, kwargs, self._priority, **self._options
        )

    async def submit_batch(self, calls: Iterable[tuple[Any, ...]]) -> list[str]:
        """Submit many tasks at once; return their ids, in order, once all are on disk."""
        return await self._client.submit_batch(calls, priority=self._priority, **self._options)

    def map(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        window: int = WINDOW,
    ) -> MappedTasks:
        """Submit a task for each item; `async for` over the results, or await a list of them."""
        return self._client.map(
            task, items, window=window, priority=self._priority, **self._options
        )

    def starmap(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        window: int = WINDOW,
    ) -> MappedTasks:
        """Do as `map` does, with each item a tuple (or list) of all the positional arguments."""
        return self._client.starmap(
            task, items, window=window, priority=self._priority, **self._options
        )


class SyncOptionedClient:
    """Do the same without asyncio, through a `SyncClient`."""

    def __init__(
        self, client: SyncClient, priority: TaskPriority | str, options: SubmitOptions
    ) -> None:
        self._client = client
        self._priority = TaskPriority.parse(priority)
        self._options = options
        parse_options(options)

    def _optioned(self, client: Batching) -> OptionedClient:
        return OptionedClient(client, self._priority, self._options)

    def delay(self, name_or_task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Submit a task and return its id once the control plane has it on disk."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: self._optioned(client).delay(name_or_task, *args, **kwargs)
        )

    def delay_with_callback(
        self,
        name_or_task: str | Callable[..., Any],
        callback_address: str,
        /,
        *args: Any,
        callback_data: Any = None,
        **kwargs: Any,
    ) -> TaskResult:
        """Submit a task whose completion is told to a listener."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: self._optioned(client).delay_with_callback(
                name_or_task, callback_address, *args, callback_data=callback_data, **kwargs
            )
        )

    def submit_task(
        self,
        task_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> TaskResult:
        """Submit a task and wait for its final state."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: self._optioned(client).submit_task(task_name, args, kwargs)
        )

    def submit_batch(self, calls: Iterable[tuple[Any, ...]]) -> list[str]:
        """Submit many tasks at once; return their ids, in order, once all are on disk."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: self._optioned(client).submit_batch(calls)
        )

    def map(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        window: int = WINDOW,
    ) -> SyncMappedTasks:
        """Submit a task for each item; iterate over the results, in the order of the items."""
        return self._client.map(
            task, items, window=window, priority=self._priority, **self._options
        )

    def starmap(
        self,
        task: str | Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        window: int = WINDOW,
    ) -> SyncMappedTasks:
        """Do as `map` does, with each item a tuple (or list) of all the positional arguments."""
        return self._client.starmap(
            task, items, window=window, priority=self._priority, **self._options
        )
