"""Tasks that wait for a time: a later start, another try, an expiry."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import TYPE_CHECKING

import pytest
from tests.unit.core.builders import (
    connect_client,
    connect_worker,
    has,
    leases,
    make_core,
    new_task,
    only,
    succeed,
)

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import HeldLease, Lease, NewTask, Outcome, TaskOptions, fencing_token
from fastqueue.core.state import Snapshot
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from fastqueue.core.decision import Decision

START = 1_000.0
"""The wall clock's time when the monotonic clock is 0."""


def task(
    task_id: str,
    name: str = "add",
    rank: int = 2,
    *,
    due_at: float | None = None,
    expires_at: float | None = None,
) -> NewTask:
    return NewTask(
        task_id,
        name,
        rank,
        0,
        b"[]",
        options=TaskOptions(START + due_at, expires_at)
        if due_at is not None
        else TaskOptions(None, expires_at),
    )


class Play:
    """Play a core on a store, as the engine does, on two clocks."""

    def __init__(self, limits: CoreLimits | None = None, **worker: int) -> None:
        self.store = MemoryStore()
        # Its subworker is heard of all the time.
        self.limits = dataclasses.replace(limits or CoreLimits(), silence_max_s=1e9)
        self.core = make_core(self.limits, self.store.load(START))
        self.now = 0.0
        self.wall = START
        # What the store has answered, for the next turn.
        self.told: list[cmd.Command] = []
        self.do(cmd.ClientReady(1, "c"))
        self.connect(**worker)

    def connect(self, session: int = 10, capacity: int = 10, names: str = "add mul") -> Decision:
        return self.do(
            cmd.WorkerReady(
                session, "w", "w", frozenset(names.split()), capacity, at_most_once=frozenset("m")
            )
        )

    def do(self, command: cmd.Command) -> Decision:
        decision = self.core.apply(command, self.now)
        self.store.write(decision.changes)
        asyncio.run(self.store.commit())
        return decision

    def submit(self, *tasks: NewTask) -> Decision:
        known = [new.task_id for new in tasks if not self.core.holds(new.task_id)]
        seen = self.store.find_known(known)
        return self.do(cmd.Submit(1, 1, "c", self.wall, tasks, seen))

    def turn(self) -> list[Lease]:
        """Tick, and tell what is asked of the store, until nothing is; return what is leased."""
        leased: list[Lease] = []
        commands: list[cmd.Command] = [cmd.Tick(self.wall)]
        while commands:
            for command in commands:
                decision = self.do(command)
                leased += leases(decision)
                self.answer(decision)
            commands = [*self.told, cmd.Tick(self.wall)] if self.told else []
        return leased

    def answer(self, decision: Decision) -> None:
        self.told = []
        for effect in decision.effects:
            if isinstance(effect, fx.LoadDue):
                due = self.store.read_due(effect.at, effect.limit)
                self.told.append(cmd.DueLoaded(effect.at, due.tasks, due.next_due))
            elif isinstance(effect, fx.LoadExpired):
                rows, next_expiry = self.store.read_expired(effect.at, effect.limit)
                stored = self.store.find_live(i for _, i in rows if not self.core.holds(i))
                self.told.append(cmd.ExpiredLoaded(effect.at, rows, stored, next_expiry))
            elif isinstance(effect, fx.Refill):
                rows_ = self.store.read_window(effect.lane_id, effect.after_key, effect.limit)
                stored_ = [row.task for row in rows_]
                exhausted = len(rows_) < effect.limit
                self.told.insert(0, cmd.Loaded(effect.lane_id, stored_, exhausted))

    def pass_time(self, seconds: float) -> list[Lease]:
        self.now += seconds
        self.wall += seconds
        return self.turn()

    def fail(self, lease: Lease, retry_in_s: float | None = 5.0) -> Decision:
        outcome = Outcome(
            lease.task_id, lease.token, False, 1.0, 2.0, None, "E: x", "tb", None, retry_in_s
        )
        return self.do(cmd.Report(10, 1, [outcome], self.wall))

    def cancel(self, task_id: str) -> Decision:
        held = self.core.holds(task_id)
        stored = {} if held else self.store.find_live([task_id])
        return self.do(cmd.Cancel(1, 1, [task_id], self.wall, stored))

    def restart(self) -> None:
        self.core = make_core(self.limits, self.store.load(self.wall))
        self.now = 0.0
        self.do(cmd.ClientReady(1, "c"))

    def status(self, task_id: str) -> TaskStatus:
        return self.store.find_statuses([task_id])[task_id]

    def error(self, task_id: str) -> str:
        return str(self.store.find_results([task_id])[task_id].error)

    @property
    def wait_s(self) -> float | None:
        due = self.core.next_due()
        return None if due is None else due - self.now


