"""What a submission must pass, and what follows when it does."""

from __future__ import annotations

import dataclasses

import pytest
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
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Callback


def test_a_new_task_is_stored_and_acknowledged() -> None:
    decision = submit(make_core(), new_task("a"))
    assert [t.task_id for t in only(decision, ch.TasksAdded).tasks] == ["a"]
    assert only(decision, fx.AcknowledgeSubmit).refused == []


def test_an_id_that_is_live_is_acknowledged_without_effect() -> None:
    core = make_core()
    submit(core, new_task("a"))
    again = submit(core, new_task("a"))
    assert not again.changes
    assert only(again, fx.AcknowledgeSubmit).refused == []


def test_an_id_twice_in_one_submission_is_one_task() -> None:
    decision = submit(make_core(), new_task("a"), new_task("a"))
    assert len(only(decision, ch.TasksAdded).keys) == 1


def test_an_id_that_only_the_store_knows_has_no_effect() -> None:
    core = make_core()
    command = cmd.Submit(1, 1, "c", 0.0, [new_task("a")], seen=frozenset({"a"}))
    assert not core.apply(command, 0.0).changes


def test_a_resent_id_that_is_finished_has_its_result_pushed_again() -> None:
    core = make_core()
    connect_client(core)
    connect_worker(core)
    submit(core, new_task("a"))
    succeed(core, *leases(tick(core)))
    again = submit(core, new_task("a"))
    assert list(only(again, fx.PushStored).task_ids) == ["a"]
    assert not again.changes


@pytest.mark.parametrize(
    ("limits", "tasks", "code"),
    [
        (CoreLimits(payload_bytes_max=3), [new_task("a", payload=b"1234")], "payload_too_large"),
        (CoreLimits(live_tasks_max=1), [new_task("b"), new_task("a")], "overloaded"),
        (CoreLimits(lanes_max=1), [new_task("b"), new_task("a", name="mul")], "overloaded"),
        (
            CoreLimits(callback_addresses_max=0),
            [new_task("a", callback=Callback("tcp://127.0.0.1:1", b"null"))],
            "overloaded",
        ),
    ],
)
def test_a_bound_refuses_the_task_that_is_over_it_and_names_it(
    limits: CoreLimits, tasks: list[object], code: str
) -> None:
    decision = submit(make_core(limits), *tasks)  # type: ignore[arg-type]
    (refused,) = only(decision, fx.AcknowledgeSubmit).refused
    assert (refused.task_id, refused.code) == ("a", code)
    assert "a" in refused.message


def test_on_a_full_disk_a_new_task_is_refused_and_a_known_one_acknowledged() -> None:
    core = make_core()
    submit(core, new_task("a"))
    core.apply(cmd.DiskSpace(True, 1_234, 5_678, "/data"), 0.0)
    decision = submit(core, new_task("a"), new_task("b", name="mul"))
    (refused,) = only(decision, fx.AcknowledgeSubmit).refused
    assert (refused.task_id, refused.code) == ("b", "disk_full")
    assert all(word in refused.message for word in ("1,234", "5,678", "/data"))
    assert refused.retry_after_s > 0
    assert decision.changes == []  # not even a lane
    core.apply(cmd.DiskSpace(False, 6_000, 5_678, "/data"), 0.0)
    assert only(submit(core, new_task("b")), fx.AcknowledgeSubmit).refused == []


def test_lanes_that_are_empty_make_way_for_new_names() -> None:
    core = make_core(CoreLimits(lanes_max=1))
    connect_worker(core)
    submit(core, new_task("a"))
    succeed(core, *leases(tick(core)))
    decision = submit(core, new_task("b", name="mul"))
    assert only(decision, fx.AcknowledgeSubmit).refused == []
    assert has(decision, ch.LanesRemoved)


def test_tasks_beyond_the_window_are_stored_but_not_held() -> None:
    core = make_core(CoreLimits(window_min=1, window_max=2, window_total=2))
    submit(core, *(new_task(str(n)) for n in range(5)))
    assert len(core.state.tasks) == 2
    assert core.state.lanes.live == 5


def test_a_window_is_refilled_in_order_before_it_is_empty() -> None:
    core = make_core(CoreLimits(window_min=1, window_max=4, window_total=4))
    connect_worker(core, capacity=3)
    added = only(submit(core, *(new_task(str(n)) for n in range(8))), ch.TasksAdded)
    first = tick(core)
    refill = only(first, fx.Refill)
    assert [lease.task_id for lease in leases(first)] == ["0", "1", "2"]
    stored = [
        cmd.StoredTask(key, new.task_id, "c", 0, 0, 0, 0.0, 2)
        for key, new in zip(added.keys, added.tasks, strict=True)
        if key > refill.after_key
    ][: refill.limit]
    core.apply(cmd.Loaded(refill.lane_id, stored, exhausted=len(stored) < refill.limit), 0.0)
    succeed(core, *leases(first))
    assert [lease.task_id for lease in leases(tick(core))] == ["3", "4", "5"]


def test_limits_are_values_that_can_be_replaced_but_not_changed() -> None:
    limits = CoreLimits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.window_max = 1  # type: ignore[misc]
