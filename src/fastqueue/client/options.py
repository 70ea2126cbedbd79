"""Own what a caller may ask for of one submission, beside the task and its arguments.

`client.options(...)` holds it apart from the task's own keyword arguments, so that the two never
collide.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from msgspec.structs import replace

from fastqueue.core.records import (
    BATCH_ID_LENGTH_MAX,
    FAIR_KEY_LENGTH_MAX,
    RETRIES_MAX,
    WALL_TIME_MAX,
    TaskOptions,
)
from fastqueue.errors import ConfigurationError
from fastqueue.tasks.policies import check_queue, seconds

__all__ = ["NO_OPTIONS", "Options", "SubmitOptions", "check_batch_id", "parse_options"]


class SubmitOptions(TypedDict, total=False):
    """Name what a submission may ask for.

    Attributes:
        queue: where the task waits; by default as its definition says, or "default".
        fair_key: whose task it is, for shares and limits, such as "tenant:42".
        unique_key: what makes it the same as another of its name, for the next three; by default
            its arguments.
        unique_for: how long another submission under the key is this one: the caller gets this id.
        debounce: how long it waits for another submission under the key, which takes its place.
        latest_wins: whether it cancels the one before it under the key, even if that runs.
        eta: not to be started before this time; an aware datetime.
        countdown: the same, as seconds or a timedelta from now.
        expires: if it hasn't started by then it is cancelled: an aware datetime, or seconds or a
            timedelta from now.
        retries: how often it is tried again after a failure, in place of its definition's number.
        backoff: the wait before the first retry, in seconds or as a timedelta.
        backoff_max: the longest such wait.
        soft_time_limit: how long an attempt may run before `SoftTimeLimit` is raised in it.
        time_limit: how long it may run before it is ended.
        batch: the batch it is counted in, an id of the caller's choice.
        require_worker: refuse it, with `TaskNotOffered`, if no connected subworker offers it.
    """

    queue: str | None
    fair_key: str | None
    unique_key: str | None
    unique_for: float | timedelta | None
    debounce: float | timedelta | None
    latest_wins: bool | None
    eta: datetime | None
    countdown: float | timedelta | None
    expires: datetime | float | timedelta | None
    retries: int | None
    backoff: float | timedelta | None
    backoff_max: float | timedelta | None
    soft_time_limit: float | timedelta | None
    time_limit: float | timedelta | None
    batch: str | None
    require_worker: bool | None


class Options(NamedTuple):
    """Hold checked options: the queue, and what travels with the task; None is not asked for.

    `derives_key` says that the unique key is to be made of the arguments, `require_worker` that a
    connected subworker must offer the task.
    """

    queue: str | None = None
    task: TaskOptions | None = None
    derives_key: bool = False
    require_worker: bool = False

    @property
    def is_unique(self) -> bool:
        """Say whether it may turn out to be the same as another task."""
        return self.task is not None and self.task.unique_for_s is not None

    def of_task(self, payload: bytes) -> TaskOptions | None:
        """Return what travels with a task that has these encoded arguments."""
        if self.task is None or not self.derives_key:
            return self.task
        key = f"arguments:{hashlib.blake2b(payload, digest_size=24).hexdigest()}"
        return replace(self.task, unique_key=key)


NO_OPTIONS = Options()


def parse_options(given: SubmitOptions) -> Options:
    """Return checked options.

    Raises:
        ConfigurationError: one can't be what it is, or `eta` and `countdown` are both given.
        TypeError: there is no such option.
    """
    asked = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(given.keys() - SubmitOptions.__annotations__.keys()):
        raise TypeError(
            f"a submission has no option {unknown[0]!r}; it has "
            f"{', '.join(SubmitOptions.__annotations__)}"
        )
    if not asked:
        return NO_OPTIONS
    queue = check_queue(asked.pop("queue")) if "queue" in asked else None
    if "eta" in asked and "countdown" in asked:
        raise ConfigurationError("eta and countdown both say when to start: give one of them")
    now = time.time()
    eta = asked.get("eta")
    if eta is not None and not isinstance(eta, datetime):
        raise ConfigurationError(f"eta={eta!r:.100}: it is an aware datetime; see countdown")
    if isinstance(asked.get("countdown"), datetime):
        raise ConfigurationError(
            f"countdown={asked['countdown']!r:.100}: it is a number of seconds or a timedelta from "
            "now; a time of day is an eta"
        )
    retries = asked.get("retries")
    if retries is not None and (type(retries) is not int or not 0 <= retries <= RETRIES_MAX):
        raise ConfigurationError(
            f"retries={retries!r:.100}: it is a whole number from 0 to {RETRIES_MAX:,}"
        )
    require_worker = asked.get("require_worker", False)
    if not isinstance(require_worker, bool):
        raise ConfigurationError(f"require_worker={require_worker!r:.100}: it is True or False")

    def span(name: str) -> float | None:
        return seconds(asked[name], name) if name in asked else None

    options = TaskOptions(
        due_at=_moment(eta if eta is not None else asked.get("countdown"), now, "countdown"),
        expires_at=_moment(asked.get("expires"), now, "expires"),
        retries=retries,
        backoff_s=span("backoff"),
        backoff_max_s=span("backoff_max"),
        soft_limit_s=span("soft_time_limit"),
        time_limit_s=span("time_limit"),
        batch=check_batch_id(asked["batch"]) if "batch" in asked else None,
        **_keys(asked),
    )
    has_key = bool({"unique_for", "debounce", "latest_wins"} & asked.keys())
    derives_key = has_key and not options.unique_key
    travelling = None if options == TaskOptions() else options
    return Options(queue, travelling, derives_key, require_worker)


def _keys(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for by keys.

    Raises:
        ConfigurationError: a key can't be one, or says nothing.
    """
    keys: dict[str, Any] = {}
    for name in ("fair_key", "unique_key"):
        if name in asked:
            keys[name] = check_key(asked[name], name)
    kinds = [name for name in ("unique_for", "debounce", "latest_wins") if asked.get(name)]
    if len(kinds) > 1 and "unique_for" in kinds:
        raise ConfigurationError(
            f"{kinds[0]} and {kinds[1]} can't be both: either the first submission under a key "
            "holds, or the last"
        )
    if "unique_key" in asked and not kinds:
        raise ConfigurationError(
            "a unique_key says nothing alone: give it with unique_for, debounce or latest_wins"
        )
    for name in ("unique_for", "debounce"):
        if name in asked:
            keys[f"{name}_s"] = seconds(asked[name], name)
    if "latest_wins" in asked:
        if type(asked["latest_wins"]) is not bool:
            raise ConfigurationError(f"latest_wins={asked['latest_wins']!r:.100}: it is a bool")
        keys["latest_wins"] = asked["latest_wins"]
    return keys


