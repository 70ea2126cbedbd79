"""What a client is told of tasks: by asking, from its own cache, as they finish, on cancelling."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fastqueue import TaskStatus
from fastqueue.client import submissions
from fastqueue.errors import ResultExpired, TaskTimeout
from fastqueue.tasks.ids import new_task_id
from harness import bounded, eventually, registry_of


async def add(x, y):
    return x + y


class Gate:
    """Be a task that runs until the test lets it go."""

    def __init__(self):
        self.running = 0
        self.ran = []
        self._release = asyncio.Event()

    async def hold(self, value=None):
        self.running += 1
        self.ran.append(value)
        await self._release.wait()
        self.running -= 1
        return value

    def open(self):
        self._release.set()


@pytest.fixture
async def gate(cluster):
    gate = Gate()
    await cluster.start(registry_of(add, hold=gate.hold), concurrency=1)
    yield gate
    gate.open()


async def test_an_unknown_id_has_no_result(cluster):
    await cluster.start()
    client = await cluster.client()
    assert await client.get_task_result(new_task_id()) is None
    assert client.get_result(new_task_id()) is None
    assert client.get_status(new_task_id()) is None


@pytest.mark.parametrize("wrong", ["", "x" * 1000, "what is this", "\ud800", "a\0b", "<script>"])
async def test_an_impossible_id_is_as_unknown_as_any_and_costs_no_other_call_its_answer(
    cluster, gate, wrong
):
    client = await cluster.client(timeout=5)
    running = asyncio.ensure_future(client.submit_task("add", (1, 2)))
    assert await client.get_task_result(wrong) is None
    cancellation = await client.cancel(wrong)
    assert (cancellation.cancelled, cancellation.status) == (False, None)
    assert await client.inspect("tasks", [wrong]) == {wrong: {"state": "unknown"}}
    with pytest.raises(ResultExpired):
        await bounded(anext(client.as_completed([wrong])))
    assert (await running).result == 3


@pytest.mark.parametrize("wrong", [7, None, b"bytes"])
async def test_what_is_no_text_is_no_task_id(cluster, wrong):
    await cluster.start()
    client = await cluster.client()
    for call in (
        client.get_task_result(wrong),
        client.cancel(wrong),
        client.inspect("tasks", [wrong]),
        anext(client.as_completed([wrong])),
    ):
        with pytest.raises(TypeError, match="task id"):
            await call


async def test_a_task_not_finished_has_a_status_and_no_result(cluster, gate):
    client = await cluster.client()
    running = await client.delay("hold", 1)
    await eventually(lambda: gate.running)
    queued = await client.delay("hold", 2)
    result = await client.get_task_result(running)
    assert (result.status, result.result, result.error) == (TaskStatus.RUNNING, None, None)
    assert (result.name, result.task_id) == ("hold", running)
    assert result
    result = await client.get_task_result(queued)
    assert (result.status, result.result) == (TaskStatus.QUEUED, None)


async def test_a_finished_task_tells_everything(cluster, gate):
    client = await cluster.client()
    before = datetime.now(UTC)
    result = await client.submit_task("add", (1, 2))
    asked = await client.get_task_result(result.task_id)
    assert asked == result == client.get_result(result.task_id)
    assert (result.name, result.attempt, result.error, result.traceback) == ("add", 1, None, None)
    assert result.worker_id
    # The wall clock may be set back a little at any time, so no exact order is asserted.
    slack = timedelta(minutes=1)
    assert before - slack < result.started_at < result.completed_at + slack
    assert result.started_at.tzinfo is UTC


async def test_the_own_cache_follows_a_task_without_asking(cluster, gate):
    client = await cluster.client()
    call = asyncio.ensure_future(client.delay("hold", 7))
    task_id = await call
    assert client.get_status(task_id) is TaskStatus.QUEUED
    assert client.get_result(task_id).result is None
    gate.open()
    await eventually(lambda: client.get_status(task_id) == "success")
    assert client.get_result(task_id).result == 7


async def test_a_submission_not_yet_acknowledged_is_pending(cluster):
    client = await cluster.client()  # there is no control plane
    call = asyncio.ensure_future(client.delay_with_callback("add", "tcp://127.0.0.1:6000", 1, 2))
    await eventually(lambda: client._connection.results.unfinished() or known_ids(client))
    (task_id,) = known_ids(client)
    assert client.get_status(task_id) is TaskStatus.PENDING
    await cluster.start()
    assert (await bounded(call)).status == "pending"
    assert client.get_status(task_id) is TaskStatus.QUEUED


def known_ids(client):
    return list(client._connection.results._known)


async def test_the_own_cache_is_bounded_and_the_control_plane_still_knows(cluster, gate):
    client = await cluster.client(result_cache_size=10)
    results = [await client.submit_task("add", (n, n)) for n in range(20)]
    assert [client.get_result(r.task_id) is None for r in results] == [True] * 10 + [False] * 10
    assert (await client.get_task_result(results[0].task_id)).result == 0


async def test_the_own_cache_knows_only_the_own_tasks(cluster, gate):
    one, other = await cluster.client(), await cluster.client()
    result = await one.submit_task("add", (1, 2))
    assert other.get_result(result.task_id) is None
    assert (await other.get_task_result(result.task_id)).result == 3


async def test_results_come_in_the_order_in_which_they_finish(cluster):
    gates = [Gate() for _ in range(4)]

    async def hold(n):
        await gates[n].hold()
        return n

    await cluster.start(registry_of(hold))
    client = await cluster.client()
    task_ids = [await client.delay("hold", n) for n in range(4)]
    order = []
    finished = client.as_completed(task_ids + task_ids[:2])
    for n in (2, 0, 3, 1):
        gates[n].open()
        order.append((await bounded(anext(finished))).result)
    assert order == [2, 0, 3, 1]
    with pytest.raises(StopAsyncIteration):
        await anext(finished)


async def test_one_may_wait_for_the_tasks_of_another_client(cluster, gate):
    one, other = await cluster.client(), await cluster.client()
    over = await one.submit_task("add", (1, 2))
    live = [await one.delay("hold", n) for n in range(3)]
    own = await other.delay("add", 5, 5)
    results = []
    finished = other.as_completed([*live, over.task_id, own])
    results.append(await bounded(anext(finished)))
    gate.open()
    results += [r async for r in finished]
    assert results[0] == over
    assert sorted(r.result for r in results) == [0, 1, 2, 3, 10]


async def test_waiting_for_what_is_unknown_ends_at_once(cluster, gate):
    client = await cluster.client()
    unknown = new_task_id()
    with pytest.raises(ResultExpired, match=unknown) as caught:
        await bounded(anext(client.as_completed([unknown])))
    assert caught.value.task_id == unknown


async def test_waiting_has_a_timeout_that_names_a_task(cluster, gate):
    client = await cluster.client()
    task_id = await client.delay("hold")
    with pytest.raises(TaskTimeout, match=task_id) as caught:
        await bounded(anext(client.as_completed([task_id], timeout=0.1)))
    assert caught.value.task_id == task_id


async def test_the_results_of_a_cache_too_small_for_them_arrive_all_the_same(cluster, gate):
    client = await cluster.client(result_cache_size=5)
    task_ids = await client.submit_batch([("add", (n, 0)) for n in range(100)])
    results = [r.result async for r in client.as_completed(task_ids, timeout=30)]
    assert sorted(results) == list(range(100))


async def test_an_evicted_result_is_none_and_the_least_recently_read_goes_first(cluster):
    await cluster.start(registry_of(add), result_cache_size=10)
    client = await cluster.client(result_cache_size=1)
    ids = [(await client.submit_task("add", (n, 0))).task_id for n in range(10)]
    assert (await client.get_task_result(ids[0])).result == 0
    for n in range(5):
        await client.submit_task("add", (n, 0))
    found = [await client.get_task_result(task_id) is not None for task_id in ids]
    assert found == [True] + [False] * 5 + [True] * 4
    with pytest.raises(ResultExpired):
        await bounded(anext(client.as_completed([ids[1]])))


async def test_a_result_expires_counted_from_its_completion_however_often_it_is_read(cluster):
    await cluster.start(registry_of(add), result_cache_ttl_s=0.5)
    client = await cluster.client(result_cache_size=1)
    task_id = (await client.submit_task("add", (1, 2))).task_id
    await client.submit_task("add", (0, 0))  # the own cache forgets the first

    async def is_gone():
        return await client.get_task_result(task_id) is None

    await eventually(is_gone, "the result to expire while it is read all the time")


async def test_a_queued_task_is_cancelled_and_never_runs(cluster, gate):
    client = await cluster.client()
    await client.delay("hold", "first")
    await eventually(lambda: gate.running)
    waiting = asyncio.ensure_future(client.submit_task("hold", ("second",)))
    await eventually(lambda: len(known_ids(client)) == 2)
    queued = known_ids(client)[1]
    await eventually(lambda: client.get_status(queued) == "queued")
    cancellation = await client.cancel(queued)
    assert cancellation
    assert cancellation.cancelled
    assert (cancellation.task_id, cancellation.status) == (queued, "cancelled")
    result = await bounded(waiting)
    assert result.status is TaskStatus.CANCELLED
    assert "Cancelled" in result.error
    assert client.get_status(queued) == "cancelled"
    assert (await client.get_task_result(queued)).status == "cancelled"
    again = await client.cancel(queued)
    assert again.status == "cancelled"
    gate.open()
    await client.submit_task("add", (1, 2))
    assert gate.ran == ["first"]


async def test_a_finished_and_an_unknown_task_are_left_as_they_are(cluster, gate):
    client = await cluster.client()
    finished = (await client.submit_task("add", (1, 2))).task_id
    for task_id, status in ((finished, "success"), (new_task_id(), None)):
        cancellation = await client.cancel(task_id)
        assert not cancellation
        assert cancellation.status == status
    assert client.get_result(finished).result == 3


async def test_a_running_task_is_cancelled_where_it_runs(cluster, gate):
    client = await cluster.client()
    running = await client.delay("hold", "x")
    await eventually(lambda: gate.running)
    cancellation = await client.cancel(running)
    assert cancellation
    assert cancellation.status == "cancelled"
    assert client.get_result(running).error == "Cancelled: it was cancelled while it ran"
    assert await client.submit_task("add", (1, 2))


async def test_another_client_may_cancel_and_the_submitter_is_told(cluster, gate):
    one, other = await cluster.client(), await cluster.client()
    await one.delay("hold")
    await eventually(lambda: gate.running)
    queued = await one.delay("hold")
    assert await other.cancel(queued)
    await eventually(lambda: one.get_status(queued) == "cancelled")


async def test_many_queued_tasks_are_cancelled_while_others_run(cluster):
    ran = []

    async def note(n):
        ran.append(n)
        await asyncio.sleep(0)

    await cluster.start()
    client = await cluster.client()
    task_ids = await client.submit_batch([("note", (n,)) for n in range(400)])
    await cluster.add_subworker(registry_of(note), concurrency=2)
    cancelled = await bounded(asyncio.gather(*map(client.cancel, task_ids[::2])))
    results = {r.task_id: r async for r in client.as_completed(task_ids, timeout=30)}
    kept = {c.task_id for c in cancelled if c}
    for n, task_id in enumerate(task_ids):
        assert (results[task_id].status == "cancelled") == (task_id in kept)
        assert (n in ran) == (task_id not in kept)
    assert len(ran) == len(set(ran))


async def test_a_client_that_comes_back_gets_the_results_it_missed(cluster):
    gate = Gate()
    await cluster.start(registry_of(hold=gate.hold), concurrency=16)
    client = await cluster.client()
    task_ids = [await client.delay("hold", n) for n in range(10)]
    await eventually(lambda: gate.running == 10)
    await cluster.stop_control_plane()
    gate.open()
    await eventually(lambda: gate.running == 0)
    await cluster.start_control_plane()
    await eventually(lambda: all(client.get_status(i) == "success" for i in task_ids))
    assert [client.get_result(i).result for i in task_ids] == list(range(10))
    assert len(gate.ran) == 10


async def test_tasks_the_cache_forgot_before_they_were_sent_are_awaited_all_the_same(
    cluster, monkeypatch
):
    # So that most of them aren't sent yet when the client asks for what it may have missed, and
    # half of them still wait for room.
    monkeypatch.setattr(submissions, "_WAITING_TASKS_MAX", 100)
    monkeypatch.setattr(submissions, "_WINDOW_TASKS", 10)
    monkeypatch.setattr(submissions, "_BATCH_TASKS_MAX", 10)
    client = await cluster.client(result_cache_size=10)  # there is no control plane
    calls = [asyncio.ensure_future(client.submit_task("add", (n, 0))) for n in range(200)]
    await eventually(lambda: not client._connection.submissions.has_room)
    await cluster.start(registry_of(add))
    results = await bounded(asyncio.gather(*calls))
    assert [result.result for result in results] == list(range(200))
