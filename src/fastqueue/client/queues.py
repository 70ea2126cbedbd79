"""Own what a client does with queues and limits, and how it asks why a task isn't running.

`Client.queues`, `Client.limits` and `Client.why`, and the same of `SyncClient`, are these.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET

from fastqueue.client.checks import is_possible_id
from fastqueue.client.options import check_key
from fastqueue.core.records import LimitId, QueueChange, RunLimit
from fastqueue.errors import ConfigurationError
from fastqueue.protocol import messages as msg
from fastqueue.tasks.policies import check_queue, seconds
from fastqueue.tasks.queue_models import QueueInfo, Reason, RunLimitInfo
from fastqueue.tasks.registry import task_name_of
from fastqueue.tasks.run_policies import Rate, check_concurrency, parse_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastqueue.client.client import Client
    from fastqueue.client.requests import Requests
    from fastqueue.client.sync import SyncClient

__all__ = ["Limits", "Queues", "SyncLimits", "SyncQueues", "ask_why", "check_weight", "limit_id"]

_WEIGHT_MIN, _WEIGHT_MAX = 0.001, 1_000.0
Unset = Literal["unset"]


class Queues:
    """See, pause, weigh and purge a control plane's queues.

    All of it needs a token for admins, where roles have tokens of their own. Every method raises
    ControlPlaneUnavailable if none answered within the client's `timeout`, and SubmissionRefused if
    the token is for submitting alone.

    Args:
        client: through which it asks.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self) -> list[QueueInfo]:
        """Return all queues that have had tasks lately or have settings of their own, by name."""
        answer = await _inspect(self._client, "queues")
        return [_queue_info(one) for one in answer]

    async def get(self, name: str) -> QueueInfo | None:
        """Return one queue, or None if it has neither tasks nor settings of its own.

        Raises:
            ConfigurationError: it can't be a queue's name.
        """
        check_queue(name)
        return next((one for one in await self.list() if one.name == name), None)

    async def pause(self, name: str) -> None:
        """Start nothing of a queue until it is resumed, also over restarts; what runs goes on.

        Raises:
            ConfigurationError: it can't be a queue's name.
        """
        await self._change(QueueChange(name=check_queue(name), is_paused=True))

    async def resume(self, name: str) -> None:
        """Let a paused queue go on.

        Raises:
            ConfigurationError: it can't be a queue's name.
        """
        await self._change(QueueChange(name=check_queue(name), is_paused=False))

    async def configure(
        self,
        name: str,
        *,
        weight: float | None = None,
        ageing: float | timedelta | Unset | None = None,
        wait_limit: float | timedelta | Unset | None = None,
    ) -> None:
        """Change settings of a queue, also over restarts; what isn't given stays.

        Args:
            name: the queue; it needn't have tasks yet.
            weight: its share of the free slots relative to other queues, from 0.001 to 1,000; 1 by
                default.
            ageing: how long a task waits to count for one priority more, in seconds or as a
                timedelta; "unset" for never, which is the default.
            wait_limit: how long its tasks may wait before they are cancelled, for those submitted
                from now on; "unset" for any time, which is the default.

        Raises:
            ConfigurationError: a value can't be what it is.
        """
        change = QueueChange(
            name=check_queue(name),
            weight=UNSET if weight is None else check_weight(weight),
            ageing_s=_span(ageing, "ageing", positive=True),
            wait_limit_s=_span(wait_limit, "wait_limit", positive=False),
        )
        await self._change(change)

    async def purge(self, name: str) -> int:
        """Cancel all that waits in a queue now: ready, scheduled and to be tried again.

        What runs goes on. It is on disk when this returns, and carried out in steps.

        Returns:
            How many tasks were ready then; what waited for a time isn't counted.

        Raises:
            ConfigurationError: it can't be a queue's name.
        """
        check_queue(name)
        answer: msg.Inspected = await self._requests.ask(lambda request: msg.Purge(request, name))
        return int(answer.answer["ready"])

    @property
    def _requests(self) -> Requests:
        return self._client._started().requests  # noqa: SLF001 - a part of the client

    async def _change(self, change: QueueChange) -> None:
        await self._requests.ask(lambda request: msg.ChangeQueue(request, change))


