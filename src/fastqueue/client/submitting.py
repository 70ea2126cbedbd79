"""Own the submitting of tasks: what of `Client` sends them to the control plane.

It checks what it is given and encodes it before anything is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack

from msgspec.structs import replace

from fastqueue.client.bulk import submit_all
from fastqueue.client.checks import make_callback, take_call_apart
from fastqueue.client.lifecycle import ClientLifecycle
from fastqueue.client.offers import Doubt
from fastqueue.client.options import NO_OPTIONS, parse_options
from fastqueue.client.results import to_task_result
from fastqueue.config import SerializationFormat
from fastqueue.core.records import NewTask
from fastqueue.errors import PayloadTooLarge, ResultExpired, TaskTimeout
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import TaskPriority, TaskResult, TaskStatus
from fastqueue.tasks.registry import queue_of, task_name_of
from fastqueue.tasks.serializer import allow_pickle, encode_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.options import Options, SubmitOptions
    from fastqueue.config import ClientSettings
    from fastqueue.core.records import Callback, Result

__all__ = ["Submitting"]

# Tasks of one `submit_batch` that are encoded before the loop gets its turn.
_BATCH_STEP = 1_000


class Submitting(ClientLifecycle):
    """Submit tasks, one or many, with or without waiting for what comes of them.

    Args:
        settings: the client's settings.
    """

    def __init__(self, settings: ClientSettings) -> None:
        super().__init__(settings)
        self._format = settings.serialization_format
        self._format_code = self._format.code
        if self._format is SerializationFormat.PICKLE:
            allow_pickle()

    async def delay(
        self,
        name_or_task: str | Callable[..., Any],
        /,
        *args: Any,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **kwargs: Any,
    ) -> str:
        """Submit a task and return its id once the control plane has it on disk.

        Args:
            name_or_task: the task's name, or the function that `@task` was put on.
            args: its positional arguments.
            priority: a `TaskPriority` or its name in any letter case.
            kwargs: its keyword arguments.

        Raises:
            ValueError: the priority is none of the four.
            SerializationError: an argument can't be encoded; the message names it.
            InvalidArguments: no connected subworker takes these arguments; the message says why.
            PayloadTooLarge: the arguments are over the control plane's limit.
            ControlPlaneUnavailable: none answered within `timeout`, or `retries` were used up.
            Overloaded: the control plane takes no more for now.
            ClientStateError: the client isn't started, or has another event loop.
        """
        connection = self._started()
        try:
            new = self._new_task(connection, name_or_task, args, kwargs, priority)
        except Doubt:
            new = await self._new_task_asking(connection, name_or_task, args, kwargs, priority)
        submissions = connection.submissions
        if not submissions.has_room:
            await submissions.wait_for_room()
        await submissions.submit(new)
        return new.task_id

    async def submit_task(
        self,
        task_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> TaskResult:
        """Submit a task and wait for its final state.

        A failure of the task is a result whose status is `failure`, never an exception. `options`
        are those of `options`.

        Raises:
            TaskTimeout: it wasn't finished within `timeout`; it goes on, and the error has its id.
            ValueError: the priority is none of the four.
            FastQueueError: as for `delay`.
        """
        connection = self._started()
        asked = parse_options(options) if options else NO_OPTIONS
        call = (task_name, args, kwargs or {}, priority, None, asked)
        try:
            new = self._new_task(connection, *call)
        except Doubt:
            new = await self._new_task_asking(connection, *call)
        submissions = connection.submissions
        if not submissions.has_room:
            await submissions.wait_for_room()
        # Not before there is room: what is waited for and not submitted looks like another's.
        waiter = connection.results.wait(new.task_id)
        try:
            connection.deadlines.watch(waiter)
            await submissions.submit(new)
            result = await waiter
        except TimeoutError as error:
            if isinstance(error, TaskTimeout):
                raise
            raise TaskTimeout(
                f"task {new.name!r} ({new.task_id}) wasn't finished within "
                f"{self._settings.timeout_s:g} s; it goes on, and "
                f"`get_task_result` has its result later{connection.offers.hint(new.name)}",
                task_id=new.task_id,
            ) from None
        finally:
            connection.results.stop_waiting(new.task_id, waiter)
        return _known_result(result, new.task_id)

    async def delay_with_callback(
        self,
        name_or_task: str | Callable[..., Any],
        callback_address: str,
        /,
        *args: Any,
        callback_data: Any = None,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **kwargs: Any,
    ) -> TaskResult:
        """Submit a task whose completion is told to a listener.

        Args:
            name_or_task: as for `delay`.
            callback_address: where a `PairPattern` or a plain NNG Pair0 socket listens.
            args: the task's positional arguments.
            callback_data: anything JSON can carry; the listener gets it back.
            priority: as for `delay`.
            kwargs: the task's keyword arguments.

        Returns:
            A result with the task's id and the status `pending`.

        Raises:
            ConfigurationError: the address can't be one.
            PayloadTooLarge: the arguments, or `callback_data` (64 KiB), are over the limit.
            SubmissionRefused: the control plane doesn't dial this address.
            FastQueueError: as for `delay`.
        """
        callback = make_callback(callback_address, callback_data)
        new = await self._submit(name_or_task, args, kwargs, priority, {}, callback)
        return TaskResult(task_id=new.task_id, status=TaskStatus.PENDING, name=new.name)

    async def submit_batch(
        self,
        calls: Iterable[tuple[Any, ...]],
        *,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> list[str]:
        """Submit many tasks at once; return their ids, in order, once all are on disk.

        Args:
            calls: for each task `(name_or_task, args)` or `(name_or_task, args, kwargs)`.
            priority: of all of them.
            options: those of `options`, for all of them.

        Raises:
            TypeError: a call is neither of these; nothing is submitted.
            SubmissionRefused: some weren't taken; the message says how many, and why the first
                wasn't. The others are stored.
            FastQueueError: as for `delay`.
        """
        connection = self._started()
        parsed = TaskPriority.parse(priority)
        asked = parse_options(options) if options else NO_OPTIONS
        # All are encoded before the first is sent: an argument that can't be leaves nothing behind.
        tasks: list[NewTask] = []
        for call in calls:
            task, args, kwargs = take_call_apart(call)
            try:
                new = self._new_task(connection, task, args, kwargs, parsed, None, asked)
            except Doubt:
                new = await self._new_task_asking(
                    connection, task, args, kwargs, parsed, None, asked
                )
            tasks.append(new)
            if len(tasks) % _BATCH_STEP == 0:
                await asyncio.sleep(0)
        await submit_all(connection.submissions, tasks)
        if not asked.is_unique:
            return [task.task_id for task in tasks]
        return [connection.results.take_same(task.task_id) for task in tasks]

    async def _submit(
        self,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        priority: TaskPriority | str,
        options: SubmitOptions,
        callback: Callback | None = None,
    ) -> NewTask:
        connection = self._started()
        asked = parse_options(options)
        call = (name_or_task, args, kwargs, priority, callback, asked)
        try:
            new = self._new_task(connection, *call)
        except Doubt:
            new = await self._new_task_asking(connection, *call)
        await connection.submissions.wait_for_room()
        await connection.submissions.submit(new)
        if not asked.is_unique:
            return new
        # What the caller is told is the id of the task that there is.
        return replace(new, task_id=connection.results.take_same(new.task_id))

    def _new_task(
        self,
        connection: ClientConnection,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        priority: TaskPriority | str,
        callback: Callback | None = None,
        options: Options = NO_OPTIONS,
        *,
        surely: bool = False,
    ) -> NewTask:
        """Return the record of a call that is checked and encoded.

        Raises:
            Doubt: the control plane is to be asked first: see `_new_task_asking`.
        """
        name = task_name_of(name_or_task)
        rank = TaskPriority.parse(priority).rank
        payload = encode_arguments(name, args, kwargs, self._format)
        limit = connection.payload_bytes_max
        if limit is not None and len(payload) > limit:
            raise PayloadTooLarge(
                f"the arguments of task {name!r} are {len(payload):,} bytes encoded; the control "
                f"plane takes at most {limit:,}: pass a reference to the data instead"
            )
        offered_queue = connection.offers.check(name, args, kwargs, surely=surely)
        queue = options.queue or queue_of(name_or_task, offered_queue)
        if options is NO_OPTIONS:
            return NewTask(new_task_id(), name, rank, self._format_code, payload, callback, queue)
        return NewTask(
            new_task_id(),
            name,
            rank,
            self._format_code,
            payload,
            callback,
            queue,
            options.task if options.task is None else options.of_task(payload),
            options.require_worker,
        )

    async def _new_task_asking(
        self, connection: ClientConnection, name_or_task: str | Callable[..., Any], *rest: Any
    ) -> NewTask:
        """Do the same once the control plane has said what is offered now."""
        await connection.offers.ask(task_name_of(name_or_task))
        return self._new_task(connection, name_or_task, *rest, surely=True)


def _known_result(result: Result | None, task_id: str) -> TaskResult:
    if result is None:
        raise ResultExpired(
            f"the control plane doesn't know task {task_id} any more: its result was evicted, or "
            "its store was lost",
            task_id=task_id,
        )
    return to_task_result(result)
