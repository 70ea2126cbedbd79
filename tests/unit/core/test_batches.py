"""Each task of a batch is counted once when it is accepted and once when it ends."""

from __future__ import annotations

import pytest
from builders import (
    connect_client,
    connect_worker,
    has,
    leases,
    make_core,
    only,
    submit,
    succeed,
    tick,
)
from msgspec.structs import replace

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import BatchCounts, NewTask, Outcome, TaskOptions
from fastqueue.core.state import Snapshot


def of(batch: str, task_id: str, *, due_at: float | None = None) -> NewTask:
    return NewTask(task_id, "add", 2, 0, b"[]", options=TaskOptions(due_at, batch=batch))


def counts(core: Core, batch: str) -> tuple[int, ...] | None:
    answer = only(core.apply(cmd.AskBatch(1, 7, batch), 0.0), fx.AnswerBatch).counts
    if answer is None:
        return None
    return (answer.submitted, answer.running, answer.success, answer.failure, answer.cancelled)


@pytest.fixture
def core() -> Core:
    core = make_core(CoreLimits(batches_max=3, batches_ttl_s=60.0))
    connect_client(core)
    return core


def test_a_batch_nobody_submitted_to_is_unknown(core: Core) -> None:
    assert counts(core, "b") is None


def test_a_task_without_a_batch_makes_no_change_of_any(core: Core) -> None:
    decision = submit(core, NewTask("a", "add", 2, 0, b"[]"))
    assert not has(decision, ch.BatchTasksAdded)
    connect_worker(core)
    done = succeed(core, *leases(tick(core)))
    assert not has(done, ch.BatchTasksEnded)
    assert not has(tick(core), ch.BatchesCounted)


def test_tasks_are_counted_as_they_come_run_and_end(core: Core) -> None:
    decision = submit(core, of("b", "1"), of("b", "2", due_at=5_000.0), of("other", "3"))
    added = only(decision, ch.BatchTasksAdded)
    assert sorted(added.rows) == [("b", "1"), ("b", "2"), ("other", "3")]
    assert counts(core, "b") == (2, 0, 0, 0, 0)
    connect_worker(core)
    given = leases(tick(core))
    assert counts(core, "b") == (2, 1, 0, 0, 0)
    done = succeed(core, *given)
    assert only(done, ch.BatchTasksEnded).rows == [("b", "1"), ("other", "3")]
    assert counts(core, "b") == (2, 0, 1, 0, 0)
    assert counts(core, "other") == (1, 0, 1, 0, 0)


def test_one_turn_writes_each_count_once_and_only_if_it_has_changed(core: Core) -> None:
    submit(core, of("b", "1"), of("c", "2"))
    submit(core, of("b", "3"))
    written = only(tick(core), ch.BatchesCounted).counts
    assert [(c.batch_id, c.submitted) for c in written] == [("b", 2), ("c", 1)]
    assert not has(tick(core), ch.BatchesCounted)


def test_a_submission_that_is_sent_again_counts_nothing(core: Core) -> None:
    submit(core, of("b", "1"))
    submit(core, of("b", "1"), of("b", "1"))
    assert counts(core, "b") == (1, 0, 0, 0, 0)


def test_a_retry_and_a_lost_lease_count_nothing(core: Core) -> None:
    submit(core, of("b", "1"))
    connect_worker(core)
    [lease] = leases(tick(core))
    failed = Outcome("1", lease.token, False, 1.0, 2.0, error="ValueError: 1", retry_in_s=9.0)
    decision = core.apply(cmd.Report(10, 1, [failed], 1_000.0), 0.0)
    assert not has(decision, ch.BatchTasksEnded)
    assert counts(core, "b") == (1, 0, 0, 0, 0)


def test_a_failure_and_a_cancellation_are_told_apart(core: Core) -> None:
    submit(core, of("b", "1"))
    connect_worker(core)
    [lease] = leases(tick(core))
    outcome = Outcome("1", lease.token, False, 1.0, 2.0, error="ValueError: 1")
    core.apply(cmd.Report(10, 1, [outcome], 1_000.0), 0.0)
    submit(core, of("b", "2"))
    core.apply(cmd.Cancel(1, 2, ["2"], 1_000.0), 0.0)
    assert counts(core, "b") == (2, 0, 0, 1, 1)