class Limits:
    """See, set and remove a control plane's limits of what runs.

    A limit is of a task definition, a queue or a fair key, all together or each fair key in it
    apart. One that is set comes before the one that the definition says. As for `Queues`, all of it
    needs a token for admins.

    Args:
        client: through which it asks.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self) -> list[RunLimitInfo]:
        """Return all limits that hold, those of task definitions included."""
        answer = await _inspect(self._client, "limits")
        found = [RunLimitInfo(**one) for one in answer]
        return sorted(found, key=lambda one: (one.scope, one.name, one.each_key))

    async def set(
        self,
        *,
        task: str | Callable[..., Any] | None = None,
        queue: str | None = None,
        fair_key: str | None = None,
        each_key: bool = False,
        concurrency: int | None = None,
        rate: str | float | Rate | None = None,
        weight: float = 1.0,
    ) -> None:
        """Set a limit, in place of the one that holds; what runs already counts.

        It replaces the whole of it: what isn't given isn't limited any more.

        Args:
            task: the task definition that it is of; or
            queue: the queue; or
            fair_key: the fair key, in all queues.
            each_key: of a task definition or a queue, whether each fair key has it to itself.
            concurrency: how many may run at once; any number, if not given.
            rate: how many may begin, as in "10/s", "100/m" or "100/m burst 10", or a number of them
                a second; any number, if not given.
            weight: of a fair key: its share relative to others, from 0.001 to 1,000.

        Raises:
            ConfigurationError: a value can't be what it is, or none or more than one of `task`,
                `queue` and `fair_key` is given.
        """
        which = limit_id(task=task, queue=queue, fair_key=fair_key, each_key=each_key)
        if weight != 1.0 and which.scope != "key":
            raise ConfigurationError("a weight is of a fair key; queues have theirs by `queues`")
        if concurrency is None and rate is None and weight == 1.0 and which.scope != "key":
            raise ConfigurationError(
                "a limit says nothing without a concurrency or a rate; to have none, remove it, or "
                "set a high one in place of the definition's"
            )
        parsed = None if rate is None else parse_rate(rate)
        limit = RunLimit(
            which,
            None if concurrency is None else check_concurrency(concurrency),
            None if parsed is None else parsed.per_second,
            1 if parsed is None else parsed.burst,
            check_weight(weight),
        )
        requests = self._client._started().requests  # noqa: SLF001 - a part of the client
        await requests.ask(lambda request: msg.SetRunLimit(request, limit))

    async def remove(
        self,
        *,
        task: str | Callable[..., Any] | None = None,
        queue: str | None = None,
        fair_key: str | None = None,
        each_key: bool = False,
    ) -> bool:
        """Remove a limit that was set; return whether there was one.

        What its task definition says, if it says any, holds again.

        Raises:
            ConfigurationError: as for `set`.
        """
        which = limit_id(task=task, queue=queue, fair_key=fair_key, each_key=each_key)
        requests = self._client._started().requests  # noqa: SLF001 - a part of the client
        answer: msg.Inspected = await requests.ask(
            lambda request: msg.RemoveRunLimit(request, which)
        )
        return bool(answer.answer)


async def ask_why(client: Client, task_id: str) -> Reason:
    """Return why a task isn't running; see `Client.why`."""
    if not is_possible_id(task_id):
        return Reason(task_id=task_id, reason="unknown", text="no task can have this id")
    answer = await _inspect(client, "why", [task_id])
    details = dict(answer[task_id])
    reason, text = details.pop("reason"), details.pop("text")
    return Reason(task_id=task_id, reason=reason, text=text, details=details)


async def _inspect(client: Client, topic: str, task_ids: Sequence[str] = ()) -> Any:
    requests = client._started().requests  # noqa: SLF001 - a part of the client
    answer: msg.Inspected = await requests.ask(
        lambda request: msg.Inspect(request, topic, [*task_ids])
    )
    return answer.answer


def limit_id(
    *,
    task: str | Callable[..., Any] | None,
    queue: str | None,
    fair_key: str | None,
    each_key: bool,
) -> LimitId:
    """Return what a limit is known by.

    Raises:
        ConfigurationError: none or more than one of the three is given, or one can't be a name.
    """
    if [task, queue, fair_key].count(None) != 2:
        raise ConfigurationError("a limit is of one of task, queue and fair_key: give one of them")
    if task is not None:
        return LimitId("task", task_name_of(task), each_key)
    if queue is not None:
        return LimitId("queue", check_queue(queue), each_key)
    if each_key:
        raise ConfigurationError("each_key is of a task or a queue: a fair key is one key")
    return LimitId("key", check_key(fair_key, "fair_key"))