def check_key(key: object, setting: str) -> str:
    """Return a fair key or a unique key.

    Raises:
        ConfigurationError: it can't be one.
    """
    if isinstance(key, str) and 0 < len(key) <= FAIR_KEY_LENGTH_MAX and key.isprintable():
        return key
    raise ConfigurationError(
        f"{setting}={key!r:.250}: it is a text of 1 to {FAIR_KEY_LENGTH_MAX} printable characters"
    )


def check_batch_id(batch_id: Any) -> str:
    """Return the id of a batch, if it can be one.

    Raises:
        ConfigurationError: it can't.
    """
    if (
        isinstance(batch_id, str)
        and 0 < len(batch_id) <= BATCH_ID_LENGTH_MAX
        and batch_id.isprintable()
    ):
        return batch_id
    raise ConfigurationError(
        f"batch={batch_id!r:.150}: it is a text of 1 to {BATCH_ID_LENGTH_MAX} printable characters"
    )


def _moment(value: Any, now: float, setting: str) -> float | None:
    """Return a time in seconds since the Unix epoch."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        return now + seconds(value, setting)
    if value.utcoffset() is None:
        name = "eta" if setting == "countdown" else setting
        raise ConfigurationError(
            f"{name}={value!r} is naive, and could be any of two dozen times: give it a time zone, "
            "as in datetime.now(UTC) or .astimezone()"
        )
    # In another time zone the last day goes on for longer than the wire can say.
    return min(max(0.0, value.timestamp()), WALL_TIME_MAX)
