"""Both stores keep the same promises: one suite, run over each."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from fastqueue.core import changes as ch
from fastqueue.core.records import (
    AttemptRecord,
    BatchCounts,
    Callback,
    NewTask,
    PendingCallback,
    Result,
    TaskOptions,
)
from fastqueue.core.schedule_records import ScheduleSpec, ScheduleState
from fastqueue.store.memory import MemoryStore
from fastqueue.store.sqlite.store import SqliteStore
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.timetable import MissedRuns, Overlap, timetable_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastqueue.store.base import Store

LANE = 3
BASE = LANE << 44


@pytest.fixture(params=["memory", "sqlite", "sqlite in memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    else:
        made = SqliteStore(tmp_path, "full" if request.param == "sqlite" else "memory")
    made.load(0.0)
    yield made
    made.close()


def new(task_id: str, payload: bytes = b"[]", callback: Callback | None = None) -> NewTask:
    return NewTask(task_id, "add", 2, 0, payload, callback)


def added(*tasks: NewTask, first: int = 1) -> list[ch.Change]:
    keys = [BASE + n for n in range(first, first + len(tasks))]
    return [ch.LaneAdded(LANE, "default", 2, "add"), ch.TasksAdded(keys, tasks, "client", 9.0)]


def finished(key: int, task_id: str, place: int = 1) -> ch.TasksFinished:
    result = Result(task_id, TaskStatus.SUCCESS, "add", 1, 0, b"3", None, None, 1.0, 2.0, "w")
    return ch.TasksFinished([key], [result], place, 2.0)


def commit(store: Store, *changes: ch.Change) -> None:
    store.write(changes)
    asyncio.run(store.commit())


def test_what_is_committed_is_found(store: Store) -> None:
    commit(store, *added(new("a"), new("b", callback=Callback("tcp://x:1", b"1"))))
    found = store.find_live(["a", "b", "c"])
    assert set(found) == {"a", "b"}
    assert found["a"].client == "client"
    assert found["b"].callback == Callback("tcp://x:1", b"1")
    assert store.find_known(["a", "c"]) == {"a"}
    assert store.greatest_id() == "b"
    assert not store.in_transaction


def test_what_is_rolled_back_never_was(store: Store) -> None:
    commit(store, *added(new("a")))
    store.write([ch.TasksAdded([BASE + 2], [new("b")], "client", 9.0), finished(BASE + 1, "a")])
    assert store.in_transaction
    store.rollback()
    assert set(store.find_live(["a", "b"])) == {"a"}
    assert not store.find_results(["a"])


def test_a_window_is_read_in_order_and_bounded(store: Store) -> None:
    commit(store, *added(new("c"), new("a", b"x" * 5000), new("b")))
    rows = store.read_window(LANE, BASE, 2)
    assert [row.task.task_id for row in rows] == ["c", "a"]
    assert rows[0].payload == b"[]"
    assert rows[1].payload is None, "a large payload is read when it is leased"
    assert [r.task.task_id for r in store.read_window(LANE, rows[1].task.key, 9)] == ["b"]
    assert store.read_payloads([BASE + 2]) == {BASE + 2: b"x" * 5000}
    assert store.read_window(LANE + 1, 0, 9) == []


def test_a_finished_task_is_a_result_and_no_longer_live(store: Store) -> None:
    commit(store, *added(new("a")))
    commit(store, finished(BASE + 1, "a"))
    assert not store.find_live(["a"])
    assert store.find_results(["a", "b"])["a"].result == b"3"
    assert store.find_known(["a"]) == {"a"}


def test_an_evicted_result_leaves_a_tombstone_for_two_generations(store: Store) -> None:
    commit(store, *added(new("a")), finished(BASE + 1, "a"), ch.ResultsEvicted(["a"]))
    assert not store.find_results(["a"])
    assert store.find_evicted(["a", "b"]) == {"a"}
    assert store.find_known(["a"]) == {"a"}
    commit(store, ch.TombstonesRotated())
    assert store.find_evicted(["a"]) == {"a"}
    assert store.load(0.0).tombstones == (0, 1)
    commit(store, ch.TombstonesRotated())
    assert not store.find_evicted(["a"])


def test_a_restart_tells_all_that_the_core_needs(store: Store) -> None:
    callback = PendingCallback("tcp://x:1", "b", TaskStatus.SUCCESS, b"1", None, 1.0, 2.0, b"null")
    commit(
        store,
        *added(new("a"), new("b"), new("c")),
        ch.LeasesAdded([(BASE + 1, 77, "worker", True)]),
        finished(BASE + 2, "b", place=4),
        ch.CallbacksAdded(6, [callback, callback], 2.0),
    )
    before = store.load(0.0).epoch
    snapshot = store.load(12.0)
    assert snapshot.epoch == before + 1
    assert [tuple(lane) for lane in snapshot.lanes] == [(LANE, "default", 2, "add", 2, "")]
    assert [(r.lane_id, r.task.task_id) for r in snapshot.leased] == [(LANE, "a")]
    assert (snapshot.leased[0].task.lease_token, snapshot.leased[0].task.lease_at_most_once) == (
        77,
        True,
    )
    assert [tuple(r) for r in snapshot.results] == [("b", 1, 10.0)]
    assert snapshot.accesses == 4
    assert [tuple(o) for o in snapshot.owed] == [("tcp://x:1", 2)]
    assert snapshot.next_callback == 8
    assert snapshot.last_sequence == 3


def test_a_restart_knows_whether_the_one_before_it_stopped_in_order(store: Store) -> None:
    assert store.load(0.0).crashed
    commit(store, ch.Stopped())
    assert not store.load(0.0).crashed
    assert store.load(0.0).crashed


def test_leases_end_with_the_task_the_subworker_or_by_being_given_back(store: Store) -> None:
    commit(
        store,
        *added(new("a"), new("b"), new("c")),
        ch.LeasesAdded([(BASE + n, 70 + n, "worker", False) for n in (1, 2, 3)]),
    )
    commit(
        store,
        finished(BASE + 1, "a"),
        ch.LeasesEnded([BASE + 2]),
        ch.LeasesLost([(1, 1, BASE + 3)]),
    )
    assert store.load(0.0).leased == []
    assert store.find_live(["c"])["c"].attempt == 1
    assert store.find_live(["c"])["c"].crashes == 1
    assert store.find_live(["b"])["b"].attempt == 0


def test_results_come_back_in_the_order_of_their_last_access(store: Store) -> None:
    commit(store, *added(new("a"), new("b")), finished(BASE + 1, "a"), finished(BASE + 2, "b", 2))
    commit(store, ch.ResultsAccessed([(3, "a"), (4, "gone")]))
    assert [row[0] for row in store.load(0.0).results] == ["b", "a"]


def test_callbacks_are_owed_in_order_until_they_are_removed(store: Store) -> None:
    callbacks = [
        PendingCallback(address, str(n), TaskStatus.FAILURE, None, "E: x", None, 2.0, b"null")
        for n, address in enumerate(["tcp://x:1", "tcp://y:1", "tcp://x:1"])
    ]
    commit(store, ch.CallbacksAdded(1, callbacks, 7.0))
    assert [owed.number for owed in store.read_callbacks("tcp://x:1", 9, 1000)] == [1, 3]
    assert store.read_callbacks("tcp://x:1", 1, 1000)[0] == (1, callbacks[0], 7.0)
    assert len(store.read_callbacks("tcp://x:1", 9, 1)) == 1, "bytes bound it too"
    commit(store, ch.CallbacksRemoved([1]))
    assert [owed.number for owed in store.read_callbacks("tcp://x:1", 9, 1000)] == [3]


def test_it_says_how_much_room_there_is_and_where(store: Store) -> None:
    room = store.room()
    assert room.free_bytes > 0
    assert room.reusable_bytes >= 0
    assert room.where


def test_lanes_can_be_removed_when_they_are_empty(store: Store) -> None:
    commit(store, *added(new("a")), finished(BASE + 1, "a"))
    commit(store, ch.LanesRemoved([LANE]))
    assert store.load(0.0).lanes == []


# -- tasks that wait for a time


def waiting(
    task_id: str, due_at: float, rank: int = 2, *, expires_at: float | None = None
) -> NewTask:
    options = TaskOptions(due_at, expires_at, retries=3)
    return NewTask(task_id, "add", rank, 0, b"[]", None, "mail", options)


def delayed(*tasks: NewTask, first: int = 1) -> ch.TasksDelayed:
    return ch.TasksDelayed(range(first, first + len(tasks)), tasks, "client", 9.0)


def attempt(task_id: str, number: int, error: str = "E: x") -> AttemptRecord:
    return AttemptRecord(task_id, number, 1.0, 2.0, "w", error, "tb")


def retried(task_id: str, old_key: int, new_key: int, due: float, number: int = 1) -> ch.Change:
    """Return that a task has failed for the `number`th time, in its `number`th attempt."""
    rows = [(new_key, number, number, old_key)]
    return ch.TasksRetried(rows, [(due, "default", 2, "add")], [attempt(task_id, number)])


def test_a_delayed_task_is_live_and_in_no_lane(store: Store) -> None:
    commit(store, delayed(waiting("a", 50.0, expires_at=90.0)))
    found = store.find_live(["a"])["a"]
    assert (found.key, found.belongs) == (1, ("mail", 2, "add"))
    assert found.is_delayed
    assert found.status is TaskStatus.SCHEDULED
    assert found.options == TaskOptions(50.0, 90.0, retries=3)
    assert (found.client, found.submitted_at, found.payload_bytes) == ("client", 9.0, 2)
    assert store.find_known(["a"]) == {"a"}
    assert store.greatest_id() == "a"
    assert store.read_payloads([1]) == {1: b"[]"}


def test_options_come_back_with_the_window(store: Store) -> None:
    optioned = NewTask("a", "add", 2, 0, b"[]", options=TaskOptions(backoff_s=0.5))
    commit(store, *added(optioned, new("b")))
    options = [row.task.options for row in store.read_window(LANE, 0, 9)]
    assert options == [TaskOptions(backoff_s=0.5), None]


def test_what_is_due_is_read_by_priority_then_time_then_age(store: Store) -> None:
    commit(
        store,
        delayed(
            waiting("f", 5.0, 3),
            waiting("e", 7.0, 1),
            waiting("d", 6.0, 1),
            waiting("c", 6.0, 1),
            waiting("b", 9.0, 0),
            waiting("later", 9.1, 0),
            waiting("never", 99.0, 2),
        ),
    )
    due = store.read_due(9.0, 100)
    assert [stored.task_id for stored in due.tasks] == ["b", "d", "c", "e", "f"]
    assert list(due.next_due) == [9.1, math.inf, 99.0, math.inf]
    assert store.read_due(4.9, 100).tasks == []
    assert list(store.read_due(4.9, 100).next_due) == [9.0, 6.0, 99.0, 5.0]


@pytest.mark.parametrize(
    ("limit", "read", "next_due"),
    [
        (1, "a", [50.0, -math.inf, -math.inf, -math.inf]),
        (2, "ab", [50.0, -math.inf, -math.inf, -math.inf]),
        (3, "abc", [50.0, math.inf, math.inf, -math.inf]),
        (4, "abcd", [50.0, math.inf, math.inf, math.inf]),
    ],
)
def test_when_more_is_due_than_is_asked_for_it_says_so(
    store: Store, limit: int, read: str, next_due: list[float]
) -> None:
    commit(
        store,
        delayed(
            waiting("a", 5.0, 0),
            waiting("x", 50.0, 0),
            waiting("b", 5.0, 1),
            waiting("c", 6.0, 1),
            waiting("d", 5.0, 3),
        ),
    )
    due = store.read_due(9.0, limit)
    assert "".join(stored.task_id for stored in due.tasks) == read
    assert list(due.next_due) == next_due


def test_a_task_that_is_due_goes_into_its_lane_and_keeps_all_that_it_is(store: Store) -> None:
    commit(store, delayed(waiting("a", 5.0, expires_at=90.0), waiting("b", 6.0)))
    commit(store, ch.LaneAdded(LANE, "mail", 2, "add"), ch.TasksDue([(BASE + 3, 1)]))
    found = store.find_live(["a"])["a"]
    assert (found.key, found.belongs, found.status) == (BASE + 3, None, TaskStatus.QUEUED)
    assert found.options == TaskOptions(5.0, 90.0, retries=3)
    assert [row.task.task_id for row in store.read_window(LANE, 0, 9)] == ["a"]
    assert [stored.task_id for stored in store.read_due(9.0, 9).tasks] == ["b"]
    assert store.read_payloads([BASE + 3, 1]) == {BASE + 3: b"[]"}


def test_an_attempt_that_failed_makes_the_task_wait(store: Store) -> None:
    commit(store, *added(new("a"), new("b")), ch.LeasesAdded([(BASE + 1, 77, "w", True)]))
    commit(store, retried("a", BASE + 1, 3, due=20.0))
    found = store.find_live(["a"])["a"]
    assert (found.key, found.attempt, found.failures, found.crashes) == (3, 1, 1, 0)
    assert (found.lease_token, found.belongs) == (0, ("default", 2, "add"))
    assert found.status is TaskStatus.RETRYING
    assert [row.task.task_id for row in store.read_window(LANE, 0, 9)] == ["b"]
    assert store.find_attempts("a") == [attempt("a", 1)]
    assert store.find_attempts("b") == []
    snapshot = store.load(10.0)
    assert snapshot.leased == []
    assert [tuple(lane) for lane in snapshot.lanes] == [(LANE, "default", 2, "add", 1, "")]


def test_crashes_survive_a_retry_and_failures_a_crash(store: Store) -> None:
    commit(store, *added(new("a")), ch.LeasesLost([(1, 1, BASE + 1)]))
    commit(store, retried("a", BASE + 1, 2, due=20.0, number=2))
    commit(store, ch.TasksDue([(BASE + 3, 2)]), ch.LeasesLost([(3, 2, BASE + 3)]))
    found = store.find_live(["a"])["a"]
    assert (found.attempt, found.crashes, found.failures) == (3, 2, 2)


def test_attempts_are_told_in_order_and_go_with_the_evicted_result(store: Store) -> None:
    commit(store, *added(new("a"), new("b")))
    commit(store, retried("a", BASE + 1, 3, 20.0), retried("b", BASE + 2, 4, 20.0))
    commit(store, ch.TasksDue([(BASE + 5, 3)]))
    commit(store, retried("a", BASE + 5, 6, 30.0, number=2))
    commit(store, ch.TasksDue([(BASE + 7, 6), (BASE + 8, 4)]), finished(BASE + 7, "a"))
    assert [one.attempt for one in store.find_attempts("a")] == [1, 2]
    store.load(0.0)
    commit(store, ch.ResultsEvicted(["a"]))
    assert store.find_attempts("a") == []
    assert len(store.find_attempts("b")) == 1


def test_a_restart_tells_what_is_delayed(store: Store) -> None:
    commit(store, *added(new("a")))
    commit(
        store,
        delayed(
            waiting("b", 50.0, 0, expires_at=70.0),
            waiting("c", 40.0, 0, expires_at=60.0),
            waiting("d", 30.0, 3),
            first=2,
        ),
        retried("a", BASE + 1, 9, due=20.0),
    )
    snapshot = store.load(35.0)
    assert snapshot.delayed == 4
    assert list(snapshot.next_due) == [40.0, math.inf, 20.0, 30.0]
    assert snapshot.next_expiry == 60.0
    assert snapshot.last_sequence == 9, "no key in the lane of delayed tasks is given twice"
    assert snapshot.lanes == [], "a lane whose tasks are all delayed is forgotten"


def test_a_restart_with_nothing_delayed_waits_for_nothing(store: Store) -> None:
    snapshot = store.load(0.0)
    assert snapshot.delayed == 0
    assert list(snapshot.next_due) == [math.inf] * 4
    assert snapshot.next_expiry == math.inf


def test_expiries_are_read_from_the_earliest_and_removed(store: Store) -> None:
    optioned = [
        NewTask(task_id, "add", 2, 0, b"[]", options=TaskOptions(expires_at=at))
        for task_id, at in (("a", 7.0), ("b", 5.0), ("c", 6.0), ("d", 60.0))
    ]
    commit(store, *added(*optioned))
    assert store.read_expired(4.9, 9) == ([], 5.0)
    rows, next_expiry = store.read_expired(7.0, 9)
    assert [tuple(row) for row in rows] == [(5.0, "b"), (6.0, "c"), (7.0, "a")]
    assert next_expiry == 60.0
    rows, next_expiry = store.read_expired(7.0, 2)
    assert [task_id for _, task_id in rows] == ["b", "c"]
    assert next_expiry == -math.inf, "there may be more"
    commit(store, ch.ExpiriesPassed([(5.0, "b"), (6.0, "c")]))
    assert [task_id for _, task_id in store.read_expired(7.0, 9).rows] == ["a"]
    assert store.load(0.0).next_expiry == 7.0


def test_an_expiry_outlasts_its_task_until_its_time(store: Store) -> None:
    commit(store, *added(NewTask("a", "add", 2, 0, b"[]", options=TaskOptions(expires_at=5.0))))
    commit(store, finished(BASE + 1, "a"), ch.ResultsEvicted(["a"]), ch.TombstonesRotated())
    commit(store, ch.TombstonesRotated())
    commit(
        store,
        ch.TasksAdded(
            [BASE + 2],
            [NewTask("a", "add", 2, 0, b"[]", options=TaskOptions(expires_at=5.0))],
            "client",
            9.0,
        ),
    )
    assert len(store.read_expired(5.0, 9).rows) == 1
    commit(store, ch.ExpiriesPassed([(5.0, "a")]))
    assert store.read_expired(5.0, 9).rows == []


def test_what_is_rolled_back_was_never_delayed_nor_tried_again(store: Store) -> None:
    commit(store, *added(new("a")))
    store.write([delayed(waiting("b", 5.0, expires_at=6.0)), retried("a", BASE + 1, 2, 5.0)])
    store.rollback()
    snapshot = store.load(0.0)
    assert (snapshot.delayed, snapshot.next_expiry) == (0, math.inf)
    assert store.find_attempts("a") == []
    assert not store.find_live(["a"])["a"].is_delayed
    assert [tuple(lane) for lane in snapshot.lanes] == [(LANE, "default", 2, "add", 1, "")]


def test_a_delayed_task_that_is_cancelled_leaves_nothing_that_waits(store: Store) -> None:
    commit(store, delayed(waiting("a", 50.0)))
    commit(
        store,
        ch.LaneAdded(LANE, "mail", 2, "add"),
        ch.TasksDue([(BASE + 2, 1)]),
        finished(BASE + 2, "a"),
    )
    snapshot = store.load(0.0)
    assert (snapshot.delayed, snapshot.lanes) == (0, [])
    assert store.read_due(99.0, 9).tasks == []


def scheduled(schedule_id: str, **rest: float | str | bool | None) -> ScheduleState:
    timetable = timetable_of(cron="30 2 * * *", timezone="Europe/Berlin", jitter=5, count=7)
    spec = ScheduleSpec(
        schedule_id,
        timetable,
        "add",
        2,
        0,
        b"[[1],{}]",
        "mail",
        TaskOptions(retries=3),
        60.0,
        MissedRuns.ALL,
        90.0,
        Overlap.CANCEL,
    )
    return ScheduleState(spec, 100.5, **rest)  # type: ignore[arg-type]


def test_schedules_are_kept_as_they_are(store: Store) -> None:
    a = scheduled("a")
    b = scheduled("b", next_at=200.25, is_paused=True, fired=3, left_out=2, last_task_id="t")
    c = scheduled("c", last_at=99.0, decided_at=50.0, is_withdrawn=True)
    commit(store, ch.SchedulesPut([c, a, b]))
    assert sorted(store.load(0.0).schedules, key=lambda state: state.spec.schedule_id) == [a, b, c]


def test_a_schedule_that_has_advanced_is_changed_and_one_that_is_removed_is_gone(
    store: Store,
) -> None:
    commit(store, ch.SchedulesPut([scheduled("a"), scheduled("b")]))
    after = scheduled("a", next_at=300.0, fired=1, last_task_id="t", last_at=100.5)
    commit(store, ch.SchedulesAdvanced([after]), ch.SchedulesRemoved(["b"]))
    assert list(store.load(0.0).schedules) == [after]
    commit(store, ch.SchedulesPut([scheduled("a")]))
    assert list(store.load(0.0).schedules) == [scheduled("a")]


def test_a_run_and_its_schedules_advance_are_rolled_back_together(store: Store) -> None:
    commit(store, ch.SchedulesPut([scheduled("a")]))
    store.write([*added(new("run")), ch.SchedulesAdvanced([scheduled("a", fired=1)])])
    store.rollback()
    assert list(store.load(0.0).schedules) == [scheduled("a")]
    assert not store.find_live(["run"])


def test_the_counts_of_batches_and_their_live_tasks_are_kept(store: Store) -> None:
    first, second = BatchCounts("b", 1.0, 5.0, 3, 1, 0, 0), BatchCounts("c", 2.0, 2.0, 1, 0, 0, 0)
    commit(
        store,
        ch.BatchTasksAdded([("b", "1"), ("c", "2"), ("b", "3"), ("b", "2")]),
        ch.BatchesCounted([first, second]),
    )
    assert store.list_batch("b", "", 10) == ["1", "2", "3"]
    assert store.list_batch("b", "1", 1) == ["2"]
    assert store.list_batch("nothing", "", 10) == []
    counted = BatchCounts("b", 1.0, 9.0, 3, 1, 1, 0)
    commit(store, ch.BatchTasksEnded([("b", "2")]), ch.BatchesCounted([counted]))
    assert store.list_batch("b", "", 10) == ["1", "3"]
    assert sorted(store.load(10.0).batches, key=lambda one: one[0].batch_id) == [
        (counted, 1.0),
        (second, 8.0),
    ]
    commit(store, ch.BatchForgotten("c"), ch.BatchForgotten("never counted"))
    assert [counts.batch_id for counts, _ in store.load(10.0).batches] == ["b"]


def test_counts_that_are_rolled_back_never_were(store: Store) -> None:
    commit(store, ch.BatchesCounted([BatchCounts("b", 1.0, 5.0, 3, 1, 0, 0)]))
    store.write(
        [
            ch.BatchTasksAdded([("b", "1")]),
            ch.BatchesCounted([BatchCounts("b", 1.0, 6.0, 4, 1, 0, 0)]),
        ]
    )
    store.rollback()
    assert store.list_batch("b", "", 10) == []
    assert [counts.submitted for counts, _ in store.load(5.0).batches] == [3]


def test_a_checkpoint_replaces_the_one_before_and_moves_with_its_task(store: Store) -> None:
    commit(store, *added(new("a"), new("b")))
    assert store.read_checkpoint("a") is None
    commit(store, ch.CheckpointSaved(BASE + 1, "a", b"first"))
    commit(store, ch.CheckpointSaved(BASE + 1, "a", b"the second"))
    assert store.read_checkpoint("a") == b"the second"
    found = store.find_live(["a", "b"])
    assert (found["a"].checkpoint_bytes, found["b"].checkpoint_bytes) == (10, 0)
    attempt = AttemptRecord("a", 1, 1.0, 2.0, "w", "ValueError: x")
    commit(store, ch.TasksRetried([(9, 1, 1, BASE + 1)], [(5.0, "default", 2, "add")], [attempt]))
    assert store.read_due(6.0, 9).tasks[0].checkpoint_bytes == 10
    commit(store, ch.TasksDue([(BASE + 10, 9)]))
    assert store.read_checkpoint("a") == b"the second"
    rows = store.read_window(LANE, BASE, 9)
    assert {row.task.task_id: row.task.checkpoint_bytes for row in rows} == {"a": 10, "b": 0}


def test_checkpoints_are_counted_at_a_start_and_end_with_their_tasks(store: Store) -> None:
    commit(store, *added(new("a"), new("b")))
    commit(store, ch.CheckpointSaved(BASE + 1, "a", b"12345"))
    commit(store, ch.CheckpointSaved(BASE + 2, "b", b"123"))
    assert store.load(1.0).checkpoints_bytes == 8
    result = Result("a", TaskStatus.SUCCESS, "add", 1, 0, b"3")
    commit(store, ch.TasksFinished([BASE + 1], [result], 1, 2.0, ["a"]))
    assert store.read_checkpoint("a") is None
    assert store.load(1.0).checkpoints_bytes == 3


def test_a_lease_that_is_stored_comes_with_the_size_of_its_checkpoint(store: Store) -> None:
    commit(store, *added(new("a")), ch.LeasesAdded([(BASE + 1, 77, "w", False)]))
    commit(store, ch.CheckpointSaved(BASE + 1, "a", b"12345"))
    (row,) = store.load(1.0).leased
    assert row.task.checkpoint_bytes == 5
    store.write([ch.CheckpointSaved(BASE + 1, "a", b"gone")])
    store.rollback()
    assert store.read_checkpoint("a") == b"12345"
