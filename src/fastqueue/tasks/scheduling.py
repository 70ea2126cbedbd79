"""Own the options by which a task definition or a caller gives a task a schedule."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from fastqueue.errors import ConfigurationError
from fastqueue.tasks.timetable import MissedRuns, Overlap, Timetable, timetable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TIMETABLE_OPTIONS", "ScheduleOptions", "SchedulePolicy", "schedule_policy_of"]

_WINDOW_MAX_S = 365 * 24 * 3600.0
_Choice = TypeVar("_Choice", MissedRuns, Overlap)


class ScheduleOptions(TypedDict, total=False):
    """Name what says when a task is run by itself, and how.

    Attributes:
        cron: five fields, or six with seconds first, as in `"*/5 * * * *"`.
        timezone: the IANA name of the zone that `cron` is read in: "UTC".
        every: the interval instead of `cron`, as a timedelta or in seconds.
        anchor: a time from which whole intervals are counted; an aware datetime.
        start: the first time at which it may fire; an aware datetime.
        end: the last such time.
        count: how often it fires in all.
        run_jitter: by how much each run is put off, at most, as a timedelta or in seconds.
        missed: what becomes of runs that came due in an outage: "skip", "one" or "all".
        missed_window: how far back "all" goes, as a timedelta or in seconds: an hour.
        overlap: what becomes of a run while the one before isn't over: "allow", "skip" or "cancel".
    """

    cron: str
    timezone: str
    every: timedelta | float
    anchor: datetime
    start: datetime
    end: datetime
    count: int
    run_jitter: timedelta | float
    missed: MissedRuns | Literal["skip", "one", "all"]
    missed_window: timedelta | float
    overlap: Overlap | Literal["allow", "skip", "cancel"]


TIMETABLE_OPTIONS = tuple(ScheduleOptions.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePolicy:
    """Say when a task is run by itself, and what becomes of runs that can't be as they should."""

    timetable: Timetable
    missed: MissedRuns
    window_s: float
    overlap: Overlap


def schedule_policy_of(
    options: Mapping[str, Any], function: Callable[..., Any] | None = None
) -> SchedulePolicy | None:
    """Return the schedule that some of these options describe; None if none of them is of one.

    Args:
        options: any options; those that aren't of `ScheduleOptions` are left alone.
        function: what would be run, without arguments.

    Raises:
        ConfigurationError: one can't be what it is, or the function needs arguments.
    """
    given = {n: options[n] for n in TIMETABLE_OPTIONS if options.get(n) is not None}
    if not given:
        return None
    if "cron" not in given and "every" not in given:
        raise ConfigurationError(
            f"{next(iter(given))} is of a schedule, which needs cron or every beside it, as in "
            'cron="*/5 * * * *" or every=timedelta(minutes=5)'
        )
    missed = _choice(MissedRuns, given.pop("missed", MissedRuns.SKIP), "missed")
    overlap = _choice(Overlap, given.pop("overlap", Overlap.ALLOW), "overlap")
    window = given.pop("missed_window", None)
    if window is not None and missed is not MissedRuns.ALL:
        raise ConfigurationError('missed_window goes with missed="all"; leave missed_window out')
    if "run_jitter" in given:
        given["jitter"] = given.pop("run_jitter")
    policy = SchedulePolicy(
        timetable=timetable_of(**given),
        missed=missed,
        window_s=3600.0 if window is None else _window_s(window),
        overlap=overlap,
    )
    if function is not None:
        _check_needs_nothing(function)
    return policy


def _choice(kind: type[_Choice], value: Any, setting: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise ConfigurationError(
            f"{setting}={value!r:.100}: it is one of {', '.join(kind)}"
        ) from None


def _window_s(value: Any) -> float:
    window_s = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(window_s, (int, float)) and not isinstance(window_s, bool)
    if is_number and 0 <= window_s <= _WINDOW_MAX_S:
        return float(window_s)
    raise ConfigurationError(
        f"missed_window={value!r:.100}: it is a timedelta or a number of seconds, from 0 to a year"
    )


def _check_needs_nothing(function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"{getattr(function, '__name__', function)!r} can't have a schedule in its definition, "
            f"which runs it without arguments: {error}; give them defaults, or make the schedule "
            "with client.schedules.add"
        ) from None
    except ValueError:
        pass  # written in C, and says nothing of what it takes
