"""Who gets which task, and which outcomes count."""

from __future__ import annotations

from tests.unit.core.builders import (
    connect_client,
    connect_worker,
    has,
    leases,
    make_core,
    new_task,
    only,
    submit,
    succeed,
    tick,
)

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.records import HeldLease, Outcome, fencing_token
from fastqueue.core.state import LeasedRow, Snapshot
from fastqueue.tasks.models import TaskStatus


def test_priorities_are_strict_and_each_is_first_in_first_out() -> None:
    core = make_core()
    ranks = {"a": 3, "b": 0, "c": 2, "d": 0, "e": 1}
    submit(core, *(new_task(task_id, rank=rank) for task_id, rank in ranks.items()))
    connect_worker(core)
    assert [lease.task_id for lease in leases(tick(core))] == ["b", "d", "e", "c", "a"]


def test_tasks_of_several_names_keep_one_order() -> None:
    core = make_core()
    names = ["add", "mul", "add", "mul", "mul", "add"]
    submit(core, *(new_task(str(n), name=name) for n, name in enumerate(names)))
    connect_worker(core, names=("add", "mul"))
    assert [lease.task_id for lease in leases(tick(core))] == list("012345")


def test_a_subworker_gets_only_what_it_offers() -> None:
    core = make_core()
    submit(core, new_task("a", name="mul"), new_task("b"))
    connect_worker(core, names=("add",))
    assert [lease.task_id for lease in leases(tick(core))] == ["b"]


def test_the_least_loaded_subworker_comes_first() -> None:
    core = make_core()
    connect_worker(core, 10, instance="small", capacity=2)
    connect_worker(core, 11, instance="large", capacity=6)
    submit(core, *(new_task(str(n)) for n in range(4)))
    decision = tick(core)
    counts = {e.session: len(e.leases) for e in decision.effects if isinstance(e, fx.SendLeases)}
    assert counts == {10: 1, 11: 3}


def test_no_more_is_leased_than_there_is_capacity_for() -> None:
    core = make_core()
    connect_worker(core, capacity=2)
    submit(core, *(new_task(str(n)) for n in range(5)))
    assert len(leases(tick(core))) == 2
    assert not leases(tick(core))


def test_a_report_records_the_result_and_pushes_it_to_the_submitter() -> None:
    core = make_core()
    connect_client(core)
    connect_worker(core)
    submit(core, new_task("a"))
    decision = succeed(core, *leases(tick(core)))
    (result,) = only(decision, ch.TasksFinished).results
    assert (result.task_id, result.status, result.attempt) == ("a", TaskStatus.SUCCESS, 1)
    assert only(decision, fx.PushResults).session == 1
    assert only(decision, fx.AcknowledgeReport).sequence == 1


def test_a_second_report_of_the_same_lease_changes_nothing() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    (lease,) = leases(tick(core))
    succeed(core, lease)
    again = succeed(core, lease)
    assert not again.changes
    assert has(again, fx.AcknowledgeReport)


def test_a_report_under_a_token_that_is_not_valid_is_refused() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    (lease,) = leases(tick(core))
    outcome = Outcome("a", lease.token - 1, True, 0.0, 0.0, b"2")
    assert not core.apply(cmd.Report(10, 1, [outcome], 1000.0), 0.0).changes
    assert core.state.stale_outcomes == 1


def test_tasks_of_a_lost_subworker_go_to_another_after_its_grace_time() -> None:
    core = make_core()
    connect_worker(core, 10, instance="first")
    submit(core, new_task("a"))
    (lease,) = leases(tick(core))
    core.apply(cmd.SessionLost(10), 5.0)
    connect_worker(core, 11, instance="second", now=5.0)
    assert not leases(tick(core, 5.5))
    decision = tick(core, 6.0)
    (second,) = leases(decision)
    assert second.attempt == 2
    assert second.token > lease.token
    assert only(decision, ch.LeasesLost).rows[0][:2] == (1, 1)
    late = Outcome("a", lease.token, True, 0.0, 0.0, b"late")
    assert not core.apply(cmd.Report(11, 1, [late], 1000.0), 6.0).changes


def test_a_subworker_that_returns_in_time_keeps_what_it_runs() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    (lease,) = leases(tick(core))
    core.apply(cmd.SessionLost(10), 0.0)
    connect_worker(core, 12, held=(HeldLease("a", lease.token, 1),))
    tick(core, 60.0)
    decision = succeed(core, lease, session=12)
    assert only(decision, ch.TasksFinished).results[0].attempt == 1


