"""Schedules in the core: when they fire, and what is made of runs that can't be as they should."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Outcome, TaskOptions
from fastqueue.core.schedule_records import ScheduleSpec, ScheduleState
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.ids import run_id
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.timetable import MissedRuns, Overlap, Timetable, jittered, timetable_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastqueue.core.decision import Decision

START = 1_800_000_000.0
HOUR = 3600.0
SKIP, ONE, ALL = MissedRuns.SKIP, MissedRuns.ONE, MissedRuns.ALL


def spec(schedule_id: str = "s", every_s: float = 60.0, **options: Any) -> ScheduleSpec:
    timetable = Timetable(every_s=every_s, **options.pop("timetable", {}))
    return ScheduleSpec(schedule_id, timetable, "add", 2, 0, b"[[],{}]", **options)


class Play:
    """Play a core on a store, as the engine does; the wall clock is set as a test likes."""

    def __init__(self, limits: CoreLimits | None = None) -> None:
        self.store = MemoryStore()
        self.limits = dataclasses.replace(limits or CoreLimits(), silence_max_s=1e9)
        self.at = START
        self.now = 0.0
        self.boot()

    def boot(self) -> None:
        self.core = Core(self.limits, self.store.load(self.at), self.now)

    def do(self, command: cmd.Command) -> Decision:
        decision = self.core.apply(command, self.now)
        self.store.write(decision.changes)
        self.store.commit_now()
        return decision

    def put(self, given: ScheduleSpec, *, replaces: bool = False) -> fx.AnswerSchedules:
        return answer(self.do(cmd.PutSchedule(1, 1, given, replaces, self.at)))

    def change(self, action: Any, schedule_id: str = "s") -> fx.AnswerSchedules:
        return answer(self.do(cmd.ChangeSchedule(1, 1, schedule_id, action, self.at)))

    def run_now(self, task_id: str, schedule_id: str = "s") -> fx.AnswerSchedules:
        command = cmd.RunScheduleNow(1, 1, schedule_id, task_id, self.at)
        return answer(
            self.do(self._informed(command, [task_id], {self.core.last_run_of(schedule_id)}))
        )

    def _informed(self, command: Any, made: Iterable[str], before: Iterable[str]) -> Any:
        unheld = [task_id for task_id in before if not self.core.holds(task_id)]
        return replace(
            command, seen=self.store.find_known(made), stored=self.store.find_live(unheld)
        )

    def until(self, at: float) -> list[str]:
        """Let the clock come to a time; return the ids of the tasks that were made."""
        self.now += max(0.0, at - self.at)
        self.at = at
        return self.turn()

    def turn(self) -> list[str]:
        made: list[str] = []
        runs = self.core.runs_due(self.at, self.now)
        if runs:
            ids = [task_id for due in runs for _, task_id in due.runs]
            before = {due.before for due in runs if due.before}
            decision = self.do(self._informed(cmd.RunSchedules(self.at, runs), ids, before))
            for change in decision.changes:
                if isinstance(change, ch.TasksAdded):
                    made += (new.task_id for new in change.tasks)
        self.do(cmd.Tick(self.at))
        return made

    def connect(
        self, *specs: ScheduleSpec, started_at: float = START, instance: str = "w", session: int = 9
    ) -> Decision:
        return self.do(
            cmd.WorkerReady(
                session,
                instance,
                instance,
                frozenset({"add"}),
                100,
                schedules=specs,
                started_at=started_at,
                at=self.at,
            )
        )

    def state(self, schedule_id: str = "s") -> ScheduleState:
        found = self.core.state.schedules.get(schedule_id)
        assert found is not None
        assert self.store._tables.schedules[schedule_id] == found
        return found


def answer(decision: Decision) -> fx.AnswerSchedules:
    [found] = [e for e in decision.effects if isinstance(e, fx.AnswerSchedules)]
    return found


def ids(*minutes: float, schedule_id: str = "s") -> list[str]:
    return [run_id(schedule_id, START + 60 * minute) for minute in minutes]


# -- firing


def test_a_run_and_its_schedules_advance_are_changes_of_one_decision() -> None:
    play = Play()
    play.put(spec())
    play.at += 60
    runs = play.core.runs_due(play.at, 60.0)
    decision = play.core.apply(cmd.RunSchedules(play.at, runs), 60.0)
    kinds = [type(change) for change in decision.changes]
    assert ch.TasksAdded in kinds
    assert ch.SchedulesAdvanced in kinds


def test_it_fires_at_its_times_and_not_before() -> None:
    play = Play()
    play.put(spec())
    assert play.until(START + 59.9) == []
    assert play.until(START + 60) == ids(1)
    assert play.until(START + 60.1) == []
    assert play.until(START + 120.5) == ids(2)
    assert play.state().fired == 2
    assert play.state().last_at == START + 120
    assert play.state().last_task_id == ids(2)[0]


def test_without_schedules_there_is_nothing_to_wake_up_for() -> None:
    play = Play()
    play.turn()
    assert play.core.next_due() is None
    assert play.core.runs_due(math.inf, 0.0) == []


def test_with_one_it_wakes_when_that_is_due_and_once_a_second_for_the_clock_may_be_set() -> None:
    play = Play()
    play.put(spec())
    play.turn()
    assert play.core.next_due() == play.now + 1.0
    play.until(START + 59.5)
    assert play.core.next_due() == play.now + 0.5


def test_a_clock_that_is_set_back_makes_nothing_run_twice() -> None:
    play = Play()
    play.put(spec())
    assert play.until(START + 60) == ids(1)
    assert play.until(START - 600) == []
    assert play.until(START + 61) == []
    assert play.until(START + 120) == ids(2)


def test_a_run_that_is_known_is_not_run_again_by_a_schedule_that_was_made_anew() -> None:
    play = Play()
    play.put(spec())
    assert play.until(START + 60) == ids(1)
    play.at = START + 30
    play.change("delete")
    play.put(spec())
    assert play.until(START + 60) == []
    assert play.until(START + 120) == ids(2)


def test_a_restart_between_two_runs_loses_and_doubles_none() -> None:
    play = Play()
    play.put(spec())
    play.until(START + 60)
    play.boot()
    assert play.until(START + 61) == []
    play.boot()
    assert play.until(START + 125) == ids(2)


def test_what_comes_due_within_a_minute_of_downtime_is_all_run() -> None:
    play = Play()
    play.put(spec(every_s=10.0))
    play.boot()
    assert len(play.until(START + 59)) == 5


def test_a_turn_submits_a_bounded_number_of_runs_and_the_next_one_goes_on() -> None:
    play = Play(CoreLimits(schedule_runs_max=3))
    for n in range(5):
        play.put(spec(f"s{n}"))
    first = play.until(START + 60)
    assert len(first) == 3
    assert play.core.next_due() == play.now
    assert len(first + play.turn()) == 5
    assert play.turn() == []


def test_a_run_waits_for_its_jitter_and_keeps_its_nominal_time() -> None:
    play = Play()
    given = spec(timetable={"jitter_s": 30.0})
    play.put(given)
    due = jittered(given.timetable, "s", START + 60)
    assert play.until(math.nextafter(due, 0)) == []
    assert play.until(due) == ids(1)


def test_a_count_is_how_often_it_fires_in_all() -> None:
    play = Play()
    play.put(spec(timetable={"count_max": 2}))
    assert play.until(START + 60) == ids(1)
    assert play.until(START + 120) == ids(2)
    assert play.until(START + 180) == []
    assert play.state().next_at is None
    assert play.core.state.schedules.next_due == math.inf


def test_a_run_expires_so_long_after_it_was_submitted() -> None:
    play = Play()
    play.put(spec(expires_s=5.0, options=TaskOptions(retries=2)))
    play.until(START + 60)
    [task] = play.core.state.tasks.values()
    assert task.options == TaskOptions(expires_at=START + 65, retries=2)


def test_a_zone_that_this_machine_does_not_know_sets_the_schedule_aside_and_says_so() -> None:
    play = Play()
    state = ScheduleState(
        replace(spec(), timetable=Timetable(cron="* * * * *", timezone="No/Where")),
        START,
        START + 60,
    )
    play.store.write([ch.SchedulesPut([state])])
    play.store.commit_now()
    play.boot()
    play.at = START + 60
    decision = play.do(cmd.RunSchedules(play.at, play.core.runs_due(play.at, 1.0)))
    [told] = [e for e in decision.effects if isinstance(e, fx.TellSchedule)]
    assert "No/Where" in told.what
    assert play.turn() == []
    assert play.change("pause").answer.is_paused
    assert "No/Where" in play.change("resume").refusal


# -- missed runs


@pytest.mark.parametrize(
    ("missed", "window_s", "wanted"),
    [
        (SKIP, HOUR, [10]),
        (ONE, HOUR, [10]),
        (ALL, HOUR, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (ALL, 150.0, [8, 9, 10]),
        (ALL, 0.0, [10]),
    ],
)
def test_after_an_outage_the_policy_says_what_is_run(
    missed: MissedRuns, window_s: float, wanted: list[int]
) -> None:
    play = Play()
    play.put(spec(missed=missed, window_s=window_s))
    play.boot()
    assert play.until(START + 600) == ids(*wanted)
    assert play.turn() == []
    assert play.until(START + 660) == ids(11)


@pytest.mark.parametrize(("missed", "wanted"), [(SKIP, []), (ONE, [60]), (ALL, [])])
def test_a_newest_run_that_is_too_old_is_skipped_but_by_the_policy_one(
    missed: MissedRuns, wanted: list[int]
) -> None:
    play = Play()
    play.put(spec(every_s=HOUR, missed=missed, window_s=600.0))
    play.boot()
    assert play.until(START + HOUR + 1800) == ids(*wanted)
    assert play.until(START + 2 * HOUR) == ids(120)


def test_with_jitter_a_run_of_an_outage_that_could_still_come_comes() -> None:
    play = Play()
    given = spec(every_s=HOUR, timetable={"jitter_s": HOUR})
    play.put(given)
    play.boot()
    at = START + 5 * HOUR
    made = play.until(at)
    made += play.turn()
    while play.at < at + 2 * HOUR:
        made += play.until(play.at + 60)
    assert set(ids(300, 360)) <= set(made)
    assert len(made) == len(set(made))


# -- overlap


def test_a_run_is_left_out_while_the_one_before_is_not_over() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.SKIP))
    assert play.until(START + 60) == ids(1)
    assert play.until(START + 120) == []
    assert play.state().left_out == 1
    play.do(cmd.Cancel(1, 1, ids(1), play.at))
    assert play.until(START + 180) == ids(3)


def test_a_run_that_is_left_out_is_not_one_of_the_count() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.SKIP, timetable={"count_max": 2}))
    play.until(START + 60)
    assert play.until(START + 120) == []
    play.do(cmd.Cancel(1, 1, ids(1), play.at))
    assert play.until(START + 180) == ids(3)
    play.do(cmd.Cancel(1, 1, ids(3), play.at))
    assert play.until(START + 240) == []


@pytest.mark.parametrize("limits", [CoreLimits(), CoreLimits(window_max=0, window_min=0)])
def test_the_older_run_is_cancelled_in_memory_or_out_of_it(limits: CoreLimits) -> None:
    play = Play(limits)
    play.put(spec(overlap=Overlap.CANCEL))
    play.until(START + 60)
    assert play.until(START + 120) == ids(2)
    assert play.store.find_statuses(ids(1, 2)) == {ids(1)[0]: TaskStatus.CANCELLED}


def test_an_older_run_that_runs_is_told_to_end() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.CANCEL))
    play.connect()
    play.until(START + 60)
    play.at += 60
    command = cmd.RunSchedules(play.at, play.core.runs_due(play.at, 120.0))
    decision = play.do(command)
    [told] = [e for e in decision.effects if isinstance(e, fx.CancelRunning)]
    assert [task.task_id for task in told.tasks] == ids(1)


def test_an_older_run_that_waits_for_another_try_is_cancelled() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.CANCEL))
    play.connect()
    play.until(START + 60)
    [task] = play.core.state.tasks.values()
    failed = Outcome(task.task_id, task.token, False, 1.0, 2.0, error="x", retry_in_s=3600.0)
    play.do(cmd.Report(9, 1, [failed], play.at))
    assert play.until(START + 120) == ids(2)
    assert play.store.find_statuses(ids(1)) == {ids(1)[0]: TaskStatus.CANCELLED}


def test_a_run_that_waits_for_another_try_is_not_over() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.SKIP))
    play.connect()
    play.until(START + 60)
    [task] = play.core.state.tasks.values()
    failed = Outcome(task.task_id, task.token, False, 1.0, 2.0, error="x", retry_in_s=3600.0)
    play.do(cmd.Report(9, 1, [failed], play.at))
    assert play.until(START + 120) == []


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.CANCEL])
def test_of_several_runs_that_are_due_at_once_each_looks_at_the_one_before(
    overlap: Overlap,
) -> None:
    play = Play()
    play.put(spec(every_s=10.0, overlap=overlap))
    made = play.until(START + 50)
    while not play.core.state.schedules.next_due > play.at:
        made += play.turn()
    live = play.store.find_live(made)
    assert len(live) == 1
    assert play.state().fired + play.state().left_out == 5


# -- no room


def test_a_run_that_there_is_no_room_for_is_tried_again_and_not_lost() -> None:
    play = Play(CoreLimits(live_tasks_max=1))
    play.put(spec())
    assert play.until(START + 60) == ids(1)
    assert play.until(START + 120) == []
    assert play.state().fired == 1
    assert play.core.next_due() == play.now + 1.0
    play.do(cmd.Cancel(1, 1, ids(1), play.at))
    assert play.until(START + 120.5) == []
    assert play.until(START + 121) == ids(2)


def test_a_run_whose_arguments_are_too_large_now_is_left_out() -> None:
    play = Play()
    play.put(spec())
    play.limits = dataclasses.replace(play.limits, payload_bytes_max=3)
    play.boot()
    assert play.until(START + 60) == []
    assert play.state().left_out == 1
    assert play.state().next_at == START + 120


# -- pause, resume, delete, run now


def test_a_paused_schedule_does_not_run_and_a_resumed_one_makes_up_for_nothing() -> None:
    play = Play()
    play.put(spec(missed=ALL))
    assert play.change("pause").answer.is_paused
    assert play.until(START + 600) == []
    play.boot()
    assert play.state().is_paused
    assert play.until(START + 1200) == []
    assert not play.change("resume").answer.is_paused
    assert play.turn() == []
    assert play.until(START + 1260) == ids(21)


def test_to_pause_twice_is_to_pause_once() -> None:
    play = Play()
    play.put(spec())
    play.change("pause")
    before = play.state()
    play.change("pause")
    assert play.state() == before


def test_a_deleted_schedule_runs_no_more_and_its_tasks_stay() -> None:
    play = Play()
    play.put(spec())
    play.until(START + 60)
    assert play.change("delete").answer is not None
    assert play.until(START + 120) == []
    assert play.store.find_live(ids(1))
    assert play.change("delete").answer is None
    assert play.core.next_due() is None or play.core.next_due() > play.now + 1.0


def test_a_schedule_that_is_not_there_can_not_be_changed_or_run() -> None:
    play = Play()
    assert play.change("pause").answer is None
    assert play.run_now("t").answer is None


def test_run_now_runs_it_and_leaves_its_times_alone() -> None:
    play = Play()
    play.put(spec(timetable={"count_max": 1}))
    play.change("pause")
    assert play.run_now("t1").answer == "t1"
    assert play.store.find_live(["t1"])
    assert play.state().last_task_id == "t1"
    assert play.state().fired == 0
    play.change("resume")
    assert play.until(START + 60) == ids(1)


def test_run_now_sent_twice_runs_once() -> None:
    play = Play()
    play.put(spec())
    assert play.run_now("t1").answer == "t1"
    assert play.run_now("t1").answer == "t1"
    assert len(play.store._tables.tasks) == 1


def test_run_now_keeps_to_what_is_said_of_overlap() -> None:
    play = Play()
    play.put(spec("skips", overlap=Overlap.SKIP))
    play.put(spec("cancels", overlap=Overlap.CANCEL))
    play.run_now("a1", "skips")
    play.run_now("b1", "cancels")
    refused = play.run_now("a2", "skips")
    assert "a1" in refused.refusal
    assert play.run_now("b2", "cancels").answer == "b2"
    assert set(play.store.find_live(["a1", "a2", "b1", "b2"])) == {"a1", "b2"}


# -- making and replacing


def test_the_same_schedule_again_changes_nothing_and_another_is_refused() -> None:
    play = Play()
    play.put(spec())
    play.until(START + 60)
    before = play.state()
    assert play.put(spec()).answer == before
    refused = play.put(spec(every_s=30.0))
    assert "'s'" in refused.refusal
    assert play.state() == before


def test_a_replaced_schedule_keeps_its_history_and_makes_up_for_nothing() -> None:
    play = Play()
    play.put(spec(every_s=HOUR))
    play.until(START + HOUR)
    play.change("pause")
    play.at += 1000
    play.put(spec(missed=ALL), replaces=True)
    assert (play.state().fired, play.state().is_paused) == (1, True)
    play.change("resume")
    assert play.turn() == []
    assert play.until(START + HOUR + 1020) == ids(77)


def test_bounds_of_number_and_bytes_refuse() -> None:
    play = Play(CoreLimits(schedules_max=2, schedules_bytes_max=20))
    assert not play.put(spec("a")).refusal
    assert "2 and 20" in play.put(replace(spec("b"), payload=b"x" * 14)).refusal
    assert not play.put(spec("b")).refusal
    assert play.put(spec("c")).code == "overloaded"
    assert not play.put(spec("b", every_s=5.0), replaces=True).refusal
    assert play.core.state.schedules.payload_bytes == 14
    play.change("delete", "a")
    assert play.core.state.schedules.payload_bytes == 7


def test_an_id_of_a_definition_is_refused_and_so_is_what_the_server_found_wrong() -> None:
    play = Play()
    assert "task:" in play.put(spec("task:add")).refusal
    command = cmd.PutSchedule(1, 1, spec(), False, play.at, "no such zone")
    assert answer(play.do(command)).refusal == "no such zone"


def test_schedules_are_listed_a_page_at_a_time_and_one_with_its_arguments() -> None:
    play = Play()
    for name in "dbac":
        play.put(spec(name))

    def listed(*command: Any) -> list[ScheduleState]:
        found: list[ScheduleState] = answer(play.do(cmd.ListSchedules(1, 1, *command))).answer
        return found

    assert [one.spec.schedule_id for one in listed(None, "", 3)] == ["a", "b", "c"]
    assert [one.spec.schedule_id for one in listed(None, "c", 3)] == ["d"]
    assert listed(None, "", 1)[0].spec.payload == b""
    assert listed("a", "", 1)[0].spec.payload == b"[[],{}]"
    assert listed("x", "", 1) == []


def test_many_changes_leave_no_more_behind_than_there_are_schedules() -> None:
    play = Play()
    play.put(spec())
    for _ in range(500):
        play.change("pause")
        play.at += 60
        play.change("resume")
    assert len(play.core.state.schedules._heap) < 100


# -- of task definitions


def of_definition(every_s: float = 60.0, **options: Any) -> ScheduleSpec:
    return spec("task:add", every_s, **options)


def test_a_definitions_schedule_comes_with_its_subworker_and_stays_without_it() -> None:
    play = Play()
    play.connect(of_definition())
    play.do(cmd.SessionLost(9))
    play.boot()
    assert play.until(START + 60) == ids(1, schedule_id="task:add")


def test_a_changed_definition_replaces_the_timetable_and_keeps_pause_and_history() -> None:
    play = Play()
    play.connect(of_definition())
    play.until(START + 60)
    play.change("pause", "task:add")
    play.connect(of_definition(30.0), started_at=START + 70, instance="w2", session=10)
    state = play.state("task:add")
    assert (state.spec.timetable.every_s, state.fired, state.is_paused) == (30.0, 1, True)


def test_an_older_subworker_that_connects_anew_changes_nothing_also_after_a_restart() -> None:
    play = Play()
    play.at += 10
    play.connect(of_definition(60.0), started_at=START)
    play.connect(of_definition(30.0), started_at=START + 5, instance="w2", session=10)
    play.do(cmd.SessionLost(9))
    play.connect(of_definition(60.0), started_at=START, session=11)
    assert play.state("task:add").spec.timetable.every_s == 30.0
    play.boot()
    play.connect(of_definition(60.0), started_at=START, session=12)
    assert play.state("task:add").spec.timetable.every_s == 30.0


def test_a_definition_that_has_no_schedule_any_more_withdraws_it_for_good() -> None:
    play = Play()
    play.connect(of_definition(), started_at=START)
    play.until(START + 60)
    play.connect(started_at=START + 61, instance="w2", session=10)
    assert play.until(START + 120) == []
    assert play.change("pause", "task:add").answer is None
    assert answer(play.do(cmd.ListSchedules(1, 1, None, "", 10))).answer == []
    play.connect(of_definition(), started_at=START, session=11)
    assert play.until(START + 180) == []
    play.connect(of_definition(), started_at=START + 181, instance="w3", session=12)
    assert play.state("task:add").fired == 1
    assert play.until(START + 240) == ids(4, schedule_id="task:add")


def test_a_subworker_whose_clock_is_ahead_does_not_decide_for_ever() -> None:
    play = Play()
    play.connect(of_definition(), started_at=START + 1e6)
    play.at += 10
    play.connect(of_definition(30.0), started_at=START + 5, instance="w2", session=10)
    assert play.state("task:add").spec.timetable.every_s == 30.0


def test_a_definitions_schedule_is_deleted_only_when_no_connected_subworker_offers_it() -> None:
    play = Play()
    play.connect(of_definition())
    assert "pause it" in play.change("delete", "task:add").refusal
    play.do(cmd.SessionLost(9))
    assert play.change("delete", "task:add").answer is not None


def test_withdrawn_ones_make_room_and_a_definition_too_many_is_told() -> None:
    play = Play(CoreLimits(schedules_max=1))
    play.at += 10
    play.connect(of_definition(), started_at=START)
    play.connect(started_at=START + 1, instance="w2", session=10)
    assert not play.put(spec("a")).refusal
    decision = play.connect(of_definition(), started_at=START + 2, instance="w3", session=11)
    [told] = [e for e in decision.effects if isinstance(e, fx.TellSchedule)]
    assert told.schedule_id == "task:add"


def test_a_definition_that_there_is_no_room_for_brings_no_older_one_back() -> None:
    play = Play(CoreLimits(schedules_bytes_max=10))
    play.at += 10
    play.connect(of_definition(), started_at=START)
    play.connect(started_at=START + 1, instance="w2", session=10)
    large = replace(of_definition(), payload=b"x" * 11)
    decision = play.connect(large, started_at=START + 2, instance="w3", session=11)
    assert [e.schedule_id for e in decision.effects if isinstance(e, fx.TellSchedule)]
    play.connect(of_definition(), started_at=START, session=12)
    assert play.state("task:add").is_withdrawn


def test_ids_of_runs_sort_by_time_like_any_other() -> None:
    first, second = run_id("s", START), run_id("s", START + 1)
    assert first < second
    assert first != run_id("t", START)
    assert len(first) == 36
    assert first[14] == "7"
    assert first[19] in "89ab"


def test_a_report_of_a_run_ends_it_like_any_other_task() -> None:
    play = Play()
    play.put(spec(overlap=Overlap.SKIP))
    play.connect()
    play.until(START + 60)
    [task] = play.core.state.tasks.values()
    outcome = Outcome(task.task_id, task.token, True, 1.0, 2.0, b"1")
    play.do(cmd.Report(9, 1, [outcome], play.at))
    assert play.until(START + 120) == ids(2)


def test_a_start_and_an_end_bound_it() -> None:
    start = datetime.fromtimestamp(START + 100, UTC)
    timetable = timetable_of(
        every=60,
        anchor=datetime.fromtimestamp(START, UTC),
        start=start,
        end=start + timedelta(seconds=70),
    )
    play = Play()
    play.put(replace(spec(), timetable=timetable))
    made = [task for minute in range(6) for task in play.until(START + 60 * minute)]
    assert made == ids(2)
