"""A task that kills its subworker is found out, and the others go through."""

from __future__ import annotations

from tests.unit.core.builders import (
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
from fastqueue.core.core import Core
from fastqueue.core.decision import Decision
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Lease, Outcome
from fastqueue.core.state import Snapshot
from fastqueue.tasks.models import TaskStatus


class Fleet:
    """Play one subworker that dies and is replaced, on a clock that moves past its grace time."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.now = 0.0
        self.session = 100
        connect_worker(core, self.session, instance=str(self.session))

    def die(self) -> list[Lease]:
        self.core.apply(cmd.SessionLost(self.session), self.now)
        self.now += 2.0
        self.session += 1
        connect_worker(self.core, self.session, instance=str(self.session), now=self.now)
        self.last = tick(self.core, self.now)
        return leases(self.last)


def test_the_first_crash_is_nobodys_fault() -> None:
    core = make_core()
    fleet = Fleet(core)
    submit(core, new_task("a"), new_task("b"))
    tick(core)
    assert {lease.task_id for lease in fleet.die()} == {"a", "b"}


def test_after_the_second_crash_each_is_run_alone_and_the_innocent_goes_through() -> None:
    core = make_core()
    fleet = Fleet(core)
    submit(core, new_task("innocent"), new_task("poison"))
    tick(core)
    fleet.die()
    (first,) = fleet.die()
    assert first.task_id == "innocent"
    assert not leases(tick(core, fleet.now)), "nothing runs beside a suspect"
    submit(core, new_task("other"))
    assert not leases(tick(core, fleet.now))
    succeed(core, first, session=fleet.session)
    (second,) = leases(tick(core, fleet.now))
    assert second.task_id == "poison"
    (third,) = fleet.die()
    assert third.task_id == "other"
    (result,) = only(fleet.last, ch.TasksFinished).results
    assert (result.task_id, result.status) == ("poison", TaskStatus.FAILURE)
    assert result.error is not None
    assert result.error.startswith("TaskQuarantined: ")
    assert [task_id for _, task_id in only(fleet.last, fx.TellWorkerLost).quarantined] == ["poison"]


def test_with_two_crashes_allowed_a_task_is_run_alone_after_the_first() -> None:
    core = make_core(CoreLimits(crashes_max=2))
    fleet = Fleet(core)
    submit(core, new_task("innocent"), new_task("poison"))
    tick(core)
    (first,) = fleet.die()
    assert first.task_id == "innocent"
    succeed(core, first, session=fleet.session)
    (second,) = leases(tick(core, fleet.now))
    assert second.task_id == "poison"
    fleet.die()
    (result,) = only(fleet.last, ch.TasksFinished).results
    assert result.task_id == "poison"
    assert "died each of the 2 times" in str(result.error)


def test_with_one_crash_allowed_it_is_the_last() -> None:
    core = make_core(CoreLimits(crashes_max=1))
    fleet = Fleet(core)
    submit(core, new_task("a"), new_task("b"))
    assert len(leases(tick(core))) == 2, "nothing is a suspect before it was in a crash"
    assert not fleet.die()
    results = only(fleet.last, ch.TasksFinished).results
    assert {result.task_id for result in results} == {"a", "b"}
    assert "times" not in str(results[0].error)


def test_however_many_crashes_are_allowed_a_task_is_run_alone_after_two() -> None:
    core = make_core(CoreLimits(crashes_max=9))
    fleet = Fleet(core)
    submit(core, new_task("a"), new_task("b"))
    tick(core)
    assert len(fleet.die()) == 2
    for _ in range(7):
        assert [lease.task_id for lease in fleet.die()] == ["a"]
    assert [lease.task_id for lease in fleet.die()] == ["b"]
    assert only(fleet.last, ch.TasksFinished).results[0].task_id == "a"


def test_a_busy_subworker_is_kept_free_for_a_suspect_and_others_go_on_elsewhere() -> None:
    core = make_core()
    fleet = Fleet(core)
    submit(core, new_task("suspect"))
    tick(core)
    fleet.die()
    connect_worker(core, 1, instance="small", capacity=4)
    connect_worker(core, 2, instance="large", capacity=40)
    core.apply(cmd.SessionLost(fleet.session), fleet.now)
    submit(core, *(new_task(f"x{n}") for n in range(4)))
    tick(core, fleet.now)
    fleet.now += 2.0
    submit(core, *(new_task(f"y{n}") for n in range(8)))
    decision = tick(core, fleet.now)
    assert "suspect" not in {lease.task_id for lease in leases(decision)}
    reserved = core.state.reserved
    assert reserved is not None
    sessions = {e.session for e in decision.effects if isinstance(e, fx.SendLeases)}
    assert sessions == {3 - reserved.session}, "the other one gets all of the rest"


def crash(core: Core, *given: Lease, session: int = 10) -> Decision:
    how = "was killed by SIGKILL"
    outcomes = [
        Outcome(g.task_id, g.token, False, 1.0, 2.0, error=how, crashed=True) for g in given
    ]
    return core.apply(cmd.Report(session, 1, outcomes, 1000.0), 0.0)


def test_a_task_whose_own_process_died_is_leased_again_beside_others() -> None:
    core = make_core(CoreLimits(crashes_max=9))
    connect_worker(core)
    submit(core, new_task("a"), new_task("b"))
    first = {lease.task_id: lease for lease in leases(tick(core))}
    again = first["a"]
    for attempt in (2, 3, 4):
        spent = attempt - 1
        lost = only(crash(core, again), ch.LeasesLost)
        assert lost.rows == [(spent, spent, core.state.tasks["a"].key)]
        [again] = leases(tick(core))
        assert (again.task_id, again.attempt) == ("a", attempt)
    assert core.state.tasks["b"].token == first["b"].token
    assert core.state.tasks["b"].crashes == 0
    assert not core.state.suspects


def test_a_task_that_kills_its_own_process_again_and_again_is_quarantined() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    for _ in range(2):
        assert not has(crash(core, *leases(tick(core))), ch.TasksFinished)
    last = crash(core, *leases(tick(core)))
    [result] = only(last, ch.TasksFinished).results
    assert (result.status, result.attempt) == (TaskStatus.FAILURE, 3)
    assert result.error == (
        "TaskQuarantined: the process died each of the 3 times that this task was running in it, "
        "the last time it was killed by SIGKILL; it isn't run again"
    )
    assert only(last, fx.TellQuarantined).tasks == [("add", "a")]
    assert only(last, fx.AcknowledgeReport).sequence == 1


def test_a_task_to_be_run_at_most_once_fails_when_its_own_process_dies() -> None:
    core = make_core()
    core.apply(
        cmd.WorkerReady(
            10, "w", "w", frozenset({"add"}), 10, (), {}, at_most_once=frozenset({"add"})
        ),
        0.0,
    )
    submit(core, new_task("a"))
    last = crash(core, *leases(tick(core)))
    [result] = only(last, ch.TasksFinished).results
    assert str(result.error).startswith("LeaseLost: the process was killed by SIGKILL while")
    assert not core.state.tasks


def test_a_task_whose_own_process_dies_while_it_is_cancelled_is_not_run_again() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    [lease] = leases(tick(core))
    core.apply(cmd.Cancel(1, 1, ["a"], 5.0), 0.0)
    [result] = only(crash(core, lease), ch.TasksFinished).results
    assert result.status is TaskStatus.CANCELLED
    assert not core.state.tasks


def test_the_crash_of_an_own_process_under_a_void_lease_counts_for_nothing() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    [old] = leases(tick(core))
    crash(core, old)
    [new] = leases(tick(core))
    assert not crash(core, old).changes
    assert core.state.tasks["a"].token == new.token


def test_a_suspect_can_be_cancelled() -> None:
    core = make_core()
    submit(core, new_task("a"))
    for session in (10, 11):
        connect_worker(core, session, instance=str(session), now=float(session))
        assert leases(tick(core, float(session)))
        core.apply(cmd.SessionLost(session), float(session))
    tick(core, 30.0)
    assert [task.task_id for task in core.state.suspects.values()] == ["a"]
    decision = core.apply(cmd.Cancel(1, 1, ["a"], 5.0), 30.0)
    assert only(decision, ch.TasksFinished).results[0].status is TaskStatus.CANCELLED
    assert not core.state.suspects
    assert not core.state.tasks


def test_crashes_are_remembered_across_a_restart() -> None:
    stored = cmd.StoredTask((1 << 44) | 1, "a", "c", 2, 2, 0, 0.0, 2)
    other = cmd.StoredTask((1 << 44) | 2, "b", "c", 0, 0, 0, 0.0, 2)
    core = make_core(snapshot=Snapshot(epoch=2, lanes=[(1, "default", 2, "add", 2)]))
    connect_worker(core)
    refill = only(tick(core), fx.Refill)
    core.apply(cmd.Loaded(refill.lane_id, [stored, other], exhausted=True), 0.0)
    assert [lease.task_id for lease in leases(tick(core))] == ["a"]


def test_a_quarantined_task_calls_back_and_is_told_to_its_client() -> None:
    core = make_core()
    core.apply(cmd.ClientReady(1, "c"), 0.0)
    fleet = Fleet(core)
    submit(core, new_task("a"))
    tick(core)
    for _ in range(3):
        fleet.die()
    assert has(fleet.last, fx.PushResults)
    assert not core.state.tasks


def die_told(core: Core, running: frozenset[int] | None) -> None:
    core.apply(cmd.WorkerDied("w", "was killed by SIGKILL", running), 0.0)
    core.apply(cmd.SessionLost(10), 0.0)
    connect_worker(core, 11, instance="next")


def test_what_had_not_begun_in_a_dead_subworker_is_leased_again_at_once_without_blame() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("begun"), new_task("waiting"))
    begun, waiting = leases(tick(core))
    die_told(core, frozenset({begun.token}))
    attempts = {lease.task_id: lease.attempt for lease in leases(tick(core))}
    assert attempts == {"begun": 2, "waiting": waiting.attempt}
    assert core.state.tasks["waiting"].crashes == 0
    assert core.state.tasks["begun"].crashes == 1


def test_a_dead_subworker_whose_connection_stays_open_is_given_up_after_its_grace_time() -> None:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    tick(core)
    core.apply(cmd.WorkerDied("w", "was killed by SIGKILL", None), 0.0)
    assert not has(tick(core, 0.5), fx.CloseSession)
    assert only(tick(core, 1.0), fx.CloseSession).session == 10
    assert core.state.tasks["a"].crashes == 1
