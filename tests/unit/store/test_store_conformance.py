"""Both stores keep the same promises: one suite, run over each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fastqueue.core import changes as ch
from fastqueue.core.records import Callback, NewTask, PendingCallback, Result
from fastqueue.store.memory import MemoryStore
from fastqueue.store.sqlite.store import SqliteStore
from fastqueue.tasks.models import TaskStatus

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
        ch.NamesOffered(["add"]),
    )
    before = store.load(0.0).epoch
    snapshot = store.load(12.0)
    assert snapshot.epoch == before + 1
    assert [tuple(lane) for lane in snapshot.lanes] == [(LANE, "default", 2, "add", 2)]
    assert [(r.lane_id, r.task.task_id) for r in snapshot.leased] == [(LANE, "a")]
    assert (snapshot.leased[0].task.lease_token, snapshot.leased[0].task.lease_at_most_once) == (
        77,
        True,
    )
    assert [tuple(r) for r in snapshot.results] == [("b", 1, 10.0)]
    assert snapshot.accesses == 4
    assert [tuple(o) for o in snapshot.owed] == [("tcp://x:1", 2)]
    assert snapshot.next_callback == 8
    assert list(snapshot.names) == ["add"]
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
