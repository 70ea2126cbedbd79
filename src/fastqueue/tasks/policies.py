"""Own the options of a task definition, and of them how a failure is tried again.

The subworker asks, since it has the exception itself; the control plane decides, and keeps the
time. The wait is `backoff_s * 2 ** failures`, at most `backoff_max_s`, of which jitter takes up to
a half, so that tasks that failed together don't come back together ("equal jitter" of
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Literal

from fastqueue.errors import Cancel, ConfigurationError, Retry
from fastqueue.tasks.scheduling import ScheduleOptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEFAULT_QUEUE",
    "NO_LIMITS",
    "RETRIES_MAX",
    "DefinitionOptions",
    "Delivery",
    "ProcessPolicy",
    "RetryPolicy",
    "TimeLimits",
    "check_queue",
    "process_policy_of",
    "retry_policy_of",
    "seconds",
    "time_limits_of",
]

RETRIES_MAX = 1_000
MEMORY_LIMIT_MIN = 32 * 1024 * 1024
_WAIT_MAX_S = 365 * 24 * 3600.0
# Doubling further than this overflows, and is past any bound anyway.
_DOUBLINGS_MAX = 40
_Errors = tuple[type[BaseException], ...]
Delivery = Literal["at_least_once", "at_most_once"]
DEFAULT_QUEUE = "default"
QUEUE_NAME_LENGTH_MAX = 100
# How often a task is tried again that asks for it by `Retry` and whose definition gives no number.
ASKED_RETRIES = 10


class DefinitionOptions(ScheduleOptions, total=False):
    """Name what `@task` takes beside the name; see there."""

    delivery: Delivery
    queue: str
    retries: int
    backoff: float | timedelta
    backoff_max: float | timedelta
    jitter: bool
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    no_retry_on: type[BaseException] | tuple[type[BaseException], ...]
    soft_time_limit: float | timedelta | None
    time_limit: float | timedelta | None
    executor: Literal["process"]
    max_tasks_per_child: int
    memory_limit: int
    concurrency: int | None
    rate: str | float | None
    concurrency_per_key: int | None
    rate_per_key: str | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPolicy:
    """Bound the processes that the tasks of one definition run in.

    Attributes:
        tasks_max: how many tasks a process runs before it is replaced; None is any number.
        memory_bytes_max: how much memory of its own a process may use; None is all there is.

    Raises:
        ConfigurationError: a value can't be; the message names it.
    """

    tasks_max: int | None = None
    memory_bytes_max: int | None = None

    def __post_init__(self) -> None:
        tasks, memory = self.tasks_max, self.memory_bytes_max
        if tasks is not None and (type(tasks) is not int or tasks < 1):
            raise ConfigurationError(
                f"max_tasks_per_child={tasks!r:.100}: it is a whole number from 1 on"
            )
        if memory is not None and (type(memory) is not int or memory < MEMORY_LIMIT_MIN):
            raise ConfigurationError(
                f"memory_limit={memory!r:.100}: it is a whole number of bytes, {MEMORY_LIMIT_MIN:,}"
                " or more: a process needs about that much before it runs anything"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Say when a task that failed is tried again.

    Attributes:
        retries: how often, at most; 0 is never. A task that raises `Retry` where this is 0 is tried
            again up to `ASKED_RETRIES` times.
        backoff_s: the wait before the first retry, in seconds; doubled each time.
        backoff_max_s: the longest wait, in seconds.
        jitter: whether up to half of each wait is taken off at random.
        retry_on: the errors that are tried again.
        no_retry_on: the ones among them that aren't.

    Raises:
        ConfigurationError: a value can't be; the message names it.
    """

    retries: int = 0
    backoff_s: float = 1.0
    backoff_max_s: float = 600.0
    jitter: bool = True
    retry_on: _Errors = (Exception,)
    no_retry_on: _Errors = ()

    def __post_init__(self) -> None:
        if type(self.retries) is not int or not 0 <= self.retries <= RETRIES_MAX:
            raise ConfigurationError(
                f"retries={self.retries!r:.100}: it is a whole number from 0 to {RETRIES_MAX:,}"
            )
        for errors, setting in ((self.retry_on, "retry_on"), (self.no_retry_on, "no_retry_on")):
            if not all(isinstance(e, type) and issubclass(e, BaseException) for e in errors):
                raise ConfigurationError(
                    f"{setting}={errors!r:.200}: it is an exception type or a tuple of them"
                )

    def overridden(
        self, retries: int | None, backoff_s: float | None, backoff_max_s: float | None
    ) -> RetryPolicy:
        """Return this policy with what a submission asks for in its place."""
        return replace(
            self,
            retries=self.retries if retries is None else retries,
            backoff_s=self.backoff_s if backoff_s is None else backoff_s,
            backoff_max_s=self.backoff_max_s if backoff_max_s is None else backoff_max_s,
        )

    def wait_s(self, error: BaseException, failures: int, chance: float) -> float | None:
        """Return how long to wait before the task is tried again, in seconds; None is not at all.

        Args:
            error: what the attempt raised.
            failures: how many attempts have failed before.
            chance: a random number from 0 to 1, for the jitter.
        """
        # Not isinstance, which asks the error itself what its class is.
        kind = type(error)
        if issubclass(kind, Cancel):
            return None
        if issubclass(kind, Retry):
            if failures >= (self.retries or ASKED_RETRIES):
                return None
            asked_s = _read(lambda: error.after_s)  # type: ignore[attr-defined]
            return self._backoff_s(failures, chance) if asked_s is None else asked_s
        if failures >= self.retries:
            return None
        if not issubclass(kind, self.retry_on) or issubclass(kind, self.no_retry_on):
            return None
        hint = _hinted_s(error)
        wait_s = self._backoff_s(failures, chance)
        return wait_s if hint is None else max(hint, wait_s)

    def _backoff_s(self, failures: int, chance: float) -> float:
        wait_s = min(self.backoff_s * 2.0 ** min(failures, _DOUBLINGS_MAX), self.backoff_max_s)
        return wait_s * (1 - chance / 2) if self.jitter else wait_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Say how long one attempt of a task may run, in seconds; None is as long as it takes.

    Attributes:
        soft_s: after this `SoftTimeLimit` is raised in it, which it may catch.
        hard_s: after this it is ended.
    """

    soft_s: float | None = None
    hard_s: float | None = None

    def __bool__(self) -> bool:
        """Say whether there is a limit."""
        return self.soft_s is not None or self.hard_s is not None

    def overridden(self, soft_s: float | None, hard_s: float | None) -> TimeLimits:
        """Return these limits with what a submission asks for in their place."""
        return TimeLimits(
            soft_s=self.soft_s if soft_s is None else soft_s,
            hard_s=self.hard_s if hard_s is None else hard_s,
        )


NO_LIMITS = TimeLimits()
_DEFAULT_RETRY = RetryPolicy()


def process_policy_of(options: DefinitionOptions) -> ProcessPolicy | None:
    """Return what the options of a definition say about processes; None if it uses none.

    Raises:
        ConfigurationError: one can't be what it is, or is for processes only.
    """
    executor: object = options.get("executor")
    if executor == "process":
        return ProcessPolicy(
            tasks_max=options.get("max_tasks_per_child"),
            memory_bytes_max=options.get("memory_limit"),
        )
    if executor is not None:
        raise ConfigurationError(
            f'executor={executor!r:.100}: it is "process", or left out: then a coroutine '
            "function runs on the event loop and a plain one in a thread"
        )
    for name in ("max_tasks_per_child", "memory_limit"):
        if name in options:
            raise ConfigurationError(f'{name} is for tasks with executor="process" only')
    return None


def retry_policy_of(options: DefinitionOptions) -> RetryPolicy:
    """Return what the options of a definition say about trying again.

    Raises:
        ConfigurationError: one can't be what it is.
    """

    def errors(one_or_more: Any) -> tuple[type[BaseException], ...]:
        return one_or_more if isinstance(one_or_more, tuple) else (one_or_more,)

    return RetryPolicy(
        retries=options.get("retries", 0),
        backoff_s=seconds(options.get("backoff", _DEFAULT_RETRY.backoff_s), "backoff"),
        backoff_max_s=seconds(
            options.get("backoff_max", _DEFAULT_RETRY.backoff_max_s), "backoff_max"
        ),
        jitter=bool(options.get("jitter", True)),
        retry_on=errors(options.get("retry_on", Exception)),
        no_retry_on=errors(options.get("no_retry_on", ())),
    )


def time_limits_of(options: DefinitionOptions) -> TimeLimits:
    """Return what the options of a definition say about how long it may run.

    Raises:
        ConfigurationError: a limit can't be what it is.
    """

    def limit(name: Literal["soft_time_limit", "time_limit"]) -> float | None:
        value = options.get(name)
        return None if value is None else seconds(value, name)

    soft_s, hard_s = limit("soft_time_limit"), limit("time_limit")
    if soft_s is not None and hard_s is not None and soft_s >= hard_s:
        raise ConfigurationError(
            f"soft_time_limit={soft_s:g} s never comes before time_limit={hard_s:g} s: make it less"
        )
    return TimeLimits(soft_s=soft_s, hard_s=hard_s)


def check_queue(name: object) -> str:
    """Return a queue's name.

    Raises:
        ConfigurationError: it can't be one.
    """
    if isinstance(name, str) and 0 < len(name) <= QUEUE_NAME_LENGTH_MAX and name.isprintable():
        return name
    raise ConfigurationError(
        f"queue={name!r:.150}: it is a text of 1 to {QUEUE_NAME_LENGTH_MAX} printable characters"
    )


def seconds(value: Any, setting: str) -> float:
    """Return a time span as seconds, from a number of them or a timedelta.

    Raises:
        ConfigurationError: it is neither, negative, or longer than a year.
    """
    span = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(span, (int, float)) and not isinstance(span, bool) and 0 <= span <= _WAIT_MAX_S:
        return float(span)
    raise ConfigurationError(
        f"{setting}={value!r:.100}: it is a number of seconds or a timedelta, from 0 to a year"
    )


def _hinted_s(error: BaseException) -> float | None:
    """Return how long the error itself says to wait, in seconds, if it does.

    Looked for are a `retry_after` of the error, in seconds, and the header Retry-After (RFC 9110,
    10.2.3) of its `response`, as the errors of HTTP clients have them. Never raises: it reads what
    user code made.
    """
    hint_s = _read(lambda: error.retry_after)  # type: ignore[attr-defined]
    if hint_s is None:
        hint_s = _read(lambda: error.response.headers["Retry-After"])  # type: ignore[attr-defined]
    return hint_s


def _read(find: Callable[[], Any]) -> float | None:
    """Return a wait in seconds that user code may have made, within bounds; None if it is none.

    Never raises.
    """
    try:
        wait_s = float(_to_seconds(find()))
    except BaseException:  # noqa: BLE001 - the error's own code, or no such thing
        return None
    return min(max(wait_s, 0.0), _WAIT_MAX_S) if math.isfinite(wait_s) else None


def _to_seconds(hint: Any) -> float:
    if isinstance(hint, timedelta):
        return hint.total_seconds()
    try:
        return float(hint)
    except ValueError:
        # Loaded when it is needed: every process that submits tasks would pay for it.
        from email.utils import parsedate_to_datetime

        at = parsedate_to_datetime(hint)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