def ids(leased: list[Lease]) -> list[str]:
    return [lease.task_id for lease in leased]


# -- a later start


def test_a_delayed_task_is_in_no_lane_and_no_memory_and_starts_when_it_is_due() -> None:
    play = Play()
    decision = play.submit(task("a", due_at=5.0))
    assert only(decision, fx.AcknowledgeSubmit).refused == []
    assert list(only(decision, ch.TasksDelayed).keys) == [1]
    assert not has(decision, ch.LaneAdded)
    assert not play.core.state.tasks
    assert play.core.state.delays.count == 1
    assert play.pass_time(4.9) == []
    assert ids(play.pass_time(0.1)) == ["a"]
    assert play.core.state.delays.count == 0


def test_a_task_that_is_due_already_waits_for_nothing() -> None:
    play = Play()
    decision = play.submit(task("a", due_at=0.0), task("b", due_at=-60.0))
    assert not has(decision, ch.TasksDelayed)
    assert ids(play.turn()) == ["a", "b"]


def test_what_is_due_at_once_comes_by_priority_and_then_by_its_time() -> None:
    play = Play()
    play.submit(
        task("d", rank=3, due_at=1.0),
        task("c", rank=1, due_at=3.0),
        task("b", rank=1, due_at=2.0),
        task("a", rank=0, due_at=4.0),
    )
    assert ids(play.pass_time(10.0)) == ["a", "b", "c", "d"]


def test_a_task_that_is_due_stands_behind_what_was_ready_before_it() -> None:
    play = Play(capacity=0)
    play.submit(task("a", due_at=1.0), task("b"))
    play.pass_time(2.0)
    play.submit(task("c"))
    play.do(cmd.SetCapacity(10, 9))
    assert ids(play.turn()) == ["b", "a", "c"]


def test_many_that_are_due_at_once_are_read_a_thousand_at_a_time() -> None:
    play = Play(capacity=0)
    play.submit(*(task(f"{n:04}", rank=n % 2, due_at=1.0) for n in range(2_500)))
    play.now, play.wall = 2.0, START + 2.0
    asked = only(play.do(cmd.Tick(play.wall)), fx.LoadDue)
    assert (asked.at, asked.limit) == (START + 2.0, 1_000)
    due = play.store.read_due(asked.at, asked.limit)
    assert {stored.belongs[1] for stored in due.tasks if stored.belongs} == {0}
    assert not has(play.do(cmd.Tick(play.wall)), fx.LoadDue), "it was asked for already"
    decision = play.do(cmd.DueLoaded(asked.at, due.tasks, due.next_due))
    assert len(only(decision, ch.TasksDue).rows) == 1_000
    assert play.wait_s == 0.0, "there are more"
    play.turn()
    assert play.core.state.delays.count == 0
    assert play.core.state.lanes.live == 2_500


def test_beyond_its_window_a_lane_takes_tasks_that_are_due_without_holding_them() -> None:
    play = Play(CoreLimits(window_min=1, window_max=2, window_total=2), capacity=1)
    play.submit(*(task(str(n), due_at=1.0 + n) for n in range(5)))
    leased = play.pass_time(10.0)
    assert len(play.core.state.tasks) < 5
    order = []
    while leased:
        order += ids(leased)
        succeed_into(play, leased)
        leased = play.turn()
    assert order == ["0", "1", "2", "3", "4"]


def succeed_into(play: Play, leased: list[Lease]) -> None:
    play.store.write(succeed(play.core, *leased).changes)
    asyncio.run(play.store.commit())


def test_the_same_submission_again_has_no_effect_while_the_task_is_delayed() -> None:
    play = Play()
    play.submit(task("a", due_at=5.0))
    again = play.submit(task("a", due_at=5.0), task("a", due_at=5.0))
    assert not again.changes
    assert only(again, fx.AcknowledgeSubmit).refused == []
    twice = play.submit(task("b", due_at=5.0), task("b", due_at=5.0))
    assert len(only(twice, ch.TasksDelayed).keys) == 1
    assert play.core.state.delays.count == 2