def check_weight(weight: object) -> float:
    """Return a weight.

    Raises:
        ConfigurationError: it can't be one.
    """
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if is_number and _WEIGHT_MIN <= weight <= _WEIGHT_MAX:  # type: ignore[operator]
        return float(weight)  # type: ignore[arg-type]
    raise ConfigurationError(
        f"weight={weight!r:.100}: it is a number from {_WEIGHT_MIN} to {_WEIGHT_MAX:,.0f}"
    )


def _span(
    value: float | timedelta | Unset | None, setting: str, *, positive: bool
) -> float | msgspec.UnsetType | None:
    if value is None:
        return UNSET
    if value == "unset":
        return None
    span_s = seconds(value, setting)
    if positive and span_s < 0.001:
        raise ConfigurationError(
            f'{setting}={value!r:.100}: it is a millisecond or more, or "unset"'
        )
    return span_s


def _queue_info(one: dict[str, Any]) -> QueueInfo:
    given = dict(one)
    for name in ("ageing", "wait_limit"):
        span_s = given.pop(f"{name}_s")
        given[name] = None if span_s is None else timedelta(seconds=span_s)
    return QueueInfo(**given)


class SyncQueues:
    """Do what `Queues` does without asyncio, through a `SyncClient`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def get(self, name: str) -> QueueInfo | None:
        """Return one queue, or None if it has neither tasks nor settings of its own."""
        return self._client._call(lambda client: client.queues.get(name))  # noqa: SLF001

    def pause(self, name: str) -> None:
        """Start nothing of a queue until it is resumed, also over restarts; what runs goes on."""
        self._client._call(lambda client: client.queues.pause(name))  # noqa: SLF001

    def resume(self, name: str) -> None:
        """Let a paused queue go on."""
        self._client._call(lambda client: client.queues.resume(name))  # noqa: SLF001

    def configure(
        self,
        name: str,
        *,
        weight: float | None = None,
        ageing: float | timedelta | Unset | None = None,
        wait_limit: float | timedelta | Unset | None = None,
    ) -> None:
        """Change settings of a queue, also over restarts; what isn't given stays."""
        self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: client.queues.configure(
                name, weight=weight, ageing=ageing, wait_limit=wait_limit
            )
        )

    def purge(self, name: str) -> int:
        """Cancel all that waits in a queue now; return how many tasks were ready."""
        return self._client._call(lambda client: client.queues.purge(name))  # noqa: SLF001

    def list(self) -> list[QueueInfo]:
        """Return all queues that have had tasks lately or have settings of their own, by name."""
        return self._client._call(lambda client: client.queues.list())  # noqa: SLF001


class SyncLimits:
    """Do what `Limits` does without asyncio, through a `SyncClient`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def list(self) -> list[RunLimitInfo]:
        """Return all limits that hold, those of task definitions included."""
        return self._client._call(lambda client: client.limits.list())  # noqa: SLF001

    def set(
        self,
        *,
        task: str | Callable[..., Any] | None = None,
        queue: str | None = None,
        fair_key: str | None = None,
        each_key: bool = False,
        concurrency: int | None = None,
        rate: str | float | Rate | None = None,
        weight: float = 1.0,
    ) -> None:
        """Set a limit, in place of the one that holds; what runs already counts."""
        self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: client.limits.set(
                task=task,
                queue=queue,
                fair_key=fair_key,
                each_key=each_key,
                concurrency=concurrency,
                rate=rate,
                weight=weight,
            )
        )

    def remove(
        self,
        *,
        task: str | Callable[..., Any] | None = None,
        queue: str | None = None,
        fair_key: str | None = None,
        each_key: bool = False,
    ) -> bool:
        """Remove a limit that was set; return whether there was one."""
        return self._client._call(  # noqa: SLF001 - a part of the client
            lambda client: client.limits.remove(
                task=task, queue=queue, fair_key=fair_key, each_key=each_key
            )
        )
