"""A cron text comes when cronsim says, wherever one asks from, and right across every shift."""

from __future__ import annotations

import bisect
import datetime as dt
import functools
import math
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastqueue.errors import ConfigurationError
from fastqueue.tasks.cron import checked_cron, checked_zone, next_of_cron, zone_of

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
ZONES = [BERLIN, NEW_YORK, LORD_HOWE]
# In each zone both shifts of a year skip or repeat some of these.
NAMING_TIMES = [
    "30 2 * * *",
    "0,15,45 1-3 * * *",
    "0 0 * * MON-FRI",
    "10 2 1,L * *",
    "45 1 * * SUN",
]
ON_THE_WALL = [
    "0 * * * *",
    "*/15 0-3 * * *",
    "20,50 */2 * * *",
    "30 0 2 * * *",
    "*/30 1 * * SUN",
]
# Beside a shift of half an hour cronsim itself passes over some of these; the tests of the wall
# judge them by the wall alone.
PASSED_OVER = {"20,50 */2 * * *", "30 0 2 * * *", "*/30 1 * * SUN"}
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
END = dt.datetime(2028, 1, 1, tzinfo=dt.UTC).timestamp()


@functools.cache
def said_by_cronsim(cron, zone):
    """Return what one walk of cronsim through the two years finds."""
    times = []
    for found in CronSim(cron, dt.datetime.fromtimestamp(BEGIN, ZoneInfo(zone))):
        if found.timestamp() > END:
            return times
        times.append(found.timestamp())
    raise AssertionError("cronsim ended")


def walk(cron, zone, begin, end):
    times = []
    at = next_of_cron(cron, zone_of(zone), begin)
    while at is not None and at <= end:
        times.append(at)
        at = next_of_cron(cron, zone_of(zone), at)
    return times