def test_delayed_tasks_count_against_the_bound_of_live_ones() -> None:
    play = Play(CoreLimits(live_tasks_max=2))
    decision = play.submit(task("a", due_at=5.0), task("b"), task("c"), task("d", due_at=5.0))
    refused = only(decision, fx.AcknowledgeSubmit).refused
    assert [(r.task_id, r.code) for r in refused] == [("c", "overloaded"), ("d", "overloaded")]
    play.cancel("a")
    assert only(play.submit(task("c")), fx.AcknowledgeSubmit).refused == []


def test_on_a_full_disk_a_delayed_task_is_refused_too() -> None:
    play = Play()
    play.do(cmd.DiskSpace(True, 1, 2, "/data"))
    (refused,) = only(play.submit(task("a", due_at=5.0)), fx.AcknowledgeSubmit).refused
    assert refused.code == "disk_full"
    assert play.core.state.delays.count == 0


def test_a_due_task_without_a_lane_waits_a_moment_at_a_time_until_one_is_free() -> None:
    play = Play(CoreLimits(lanes_max=1))
    play.submit(task("a", "mul"), task("b", due_at=1.0))
    (lease,) = play.turn()
    assert play.pass_time(1.0) == []
    assert play.core.state.delays.count == 1
    assert play.wait_s == 1.0
    assert play.pass_time(1.0) == []
    succeed_into(play, [lease])
    assert play.turn() == [], "it is looked for again in a moment"
    assert ids(play.pass_time(1.0)) == ["b"]


def test_while_no_lane_is_free_a_clock_that_is_set_back_forgets_nothing() -> None:
    play = Play(CoreLimits(lanes_max=1))
    play.submit(task("a", "mul"), task("b", due_at=1.0))
    (lease,) = play.turn()
    play.pass_time(4_000.0)
    play.wall -= 3_600.0
    succeed_into(play, [lease])
    assert ids(play.pass_time(1.0)) == ["b"]


def test_cancelling_again_and_again_holds_nobody_off_who_is_due() -> None:
    play = Play(CoreLimits(lanes_max=1))
    play.submit(task("a", "mul"), task("b", "mul", due_at=1.0), task("c", due_at=9_000.0))
    leased = play.turn()
    for _ in range(4):
        answer = only(play.cancel("c"), fx.AnswerCancel).answers["c"]
        assert answer == (False, TaskStatus.SCHEDULED)
        leased += play.pass_time(0.25)
    assert ids(leased) == ["a", "b"]


@pytest.mark.parametrize(("due_at", "wait_s"), [(0.25, 0.25), (3.0, 1.0), (80_000.0, 1.0)])
def test_it_wakes_when_the_next_is_due_and_looks_at_the_clock_each_second(
    due_at: float, wait_s: float
) -> None:
    play = Play()
    play.do(cmd.SessionLost(10))
    play.turn()
    assert play.wait_s is None
    play.submit(task("a", due_at=due_at))
    assert play.wait_s == pytest.approx(wait_s)


def test_a_clock_that_is_set_forward_makes_a_task_due() -> None:
    play = Play()
    play.submit(task("a", due_at=3_600.0))
    play.wall += 3_600.0
    assert ids(play.pass_time(1.0)) == ["a"]


def test_a_clock_that_is_set_back_makes_a_task_wait() -> None:
    play = Play()
    play.submit(task("a", due_at=5.0))
    play.wall -= 3_600.0
    assert play.pass_time(10.0) == []
    assert ids(play.pass_time(3_600.0)) == ["a"]


def test_after_a_restart_what_was_delayed_is_still_due() -> None:
    play = Play()
    play.submit(task("a", due_at=5.0), task("b", due_at=9_000.0))
    play.restart()
    assert play.core.state.delays.count == 2
    assert play.core.state.last_sequence == 2
    assert play.wait_s is not None
    assert play.wait_s <= 0.0, "what came due meanwhile doesn't wait"
    play.connect()
    assert ids(play.pass_time(5.0)) == ["a"]


def test_only_delayed_tasks_are_no_reason_to_pause_after_a_crash() -> None:
    assert not make_core(snapshot=Snapshot(epoch=2, delayed=1, crashed=True)).is_recovering(0.0)


def test_a_watch_of_a_delayed_task_is_told_its_end() -> None:
    play = Play()
    play.submit(task("a", due_at=5.0))
    play.do(cmd.ClientReady(2, "other"))
    watch = play.do(cmd.Watch(2, 1, ["a"], play.store.find_live(["a"])))
    assert only(watch, fx.AnswerWatch).unknown == []
    pushes = [e for e in play.cancel("a").effects if isinstance(e, fx.PushResults)]
    assert {push.session for push in pushes} == {1, 2}


