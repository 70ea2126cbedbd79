"""Which task is next: queues, fair keys, weights, ageing, pause and purge."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.core.builders import (
    connect_client,
    leases,
    make_core,
    only,
    submit,
    succeed,
    tick,
)

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import (
    LimitId,
    NewTask,
    QueueChange,
    QueueSettings,
    RunLimit,
    TaskOptions,
)
from fastqueue.core.state import Snapshot
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.models import TaskStatus


def task(
    task_id: str, *, queue: str = "default", rank: int = 2, key: str = "", name: str = "add"
) -> NewTask:
    options = TaskOptions(fair_key=key) if key else None
    return NewTask(task_id, name, rank, 0, b"[]", None, queue, options)


def connect(core: Core, capacity: int, *, queues: tuple[str, ...] = (), session: int = 10) -> None:
    core.apply(
        cmd.WorkerReady(
            session,
            f"w{session}",
            f"w{session}",
            frozenset({"add", "mul"}),
            capacity,
            queues=frozenset(queues),
        ),
        0.0,
    )


def order(core: Core, now: float = 0.0) -> list[str]:
    """Return the ids of what is leased one by one to a subworker of one slot."""
    done = []
    while given := leases(tick(core, now)):
        done += [lease.task_id for lease in given]
        succeed(core, *given, now=now)
    return done


def test_a_subworker_that_names_queues_gets_no_others() -> None:
    core = make_core()
    submit(core, task("a"), task("b", queue="mail"))
    connect(core, 10, queues=("mail",))
    assert [lease.task_id for lease in leases(tick(core))] == ["b"]


def test_queues_take_turns_and_priorities_are_strict_within_each() -> None:
    core = make_core()
    submit(core, *(task(f"d{n}") for n in range(3)), task("m-low", queue="mail", rank=3))
    submit(core, task("m-high", queue="mail", rank=1))
    connect(core, 1)
    assert order(core) == ["d0", "m-high", "d1", "m-low", "d2"]


def test_a_queue_of_three_times_the_weight_gets_three_times_as_many() -> None:
    core = make_core()
    core.apply(cmd.SetQueue(1, 1, QueueChange(name="mail", weight=3.0)), 0.0)
    submit(core, *(task(f"d{n}") for n in range(40)))
    submit(core, *(task(f"m{n}", queue="mail") for n in range(40)))
    connect(core, 1)
    shares = Counter(task_id[0] for task_id in order(core)[:40])
    assert shares == {"m": 30, "d": 10}


def test_a_queue_that_was_idle_has_saved_up_no_turns() -> None:
    core = make_core()
    connect(core, 1)
    submit(
        core, *(task(f"d{n}") for n in range(20)), *(task(f"m{n}", queue="mail") for n in (1, 2))
    )
    assert order(core)[:4] == ["d0", "m1", "d1", "m2"]
    submit(
        core, *(task(f"e{n}") for n in range(5)), *(task(f"n{n}", queue="mail") for n in range(5))
    )
    first = order(core)[:6]
    assert Counter(task_id[0] for task_id in first) == {"e": 3, "n": 3}


def test_fair_keys_take_turns_however_long_the_backlog_of_one_is() -> None:
    core = make_core()
    submit(core, *(task(f"a{n}", key="a") for n in range(5)))
    submit(core, task("b0", key="b"), task("b1", key="b"), task("c0", key="c"))
    connect(core, 1)
    assert order(core) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


def test_a_fair_key_has_one_share_whatever_its_task_names_are() -> None:
    core = make_core()
    submit(core, *(task(f"a{n}", key="a", name=("add", "mul")[n % 2]) for n in range(6)))
    submit(core, *(task(f"b{n}", key="b") for n in range(3)))
    connect(core, 1)
    assert Counter(task_id[0] for task_id in order(core)[:6]) == {"a": 3, "b": 3}


def test_what_has_no_fair_key_is_one_share_beside_the_keys() -> None:
    core = make_core()
    submit(core, *(task(f"p{n}") for n in range(4)), *(task(f"a{n}", key="a") for n in range(4)))
    connect(core, 1)
    assert Counter(task_id[0] for task_id in order(core)[:4]) == {"p": 2, "a": 2}


def test_a_fair_key_of_twice_the_weight_gets_twice_as_many() -> None:
    core = make_core()
    limit = RunLimit(LimitId("key", "a"), weight=2.0)
    core.apply(cmd.SetRunLimit(1, 1, limit), 0.0)
    for key in "ab":
        submit(core, *(task(f"{key}{n}", key=key) for n in range(30)))
    connect(core, 1)
    assert Counter(task_id[0] for task_id in order(core)[:30]) == {"a": 20, "b": 10}


def test_a_high_priority_comes_first_whatever_its_fair_key_has_had() -> None:
    core = make_core()
    connect(core, 1)
    submit(core, *(task(f"a{n}", key="a") for n in range(3)), task("b0", key="b"))
    submit(core, task("a-high", key="a", rank=1))
    assert order(core)[0] == "a-high"


@pytest.mark.parametrize("slots", [16, 100])
def test_ten_thousand_keys_with_a_limit_each_are_fair_within_five_in_a_hundred(slots: int) -> None:
    """The least a key has had is 5 % less than the most at the most, all of the time."""
    keys, each = 10_000, 24
    store = MemoryStore()
    core = Core(CoreLimits(window_min=each, window_total=keys * each), store.load(0.0), 0.0)
    limit = RunLimit(LimitId("task", "add", is_each=True), 1)
    core.apply(cmd.SetRunLimit(1, 1, limit), 0.0)
    connect(core, 0)
    # The first keys are there first, with all that they have.
    for key in range(keys):
        submit(core, *(task(f"{key}-{n}", key=str(key)) for n in range(each)))
    core.apply(cmd.SetCapacity(10, slots), 0.0)
    had: Counter[str] = Counter()
    while had.total() < keys * 20:
        given = leases(tick(core))
        assert len({lease.task_id.split("-")[0] for lease in given}) == len(given)
        had.update(lease.task_id.split("-")[0] for lease in given)
        succeed(core, *given)
    most, least = max(had.values()), min(had[str(key)] for key in range(keys))
    assert least >= 0.95 * most, (least, most)


def test_an_aged_task_counts_for_a_higher_priority() -> None:
    core = make_core()
    core.apply(cmd.SetQueue(1, 1, QueueChange(name="default", ageing_s=10.0)), 0.0)
    core.apply(cmd.Submit(1, 1, "c", 1000.0, [task("old-low", rank=3)]), 0.0)
    core.apply(cmd.Submit(1, 2, "c", 1009.0, [task("normal", rank=2)]), 9.0)
    core.apply(cmd.Submit(1, 3, "c", 1019.0, [task("high", rank=1)]), 19.0)
    connect(core, 1)
    # Ten seconds after each came, low counts as normal, normal as high; then the older is first.
    assert order(core, 19.0) == ["normal", "high", "old-low"]
    core.apply(cmd.Submit(1, 4, "c", 1000.0, [task("oldest-low", rank=3)]), 0.0)
    core.apply(cmd.Submit(1, 5, "c", 1029.0, [task("critical", rank=0)]), 29.0)
    assert order(core, 31.0) == ["oldest-low", "critical"]


def test_without_ageing_a_low_task_waits_for_as_long_as_it_takes() -> None:
    core = make_core()
    core.apply(cmd.Submit(1, 1, "c", 1000.0, [task("low", rank=3)]), 0.0)
    core.apply(cmd.Submit(1, 2, "c", 2000.0, [task("normal")]), 1000.0)
    connect(core, 1)
    assert order(core, 1000.0) == ["normal", "low"]


def test_a_paused_queue_starts_nothing_until_it_is_resumed() -> None:
    core = make_core()
    connect(core, 10)
    decision = core.apply(cmd.SetQueue(1, 1, QueueChange(name="mail", is_paused=True)), 0.0)
    assert only(decision, ch.QueueChanged).settings == QueueSettings("mail", is_paused=True)
    submit(core, task("m", queue="mail"), task("d"))
    assert [lease.task_id for lease in leases(tick(core))] == ["d"]
    core.apply(cmd.SetQueue(1, 2, QueueChange(name="mail", is_paused=False)), 0.0)
    assert [lease.task_id for lease in leases(tick(core))] == ["m"]


def test_a_queue_is_paused_after_a_restart_too() -> None:
    core = make_core(snapshot=Snapshot(epoch=2, queues=[QueueSettings("mail", is_paused=True)]))
    connect(core, 10)
    submit(core, task("m", queue="mail"))
    assert leases(tick(core)) == []


def test_settings_that_are_not_given_stay_as_they_are() -> None:
    core = make_core()
    core.apply(cmd.SetQueue(1, 1, QueueChange(name="q", weight=2.0, ageing_s=5.0)), 0.0)
    decision = core.apply(cmd.SetQueue(1, 1, QueueChange(name="q", ageing_s=None)), 0.0)
    assert only(decision, ch.QueueChanged).settings == QueueSettings("q", weight=2.0)


def test_no_more_queues_have_settings_than_the_bound_lets() -> None:
    core = make_core(CoreLimits(queues_max=1))
    core.apply(cmd.SetQueue(1, 1, QueueChange(name="a", weight=2.0)), 0.0)
    decision = core.apply(cmd.SetQueue(1, 2, QueueChange(name="b", weight=2.0)), 0.0)
    assert "1 queues" in only(decision, fx.RefuseRequest).why


def test_a_queues_wait_limit_cancels_what_isnt_started_in_time() -> None:
    core = make_core()
    core.apply(cmd.SetQueue(1, 1, QueueChange(name="mail", wait_limit_s=5.0)), 0.0)
    decision = submit(core, task("m", queue="mail"), task("d"))
    stored = {new.task_id: new.options for new in only(decision, ch.TasksAdded).tasks}
    assert stored["d"] is None
    assert stored["m"] is not None
    assert stored["m"].expires_at == 105.0  # submitted at 100


def test_a_purge_cancels_what_waits_and_nothing_that_comes_later() -> None:
    core = make_core(CoreLimits(purge_max=2))
    connect_client(core)
    submit(core, *(task(f"m{n}", queue="mail") for n in range(5)), task("d"))
    decision = core.apply(cmd.Purge(1, 7, "mail"), 0.0)
    assert only(decision, fx.AnswerInspect).answer == {"ready": 5}
    submit(core, task("later", queue="mail"))
    cancelled: list[str] = []
    for _ in range(5):
        decision = tick(core)
        for change in decision.changes:
            if isinstance(change, ch.TasksFinished):
                assert {r.status for r in change.results} == {TaskStatus.CANCELLED}
                cancelled += [r.task_id for r in change.results]
        for effect in decision.effects:
            if isinstance(effect, fx.LoadPurged):
                core.apply(cmd.PurgedLoaded("mail", effect.last, [], 1000.0, is_last=True), 0.0)
    assert cancelled == [f"m{n}" for n in range(5)]
    assert core.state.purges == {}
    connect(core, 10)
    assert {lease.task_id for lease in leases(tick(core))} == {"later", "d"}


def test_what_is_submitted_after_a_restart_is_not_taken_by_an_older_purge() -> None:
    core = make_core(snapshot=Snapshot(epoch=2, purges=[("mail", 500)], last_sequence=3))
    decision = submit(core, task("new", queue="mail"))
    [key] = only(decision, ch.TasksAdded).keys
    assert key & ((1 << SEQUENCE_BITS) - 1) == 501


def test_idle_lanes_are_dropped_together_when_there_are_many() -> None:
    core = make_core(CoreLimits(lanes_idle_max=3))
    connect(core, 10)
    for n in range(4):
        submit(core, task(f"t{n}", key=f"k{n}"))
        succeed(core, *leases(tick(core)))
    assert len(core.state.lanes.by_id) == 4
    decision = submit(core, task("t5", key="k5"))
    assert len(only(decision, ch.LanesRemoved).lane_ids) == 4
    assert list(core.state.queues.by_name["default"].flows) == ["k5"]
