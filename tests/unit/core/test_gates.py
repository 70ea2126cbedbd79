"""How many run at once, and begin in a time."""

from __future__ import annotations

import pytest
from tests.unit.core.builders import leases, make_core, only, submit, succeed, tick
from tests.unit.core.test_shares import connect, task

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core.core import Core
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import LimitId, RateMark, RunLimit
from fastqueue.core.state import Snapshot

PER_SECOND = RunLimit(LimitId("task", "add"), None, 1.0)


def set_limit(core: Core, limit: RunLimit) -> None:
    core.apply(cmd.SetRunLimit(1, 1, limit), 0.0)


@pytest.mark.parametrize(
    ("limit_id", "expected"),
    [
        (LimitId("task", "add"), 2),
        (LimitId("queue", "default"), 2),
        (LimitId("key", "a"), 2 + 3 + 3),
        (LimitId("task", "add", is_each=True), 2 + 2 + 3),
        (LimitId("queue", "default", is_each=True), 2 + 2 + 3),
    ],
)
def test_no_more_run_at_once_than_a_limit_lets(limit_id: LimitId, expected: int) -> None:
    core = make_core()
    set_limit(core, RunLimit(limit_id, 2))
    for key in ("a", "b", ""):
        submit(core, *(task(f"{key}{n}", key=key) for n in range(3)))
    connect(core, 100)
    assert len(leases(tick(core))) == expected


def test_the_end_of_a_task_lets_the_next_one_begin() -> None:
    core = make_core()
    set_limit(core, RunLimit(LimitId("task", "add", is_each=True), 1))
    submit(core, task("a0", key="a"), task("a1", key="a"))
    connect(core, 10)
    [first] = leases(tick(core))
    assert leases(tick(core)) == []
    succeed(core, first)
    assert [lease.task_id for lease in leases(tick(core))] == ["a1"]


def test_a_crash_of_who_holds_a_limit_frees_its_place() -> None:
    core = make_core(CoreLimits(session_grace_s=1.0))
    set_limit(core, RunLimit(LimitId("key", "a"), 1))
    submit(core, task("a0", key="a"), task("a1", key="a"))
    connect(core, 10)
    assert [lease.task_id for lease in leases(tick(core))] == ["a0"]
    core.apply(cmd.SessionLost(10), 1.0)
    connect(core, 10, session=11)
    assert leases(tick(core, 1.5)) == []
    # Given up, the task waits again at its place.
    assert [lease.task_id for lease in leases(tick(core, 2.5))] == ["a0"]


def test_a_limit_that_is_set_counts_what_runs_already() -> None:
    core = make_core()
    submit(core, *(task(str(n)) for n in range(3)))
    connect(core, 2)
    running = leases(tick(core))
    set_limit(core, RunLimit(LimitId("task", "add"), 2))
    core.apply(cmd.SetCapacity(10, 10), 0.0)
    assert leases(tick(core)) == []
    succeed(core, running[0])
    assert len(leases(tick(core))) == 1


def test_a_limit_that_is_removed_holds_nothing_back() -> None:
    core = make_core()
    set_limit(core, RunLimit(LimitId("task", "add", is_each=True), 1))
    submit(core, *(task(f"a{n}", key="a") for n in range(3)))
    connect(core, 10)
    assert len(leases(tick(core))) == 1
    assert leases(tick(core)) == []
    removed = core.apply(cmd.RemoveRunLimit(1, 1, LimitId("task", "add", is_each=True)), 0.0)
    assert only(removed, ch.RunLimitRemoved).is_defined is False
    assert len(leases(tick(core))) == 2


def test_a_rate_lets_one_begin_at_a_time_evenly() -> None:
    core = make_core()
    set_limit(core, PER_SECOND)
    submit(core, *(task(str(n)) for n in range(3)))
    connect(core, 10)
    assert len(leases(tick(core, 0.0))) == 1
    assert core.next_due() == 1.0
    assert leases(tick(core, 0.9)) == []
    assert len(leases(tick(core, 1.0))) == 1
    assert leases(tick(core, 1.5)) == []
    assert len(leases(tick(core, 5.0))) == 1


