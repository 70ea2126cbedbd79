"""Own when a schedule comes due: from cron or an interval to the times at which it fires.

Pure: nothing here reads a clock or keeps anything; whoever has the clock asks. A time is in seconds
since the epoch (UTC). What a timetable says by itself are its *nominal* times. They alone identify
a run, so that it is known again after a restart; jitter comes on top when it is carried out.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from fastqueue.errors import ConfigurationError
from fastqueue.tasks.cron import checked_cron, checked_zone, next_of_cron, zone_of
from fastqueue.tasks.models import _StrEnum

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "EVERY_MIN_S",
    "GRACE_S",
    "JITTER_MAX_S",
    "MissedRuns",
    "Overlap",
    "Timetable",
    "check_timetable",
    "due_between",
    "jittered",
    "newest_between",
    "next_after",
    "preview",
    "runs_for",
    "timetable_of",
]

# Far above the 0.24 microseconds that a float tells apart at today's seconds since the epoch.
EVERY_MIN_S = 0.001
JITTER_MAX_S = 24 * 3600.0
# How late a run may be and still count as on time: a restart, not an outage.
GRACE_S = 60.0
# In the year 9892: cronsim looks 50 years ahead, of which datetime knows none after 9999.
_TIME_MAX = 250e9
# Of what comes from another process; it keeps out NaN and infinity too.
_Text = Annotated[str, Meta(max_length=200)]
_DATETIME_MAX = 253_402_300_799.0
_Time = Annotated[float, Meta(ge=0.0, le=_DATETIME_MAX)]
_Span = Annotated[float, Meta(ge=EVERY_MIN_S, le=_TIME_MAX)]
_Jitter = Annotated[float, Meta(ge=0.0, le=JITTER_MAX_S)]
_Count = Annotated[int, Meta(ge=1, le=2**53)]


class MissedRuns(_StrEnum):
    """Say what becomes of the runs that came due while nobody could start them."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"


class Overlap(_StrEnum):
    """Say what becomes of a run that comes due while the one before is not finished.

    `allow` runs both, `skip` leaves the new one out, `cancel` cancels the older one.
    """

    ALLOW = "allow"
    SKIP = "skip"
    CANCEL = "cancel"