# -- cancelling


@pytest.mark.parametrize("window", [4, 0])
def test_a_delayed_task_is_cancelled_and_never_starts(window: int) -> None:
    play = Play(CoreLimits(window_min=window, window_max=window, window_total=window))
    play.submit(task("a", due_at=5.0))
    decision = play.cancel("a")
    assert only(decision, fx.AnswerCancel).answers == {"a": (True, TaskStatus.CANCELLED)}
    assert play.status("a") is TaskStatus.CANCELLED
    assert not play.store.find_live(["a"])
    assert (play.core.state.delays.count, play.core.state.lanes.live) == (0, 0)
    assert play.pass_time(10.0) == []


def test_a_task_that_waits_to_be_tried_again_is_cancelled() -> None:
    play = Play()
    play.submit(task("a"))
    play.fail(*play.turn())
    assert only(play.cancel("a"), fx.AnswerCancel).answers["a"][0]
    assert play.status("a") is TaskStatus.CANCELLED
    assert play.pass_time(10.0) == []


def test_one_that_is_tried_again_and_has_no_lane_is_said_to_be_retrying() -> None:
    play = Play(CoreLimits(lanes_max=1))
    play.submit(task("a"))
    play.fail(*play.turn())
    play.turn()
    play.submit(task("b", "mul"))
    answers = only(play.cancel("a"), fx.AnswerCancel).answers
    assert answers == {"a": (False, TaskStatus.RETRYING)}


# -- trying again


def test_an_attempt_that_failed_is_followed_by_another_when_its_time_has_come() -> None:
    play = Play()
    play.submit(task("a"))
    (first,) = play.turn()
    decision = play.fail(first, 5.0)
    assert not has(decision, ch.TasksFinished)
    assert has(decision, fx.AcknowledgeReport)
    stored = play.store.find_live(["a"])["a"]
    assert (stored.status, stored.attempt, stored.failures) == (TaskStatus.RETRYING, 1, 1)
    assert play.pass_time(4.9) == []
    (second,) = play.pass_time(0.1)
    assert (second.attempt, second.failures) == (2, 1)
    assert second.token > first.token
    succeed_into(play, [second])
    assert play.store.find_results(["a"])["a"].attempt == 2


def test_each_attempt_that_failed_is_told_of() -> None:
    play = Play()
    play.submit(task("a"))
    for _ in range(2):
        play.fail(*play.pass_time(5.0))
    attempts = play.store.find_attempts("a")
    assert [one.attempt for one in attempts] == [1, 2]
    assert (attempts[0].error, attempts[0].traceback, attempts[0].worker_id) == ("E: x", "tb", "w")
    play.fail(*play.pass_time(5.0), retry_in_s=None)
    assert play.status("a") is TaskStatus.FAILURE
    assert len(play.store.find_attempts("a")) == 2, "the last one is the result"


def test_a_report_under_the_lease_of_a_failed_attempt_is_refused() -> None:
    play = Play()
    play.submit(task("a"))
    (first,) = play.turn()
    play.fail(first)
    assert not play.fail(first).changes
    (second,) = play.pass_time(5.0)
    assert not play.fail(first).changes
    assert not succeed(play.core, first).changes
    assert play.core.state.stale_outcomes == 3
    assert succeed(play.core, second).changes


def test_failures_are_counted_apart_from_crashes() -> None:
    play = Play()
    play.submit(task("a"))
    play.fail(*play.turn())
    play.pass_time(5.0)
    play.do(cmd.SessionLost(10))
    play.pass_time(2.0)
    play.connect()
    (lease,) = play.turn()
    assert (lease.attempt, lease.failures) == (3, 1)
    assert play.core.state.tasks["a"].crashes == 1
    play.fail(lease)
    (lease,) = play.pass_time(5.0)
    assert (lease.attempt, lease.failures) == (4, 2)
    assert play.core.state.tasks["a"].crashes == 1


def test_a_suspect_that_waits_to_be_tried_again_is_still_one() -> None:
    play = Play(CoreLimits(crashes_max=2))
    play.submit(task("a"), task("b"))
    play.turn()
    play.do(cmd.SessionLost(10))
    play.pass_time(2.0)
    play.connect()
    (lease,) = play.turn()
    play.fail(lease)
    (other,) = play.turn()
    assert {lease.task_id, other.task_id} == {"a", "b"}
    assert play.pass_time(5.0) == [], "a suspect waits for an idle subworker"
    succeed_into(play, [other])
    assert ids(play.turn()) == [lease.task_id]


