"""How long results are kept, and what clients can ask about tasks."""

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
from fastqueue.core.core import Core
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Callback
from fastqueue.core.state import Snapshot
from fastqueue.tasks.models import TaskStatus


def _finish(core: Core, *task_ids: str, now: float = 0.0) -> None:
    submit(core, *(new_task(task_id) for task_id in task_ids))
    succeed(core, *leases(tick(core, now)), now=now)


def _core(limits: CoreLimits) -> Core:
    core = make_core(limits)
    connect_client(core)
    connect_worker(core)
    return core


def test_the_least_recently_accessed_result_is_evicted_first() -> None:
    core = _core(CoreLimits(retained_max=2))
    _finish(core, "a")
    _finish(core, "b")
    core.apply(cmd.Query(1, 1, ["a"]), 0.0)
    submit(core, new_task("c"))
    decision = succeed(core, *leases(tick(core)))
    assert list(only(decision, ch.ResultsEvicted).task_ids) == ["b"]


def test_reading_a_result_does_not_renew_its_time() -> None:
    core = _core(CoreLimits(retained_ttl_s=10.0))
    _finish(core, "a")
    core.apply(cmd.Query(1, 1, ["a"]), 9.0)
    assert core.next_due() == 10.0
    assert list(only(tick(core, 10.0), ch.ResultsEvicted).task_ids) == ["a"]


def test_the_time_of_a_result_goes_on_across_a_restart() -> None:
    snapshot = Snapshot(epoch=2, results=[("a", 5, 3_000.0), ("b", 5, 4_000.0)], accesses=2)
    core = make_core(snapshot=snapshot)
    assert list(only(tick(core, 0.0), ch.ResultsEvicted).task_ids) == ["b"]
    assert core.next_due() == 600.0


def test_large_results_are_bounded_by_their_bytes() -> None:
    core = _core(CoreLimits(retained_bytes_max=2))
    _finish(core, "a", "b")
    submit(core, new_task("c"))
    decision = succeed(core, *leases(tick(core)))
    assert list(only(decision, ch.ResultsEvicted).task_ids) == ["a"]


def test_tombstones_are_kept_in_two_generations() -> None:
    core = _core(CoreLimits(retained_max=0, tombstones_max=4))
    _finish(core, "a")
    submit(core, new_task("b"))
    decision = succeed(core, *leases(tick(core)))
    assert has(decision, ch.TombstonesRotated)
    assert (core.state.young_tombstones, core.state.old_tombstones) == (0, 2)


def test_a_query_tells_the_status_of_a_live_task() -> None:
    core = _core(CoreLimits())
    submit(core, new_task("a"))
    answer = only(core.apply(cmd.Query(1, 1, ["a", "x"]), 0.0), fx.AnswerQuery)
    assert answer.live["a"].status is TaskStatus.QUEUED
    assert "x" not in answer.live


def test_a_queued_task_is_cancelled_and_never_leased() -> None:
    core = _core(CoreLimits())
    submit(core, new_task("a"))
    decision = core.apply(cmd.Cancel(1, 1, ["a"], 5.0), 0.0)
    assert only(decision, fx.AnswerCancel).answers["a"] == (True, TaskStatus.CANCELLED)
    assert only(decision, ch.TasksFinished).results[0].status is TaskStatus.CANCELLED
    assert not leases(tick(core))


def test_a_running_task_is_cancelled_by_its_subworker() -> None:
    core = _core(CoreLimits())
    submit(core, new_task("a"))
    tick(core)
    decision = core.apply(cmd.Cancel(1, 1, ["a"], 5.0), 0.0)
    assert only(decision, fx.AnswerCancel).answers["a"] == (False, TaskStatus.RUNNING)
    assert only(decision, ch.CancelsRequested).keys == [core.state.tasks["a"].key]
    [told] = only(decision, fx.CancelRunning).tasks
    assert (told.task_id, told.token) == ("a", core.state.tasks["a"].token)
    again = core.apply(cmd.Cancel(1, 2, ["a"], 5.0), 0.0)
    assert not again.changes


