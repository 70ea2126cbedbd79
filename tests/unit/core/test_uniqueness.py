"""Unique keys: the same task again, the last of many, the latest alone."""

from __future__ import annotations

from tests.unit.core.builders import connect_worker, leases, make_core, only, tick

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.decision import Decision
from fastqueue.core.records import NewTask, TaskOptions, UniqueHold
from fastqueue.tasks.models import TaskStatus


def task(task_id: str, **options: object) -> NewTask:
    asked = TaskOptions(unique_key="k", **options)  # type: ignore[arg-type]
    return NewTask(task_id, "add", 2, 0, b"[]", options=asked)


def submit(
    core: Core, *tasks: NewTask, holder: UniqueHold | None = None, at: float = 1000.0
) -> Decision:
    holders = {} if holder is None else {("add", "k"): holder}
    return core.apply(cmd.Submit(1, 1, "c", at, tasks, holders=holders), 0.0)


def held(decision: Decision) -> UniqueHold:
    [hold] = only(decision, ch.UniquesHeld).holds
    return hold


def test_the_same_submission_again_is_the_first_one() -> None:
    core = make_core()
    hold = held(submit(core, task("a", unique_for_s=60.0)))
    assert hold == UniqueHold("add", "k", "a", 1060.0)
    decision = submit(core, task("b", unique_for_s=60.0), holder=hold, at=1059.0)
    assert only(decision, fx.AcknowledgeSubmit).same == [("b", "a")]
    assert not decision.changes


def test_after_its_time_another_one_is_taken() -> None:
    core = make_core()
    hold = held(submit(core, task("a", unique_for_s=60.0)))
    decision = submit(core, task("b", unique_for_s=60.0), holder=hold, at=1060.0)
    assert only(decision, fx.AcknowledgeSubmit).same == []
    assert held(decision).task_id == "b"


def test_two_of_one_submission_are_one() -> None:
    core = make_core()
    decision = submit(core, task("a", unique_for_s=60.0), task("b", unique_for_s=60.0))
    assert only(decision, fx.AcknowledgeSubmit).same == [("b", "a")]
    assert [new.task_id for new in only(decision, ch.TasksAdded).tasks] == ["a"]


def test_a_task_that_is_sent_again_is_not_taken_for_another() -> None:
    core = make_core()
    hold = held(submit(core, task("a", unique_for_s=60.0)))
    decision = submit(core, task("a", unique_for_s=60.0), holder=hold)
    assert only(decision, fx.AcknowledgeSubmit).same == []
    assert not decision.changes


def test_of_many_debounced_ones_the_last_runs_once() -> None:
    core = make_core()
    first = submit(core, task("a", debounce_s=5.0))
    [delayed] = only(first, ch.TasksDelayed).tasks
    assert delayed.options is not None
    assert delayed.options.due_at == 1005.0
    [key] = only(first, ch.TasksDelayed).keys
    stored = cmd.StoredTask(
        key, "a", "c", 0, 0, 0, 1000.0, 2, options=delayed.options, belongs=("default", 2, "add")
    )
    second = core.apply(
        cmd.Submit(
            1,
            2,
            "c",
            1003.0,
            [task("b", debounce_s=5.0)],
            holders={("add", "k"): held(first)},
            stored={"a": stored},
        ),
        0.0,
    )
    [result] = only(second, ch.TasksFinished).results
    assert (result.task_id, result.status) == ("a", TaskStatus.CANCELLED)
    assert "Replaced: task b" in (result.error or "")
    [kept] = only(second, ch.TasksDelayed).tasks
    assert kept.options is not None
    assert kept.options.due_at == 1008.0


def test_debounced_ones_of_one_submission_leave_the_last() -> None:
    core = make_core()
    decision = submit(core, task("a", debounce_s=5.0), task("b", debounce_s=5.0))
    assert [r.task_id for r in only(decision, ch.TasksFinished).results] == ["a"]
    assert core.state.delays.count == 1


def test_a_debounced_one_leaves_alone_what_runs() -> None:
    core = make_core()
    hold = held(submit(core, task("a", debounce_s=0.0)))
    connect_worker(core)
    assert [lease.task_id for lease in leases(tick(core))] == ["a"]
    decision = submit(core, task("b", debounce_s=5.0), holder=hold)
    assert not any(isinstance(e, fx.CancelRunning) for e in decision.effects)


def test_the_latest_cancels_the_one_before_it_even_if_that_runs() -> None:
    core = make_core()
    hold = held(submit(core, task("a", latest_wins=True)))
    connect_worker(core, capacity=1)
    assert [lease.task_id for lease in leases(tick(core))] == ["a"]
    second = submit(core, task("b", latest_wins=True), holder=hold)
    assert [t.task_id for t in only(second, fx.CancelRunning).tasks] == ["a"]
    third = submit(core, task("c", latest_wins=True), holder=held(second))
    assert [r.task_id for r in only(third, ch.TasksFinished).results] == ["b"]


def test_of_many_at_once_the_latest_alone_is_left_even_if_an_older_one_runs() -> None:
    core = make_core()
    hold = held(submit(core, task("a", latest_wins=True)))
    connect_worker(core, capacity=1)
    assert [lease.task_id for lease in leases(tick(core))] == ["a"]
    tasks = [task("b", latest_wins=True), task("c", latest_wins=True)]
    decision = submit(core, *tasks, holder=hold)
    assert [t.task_id for t in only(decision, fx.CancelRunning).tasks] == ["a"]
    assert [r.task_id for r in only(decision, ch.TasksFinished).results] == ["b"]


def test_an_eta_that_comes_sooner_shortens_no_debounce() -> None:
    core = make_core()
    decision = submit(core, task("a", debounce_s=5.0, due_at=990.0))
    [delayed] = only(decision, ch.TasksDelayed).tasks
    assert delayed.options is not None
    assert delayed.options.due_at == 1005.0


def test_keys_whose_time_is_over_are_forgotten_now_and_then() -> None:
    core = make_core()
    tasks = [
        NewTask(str(n), "add", 2, 0, b"", options=TaskOptions(unique_key=str(n), unique_for_s=1.0))
        for n in range(1_000)
    ]
    decision = core.apply(cmd.Submit(1, 1, "c", 1000.0, tasks), 0.0)
    assert only(decision, ch.UniquesForgotten) == ch.UniquesForgotten(1000.0, None)