def test_a_burst_begins_at_once_after_a_pause() -> None:
    core = make_core()
    set_limit(core, RunLimit(LimitId("task", "add"), None, 1.0, 3))
    submit(core, *(task(str(n)) for n in range(8)))
    connect(core, 10)
    assert len(leases(tick(core, 0.0))) == 3
    assert len(leases(tick(core, 1.0))) == 1
    assert len(leases(tick(core, 60.0))) == 3


def test_each_fair_key_has_its_own_rate() -> None:
    core = make_core()
    set_limit(core, RunLimit(LimitId("task", "add", is_each=True), None, 1.0))
    for key in "ab":
        submit(core, *(task(f"{key}{n}", key=key) for n in range(2)))
    connect(core, 10)
    assert {lease.task_id for lease in leases(tick(core, 0.0))} == {"a0", "b0"}
    assert leases(tick(core, 0.5)) == []
    assert {lease.task_id for lease in leases(tick(core, 1.0))} == {"a1", "b1"}


def test_a_restart_gives_nobody_a_full_bucket() -> None:
    core = make_core()
    set_limit(core, PER_SECOND)
    submit(core, task("a"))
    connect(core, 10)
    [mark] = only(tick(core), ch.RatesSpent).marks
    assert mark == RateMark(LimitId("task", "add"), "", 1001.0)
    # Half a second later, by the wall clock.
    snapshot = Snapshot(
        epoch=2, run_limits=[PER_SECOND], rate_marks=[mark._replace(full_at=mark.full_at - 1000.5)]
    )
    again = make_core(snapshot=snapshot)
    submit(again, task("b"))
    connect(again, 10)
    assert leases(tick(again, 0.4)) == []
    assert len(leases(tick(again, 0.5))) == 1


def test_a_clock_that_was_set_back_empties_no_bucket_for_hours() -> None:
    mark = RateMark(LimitId("task", "add"), "", 3600.0)
    core = make_core(snapshot=Snapshot(epoch=2, run_limits=[PER_SECOND], rate_marks=[mark]))
    submit(core, task("a"))
    connect(core, 10)
    assert len(leases(tick(core, 1.0))) == 1


def test_what_a_definition_says_holds_until_somebody_sets_another_limit() -> None:
    core = make_core()
    defined = RunLimit(LimitId("task", "add"), 1)

    def ready(session: int, *limits: RunLimit) -> None:
        command = cmd.WorkerReady(
            session, f"w{session}", "w", frozenset({"add"}), 10, run_limits=limits
        )
        core.apply(command, 0.0)

    submit(core, *(task(str(n)) for n in range(9)))
    ready(10, defined)
    assert len(leases(tick(core))) == 1
    set_limit(core, RunLimit(LimitId("task", "add"), 3))
    assert len(leases(tick(core))) == 2
    core.apply(cmd.RemoveRunLimit(1, 1, LimitId("task", "add")), 0.0)
    assert leases(tick(core)) == []
    # A newer version of the definition says no limit any more.
    ready(11)
    assert len(leases(tick(core))) == 6


def test_a_rate_that_is_raised_holds_nobody_to_the_old_one() -> None:
    core = make_core()
    set_limit(core, RunLimit(LimitId("task", "add"), None, 1 / 3600))
    submit(core, task("a"), task("b"))
    connect(core, 10)
    assert len(leases(tick(core))) == 1
    set_limit(core, RunLimit(LimitId("task", "add"), None, 10.0))
    assert len(leases(tick(core, 0.1))) == 1


def test_full_buckets_of_keys_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastqueue.core.gates._KEPT_MAX", 5)
    core = make_core(CoreLimits(lanes_idle_max=2))
    set_limit(core, RunLimit(LimitId("task", "add", is_each=True), None, 1000.0))
    connect(core, 10)
    for n in range(100):
        submit(core, task(str(n), key=f"k{n}"))
        succeed(core, *leases(tick(core, float(n))), now=float(n))
    assert len(core.state.gates._full_at) < 30


def test_no_more_limits_are_set_than_the_bound_lets() -> None:
    core = make_core(CoreLimits(run_limits_max=1))
    set_limit(core, PER_SECOND)
    decision = core.apply(cmd.SetRunLimit(1, 2, RunLimit(LimitId("queue", "q"), 1)), 0.0)
    assert not decision.changes