def at_local(zone, *fields, fold=0):
    return dt.datetime(*fields, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def day_of(cron, zone, year, month, day):
    """Return what comes on one day, as local times with their offset."""
    begin, end = at_local(zone, year, month, day) - 1, at_local(zone, year, month, day, 23, 59)
    times = [dt.datetime.fromtimestamp(at, ZoneInfo(zone)) for at in walk(cron, zone, begin, end)]
    return [time.strftime("%H:%M%z") for time in times]


CRONS = [
    (cron, zone)
    for zone in ZONES
    for cron in NAMING_TIMES + ON_THE_WALL
    if not (zone == LORD_HOWE and cron in PASSED_OVER)
]


@pytest.mark.parametrize(("cron", "zone"), CRONS)
def test_two_years_are_what_cronsim_says(cron, zone):
    assert walk(cron, zone, BEGIN, END) == said_by_cronsim(cron, zone)


# The hours around a shift are where it matters from where one asks.
SHIFTS = [
    at_local(zone, *fields)
    for zone, fields in [
        (BERLIN, (2026, 3, 29, 3)),
        (BERLIN, (2026, 10, 25, 2)),
        (NEW_YORK, (2026, 3, 8, 3)),
        (NEW_YORK, (2026, 11, 1, 1)),
        (LORD_HOWE, (2026, 4, 5, 1, 30)),
        (LORD_HOWE, (2026, 10, 4, 2, 30)),
    ]
]
POINTS = st.one_of(
    st.floats(BEGIN, END - 40 * 24 * 3600),
    st.builds(lambda shift, off: shift + off, st.sampled_from(SHIFTS), st.integers(-7200, 10800)),
)


# The first to ask for a text and a zone waits for the walk of two years.
@settings(deadline=None)
@given(st.sampled_from(CRONS), POINTS)
@example(("30 2 * * *", BERLIN), at_local(BERLIN, 2026, 10, 25, 2, 10, fold=1))
@example(("0 0 * * MON-FRI", BERLIN), math.nextafter(at_local(BERLIN, 2026, 1, 5), 0))
def test_the_next_time_is_found_from_wherever_one_asks(cron_and_zone, after):
    cron, zone = cron_and_zone
    times = said_by_cronsim(cron, zone)
    assert next_of_cron(cron, zone_of(zone), after) == times[bisect.bisect_right(times, after)]


@given(
    st.sets(st.sampled_from([0, 10, 15, 30, 40, 45]), min_size=2),
    st.sets(st.integers(0, 23), min_size=1),
    st.sampled_from(ZONES),
    st.sampled_from(SHIFTS),
    st.integers(-8 * 60, 30 * 60),
)
@example({0, 15, 30, 45}, {5}, LORD_HOWE, at_local(LORD_HOWE, 2026, 10, 4, 2, 45), 0)
@example({0, 15, 30, 45}, {5}, LORD_HOWE, at_local(LORD_HOWE, 2026, 4, 5, 1, 45, fold=1), 0)
def test_the_wall_is_followed_minute_by_minute_whatever_the_shift(
    minutes, hours, zone, shift, minutes_on
):
    after = int(shift) + minutes_on * 60
    # With the seconds given it goes by the wall, whatever else there is.
    cron = f"0 {','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    at = after + 60
    while True:
        local = dt.datetime.fromtimestamp(at, ZoneInfo(zone))
        if local.minute in minutes and local.hour in hours:
            break
        at += 60
    assert next_of_cron(cron, zone_of(zone), after) == at


def test_a_named_time_in_the_gap_comes_late_and_once():
    assert day_of("30 2 * * *", BERLIN, 2026, 3, 29) == ["03:00+0200"]
    assert day_of("0,30 2 * * *", BERLIN, 2026, 3, 29) == ["03:00+0200"]
    assert day_of("15 2 * * *", LORD_HOWE, 2026, 10, 4) == ["02:30+1100"]


def test_a_named_time_that_comes_twice_comes_the_first_time_only():
    assert day_of("30 2 * * *", BERLIN, 2026, 10, 25) == ["02:30+0200"]
    assert day_of("30 1 * * *", NEW_YORK, 2026, 11, 1) == ["01:30-0400"]
    assert day_of("45 1 * * *", LORD_HOWE, 2026, 4, 5) == ["01:45+1100"]


def test_every_half_hour_has_two_more_or_two_fewer_on_the_days_of_a_shift():
    assert len(day_of("*/30 * * * *", BERLIN, 2026, 3, 29)) == 46
    assert len(day_of("*/30 * * * *", BERLIN, 2026, 10, 25)) == 50
    assert day_of("*/30 1 * * *", LORD_HOWE, 2026, 4, 5) == [
        "01:00+1100",
        "01:30+1100",
        "01:30+1030",
    ]


def test_the_quarters_of_an_hour_are_all_there_on_lord_howe_after_a_shift():
    assert day_of("*/15 5 * * *", LORD_HOWE, 2026, 10, 4) == [
        "05:00+1100", "05:15+1100", "05:30+1100", "05:45+1100",
    ]  # fmt: skip


def test_a_day_that_is_eight_years_away_is_found_across_all_shifts_between():
    at = next_of_cron("*/30 0 29 2 *", zone_of(BERLIN), at_local(BERLIN, 2096, 3, 1))
    assert at == at_local(BERLIN, 2104, 2, 29)


def test_a_clock_that_is_shifted_at_midnight_is_followed():
    # Cairo, where 00:00 to 01:00 is skipped on the last Friday of April.
    assert day_of("0 0 * * *", "Africa/Cairo", 2026, 4, 24) == ["01:00+0300"]
    assert day_of("*/30 0,1 * * *", "Africa/Cairo", 2026, 4, 24) == ["01:00+0300", "01:30+0300"]


@pytest.mark.parametrize(
    ("cron", "what"),
    [
        ("61 * * * *", "bad minute"),
        ("* 25 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 9", "bad day-of-week"),
        ("99 * * * * *", "bad second"),
        ("* * 30 2 *", "bad day-of-month"),
        ("* * *", "wrong number of fields"),
        ("@daily", "wrong number of fields"),
        ("* * */20 * 1L", "no such day"),
        ("", "wrong number of fields"),
        ("*" * 201, "at most 200 characters"),
        (5, "it is a text"),
    ],
)
def test_a_cron_text_that_cant_be_is_refused_naming_the_bad_part(cron, what):
    with pytest.raises(ConfigurationError, match=what) as caught:
        checked_cron(cron)
    assert "cron=" in str(caught.value)


@given(st.text("0123456789*/,-#LW SUNMOJA\u00b2", max_size=30))
def test_any_other_text_is_a_cron_text_or_is_refused(cron):
    try:
        kept = checked_cron(cron)
    except ConfigurationError:
        return
    assert next_of_cron(kept, zone_of(LORD_HOWE), BEGIN) is not None


def test_a_cron_text_is_kept_with_one_space_between_its_fields():
    assert checked_cron("  */5  * *\t* mon ") == "*/5 * * * mon"


@pytest.mark.parametrize("zone", ["Berlin", "Europe", "", "../etc", "/etc/passwd", "A\0B", "é", 3])
def test_a_zone_nobody_knows_is_refused_saying_what_to_write(zone):
    with pytest.raises(ConfigurationError, match=r"timezone=.*'Europe/Berlin'"):
        checked_zone(zone)
