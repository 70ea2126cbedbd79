"""A timetable says when a schedule fires: never twice, and the same after a restart."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastqueue.errors import ConfigurationError
from fastqueue.tasks.timetable import (
    EVERY_MIN_S,
    GRACE_S,
    JITTER_MAX_S,
    MissedRuns,
    Overlap,
    Timetable,
    due_between,
    jittered,
    newest_between,
    next_after,
    preview,
    runs_for,
    timetable_of,
)

NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
AT_NOON = NOON.timestamp()
HOURLY = timetable_of(every=3600)
INTERVALS = st.floats(EVERY_MIN_S, 1e8)
MOMENTS = st.floats(0, 4e9)


# -- cron


def test_cron_is_read_in_its_time_zone():
    daily = timetable_of(cron="0 9 * * *", timezone="Europe/Berlin")
    assert next_after(daily, AT_NOON) == dt.datetime(2026, 6, 2, 7, tzinfo=dt.UTC).timestamp()


def test_cron_without_a_time_zone_is_read_in_utc():
    assert next_after(timetable_of(cron="0 9 * * *"), AT_NOON) == AT_NOON + 21 * 3600


def test_cron_may_give_the_seconds():
    assert next_after(timetable_of(cron="*/20 * * * * *"), AT_NOON) == AT_NOON + 20


# -- every


@given(INTERVALS, MOMENTS, MOMENTS)
@example(EVERY_MIN_S, 0.0, 4e9)
@example(0.1, 0.0, 1.7e9)
def test_the_next_interval_is_later_by_one_at_most(every, anchor, after):
    timetable = Timetable(every_s=every, anchor_at=anchor)
    at = next_after(timetable, after)
    assert after < at
    # What floats of this size can't tell apart.
    assert at <= after + every + 1e-5


@given(INTERVALS, MOMENTS, MOMENTS, st.floats(0, 1))
def test_an_interval_is_found_from_wherever_one_asks_before_it(every, anchor, after, part):
    timetable = Timetable(every_s=every, anchor_at=anchor)
    at = next_after(timetable, after)
    between = after + (at - after) * part
    if between < at:
        assert next_after(timetable, between) == at


@pytest.mark.parametrize(("every", "n"), [(0.1, 18482827038), (7.7, 275829062), (86400.1, 41640)])
def test_an_interval_is_not_passed_over_where_a_quotient_rounds_up(every, n):
    just_before = math.nextafter(n * every, 0)
    assert next_after(Timetable(every_s=every), just_before) == n * every


def test_intervals_are_whole_hours_without_a_start():
    assert due_between(HOURLY, AT_NOON, AT_NOON + 7200, 10) == [AT_NOON + 3600, AT_NOON + 7200]


def test_intervals_are_counted_from_the_start():
    start = NOON + dt.timedelta(minutes=7)
    timetable = timetable_of(every=dt.timedelta(hours=1), start=start)
    first = start.timestamp()
    assert due_between(timetable, 0, math.inf, 3) == [first, first + 3600, first + 7200]


def test_intervals_are_counted_from_the_anchor_both_ways():
    timetable = timetable_of(every=3600, anchor=NOON + dt.timedelta(minutes=7), start=NOON)
    assert next_after(timetable, 0) == AT_NOON + 7 * 60
    assert next_after(timetable_of(every=3600, anchor=NOON), AT_NOON - 5000) == AT_NOON - 3600


# -- start, end, count


@pytest.mark.parametrize("options", [{"cron": "0 * * * *"}, {"every": 3600}])
def test_the_start_and_the_end_are_themselves_times_at_which_it_may_fire(options):
    timetable = timetable_of(start=NOON, end=NOON + dt.timedelta(hours=2), **options)
    expected = [AT_NOON, AT_NOON + 3600, AT_NOON + 7200]
    assert due_between(timetable, 0, math.inf, 10) == expected
    assert next_after(timetable, AT_NOON + 7200) is None


@pytest.mark.parametrize("options", [{"cron": "0 * * * *"}, {"every": 3600, "anchor": NOON}])
def test_a_start_between_two_times_waits_for_the_next(options):
    timetable = timetable_of(start=NOON + dt.timedelta(microseconds=1), **options)
    assert next_after(timetable, 0) == AT_NOON + 3600


def test_it_is_over_when_it_has_fired_as_often_as_it_may():
    timetable = timetable_of(every=3600, count=3)
    assert next_after(timetable, AT_NOON, fired=2) == AT_NOON + 3600
    assert next_after(timetable, AT_NOON, fired=3) is None
    assert len(due_between(timetable, AT_NOON, math.inf, 10)) == 3
    assert len(due_between(timetable, AT_NOON, math.inf, 10, fired=2)) == 1
    assert len(preview(timetable, AT_NOON, fired=1)) == 2


def test_it_is_over_at_the_end_of_all_calendars():
    for timetable in (HOURLY, timetable_of(cron="0 0 1 1 *", timezone="Europe/Berlin")):
        assert next_after(timetable, 1e18) is None
        assert next_after(timetable, 250e9 - 1) is None
    assert next_after(timetable_of(every=dt.timedelta.max.total_seconds() / 1e3), 249e9) is None
    late = timetable_of(cron="0 0 * * *", start=dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
    assert next_after(late, AT_NOON) is None


# -- what is due


@given(st.integers(0, 50), st.integers(1, 20))
def test_what_is_due_is_after_the_one_time_and_not_after_the_other(hours, limit):
    until = AT_NOON + hours * 3600
    expected = [AT_NOON + 3600 * n for n in range(1, hours + 1)]
    assert due_between(HOURLY, AT_NOON, until, limit) == expected[:limit]
    assert (
        due_between(HOURLY, AT_NOON, until - 1, limit)
        == expected[: hours - 1 if hours else 0][:limit]
    )


def test_asking_in_pieces_finds_each_time_once():
    timetable = timetable_of(cron="*/15 * * * *", timezone="Australia/Lord_Howe")
    begin, end = AT_NOON, AT_NOON + 6 * 3600
    whole = due_between(timetable, begin, end, 1000)
    pieces = []
    for seconds in range(0, 6 * 3600, 450):
        pieces += due_between(timetable, begin + seconds, begin + seconds + 450, 1000)
    assert pieces == whole
    assert len(whole) == 24


# In January there are thousands.
@settings(deadline=None)
@given(
    st.sampled_from(["*/5 * * * *", "30 2 * * *", "* * * 1 *", "0,1 0 * * SUN"]),
    st.floats(1.7e9, 1.8e9),
    st.floats(0, 4 * 24 * 3600),
)
def test_the_newest_is_the_last_of_all_that_are_due(cron, after, span):
    timetable = timetable_of(cron=cron, timezone="Europe/Berlin")
    due = due_between(timetable, after, after + span, 100_000)
    assert newest_between(timetable, after, after + span) == (due[-1] if due else None)


@given(st.floats(EVERY_MIN_S, 100), MOMENTS)
def test_the_newest_of_very_many_intervals_is_found(every, after):
    timetable = Timetable(every_s=every)
    until = after + 1e7
    newest = newest_between(timetable, after, until)
    assert newest is not None
    assert newest <= until < next_after(timetable, newest)


def test_the_newest_of_all_times_is_found():
    assert newest_between(timetable_of(every=3600, end=NOON), 0, math.inf) == AT_NOON


# -- jitter


@given(st.text(), MOMENTS, st.floats(0, JITTER_MAX_S))
def test_jitter_puts_off_by_no_more_than_it_may(schedule_id, at, jitter):
    timetable = Timetable(cron="* * * * *", jitter_s=jitter)
    assert at <= jittered(timetable, schedule_id, at) <= at + jitter


def test_jitter_is_the_same_in_another_process():
    timetable = timetable_of(every=3600, jitter=60)
    program = (
        "from fastqueue.tasks.timetable import *\n"
        f"print(repr(jittered(timetable_of(every=3600, jitter=60), 'nightly', {AT_NOON!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert float(done.stdout) == jittered(timetable, "nightly", AT_NOON)


def test_jitter_differs_from_schedule_to_schedule_and_from_time_to_time():
    timetable = timetable_of(every=3600, jitter=60)
    delays = {jittered(timetable, f"s{n}", AT_NOON) - AT_NOON for n in range(1000)}
    assert len(delays) > 990
    # All of the span is used.
    assert min(delays) < 2
    assert max(delays) > 58
    assert len({jittered(timetable, "s", AT_NOON + n) - n for n in range(1000)}) > 990


def test_without_jitter_a_run_starts_at_its_time():
    assert jittered(HOURLY, "s", AT_NOON) == AT_NOON


# -- missed runs


def test_of_missed_runs_skip_runs_the_newest_if_it_is_hardly_late():
    times = [AT_NOON - 60, AT_NOON]
    assert runs_for(MissedRuns.SKIP, times, AT_NOON + GRACE_S, 0) == [AT_NOON]
    assert runs_for(MissedRuns.SKIP, times, AT_NOON + GRACE_S + 1, 1e9) == []
    assert runs_for(MissedRuns.SKIP, times, AT_NOON + 90, 0, grace_s=90) == [AT_NOON]


def test_of_missed_runs_one_runs_the_newest_however_old():
    times = [AT_NOON, AT_NOON - 3600, AT_NOON - 7200]
    assert runs_for(MissedRuns.ONE, times, AT_NOON + 1e8, 0) == [AT_NOON]


def test_of_missed_runs_all_runs_those_within_the_window_in_order():
    times = [AT_NOON, AT_NOON - 7200, AT_NOON - 3600]
    assert runs_for(MissedRuns.ALL, times, AT_NOON, 3600) == [AT_NOON - 3600, AT_NOON]
    assert runs_for(MissedRuns.ALL, times, AT_NOON, 3599) == [AT_NOON]
    assert runs_for(MissedRuns.ALL, times, AT_NOON + 9000, 3600) == []


@pytest.mark.parametrize("policy", MissedRuns)
def test_when_none_was_missed_none_is_run(policy):
    assert runs_for(policy, [], AT_NOON, 3600) == []


def test_a_policy_is_its_text():
    assert [str(p) for p in MissedRuns] == ["skip", "one", "all"]
    assert [str(p) for p in Overlap] == ["allow", "skip", "cancel"]
    assert repr(Overlap.SKIP) == "Overlap.SKIP"


# -- preview


def test_a_preview_shows_the_next_ten_in_the_zone_of_the_timetable():
    timetable = timetable_of(cron="30 2 * * *", timezone="Europe/Berlin")
    begin = dt.datetime(2026, 3, 27, tzinfo=dt.UTC).timestamp()
    shown = preview(timetable, begin)
    assert len(shown) == 10
    assert all(time.tzinfo == ZoneInfo("Europe/Berlin") for time in shown)
    assert [time.isoformat() for time in shown[:4]] == [
        "2026-03-27T02:30:00+01:00",
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_preview_of_intervals_is_in_utc():
    assert preview(HOURLY, AT_NOON, 1) == [NOON + dt.timedelta(hours=1)]
    assert preview(HOURLY, AT_NOON, 1)[0].tzinfo is dt.UTC


# -- how it is written


@pytest.mark.parametrize(
    "options",
    [
        {"cron": "*/5 * * * *", "timezone": "Europe/Berlin", "jitter": 30, "count": 3},
        {"every": 0.5, "anchor": NOON, "start": NOON, "end": NOON + dt.timedelta(1)},
    ],
)
def test_a_timetable_is_the_same_after_it_was_stored(options):
    timetable = timetable_of(**options)
    stored = msgspec.msgpack.encode(timetable)
    assert isinstance(msgspec.msgpack.decode(stored), list)
    assert msgspec.msgpack.decode(stored, type=Timetable) == timetable
    assert msgspec.json.decode(msgspec.json.encode(timetable), type=Timetable) == timetable


def test_an_interval_may_be_a_timedelta_or_seconds():
    assert timetable_of(every=dt.timedelta(minutes=5)) == timetable_of(every=300)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "neither of cron and every"),
        ({"cron": "* * * * *", "every": 5}, "both of cron and every"),
        ({"cron": "* 25 * * *"}, "bad hour"),
        ({"cron": "* * * * *", "timezone": "Berlin"}, "timezone='Berlin'.*'Europe/Berlin'"),
        ({"every": 5, "timezone": "UTC"}, "timezone goes with cron"),
        ({"cron": "* * * * *", "anchor": NOON}, "anchor goes with every"),
        ({"every": 0}, "every=0"),
        ({"every": -1}, "every=-1"),
        ({"every": dt.timedelta(0)}, "every=.*timedelta"),
        ({"every": math.nan}, "every=nan"),
        ({"every": math.inf}, "every=inf"),
        ({"every": True}, "every=True"),
        ({"every": "5m"}, "every='5m'"),
        ({"every": 5, "jitter": -1}, "jitter=-1"),
        ({"every": 5, "jitter": 6}, "jitter=6.* from 0 to 5"),
        ({"cron": "* * * * *", "jitter": JITTER_MAX_S + 1}, "jitter=86401"),
        ({"every": 5, "start": NOON.replace(tzinfo=None)}, "start=.*names no time zone"),
        ({"every": 5, "end": NOON.replace(tzinfo=None)}, "end=.*names no time zone"),
        ({"every": 5, "anchor": NOON.replace(tzinfo=None)}, "anchor=.*names no time zone"),
        ({"every": 5, "start": "2026-06-01"}, "start='2026-06-01': it is not a datetime"),
        ({"every": 5, "start": NOON, "end": NOON}, "end=.* isn't after start="),
        ({"every": 5, "count": 0}, "count=0"),
        ({"every": 5, "count": 1.5}, "count=1.5"),
        ({"every": 5, "count": True}, "count=True"),
    ],
)
def test_what_cant_be_is_refused_naming_the_bad_part(options, what):
    with pytest.raises(ConfigurationError, match=what):
        timetable_of(**options)


def test_a_stored_timetable_whose_zone_is_not_known_here_says_so():
    with pytest.raises(ConfigurationError, match="timezone='Mars/Olympus'"):
        next_after(Timetable(cron="* * * * *", timezone="Mars/Olympus"), AT_NOON)


def test_importing_it_loads_neither_cronsim_nor_zoneinfo():
    program = (
        "import sys, fastqueue.tasks.timetable\nprint({'cronsim', 'zoneinfo'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "set()\n"
