"""The options by which a task has a schedule are checked where they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fastqueue import task
from fastqueue.errors import ConfigurationError
from fastqueue.subworker.schedules import schedules_of
from fastqueue.tasks.policies import DefinitionOptions
from fastqueue.tasks.scheduling import TIMETABLE_OPTIONS, schedule_policy_of
from fastqueue.tasks.timetable import (
    MissedRuns,
    Overlap,
    Timetable,
    check_timetable,
    timetable_of,
)


def nothing() -> None:
    """Be run by itself."""


def definition_of(**options):
    def scheduled_in_a_test() -> None:
        pass

    decorated = task("scheduled_in_a_test", **options)(scheduled_in_a_test)
    return decorated.__fastqueue_task__


def test_no_option_of_a_schedule_is_no_schedule():
    assert schedule_policy_of({"retries": 3}, nothing) is None
    assert definition_of(retries=3).schedule is None


def test_a_definition_has_the_schedule_that_its_options_say():
    schedule = definition_of(
        cron="*/5  * * * *",
        timezone="Europe/Berlin",
        missed="all",
        missed_window=timedelta(hours=2),
        overlap="skip",
        run_jitter=10,
        jitter=False,
    ).schedule
    assert schedule.timetable == Timetable(
        cron="*/5 * * * *", timezone="Europe/Berlin", jitter_s=10.0
    )
    assert (schedule.missed, schedule.window_s) == (MissedRuns.ALL, 7200.0)
    assert schedule.overlap is Overlap.SKIP


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cron": "61 * * * *"}, "cron='61"),
        ({"cron": "* * * * *", "every": 5}, "both"),
        ({"timezone": "Europe/Berlin"}, "cron or every"),
        ({"overlap": "skip"}, "cron or every"),
        ({"every": 0}, "every=0"),
        ({"every": 60, "timezone": "UTC"}, "timezone goes with cron"),
        ({"cron": "* * * * *", "timezone": "No/Where"}, "No/Where"),
        ({"every": 60, "missed": "some"}, "skip, one, all"),
        ({"every": 60, "overlap": "maybe"}, "allow, skip, cancel"),
        ({"every": 60, "missed_window": 5}, 'missed="all"'),
        ({"every": 60, "missed": "all", "missed_window": -1}, "missed_window=-1"),
        ({"every": 60, "missed": "all", "missed_window": float("nan")}, "missed_window=nan"),
        ({"every": 60, "run_jitter": 61}, "jitter=61"),
        ({"every": 60, "count": 0}, "count=0"),
        ({"every": 60, "start": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - on purpose
        ({"every": 60, "start": datetime(1960, 1, 1, tzinfo=UTC)}, "from 1970"),
    ],
)
def test_what_can_not_be_is_refused_at_the_decoration_and_named(options, says):
    with pytest.raises(ConfigurationError) as raised:
        definition_of(**options)
    assert says in str(raised.value)


def test_a_function_that_needs_arguments_has_no_schedule_in_its_definition():
    def needs(customer):
        return customer

    with pytest.raises(ConfigurationError, match=r"'customer'.*client\.schedules\.add"):
        task("needs_in_a_test", every=60)(needs)


def test_arguments_with_defaults_do_no_harm():
    def has(customer="ada", *rest, **more):
        return customer, rest, more

    assert task("has_in_a_test", every=60)(has).__fastqueue_task__.schedule is not None


def test_an_unknown_option_is_still_refused():
    with pytest.raises(ConfigurationError, match="no option 'corn'"):
        definition_of(corn="* * * * *")


def test_all_options_of_a_schedule_are_options_of_a_definition():
    assert set(TIMETABLE_OPTIONS) <= set(DefinitionOptions.__annotations__)


def test_a_subworker_tells_of_those_definitions_that_have_a_schedule():
    plain, scheduled = definition_of(), definition_of(every=60, queue="mail", overlap="cancel")
    [spec] = schedules_of([plain, scheduled])
    assert (spec.schedule_id, spec.name) == ("task:scheduled_in_a_test", "scheduled_in_a_test")
    assert (spec.queue, spec.overlap) == ("mail", Overlap.CANCEL)
    assert spec.payload == b"[[],{}]"


def test_every_timetable_that_is_made_here_passes_the_check_of_one_that_came():
    for given in ({"cron": "0 5 * * 1"}, {"every": 3600, "jitter": 60, "count": 3}):
        check_timetable(timetable_of(**given))


@pytest.mark.parametrize(
    "timetable",
    [
        Timetable(),
        Timetable(cron="* * * * *", every_s=5.0),
        Timetable(cron="* * * *"),
        Timetable(cron="*  * * * *"),
        Timetable(cron="* * * * *", timezone="No/Where"),
        Timetable(every_s=5.0, jitter_s=6.0),
    ],
)
def test_a_timetable_that_came_and_can_not_be_is_refused(timetable):
    with pytest.raises(ConfigurationError):
        check_timetable(timetable)
