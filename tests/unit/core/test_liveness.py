"""Who is heard of keeps its leases; who is silent loses them; who is blocked is waited for."""

from __future__ import annotations

from tests.unit.core.builders import connect_worker, has, leases, make_core, new_task, submit, tick

from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core


def core_with_a_lease() -> Core:
    core = make_core()
    connect_worker(core)
    submit(core, new_task("a"))
    assert leases(tick(core))
    return core


def test_a_silent_subworker_is_given_up_and_its_tasks_are_leased_at_once() -> None:
    core = core_with_a_lease()
    connect_worker(core, 11, instance="other", now=5.0)
    assert not has(tick(core, 9.9), fx.CloseSession)
    assert core.next_due() == 10.0
    decision = tick(core, 10.0)
    assert has(decision, fx.CloseSession)
    assert [lease.task_id for lease in leases(decision)] == ["a"]


def test_a_heartbeat_is_enough_to_be_alive() -> None:
    core = core_with_a_lease()
    core.apply(cmd.Heartbeat(20, "w"), 9.0)
    assert not has(tick(core, 10.0), fx.CloseSession)
    assert core.next_due() == 19.0


def test_a_control_plane_that_was_stopped_itself_reads_before_it_gives_anybody_up() -> None:
    core = core_with_a_lease()
    assert not has(tick(core, 60.0), fx.CloseSession)
    core.apply(cmd.Heartbeat(20, "w"), 61.0)
    assert not has(tick(core, 62.0), fx.CloseSession)
    assert has(tick(core, 71.0), fx.CloseSession)


def test_a_blocked_subworker_without_a_session_is_waited_for_while_it_says_so() -> None:
    core = core_with_a_lease()
    decision = core.apply(cmd.Heartbeat(20, "w", 1.0, "add", "a", "here"), 1.0)
    assert has(decision, fx.TellBlocked)
    core.apply(cmd.SessionLost(10), 2.0)
    decision = core.apply(cmd.Heartbeat(20, "w", 5.0, "add", "a", "here"), 5.0)
    assert not has(decision, fx.TellBlocked)
    assert not has(tick(core, 9.9), fx.TellWorkerLost)
    core.apply(cmd.HeartbeatLost(20, "w"), 9.9)
    assert has(tick(core, 10.9), fx.TellWorkerLost)