class Timetable(Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """Say when a schedule fires; `timetable_of` makes one of what users write, and checks it.

    Attributes:
        cron: five fields, or six with seconds first; None if it goes by `every_s`.
        timezone: the IANA name of the zone that `cron` is read in.
        every_s: the interval, in seconds; None if it goes by `cron`.
        anchor_at: a time that is a whole number of intervals from each at which it fires.
        jitter_s: by how much a run is put off, at most, in seconds.
        starts_at: no nominal time is before this; None is no start.
        ends_at: no nominal time is after this; None is no end.
        count_max: how often it fires in all; None is without end.
    """

    cron: _Text | None = None
    timezone: _Text = "UTC"
    every_s: _Span | None = None
    anchor_at: _Time = 0.0
    jitter_s: _Jitter = 0.0
    starts_at: _Time | None = None
    ends_at: _Time | None = None
    count_max: _Count | None = None


def timetable_of(
    *,
    cron: str | None = None,
    timezone: str | None = None,
    every: timedelta | float | None = None,
    anchor: datetime | None = None,
    jitter: timedelta | float = 0.0,
    start: datetime | None = None,
    end: datetime | None = None,
    count: int | None = None,
) -> Timetable:
    """Return the timetable that these options describe.

    Args:
        cron: five fields, or six with seconds first, as in `"*/5 * * * *"`.
        timezone: the IANA name of the zone that `cron` is read in: "UTC".
        every: the interval instead, as a timedelta or in seconds.
        anchor: a time from which whole intervals are counted, both ways: `start`, or else 1970
            began in UTC, so that `every=timedelta(hours=1)` fires on the hour.
        jitter: by how much each run is put off, at most, as a timedelta or in seconds.
        start: the first time at which it may fire.
        end: the last time at which it may fire.
        count: how often it fires in all.

    Raises:
        ConfigurationError: an option can't be what it is; the message names it.
    """
    if (cron is None) == (every is None):
        given = "neither" if cron is None else "both"
        raise ConfigurationError(
            f"a schedule was given {given} of cron and every; give one, as in "
            'cron="*/5 * * * *" or every=timedelta(minutes=5)'
        )
    for unfit, setting, goes_with in (
        (cron is None and timezone is not None, "timezone", "cron"),
        (every is None and anchor is not None, "anchor", "every"),
    ):
        if unfit:
            raise ConfigurationError(f"{setting} goes with {goes_with}; leave {setting} out")
    starts_at, ends_at = _time(start, "start"), _time(end, "end")
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        raise ConfigurationError(f"end={end}: it isn't after start={start}; give a later one")
    if count is not None and (type(count) is not int or count < 1):
        raise ConfigurationError(f"count={count!r:.100}: it is a whole number from 1, or left out")
    anchor_at = _time(anchor, "anchor")
    if anchor_at is None:
        anchor_at = 0.0 if every is None or starts_at is None else starts_at
    every_s = None if every is None else _span(every, "every", EVERY_MIN_S, _TIME_MAX)
    jitter_max_s = JITTER_MAX_S if every_s is None else min(JITTER_MAX_S, every_s)
    return Timetable(
        cron=None if cron is None else checked_cron(cron),
        timezone=checked_zone("UTC" if timezone is None else timezone),
        every_s=every_s,
        anchor_at=anchor_at,
        jitter_s=_span(jitter, "jitter", 0.0, jitter_max_s),
        starts_at=starts_at,
        ends_at=ends_at,
        count_max=count,
    )


def check_timetable(timetable: Timetable) -> None:
    """Check a timetable that another process made, where its types don't.

    Raises:
        ConfigurationError: it can't be one, or this machine doesn't know its time zone.
    """
    if (timetable.cron is None) == (timetable.every_s is None):
        raise ConfigurationError("a schedule has one of cron and every")
    if timetable.cron is not None:
        if checked_cron(timetable.cron) != timetable.cron:
            raise ConfigurationError(f"cron={timetable.cron!r:.100}: its fields are a space apart")
    elif timetable.jitter_s > (timetable.every_s or 0.0):
        raise ConfigurationError(f"jitter={timetable.jitter_s:g}: it is more than the interval")
    checked_zone(timetable.timezone)


def next_after(timetable: Timetable, after: float, *, fired: int = 0) -> float | None:
    """Return the first nominal time strictly after `after`; None when it is over.

    Args:
        timetable: when it fires.
        after: seconds since the epoch.
        fired: how often it has fired until then, for `count_max`.

    Raises:
        ConfigurationError: this machine doesn't know the time zone.
    """
    if timetable.count_max is not None and fired >= timetable.count_max:
        return None
    if timetable.starts_at is not None:
        after = max(after, math.nextafter(timetable.starts_at, -math.inf))
    if after >= _TIME_MAX:
        return None
    if timetable.cron is not None:
        at = next_of_cron(timetable.cron, zone_of(timetable.timezone), after)
    else:
        at = _next_of_interval(timetable, after)
    if at is None or at > (_TIME_MAX if timetable.ends_at is None else timetable.ends_at):
        return None
    return at


def due_between(
    timetable: Timetable, after: float, until: float, limit: int, *, fired: int = 0
) -> list[float]:
    """Return the nominal times in (after, until], the oldest `limit` of them, in order."""
    times: list[float] = []
    while len(times) < limit:
        at = next_after(timetable, after, fired=fired + len(times))
        if at is None or at > until:
            break
        times.append(at)
        after = at
    return times


def newest_between(timetable: Timetable, after: float, until: float) -> float | None:
    """Return the newest nominal time in (after, until], however many there are; None if none.

    `count_max` plays no part: how many came before isn't counted.
    """
    until = min(until, _TIME_MAX)
    newest = next_after(timetable, after)
    if newest is None or newest > until:
        return None
    # By halves: from `newest` on there may be another, from `high` on there is none by `until`.
    high = until
    while high - newest > EVERY_MIN_S / 2:
        middle = (newest + high) / 2
        later = next_after(timetable, middle)
        if later is not None and later <= until:
            newest = later
        else:
            high = middle
    return newest


def jittered(timetable: Timetable, schedule_id: str, at: float) -> float:
    """Return when the run of the nominal time `at` is to start: up to `jitter_s` later.

    The same for the same schedule and time, on any machine and after any restart.
    """
    digest = hashlib.blake2b(f"{schedule_id}\n{float(at)!r}".encode(), digest_size=8).digest()
    # 53 bits are what a float between 0 and 1 holds.
    return at + timetable.jitter_s * ((int.from_bytes(digest) >> 11) / 2**53)


def runs_for(
    policy: MissedRuns,
    missed_times: Sequence[float],
    now: float,
    window_s: float,
    *,
    grace_s: float = GRACE_S,
) -> list[float]:
    """Return which of the times that came due without a run are still run, in order.

    Args:
        policy: `skip` runs the newest if it is at most `grace_s` old, and else none; `one` runs the
            newest, however old; `all` runs each that is at most `window_s` old.
        missed_times: nominal times that are due, in any order.
        now: seconds since the epoch.
        window_s: for `all`, in seconds.
        grace_s: for `skip`, in seconds. With jitter add `jitter_s`, which is how much later than
            its nominal time a run may rightly start.
    """
    if not missed_times:
        return []
    newest = max(missed_times)
    match policy:
        case MissedRuns.SKIP:
            return [newest] if newest >= now - grace_s else []
        case MissedRuns.ONE:
            return [newest]
        case MissedRuns.ALL:
            return sorted(at for at in missed_times if at >= now - window_s)


def preview(timetable: Timetable, after: float, n: int = 10, *, fired: int = 0) -> list[datetime]:
    """Return the next `n` nominal times after `after`, in the timetable's zone."""
    zone = zone_of(timetable.timezone)
    times = due_between(timetable, after, math.inf, n, fired=fired)
    return [datetime.fromtimestamp(at, zone) for at in times]


def _next_of_interval(timetable: Timetable, after: float) -> float | None:
    every_s, anchor_at = timetable.every_s, timetable.anchor_at
    if every_s is None:
        raise ConfigurationError("a timetable has neither cron nor every; give it one of them")
    # Always anchor + whole * every, so that each time is the same float wherever one asks from.
    whole = math.floor((after - anchor_at) / every_s) + 1
    while anchor_at + whole * every_s <= after:
        whole += 1
    while anchor_at + (whole - 1) * every_s > after:
        whole -= 1
    return anchor_at + whole * every_s


def _span(value: Any, setting: str, least_s: float, most_s: float) -> float:
    span = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(span, (int, float)) and not isinstance(span, bool) and least_s <= span <= most_s:
        return float(span)
    raise ConfigurationError(
        f"{setting}={value!r:.100}: it is a timedelta or a number of seconds, from {least_s:g} to "
        f"{most_s:g}"
    )


def _time(value: Any, setting: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        why = "it is not a datetime" if not isinstance(value, datetime) else "it names no time zone"
        raise ConfigurationError(
            f"{setting}={value!r:.100}: {why}; give an aware one, as in datetime.now(UTC)"
        )
    at = value.timestamp()
    if at < 0.0:
        raise ConfigurationError(f"{setting}={value}: it is a time from 1970 on")
    # In another time zone the last day goes on for longer.
    return min(at, _DATETIME_MAX)