def test_a_task_that_is_to_run_at_most_once_is_tried_again_if_it_failed_by_itself() -> None:
    play = Play()
    play.connect(names="m")
    play.submit(task("a", "m"))
    (first,) = play.turn()
    assert play.core.state.tasks["a"].at_most_once
    play.fail(first)
    (second,) = play.pass_time(5.0)
    assert second.failures == 1
    play.do(cmd.SessionLost(10))
    play.pass_time(2.0)
    assert play.status("a") is TaskStatus.FAILURE
    assert play.error("a").startswith("LeaseLost: ")


def test_a_task_that_gives_up_by_itself_is_cancelled_and_not_tried_again() -> None:
    play = Play()
    play.submit(task("a"))
    (lease,) = play.turn()
    outcome = Outcome("a", lease.token, False, 1.0, 2.0, None, "Cancel: no", cancelled=True)
    play.do(cmd.Report(10, 1, [outcome], play.wall))
    assert play.status("a") is TaskStatus.CANCELLED
    assert play.error("a") == "Cancel: no"


def test_a_subworker_that_still_names_a_task_that_is_delayed_is_told_to_drop_it() -> None:
    play = Play()
    play.submit(task("a"))
    (lease,) = play.turn()
    play.fail(lease)
    play.restart()
    held = HeldLease("a", lease.token, 1)
    named = cmd.WorkerReady(
        11, "w", "w", frozenset({"add"}), 9, [held], play.store.find_live(["a"])
    )
    decision = play.do(named)
    assert list(only(decision, fx.RevokeLeases).task_ids) == ["a"]
    assert play.core.state.delays.count == 1


def test_a_lease_of_a_failed_attempt_is_never_adopted_when_the_task_is_ready_again() -> None:
    stored = cmd.StoredTask((1 << 44) | 9, "a", "c", 1, 0, 0, 0.0, 2, failures=1)
    core = make_core(snapshot=Snapshot(epoch=2, lanes=[(1, "default", 2, "add", 1)]))
    old = HeldLease("a", fencing_token(1, 7), 1)
    decision = connect_worker(core, held=(old,), stored={"a": stored})
    assert list(only(decision, fx.RevokeLeases).task_ids) == ["a"]
    new = HeldLease("a", fencing_token(1, 8), 2)
    decision = connect_worker(core, 11, held=(new,), stored={"a": stored})
    assert not has(decision, fx.RevokeLeases)
    assert core.state.tasks["a"].failures == 1


# -- expiry


def test_a_queued_task_that_expires_is_cancelled_and_says_so() -> None:
    play = Play(capacity=0)
    play.submit(task("a", expires_at=START + 5.0), task("b"))
    play.pass_time(4.9)
    assert play.wait_s == pytest.approx(0.1)
    play.pass_time(0.1)
    assert play.status("a") is TaskStatus.CANCELLED
    assert play.error("a").startswith("Expired: ")
    assert set(play.core.state.tasks) == {"b"}
    assert play.core.state.delays.next_expiry == math.inf
    assert not play.store._tables.expiries


def test_an_expired_task_is_told_to_its_client_and_to_who_watches() -> None:
    play = Play(capacity=0)
    play.submit(task("a", due_at=5.0, expires_at=START + 1.0))
    connect_client(play.core, 2, "other")
    play.do(cmd.Watch(2, 1, ["a"], play.store.find_live(["a"])))
    play.now, play.wall = 1.0, START + 1.0
    play.answer(play.do(cmd.Tick(play.wall)))
    (told,) = play.told
    pushes = [e for e in play.do(told).effects if isinstance(e, fx.PushResults)]
    assert {push.session for push in pushes} == {1, 2}


def test_a_delayed_task_that_expires_is_cancelled_at_that_time_and_not_when_it_is_due() -> None:
    play = Play()
    play.submit(task("a", due_at=60.0, expires_at=START + 5.0))
    play.pass_time(5.0)
    assert play.status("a") is TaskStatus.CANCELLED
    assert play.core.state.delays.count == 0
    assert play.core.state.lanes.live == 0