def test_a_spilled_task_can_be_cancelled() -> None:
    core = _core(CoreLimits(window_min=1, window_max=1, window_total=1))
    core.apply(cmd.SetCapacity(10, 0), 0.0)
    added = only(submit(core, new_task("a"), new_task("b")), ch.TasksAdded)
    stored = cmd.StoredTask(added.keys[1], "b", "c", 0, 0, 0, 0.0, 2)
    decision = core.apply(cmd.Cancel(1, 1, ["b"], 5.0, {"b": stored}), 0.0)
    assert only(decision, ch.TasksFinished).keys == [added.keys[1]]
    assert core.state.lanes.live == 1


def test_a_client_that_watches_a_task_of_another_gets_its_result() -> None:
    core = _core(CoreLimits())
    connect_client(core, 2, "other")
    submit(core, new_task("a"))
    answer = only(core.apply(cmd.Watch(2, 1, ["a", "x"]), 0.0), fx.AnswerWatch)
    assert list(answer.unknown) == ["x"]
    decision = succeed(core, *leases(tick(core)))
    sessions = {e.session for e in decision.effects if isinstance(e, fx.PushResults)}
    assert sessions == {1, 2}


def test_a_client_may_watch_only_so_many_tasks_of_others() -> None:
    core = _core(CoreLimits(watched_max=1))
    connect_client(core, 2, "other")
    submit(core, new_task("a"), new_task("b"))
    answer = only(core.apply(cmd.Watch(2, 1, ["a", "b"]), 0.0), fx.AnswerWatch)
    assert answer.refused
    assert not core.state.watchers


def test_a_session_that_ends_stops_watching() -> None:
    core = _core(CoreLimits())
    connect_client(core, 2, "other")
    submit(core, new_task("a"))
    core.apply(cmd.Watch(2, 1, ["a", "a"]), 0.0)
    core.apply(cmd.SessionLost(2), 0.0)
    assert not core.state.watchers
    assert succeed(core, *leases(tick(core))).changes


def test_a_callback_is_owed_with_the_result_and_tried_again_with_a_growing_wait() -> None:
    core = _core(CoreLimits())
    address = "tcp://127.0.0.1:6000"
    submit(core, new_task("a", callback=Callback(address, b"1")))
    decision = succeed(core, *leases(tick(core)))
    (owed,) = only(decision, ch.CallbacksAdded).callbacks
    assert (owed.address, owed.status, owed.data) == (address, TaskStatus.SUCCESS, b"1")
    assert only(tick(core), fx.DeliverCallbacks).address == address
    waits = []
    now = 0.0
    for _ in range(3):
        core.apply(cmd.CallbacksSent(address, [], reachable=False, jitter=0.999999), now)
        due = core.state.outbox.next_due()
        assert due is not None
        waits.append(round(due - now, 3))
        now = due
        assert has(tick(core, now), fx.DeliverCallbacks)
    assert waits == [0.2, 0.4, 0.8]
    done = core.apply(cmd.CallbacksSent(address, [1]), now)
    assert list(only(done, ch.CallbacksRemoved).numbers) == [1]
    assert core.state.outbox.owed == 0


def test_a_cancelled_task_calls_back_as_a_failure() -> None:
    core = _core(CoreLimits())
    submit(core, new_task("a", callback=Callback("tcp://127.0.0.1:6000", b"null")))
    decision = core.apply(cmd.Cancel(1, 1, ["a"], 5.0), 0.0)
    assert only(decision, ch.CallbacksAdded).callbacks[0].status is TaskStatus.FAILURE


def test_deliveries_under_way_are_bounded() -> None:
    core = _core(CoreLimits(callback_deliveries_max=2))
    tasks = [
        new_task(str(n), callback=Callback(f"tcp://127.0.0.1:{6000 + n}", b"null"))
        for n in range(3)
    ]
    submit(core, *tasks)
    succeed(core, *leases(tick(core)))
    under_way = [e for e in tick(core).effects if isinstance(e, fx.DeliverCallbacks)]
    assert len(under_way) == 2
    core.apply(cmd.CallbacksSent(under_way[0].address, [1]), 0.0)
    assert has(tick(core), fx.DeliverCallbacks)


def test_an_evicted_id_is_told_from_an_unknown_one() -> None:
    core = _core(CoreLimits())
    submit(core, new_task("a"))
    effect = only(core.apply(cmd.Inspect(1, 1, "tasks", ["a", "x"]), 0.0), fx.AnswerInspect)
    assert effect.answer["a"]["state"] == "queued"
    assert list(effect.ask_store) == ["x"]