def test_a_dead_letter_queued_again_is_another_task_of_its_batch(core: Core) -> None:
    submit(core, of("b", "1"))
    connect_worker(core)
    [lease] = leases(tick(core))
    outcome = Outcome("1", lease.token, False, 1.0, 2.0, error="ValueError: 1")
    core.apply(cmd.Report(10, 1, [outcome], 1_000.0), 0.0)
    letters = {"1": replace(of("b", "1"), task_id="2")}
    again = cmd.Requeue(1, 3, [("1", "2")], 1_000.0, letters)
    core.apply(again, 0.0)
    core.apply(replace(again, letters={}, seen=frozenset("2")), 0.0)
    assert counts(core, "b") == (2, 0, 0, 1, 0)


def test_the_longest_finished_batch_makes_way_for_a_new_one(core: Core) -> None:
    connect_worker(core)
    for n, batch in enumerate("abc"):
        submit(core, of(batch, f"{n}"))
        succeed(core, *leases(tick(core)), now=float(n))
    submit(core, of("a", "9"))
    decision = submit(core, of("d", "10"))
    assert only(decision, ch.BatchForgotten).batch_id == "b"
    assert counts(core, "b") is None
    assert counts(core, "a") == (2, 0, 1, 0, 0)


def test_with_every_batch_unfinished_a_new_one_is_refused_and_the_others_go_on(core: Core) -> None:
    submit(core, of("a", "1"), of("b", "2"), of("c", "3"))
    decision = submit(core, of("d", "4"), of("a", "5"), NewTask("6", "add", 2, 0, b"[]"))
    [refused] = only(decision, fx.AcknowledgeSubmit).refused
    assert (refused.task_id, refused.code) == ("4", "overloaded")
    assert "3 batches are unfinished" in refused.message
    assert counts(core, "a") == (2, 0, 0, 0, 0)


def test_a_finished_batch_is_forgotten_when_its_time_is_over_and_no_other(core: Core) -> None:
    connect_worker(core)
    submit(core, of("a", "1"), of("b", "2", due_at=5_000.0))
    succeed(core, *leases(tick(core)))
    tick(core, 59.0)
    assert counts(core, "a") is not None
    assert core.state.batches.next_expiry() == 60.0
    assert only(tick(core, 60.0), ch.BatchForgotten).batch_id == "a"
    assert counts(core, "a") is None
    tick(core, 1_000.0)
    assert counts(core, "b") == (1, 0, 0, 0, 0)


def test_a_rebuilt_core_goes_on_from_the_stored_counts() -> None:
    stored = [
        (BatchCounts("done", 1.0, 2.0, 5, 3, 1, 1), 40.0),
        (BatchCounts("live", 1.0, 2.0, 5, 3, 1, 0), 1_000.0),
    ]
    limits = CoreLimits(batches_ttl_s=60.0)
    core = make_core(limits, Snapshot(epoch=2, batches=stored))
    assert counts(core, "done") == (5, 0, 3, 1, 1)
    assert counts(core, "live") == (5, 0, 3, 1, 0)
    assert core.next_due() == 20.0
    connect_client(core)
    submit(core, of("live", "9"))
    assert counts(core, "live") == (6, 0, 3, 1, 0)


def test_batches_are_listed_from_the_youngest_on(core: Core) -> None:
    for n, batch in enumerate("abc"):
        core.apply(cmd.Submit(1, 1, "c", 100.0 + n, [of(batch, f"{n}")]), 0.0)
    first = only(core.apply(cmd.ListBatches(1, 1, None, 2), 0.0), fx.AnswerBatches).batches
    assert [c.batch_id for c in first] == ["c", "b"]
    after = (first[-1].created_at, first[-1].batch_id)
    rest = only(core.apply(cmd.ListBatches(1, 1, after, 2), 0.0), fx.AnswerBatches).batches
    assert [c.batch_id for c in rest] == ["a"]
