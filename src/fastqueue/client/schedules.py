"""Own what a client does with schedules: make, list, change, run and preview them.

`Client.schedules` and `SyncClient.schedules` are these.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from fastqueue.client.options import SubmitOptions, parse_options
from fastqueue.core.schedule_records import (
    DEFINITION_PREFIX,
    SCHEDULE_PAYLOAD_BYTES_MAX,
    ScheduleSpec,
    ScheduleState,
)
from fastqueue.errors import ConfigurationError, PayloadTooLarge, ScheduleNotFound
from fastqueue.protocol import messages as msg
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import Schedule, TaskPriority
from fastqueue.tasks.policies import seconds
from fastqueue.tasks.registry import queue_of, task_name_of
from fastqueue.tasks.scheduling import TIMETABLE_OPTIONS, ScheduleOptions, schedule_policy_of
from fastqueue.tasks.serializer import encode_arguments
from fastqueue.tasks.timetable import preview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from fastqueue.client.client import Client
    from fastqueue.client.sync import SyncClient

__all__ = ["AddOptions", "Schedules", "SyncSchedules"]

SCHEDULE_ID_LENGTH_MAX = 200
PREVIEWED_MAX = 1_000
# A run has no times of its own but how long it may wait.
_NOT_OF_A_SCHEDULE = ("eta", "countdown", "unique_key", "unique_for", "debounce", "latest_wins")


class AddOptions(ScheduleOptions, SubmitOptions, total=False):
    """Name what a schedule may be given: when it runs, and what each of its runs asks for."""


class Schedules:
    """Make, list, change, run and preview a control plane's schedules.

    All but `preview` of a timetable need a token for admins, where roles have tokens of their own.
    Every method but that raises ControlPlaneUnavailable if none answered within the client's
    `timeout`, and SubmissionRefused if the control plane says no.

    Args:
        client: through which it asks.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def add(
        self,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - what users call it
        priority: TaskPriority | str = TaskPriority.NORMAL,
        replace: bool = False,
        **options: Unpack[AddOptions],
    ) -> Schedule:
        """Make a schedule; it is on disk when this returns.

        Args:
            name_or_task: the task's name, or the function that `@task` was put on.
            args: the positional arguments of each run.
            kwargs: its keyword arguments.
            id: what the schedule is known by, up to 200 characters; by default a new id. The same
                schedule under the same id changes nothing, so it can be made at each start.
            priority: a `TaskPriority` or its name in any letter case.
            replace: whether another schedule with this id is replaced; its history stays.
            options: one of `cron` and `every`; with them `timezone`, `anchor`, `start`, `end`,
                `count`, `run_jitter`, `missed`, `missed_window`, `overlap` as for `@task`, and what
                each run asks for as in `Client.options`: `queue`, `expires` (a span), `retries`,
                `backoff`, `backoff_max`, `soft_time_limit`, `time_limit`.

        Raises:
            ConfigurationError: an option can't be what it is; the message names it.
            ValueError: the priority is none of the four.
            SerializationError: an argument can't be encoded; the message names it.
            PayloadTooLarge: the arguments are over 64 KiB.
            SubmissionRefused: there is another schedule with this id, or the token doesn't do.
            Overloaded: there are too many schedules.
        """
        connection = self._client._started()  # noqa: SLF001 - a part of the client
        spec = self._spec(name_or_task, args, kwargs or {}, id, priority, options)
        answer = await connection.requests.ask(
            lambda request: msg.PutSchedule(request, spec, replace)
        )
        return _schedule(msgspec.convert(answer.answer, ScheduleState))

    def _spec(
        self,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        schedule_id: str | None,
        priority: TaskPriority | str,
        options: AddOptions,
    ) -> ScheduleSpec:
        name = task_name_of(name_or_task)
        policy = schedule_policy_of(options)
        if policy is None:
            raise ConfigurationError(
                "a schedule needs one of cron and every, as in "
                'cron="*/5 * * * *" or every=timedelta(minutes=5)'
            )
        expires_s, asked = _run_options(options)
        form = self._client._format  # noqa: SLF001 - a part of the client
        payload = encode_arguments(name, args, kwargs, form)
        if len(payload) > SCHEDULE_PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(
                f"the arguments of a schedule of task {name!r} are {len(payload):,} bytes encoded, "
                f"and may be {SCHEDULE_PAYLOAD_BYTES_MAX:,}: pass a reference to the data instead"
            )
        return ScheduleSpec(
            schedule_id=uuid.uuid4().hex if schedule_id is None else _checked_id(schedule_id),
            timetable=policy.timetable,
            name=name,
            rank=TaskPriority.parse(priority).rank,
            format=form.code,
            payload=payload,
            queue=asked.queue or queue_of(name_or_task),
            options=asked.task,
            expires_s=expires_s,
            missed=policy.missed,
            window_s=policy.window_s,
            overlap=policy.overlap,
        )

    async def get(self, id: str) -> Schedule | None:  # noqa: A002 - what users call it
        """Return a schedule, or None if there is none with this id."""
        state = await self._find(id)
        return None if state is None else _schedule(state)

    async def _find(self, schedule_id: str) -> ScheduleState | None:
        connection = self._client._started()  # noqa: SLF001 - a part of the client
        if not _is_possible_id(schedule_id):
            return None
        answer = await connection.requests.ask(
            lambda request: msg.ListSchedules(request, schedule_id)
        )
        found = msgspec.convert(answer.answer, list[ScheduleState])
        return found[0] if found else None

    async def pause(self, id: str) -> Schedule:  # noqa: A002 - what users call it
        """Keep a schedule from running until it is resumed, also over restarts.

        Raises:
            ScheduleNotFound: there is none with this id.
        """
        return _schedule(await self._change(id, "pause"))

    async def resume(self, id: str) -> Schedule:  # noqa: A002 - what users call it
        """Let a paused schedule run again; what came due meanwhile is not made up for.

        Raises:
            ScheduleNotFound: there is none with this id.
        """
        return _schedule(await self._change(id, "resume"))

    async def delete(self, id: str) -> bool:  # noqa: A002 - what users call it
        """Delete a schedule; return whether there was one. Its tasks are left alone.

        Raises:
            SubmissionRefused: it belongs to a task definition that a connected subworker offers.
        """
        try:
            await self._change(id, "delete")
        except ScheduleNotFound:
            return False
        return True

    async def _change(
        self, schedule_id: str, action: Literal["pause", "resume", "delete"]
    ) -> ScheduleState:
        connection = self._client._started()  # noqa: SLF001 - a part of the client
        if _is_possible_id(schedule_id):
            answer = await connection.requests.ask(
                lambda request: msg.ChangeSchedule(request, schedule_id, action)
            )
            if answer.answer is not None:
                return msgspec.convert(answer.answer, ScheduleState)
        raise ScheduleNotFound(_unknown(schedule_id), schedule_id=schedule_id)

    async def run_now(self, id: str) -> str:  # noqa: A002 - what users call it
        """Run a schedule once more, also if it is paused; return the id of the task.

        Its times and its count stay as they are. What `overlap` says holds for it as well.

        Raises:
            ScheduleNotFound: there is none with this id.
            SubmissionRefused: the run before isn't over, and `overlap` is "skip".
        """
        connection = self._client._started()  # noqa: SLF001 - a part of the client
        if _is_possible_id(id):
            task_id = new_task_id()
            answer = await connection.requests.ask(
                lambda request: msg.RunSchedule(request, id, task_id)
            )
            if answer.answer is not None:
                return str(answer.answer)
        raise ScheduleNotFound(_unknown(id), schedule_id=id)

    async def preview(self, id: str, n: int = 10) -> list[datetime]:  # noqa: A002
        """Return the next times of a schedule, paused or not, in its time zone.

        With `run_jitter` a run starts later than its time by up to that.

        Args:
            id: the schedule.
            n: how many times, at most; up to 1,000.

        Raises:
            ScheduleNotFound: there is none with this id.
            ValueError: `n` is out of bounds.
        """
        if type(n) is not int or not 1 <= n <= PREVIEWED_MAX:
            raise ValueError(f"n={n!r:.100}: it is a whole number from 1 to {PREVIEWED_MAX:,}")
        state = await self._find(id)
        if state is None:
            raise ScheduleNotFound(_unknown(id), schedule_id=id)
        after = max(state.settled_at, datetime.now(UTC).timestamp())
        return preview(state.spec.timetable, after, n, fired=state.fired)

    async def list(self) -> list[Schedule]:
        """Return all schedules, those of task definitions included, in the order of their ids."""
        connection = self._client._started()  # noqa: SLF001 - a part of the client
        found: list[ScheduleState] = []
        while True:
            after = found[-1].spec.schedule_id if found else ""
            answer = await connection.requests.ask(
                lambda request, after=after: msg.ListSchedules(request, None, after)  # type: ignore[misc]
            )
            page = msgspec.convert(answer.answer, list[ScheduleState])
            found += page
            if len(page) < msg.SCHEDULES_LISTED_MAX:
                return [_schedule(state) for state in found]


