"""What tasks tell of themselves, who hears it, and what of it is kept."""

from __future__ import annotations

from tests.unit.core.builders import (
    connect_client,
    connect_worker,
    leases,
    make_core,
    new_task,
    only,
    submit,
    succeed,
    tick,
)

from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.decision import Decision
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Happening, HeldLease, Lease, News, Outcome, ProgressRecord
from fastqueue.tasks.models import TaskStatus


def follow(core: Core, task_id: str, *, session: int = 1, ends: bool = False) -> fx.AnswerFollow:
    return only(core.apply(cmd.Follow(session, 9, task_id, ends), 0.0), fx.AnswerFollow)


def tell(core: Core, lease: Lease, *lines: str, first: int = 0, done: float | None = None) -> None:
    progress = None if done is None else ProgressRecord(done)
    news = News(lease.task_id, lease.token, progress, first, list(lines))
    core.apply(cmd.Tell(10, [news]), 0.0)


def told(decision: Decision) -> list[Happening]:
    return [e.happening for e in decision.effects if isinstance(e, fx.TellFollowers)]


def running(core: Core, *ids: str) -> list[Lease]:
    connect_client(core)
    submit(core, *(new_task(task_id) for task_id in ids))
    connect_worker(core)
    return leases(tick(core))


def test_a_follower_is_told_how_things_stand_and_each_change() -> None:
    core = make_core()
    connect_client(core)
    submit(core, new_task("a"))
    assert follow(core, "a").happening == Happening("a", 0, TaskStatus.QUEUED)
    connect_worker(core)
    decision = tick(core)
    (lease,) = leases(decision)
    assert told(decision) == [Happening("a", 1, TaskStatus.RUNNING, token=lease.token)]
    core.apply(cmd.GiveBack(10, [HeldLease("a", lease.token, 1)]), 0.0)
    core.apply(cmd.SetCapacity(10, 0), 0.0)
    assert told(tick(core)) == [Happening("a", 0, TaskStatus.QUEUED)]


def test_a_task_that_is_tried_again_says_so() -> None:
    core = make_core()
    (lease,) = running(core, "a")
    follow(core, "a")
    outcome = Outcome("a", lease.token, False, 1.0, 2.0, error="E", retry_in_s=100.0)
    core.apply(cmd.Report(10, 1, [outcome], 1000.0), 0.0)
    assert told(tick(core)) == [Happening("a", 1, TaskStatus.RETRYING)]


def test_lines_come_before_the_progress_and_the_latest_progress_wins() -> None:
    core = make_core()
    (lease,) = running(core, "a")
    follow(core, "a")
    tell(core, lease, "x", done=1.0)
    tell(core, lease, "y", first=1, done=2.0)
    happenings = told(tick(core))
    assert [h.lines for h in happenings] == [["x"], ["y"], []]
    assert [h.first_line for h in happenings[:2]] == [0, 1]
    assert happenings[2].progress == ProgressRecord(2.0)
    assert told(tick(core)) == []


def test_what_comes_with_the_outcome_is_told_before_the_result() -> None:
    core = make_core()
    (lease,) = running(core, "a")
    follow(core, "a")
    tell(core, lease, "last words")
    succeed(core, lease)
    assert [h.lines for h in told(tick(core))] == [["last words"]]
    assert not core.state.followed.followers
    assert not core.state.followed.told


def test_who_comes_late_is_told_the_last_lines_and_the_progress() -> None:
    core = make_core(CoreLimits(told_lines_max=2))
    (lease,) = running(core, "a")
    tell(core, lease, "0", "1", "2", done=3.0)
    happening = follow(core, "a").happening
    assert happening is not None
    assert (happening.first_line, happening.lines) == (1, ["1", "2"])
    assert happening.progress == ProgressRecord(3.0)


def test_what_a_void_lease_tells_is_not_taken() -> None:
    core = make_core()
    (lease,) = running(core, "a")
    stale = Lease("a", lease.token - 1, 1, "add", 2, 0, False)
    tell(core, stale, "x", done=1.0)
    assert not core.state.followed.told


def test_a_query_and_an_inspection_tell_the_progress() -> None:
    core = make_core()
    (lease,) = running(core, "a")
    tell(core, lease, done=4.0)
    answer = only(core.apply(cmd.Query(1, 3, ["a"]), 0.0), fx.AnswerQuery)
    assert answer.live["a"].progress == ProgressRecord(4.0)
    inspected = only(core.apply(cmd.Inspect(1, 3, "tasks", ["a"]), 0.0), fx.AnswerInspect)
    assert inspected.answer["a"]["progress"]["done"] == 4.0


def test_memory_is_bounded_whoever_told_last_is_kept() -> None:
    core = make_core(CoreLimits(told_max=2, told_bytes_max=10))
    first, second, third = running(core, "a", "b", "c")
    for lease in (first, second, third):
        tell(core, lease, done=1.0)
    assert list(core.state.followed.told) == ["b", "c"]
    tell(core, second, "x" * 8)
    tell(core, third, "y" * 8)
    assert list(core.state.followed.told) == ["c"]
    assert core.state.followed.lines_bytes == 9


def test_a_session_follows_a_bounded_number_of_tasks() -> None:
    core = make_core(CoreLimits(followed_max=1))
    running(core, "a", "b")
    assert not follow(core, "a").refused
    assert not follow(core, "a").refused
    assert "1 tasks" in follow(core, "b").refused
    follow(core, "a", ends=True)
    assert not follow(core, "b").refused


def test_a_session_that_ends_follows_nothing() -> None:
    core = make_core()
    running(core, "a")
    follow(core, "a")
    core.apply(cmd.SessionLost(1), 0.0)
    assert not core.state.followed.followers
    assert not core.state.followed.by_session


def test_a_task_that_is_not_live_is_not_followed() -> None:
    core = make_core()
    connect_client(core)
    assert follow(core, "nothing").happening is None
    assert not core.state.followed.followers
