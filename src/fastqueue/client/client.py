"""Own the client that applications use: submit tasks, await or query results.

It checks what it is given, encodes it, and turns what comes back into results and errors; starting
and stopping is `lifecycle`'s.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack

from fastqueue.client.admin import find_attempts, iterate_dead_letters, requeue
from fastqueue.client.batch import submit_all
from fastqueue.client.checks import (
    check_ids,
    is_possible_id,
    make_callback,
    take_call_apart,
)
from fastqueue.client.completion import iterate_completed
from fastqueue.client.lifecycle import ClientLifecycle
from fastqueue.client.optioned import OptionedClient
from fastqueue.client.options import NO_OPTIONS, parse_options
from fastqueue.client.requests import IDS_MAX
from fastqueue.client.results import to_task_result
from fastqueue.client.schedules import Schedules
from fastqueue.config import ClientSettings, SerializationFormat
from fastqueue.core.records import NewTask
from fastqueue.errors import (
    PayloadTooLarge,
    ResultExpired,
    TaskTimeout,
)
from fastqueue.protocol import messages as msg
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import (
    Attempt,
    Cancellation,
    DeadLetter,
    TaskPriority,
    TaskResult,
    TaskStatus,
)
from fastqueue.tasks.registry import queue_of, task_name_of
from fastqueue.tasks.serializer import allow_pickle, encode_arguments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from fastqueue.client.connection import ClientConnection
    from fastqueue.client.options import Options, SubmitOptions
    from fastqueue.core.records import Callback, Result

__all__ = ["Client"]

# Tasks of one `submit_batch` that are encoded before the loop gets its turn.
_BATCH_STEP = 1_000


class Client(ClientLifecycle):
    """Submit tasks to a control plane, and await or query their results.

    Make one per application and start it on the event loop that uses it. Each setting that isn't
    given comes from `FASTQUEUE_<NAME>`, then from `fastqueue.toml`, then from its default.

    Args:
        discovery_address: where control planes announce themselves.
        serialization_format: how arguments are encoded; PICKLE opts this process in to it.
        timeout: how long one call waits, in seconds: for the control plane to answer, or in
            `submit_task` for the result.
        retries: how often a submission that wasn't acknowledged is sent again; 0 means never.
        control_plane_address: the control plane, if it needn't be discovered.
        result_cache_size: how many results `get_result` can return.
        token: the secret of the control plane; both prove that they have it, and neither sends it.
        tls_ca: the file of the certificates that are trusted; by default the system's.
        tls_cert: the file of this client's certificate, if the control plane asks for one.
        tls_key: the file of that certificate's key.

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
    ) -> None:
        settings = ClientSettings.resolve(
            discovery_address=discovery_address,
            serialization_format=serialization_format,
            timeout=timeout,
            retries=retries,
            control_plane_address=control_plane_address,
            result_cache_size=result_cache_size,
            token=token,
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
        super().__init__(settings)
        self._format = settings.serialization_format
        self._format_code = self._format.code
        if self._format is SerializationFormat.PICKLE:
            allow_pickle()

    # -- submitting

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
            PayloadTooLarge: the arguments are over the control plane's limit.
            ControlPlaneUnavailable: none answered within `timeout`, or `retries` were used up.
            Overloaded: the control plane takes no more for now.
            ClientStateError: the client isn't started, or has another event loop.
        """
        connection = self._started()
        new = self._new_task(connection, name_or_task, args, kwargs, priority)
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
        new = self._new_task(connection, task_name, args, kwargs or {}, priority, options=asked)
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
                "`get_task_result` has its result later",
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
            name_or_task, args, kwargs = take_call_apart(call)
            tasks.append(
                self._new_task(connection, name_or_task, args, kwargs, parsed, options=asked)
            )
            if len(tasks) % _BATCH_STEP == 0:
                await asyncio.sleep(0)
        await submit_all(connection.submissions, tasks)
        return [task.task_id for task in tasks]

    def options(
        self,
        *,
        priority: TaskPriority | str = TaskPriority.NORMAL,
        **options: Unpack[SubmitOptions],
    ) -> OptionedClient:
        """Return what submits tasks with options, as in `client.options(countdown=60).delay(...)`.

        The options never collide with a task's own keyword arguments.

        Args:
            priority: a `TaskPriority` or its name in any letter case.
            options: `queue`, where the task waits. `eta` (an aware datetime) or `countdown`
                (seconds or a timedelta): not to be started before. `expires` (either): cancelled if
                not started by then. `retries`, `backoff`, `backoff_max`: in place of what the
                task's definition says.

        Raises:
            ConfigurationError: an option can't be what it is; the message names it.
            TypeError: there is no such option.
            ValueError: the priority is none of the four.
        """
        return OptionedClient(self, priority, options)

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
        new = self._new_task(connection, name_or_task, args, kwargs, priority, callback, asked)
        await connection.submissions.wait_for_room()
        await connection.submissions.submit(new)
        return new

    def _new_task(
        self,
        connection: ClientConnection,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        priority: TaskPriority | str,
        callback: Callback | None = None,
        options: Options = NO_OPTIONS,
    ) -> NewTask:
        name = task_name_of(name_or_task)
        rank = TaskPriority.parse(priority).rank
        payload = encode_arguments(name, args, kwargs, self._format)
        limit = connection.payload_bytes_max
        if limit is not None and len(payload) > limit:
            raise PayloadTooLarge(
                f"the arguments of task {name!r} are {len(payload):,} bytes encoded; the control "
                f"plane takes at most {limit:,}: pass a reference to the data instead"
            )
        queue = options.queue or queue_of(name_or_task)
        return NewTask(
            new_task_id(), name, rank, self._format_code, payload, callback, queue, options.task
        )

    # -- results

    async def get_task_result(self, task_id: str) -> TaskResult | None:
        """Return what the control plane knows of a task, or `None` if unknown or expired.

        A task that isn't finished has its current status, and `result` is `None`.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        if not is_possible_id(task_id):
            return None
        result = await connection.requests.query(task_id)
        return None if result is None else to_task_result(result)

    def get_result(self, task_id: str) -> TaskResult | None:
        """Return a task's result from this client's own cache, without asking anybody.

        Only for tasks that this client submitted; `None` for others, and for those forgotten.
        """
        known = self._connection.results.get(task_id) if self._connection else None
        if known is None:
            return None
        if isinstance(known, TaskStatus):
            return TaskResult(task_id=task_id, status=known)
        return to_task_result(known)

    def get_status(self, task_id: str) -> TaskStatus | None:
        """Return a task's status from this client's own cache; otherwise as `get_result`."""
        known = self._connection.results.get(task_id) if self._connection else None
        return known if known is None or isinstance(known, TaskStatus) else known.status

    def as_completed(
        self, task_ids: Iterable[str], *, timeout: float | None = None
    ) -> AsyncIterator[TaskResult]:
        """Iterate over the results of tasks in the order in which they finish.

        Args:
            task_ids: any tasks, also those that another client submitted.
            timeout: how long all of it may take, in seconds; by default as long as it takes.

        Raises:
            TaskTimeout: not all were finished in time; the error has the id of one.
            ResultExpired: a task is unknown, or its result is evicted.
        """
        return iterate_completed(self._started(), list(dict.fromkeys(task_ids)), timeout)

    async def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task, whether it waits or runs; one that is over is left as it is.

        A coroutine that runs is cancelled, a process killed; a plain function gets an exception
        where it next runs Python code; what goes on for 5 more seconds is given up with its
        subworker, which another one replaces. Such a task is waited for, for at most `timeout`.

        Returns:
            What came of it; truthy if the task is cancelled. One that still runs when `timeout` has
            passed is cancelled later, unless it ends by itself before.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        deadline = connection.loop.time() + self._settings.timeout_s
        if not is_possible_id(task_id):
            return Cancellation(task_id=task_id, cancelled=False, status=None)
        answer: msg.Cancelled = await connection.requests.ask(
            lambda request: msg.Cancel(request, [task_id])
        )
        cancelled, status = answer.answers[0]
        if status is TaskStatus.RUNNING:
            try:
                left_s = max(0.0, deadline - connection.loop.time())
                async for result in self.as_completed([task_id], timeout=left_s):
                    status = result.status
                    cancelled = status is TaskStatus.CANCELLED
            except TaskTimeout:
                pass
            except ResultExpired:
                status = None
        return Cancellation(task_id=task_id, cancelled=cancelled, status=status)

    # -- failures

    async def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task that failed and were followed by another, in order.

        They are kept as long as the task's result is; the last attempt is in the result.
        If there are very many, the earlier ones come without traceback and with a short error.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        connection = self._started()
        if not is_possible_id(task_id):
            return []
        return await find_attempts(connection.requests, task_id)

    def dead_letters(
        self, *, name: str | None = None, queue: str | None = None
    ) -> AsyncIterator[DeadLetter]:
        """Iterate over the tasks that failed for good, the oldest first.

        The control plane keeps the last 10,000, longer than their results.

        Args:
            name: only those of this task definition.
            queue: only those of this queue.

        Raises:
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        return iterate_dead_letters(self._started().requests, name, queue)

    async def requeue(self, task_ids: Iterable[str]) -> dict[str, str]:
        """Queue dead letters again, with the arguments and options that they had.

        Each becomes a new task: the old id keeps its one result, which is the failure.

        Args:
            task_ids: the tasks that failed. To queue all again, or all of one kind:
                `requeue([d.task_id async for d in client.dead_letters(name="send")])`.

        Returns:
            The new ids by the old ones; what isn't a dead letter is left out.

        Raises:
            Overloaded: the control plane takes no more for now; the message says how far it came.
            ControlPlaneUnavailable: none answered within `timeout`.
            SubmissionRefused: this client's token is for submitting alone.
        """
        connection = self._started()
        return await requeue(connection.requests, check_ids(task_ids))

    @property
    def schedules(self) -> Schedules:
        """Return what makes, lists, changes and runs schedules."""
        return Schedules(self)

    async def inspect(self, topic: str = "stats", task_ids: Sequence[str] = ()) -> dict[str, Any]:
        """Return what the control plane tells about itself.

        Args:
            topic: `stats` (counts, lanes, subworkers) or `tasks` (the state of `task_ids`, where
                an evicted id is told from an unknown one).
            task_ids: at most 1,000.

        Raises:
            ValueError: there is no such topic, or there are too many ids.
            ControlPlaneUnavailable: none answered within `timeout`.
        """
        if topic not in ("stats", "tasks") or len(task_ids) > IDS_MAX:
            raise ValueError(f"topic is stats or tasks, with up to {IDS_MAX:,} ids; not {topic!r}")
        possible = check_ids(task_ids)
        answer: msg.Inspected = await self._started().requests.ask(
            lambda request: msg.Inspect(request, topic, possible)
        )
        impossible = {task_id: {"state": "unknown"} for task_id in set(task_ids) - set(possible)}
        return {**answer.answer, **impossible}


def _known_result(result: Result | None, task_id: str) -> TaskResult:
    if result is None:
        raise ResultExpired(
            f"the control plane doesn't know task {task_id} any more: its result was evicted, or "
            "its store was lost",
            task_id=task_id,
        )
    return to_task_result(result)