def _run_options(options: AddOptions) -> tuple[float | None, Any]:
    """Return how long each run may wait, in seconds, and the rest of what it asks for."""
    asked: dict[str, Any] = {n: v for n, v in options.items() if n not in TIMETABLE_OPTIONS}
    for name in _NOT_OF_A_SCHEDULE:
        if asked.pop(name, None) is not None:
            raise ConfigurationError(
                f"{name} is for one task; a schedule begins at its start, an aware datetime, and "
                "has an overlap policy for its runs"
            )
    expires = asked.pop("expires", None)
    if isinstance(expires, datetime):
        raise ConfigurationError(
            f"expires={expires!r}: for the runs of a schedule it is a number of seconds or a "
            "timedelta; its own last time is end"
        )
    parsed = parse_options(asked)  # type: ignore[arg-type]
    return None if expires is None else seconds(expires, "expires"), parsed


def _is_possible_id(schedule_id: object) -> bool:
    longest = SCHEDULE_ID_LENGTH_MAX + len(DEFINITION_PREFIX)
    return (
        isinstance(schedule_id, str)
        and 0 < len(schedule_id) <= longest
        and schedule_id.isprintable()
    )


def _checked_id(schedule_id: object) -> str:
    if (
        not isinstance(schedule_id, str)
        or not _is_possible_id(schedule_id)
        or len(schedule_id) > SCHEDULE_ID_LENGTH_MAX
        or schedule_id.startswith(DEFINITION_PREFIX)
    ):
        raise ConfigurationError(
            f"id={schedule_id!r:.250}: it is a text of 1 to {SCHEDULE_ID_LENGTH_MAX} printable "
            f"characters that doesn't begin with {DEFINITION_PREFIX!r}, which the schedules of "
            "task definitions do"
        )
    return schedule_id