def test_a_spilled_task_that_expires_is_cancelled() -> None:
    play = Play(CoreLimits(window_min=1, window_max=1, window_total=1), capacity=0)
    play.submit(task("a"), task("b"), task("c", expires_at=START + 5.0), task("d"))
    assert "c" not in play.core.state.tasks
    play.pass_time(5.0)
    assert play.status("c") is TaskStatus.CANCELLED
    assert play.core.state.lanes.live == 3
    play.do(cmd.SetCapacity(10, 9))
    assert ids(play.turn()) == ["a", "b", "d"]


def test_a_task_that_is_due_and_expired_at_once_ends_once() -> None:
    play = Play()
    play.submit(
        task("a", due_at=1.0, expires_at=START + 2.0), task("b", due_at=1.0), task("c", due_at=3.0)
    )
    assert ids(play.pass_time(10.0)) == ["b", "c"]
    assert play.status("a") is TaskStatus.CANCELLED
    assert play.core.state.lanes.live == 2
    assert play.core.state.delays.count == 0


def test_what_runs_when_it_expires_runs_on() -> None:
    play = Play()
    play.submit(task("a", expires_at=START + 5.0))
    leased = play.turn()
    play.pass_time(10.0)
    succeed_into(play, leased)
    assert play.status("a") is TaskStatus.SUCCESS


def test_one_that_ran_and_failed_isnt_tried_again_after_it_has_expired() -> None:
    play = Play()
    play.submit(task("a", expires_at=START + 5.0))
    leased = play.turn()
    play.pass_time(6.0)
    play.fail(*leased)
    assert play.pass_time(5.0) == []
    assert play.error("a").startswith("Expired: ")


def test_one_whose_subworker_died_isnt_leased_again_after_it_has_expired() -> None:
    play = Play()
    play.submit(task("a", expires_at=START + 5.0))
    play.turn()
    play.pass_time(6.0)
    play.do(cmd.SessionLost(10))
    play.pass_time(2.0)
    play.connect()
    assert play.turn() == []
    assert play.error("a").startswith("Expired: ")


def test_a_suspect_isnt_leased_again_after_it_has_expired() -> None:
    play = Play(CoreLimits(crashes_max=2))
    play.submit(task("a", expires_at=START + 5.0))
    play.turn()
    play.pass_time(6.0)
    play.do(cmd.SessionLost(10))
    play.pass_time(2.0)
    play.connect()
    assert play.turn() == []
    assert play.error("a").startswith("Expired: ")
    assert not play.core.state.suspects


def test_a_task_that_has_expired_when_it_is_submitted_never_starts() -> None:
    play = Play()
    play.submit(task("a", expires_at=START))
    assert play.turn() == []
    assert play.status("a") is TaskStatus.CANCELLED


def test_many_that_expire_at_once_are_cancelled_a_thousand_at_a_time() -> None:
    play = Play(CoreLimits(window_max=16, window_total=16, retained_max=9_000), capacity=0)
    play.submit(*(task(f"{n:04}", expires_at=START + 1.0) for n in range(2_500)))
    play.now, play.wall = 2.0, START + 2.0
    asked = only(play.do(cmd.Tick(play.wall)), fx.LoadExpired)
    assert asked.limit == 1_000
    rows, next_expiry = play.store.read_expired(asked.at, asked.limit)
    stored = play.store.find_live(i for _, i in rows if not play.core.holds(i))
    decision = play.do(cmd.ExpiredLoaded(asked.at, rows, stored, next_expiry))
    assert len(only(decision, ch.TasksFinished).keys) == 1_000
    assert play.wait_s == 0.0, "there are more"
    play.turn()
    assert play.core.state.lanes.live == 0
    assert not play.core.state.tasks


def test_after_a_restart_what_has_expired_meanwhile_never_starts() -> None:
    play = Play(capacity=0)
    play.submit(task("a", expires_at=START + 5.0), task("b", due_at=1.0, expires_at=START + 5.0))
    play.wall += 60.0
    play.restart()
    play.connect()
    assert play.turn() == []
    assert {play.status("a"), play.status("b")} == {TaskStatus.CANCELLED}


def test_the_options_travel_with_the_lease() -> None:
    core = make_core()
    connect_worker(core)
    options = TaskOptions(retries=7, backoff_s=2.0)
    new = NewTask("a", "add", 2, 0, b"[]", options=options)
    core.apply(cmd.Submit(1, 1, "c", START, [new, new_task("b")]), 0.0)
    first, second = leases(core.apply(cmd.Tick(START), 0.0))
    assert (first.options, first.failures, second.options) == (options, 0, None)
