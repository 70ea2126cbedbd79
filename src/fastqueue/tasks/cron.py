"""Own what a cron text says in a time zone; `timetable.py` is the one who asks.

The rules are Debian's cron's, as cronsim follows them; so is daylight saving. Where the text names
its hours and minutes, a time that a shift of the clocks skips comes late, at the end of the gap,
and one that comes twice comes the first time only. Where minutes or hours start with `*`, or
seconds are given, it follows the clock on the wall: what is skipped doesn't come, what comes twice
does.
"""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from fastqueue.errors import ConfigurationError

# cronsim and zoneinfo are loaded where they are needed: every process that submits tasks would pay.

__all__ = ["checked_cron", "checked_zone", "next_of_cron", "zone_of"]

_CRON_LENGTH_MAX = 200
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the clock on a wall knows no zone
# Less than lies between any two shifts: the closest are Morocco's, which are a month apart.
_SHIFTS_APART_S = 7 * 24 * 3600


# What fires is asked for once to be run and once to be put off; and many fire on the hour.
@functools.lru_cache(maxsize=1_024)
def next_of_cron(cron: str, zone: tzinfo, after: float) -> float | None:
    """Return the first time strictly after `after`, in seconds since the epoch; None if none is.

    It depends on the text and the zone alone, not on where one asks from: asking on from what was
    returned finds what asking from any time before finds.
    """
    minutes_and_hours = cron.split()[:2]
    if len(cron.split()) == 5 and not any(field.startswith("*") for field in minutes_and_hours):
        return _next_named(cron, zone, after)
    return _next_on_the_wall(cron, zone, after)


def _next_named(cron: str, zone: tzinfo, after: float) -> float | None:
    from cronsim import CronSim

    # Whole seconds, before datetime rounds them up.
    for found in CronSim(cron, datetime.fromtimestamp(math.floor(after), zone)):
        at = found.timestamp()
        # From within the second pass of an hour cronsim starts with times of the first.
        if at > after:
            return at
    return None


def _next_on_the_wall(cron: str, zone: tzinfo, after: float) -> float | None:
    from cronsim import CronSim

    # Asked without a zone, from one shift to the next. With a zone cronsim goes by whole hours, and
    # beside a shift of half an hour (Lord Howe) it passes over times; which, depends on its start.
    earliest = math.floor(after) + 1
    while True:
        offset_s = _offset_s(zone, earliest)
        wall = _EPOCH + timedelta(seconds=earliest - 1 + offset_s)
        found = next(CronSim(cron, wall), None)
        if found is None:
            return None
        at = round((found - _EPOCH).total_seconds()) - offset_s
        shift = _first_shift(zone, earliest, at)
        if shift is None:
            return float(at)
        earliest = shift


def _first_shift(zone: tzinfo, start: int, end: int) -> int | None:
    """Return the first second in (start, end] whose offset from UTC isn't that of `start`."""
    offset_s = _offset_s(zone, start)
    low = start
    while low < end:
        high = min(low + _SHIFTS_APART_S, end)
        if _offset_s(zone, high) != offset_s:
            while high - low > 1:
                middle = (low + high) // 2
                if _offset_s(zone, middle) == offset_s:
                    low = middle
                else:
                    high = middle
            return high
        low = high
    return None


def _offset_s(zone: tzinfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def zone_of(name: str) -> tzinfo:
    """Return the zone with this IANA name.

    Raises:
        ConfigurationError: this machine doesn't know it.
    """
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    # The last two are what impossible names and names of folders end in.
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"timezone={name!r:.100}: this machine knows no such time zone; give an IANA name such "
            "as 'Europe/Berlin' (if it knows none at all: pip install tzdata)"
        ) from None


def checked_zone(name: Any) -> str:
    """Return a zone's name.

    Raises:
        ConfigurationError: it isn't one that this machine knows.
    """
    if not isinstance(name, str):
        raise ConfigurationError(
            f"timezone={name!r:.100}: it is an IANA name as text, such as 'Europe/Berlin'"
        )
    zone_of(name)
    return name


def checked_cron(cron: Any) -> str:
    """Return a cron text, with one space between its fields.

    Raises:
        ConfigurationError: it isn't one, or it never comes.
    """
    from cronsim import CronSim, CronSimError

    if not isinstance(cron, str) or len(cron) > _CRON_LENGTH_MAX:
        raise ConfigurationError(
            f"cron={cron!r:.100}: it is a text of at most {_CRON_LENGTH_MAX} characters, as in "
            '"*/5 * * * *"'
        )
    try:
        # Any day would do: what has no time in 50 years has none.
        next(CronSim(cron, _EPOCH))
    except CronSimError as error:
        raise ConfigurationError(
            f"cron={cron!r:.100}: {str(error).lower()}; write five fields, as in "
            '"*/5 * * * *" (minute, hour, day-of-month, month, day-of-week), or six with the '
            "seconds first"
        ) from None
    except StopIteration:
        raise ConfigurationError(
            f"cron={cron!r:.100}: there is no such day; give days and months that can meet"
        ) from None
    return " ".join(cron.split())