def _unknown(schedule_id: object) -> str:
    return f"there is no schedule {schedule_id!r:.250}; `fastqueue schedules list` shows all"


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _schedule(state: ScheduleState) -> Schedule:
    spec = state.spec
    timetable = spec.timetable
    return Schedule(
        id=spec.schedule_id,
        name=spec.name,
        queue=spec.queue,
        priority=TaskPriority.of_rank(spec.rank),
        cron=timetable.cron,
        timezone=timetable.timezone if timetable.cron is not None else None,
        every=None if timetable.every_s is None else timedelta(seconds=timetable.every_s),
        start=_time(timetable.starts_at),
        end=_time(timetable.ends_at),
        count=timetable.count_max,
        run_jitter=timedelta(seconds=timetable.jitter_s),
        missed=spec.missed.value,
        missed_window=timedelta(seconds=spec.window_s),
        overlap=spec.overlap.value,
        paused=state.is_paused,
        next_at=None if state.is_paused else _time(state.next_at),
        fired=state.fired,
        left_out=state.left_out,
        last_at=_time(state.last_at),
        last_task_id=state.last_task_id or None,
    )


class SyncSchedules:
    """Do the same without asyncio, through a `SyncClient`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def add(
        self,
        name_or_task: str | Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - what users call it
        priority: TaskPriority | str = "normal",
        replace: bool = False,
        **options: Unpack[AddOptions],
    ) -> Schedule:
        """Make a schedule; it is on disk when this returns."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: client.schedules.add(
                name_or_task, args, kwargs, id=id, priority=priority, replace=replace, **options
            )
        )

    def get(self, id: str) -> Schedule | None:  # noqa: A002 - what users call it
        """Return a schedule, or None if there is none with this id."""
        return self._client._call(lambda client: client.schedules.get(id))  # noqa: SLF001

    def pause(self, id: str) -> Schedule:  # noqa: A002 - what users call it
        """Keep a schedule from running until it is resumed, also over restarts."""
        return self._client._call(lambda client: client.schedules.pause(id))  # noqa: SLF001

    def resume(self, id: str) -> Schedule:  # noqa: A002 - what users call it
        """Let a paused schedule run again; what came due meanwhile is not made up for."""
        return self._client._call(lambda client: client.schedules.resume(id))  # noqa: SLF001

    def delete(self, id: str) -> bool:  # noqa: A002 - what users call it
        """Delete a schedule; return whether there was one. Its tasks are left alone."""
        return self._client._call(lambda client: client.schedules.delete(id))  # noqa: SLF001

    def run_now(self, id: str) -> str:  # noqa: A002 - what users call it
        """Run a schedule once more, also if it is paused; return the id of the task."""
        return self._client._call(lambda client: client.schedules.run_now(id))  # noqa: SLF001

    def preview(self, id: str, n: int = 10) -> list[datetime]:  # noqa: A002
        """Return the next times of a schedule, paused or not, in its time zone."""
        return self._client._call(lambda client: client.schedules.preview(id, n))  # noqa: SLF001

    def list(self) -> list[Schedule]:
        """Return all schedules, those of task definitions included, in the order of their ids."""
        return self._client._call(lambda client: client.schedules.list())  # noqa: SLF001