def test_a_lease_that_never_arrived_is_made_again_without_spending_an_attempt() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    tick(core)
    core.apply(cmd.SessionLost(10), 0.0)
    connect_worker(core, 12, held=())
    (again,) = leases(tick(core))
    assert again.attempt == 1


def test_giving_back_spends_no_attempt_and_keeps_the_order() -> None:
    core = make_core()
    connect_worker(core, capacity=2)
    submit(core, *(new_task(task_id) for task_id in "abc"))
    first, second = leases(tick(core))
    core.apply(cmd.SetCapacity(10, 0), 0.0)
    held = [HeldLease(lease.task_id, lease.token) for lease in (second, first)]
    core.apply(cmd.GiveBack(10, held), 0.0)
    core.apply(cmd.SetCapacity(10, 3), 0.0)
    again = leases(tick(core))
    assert [(lease.task_id, lease.attempt) for lease in again] == [("a", 1), ("b", 1), ("c", 1)]


def _restarted(stored: cmd.StoredTask, *, leased: bool) -> Snapshot:
    return Snapshot(
        epoch=2,
        lanes=[(1, "default", 2, "add", 1)],
        leased=[LeasedRow(1, stored)] if leased else [],
    )


def test_after_a_restart_the_subworker_that_still_runs_a_task_is_adopted() -> None:
    token = fencing_token(1, 7)
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 0, 0, 0, 0.0, 2, None, token, "w")
    core = make_core(snapshot=_restarted(stored, leased=True))
    connect_worker(core, held=(HeldLease("a", token, 1),))
    assert not leases(tick(core, 60.0))
    assert core.state.tasks["a"].attempt == 1


def test_a_lease_that_was_never_written_is_adopted_too() -> None:
    token = fencing_token(1, 7)
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 0, 0, 0, 0.0, 2)
    core = make_core(snapshot=_restarted(stored, leased=False))
    decision = connect_worker(core, held=(HeldLease("a", token, 1),), stored={"a": stored})
    assert core.state.tasks["a"].token == token
    assert not has(decision, fx.RevokeLeases)


def test_a_lease_that_was_declared_lost_is_never_adopted() -> None:
    token = fencing_token(1, 7)
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 1, 1, 0, 0.0, 2)  # attempt 1 is spent
    core = make_core(snapshot=_restarted(stored, leased=False))
    decision = connect_worker(core, held=(HeldLease("a", token, 1),), stored={"a": stored})
    assert list(only(decision, fx.RevokeLeases).task_ids) == ["a"]


def test_after_a_crash_nothing_is_leased_until_subworkers_had_time_to_come_back() -> None:
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 0, 0, 0, 0.0, 2)
    lanes = [(1, "default", 2, "add", 1)]
    core = make_core(snapshot=Snapshot(epoch=2, lanes=lanes, crashed=True))
    connect_worker(core)
    refill = only(tick(core), fx.Refill)
    core.apply(cmd.Loaded(refill.lane_id, [stored], exhausted=True), 0.0)
    assert not leases(tick(core, 0.9))
    assert core.next_due() == 1.0
    assert len(leases(tick(core, 1.0))) == 1


def test_after_a_stop_in_order_or_with_nothing_to_run_there_is_no_pause() -> None:
    core = make_core(snapshot=Snapshot(epoch=2, crashed=True))
    connect_worker(core)
    submit(core, new_task("a"))
    assert len(leases(tick(core))) == 1


def test_a_task_whose_subworker_stays_away_after_a_restart_is_leased_again() -> None:
    token = fencing_token(1, 7)
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 0, 0, 0, 0.0, 2, None, token, "gone")
    core = make_core(snapshot=_restarted(stored, leased=True))
    connect_worker(core, instance="other")
    assert not leases(tick(core, 4.9))
    (lease,) = leases(tick(core, 5.1))
    assert lease.attempt == 2


def test_the_same_subworker_on_a_second_connection_ends_the_first() -> None:
    core = make_core()
    connect_worker(core, 10)
    decision = connect_worker(core, 11)
    assert only(decision, fx.CloseSession).session == 10
    assert core.state.workers.connected == 1


def test_a_name_that_nobody_offers_waits() -> None:
    core = make_core()
    submit(core, new_task("a", name="nope"))
    assert not tick(core, 60.0).changes
