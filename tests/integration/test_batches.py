"""Many tasks as one: map, gather, as_completed over what comes, and batches that are counted."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fastqueue import SyncClient, TaskStatus
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import (
    ClientStateError,
    ConfigurationError,
    ControlPlaneUnavailable,
    Overloaded,
    ResultExpired,
    SerializationError,
    TaskTimeout,
)
from harness import bounded, eventually, registry_of


async def double(x):
    return 2 * x


async def add(a, b):
    return a + b


async def fail(x):
    raise ValueError(x)


async def odd_fails(x):
    if x % 2:
        raise ValueError(x)
    return x


class Gate:
    """Hold tasks back until they are let through, and count those that have begun."""

    def __init__(self):
        self.event = asyncio.Event()
        self.begun = 0

    async def wait(self, x):
        self.begun += 1
        await self.event.wait()
        return x


@pytest.fixture
def gate():
    return Gate()


async def unfinished(client, batch_id):
    batch = await client.batch(batch_id)
    return 0 if batch is None else batch.waiting + batch.running


async def test_a_map_yields_results_in_the_order_of_its_input(cluster):
    await cluster.start(registry_of(double))
    client = await cluster.client()
    mapped = client.map("double", range(500), window=50)
    assert [r.result async for r in mapped] == [2 * x for x in range(500)]
    batch = await client.batch(mapped.batch_id)
    assert (batch.submitted, batch.success, batch.waiting, batch.running) == (500, 500, 0, 0)
    assert batch.finished
    assert batch.created_at <= batch.finished_at


async def test_a_map_can_be_awaited_and_has_failures_as_results(cluster):
    await cluster.start(registry_of(odd_fails))
    client = await cluster.client()
    results = await client.map("odd_fails", range(10), retries=0)
    assert [r.status for r in results] == [TaskStatus.SUCCESS, TaskStatus.FAILURE] * 5


async def test_a_starmap_spreads_each_item_over_the_arguments(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    results = await client.starmap("add", zip(range(5), range(5), strict=True))
    assert [r.result for r in results] == [0, 2, 4, 6, 8]
    with pytest.raises(TypeError, match="tuple or list of positional arguments, not 7"):
        await client.starmap("add", [(1, 2), 7])


async def test_a_map_of_nothing_is_nothing(cluster):
    await cluster.start()
    client = await cluster.client()
    assert await client.map("double", []) == []


async def test_a_map_never_has_more_tasks_unfinished_than_its_window(cluster, gate):
    await cluster.start(registry_of(gate.wait, wait=gate.wait), concurrency=100)
    client = await cluster.client()
    read = 0

    def items():
        nonlocal read
        for x in range(1_000):
            read += 1
            yield x

    mapped = client.map("wait", items(), window=7)
    results = aiter(mapped)
    first = asyncio.ensure_future(anext(results))
    await eventually(lambda: gate.begun == 7)
    assert await unfinished(client, mapped.batch_id) == 7
    assert read == 7, "the input is read no further than it is submitted"
    gate.event.set()
    assert (await bounded(first)).result == 0
    count = 1
    async for _ in results:
        count += 1
        assert read - count <= 7
    assert count == 1_000


async def test_breaking_out_of_a_map_submits_nothing_more_and_leaves_what_is_submitted(
    cluster, gate
):
    await cluster.start(registry_of(wait=gate.wait), concurrency=100)
    client = await cluster.client()
    gate.event.set()
    mapped = client.map("wait", range(1_000), window=10)
    async for result in mapped:
        if result.result == 4:
            break
    batch = await eventually(lambda: finished(client, mapped.batch_id))
    assert 10 <= batch.submitted < 30
    assert batch.success == batch.submitted
    with pytest.raises(ClientStateError, match="once"):
        await mapped


async def finished(client, batch_id):
    batch = await client.batch(batch_id)
    return batch if batch is not None and batch.finished else None


async def test_an_asynchronous_input_that_pauses_holds_no_result_back(cluster):
    await cluster.start(registry_of(double))
    client = await cluster.client()
    more = asyncio.Event()

    async def items():
        yield 1
        yield 2
        await more.wait()
        yield 3

    results = aiter(client.map("double", items()))
    assert (await bounded(anext(results))).result == 2
    assert (await bounded(anext(results))).result == 4
    more.set()
    assert (await bounded(anext(results))).result == 6
    with pytest.raises(StopAsyncIteration):
        await bounded(anext(results))


async def test_an_error_of_the_input_is_raised_and_says_how_far_the_map_came(cluster):
    await cluster.start(registry_of(double))
    client = await cluster.client()

    def items():
        yield from range(3)
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows") as caught:
        await client.map("double", items())
    assert "had submitted 3 tasks" in "".join(caught.value.__notes__)


async def test_an_error_of_the_system_says_how_far_the_map_came(cluster):
    await cluster.start(registry_of(double))
    client = await cluster.client(timeout=0.3, retries=0)
    mapped = client.map("double", range(100), window=1)

    async def use():
        async for result in mapped:
            if result.result == 6:
                await cluster.stop_control_plane()

    with pytest.raises(ControlPlaneUnavailable, match=r"handed out [1-9]\d* results") as caught:
        await use()
    assert mapped.batch_id in str(caught.value)
    with pytest.raises(SerializationError, match="had submitted 0 tasks"):
        await client.map("double", [object()])


async def test_a_window_that_cannot_be_one_is_refused(cluster):
    await cluster.start()
    client = await cluster.client()
    for window in (0, -1, 1.5, True, 100_001):
        with pytest.raises(ConfigurationError, match="window="):
            client.map("double", [], window=window)
    with pytest.raises(TypeError, match="iterable"):
        client.map("double", 5)
    with pytest.raises(TypeError, match="no option 'colour'"):
        client.map("double", [], colour="red")


async def test_gather_returns_results_in_the_order_given(cluster):
    await cluster.start(registry_of(double, add))
    client = await cluster.client()
    known = await client.delay("double", 21)
    other = await (await cluster.client()).delay("double", 4)
    results = await client.gather(
        client.delay("add", 1, 2), known, client.delay("double", 5), other, known
    )
    assert [r.result for r in results] == [3, 42, 10, 8, 42]
    assert await client.gather() == []


async def test_gather_says_what_it_could_not_submit_or_wait_for(cluster, gate):
    await cluster.start(registry_of(double, wait=gate.wait))
    client = await cluster.client()
    with pytest.raises(SerializationError, match="of 2 tasks of the gather 1 were submitted"):
        await client.gather(client.delay("double", 1), client.delay("double", object()))
    with pytest.raises(ResultExpired):
        await client.gather("nobody-knows")
    with pytest.raises(TaskTimeout):
        await client.gather(client.delay("wait", 1), timeout=0.05)


async def test_as_completed_reads_ids_as_results_come(cluster, gate):
    await cluster.start(registry_of(wait=gate.wait), concurrency=100)
    client = await cluster.client()
    read = 0

    async def ids():
        nonlocal read
        for x in range(50):
            read += 1
            yield await client.delay("wait", x)

    results = client.as_completed(ids(), window=5)
    first = asyncio.ensure_future(anext(results))
    await eventually(lambda: gate.begun == 5)
    assert read == 5
    gate.event.set()
    found = [(await bounded(first)).result] + [r.result async for r in results]
    assert sorted(found) == list(range(50))


async def test_as_completed_takes_a_generator_and_a_list(cluster):
    await cluster.start(registry_of(double))
    client = await cluster.client()
    ids = await client.submit_batch([("double", (x,)) for x in range(20)])
    assert {r.task_id async for r in client.as_completed(i for i in ids)} == set(ids)
    assert {r.task_id async for r in client.as_completed([*ids, *ids])} == set(ids)


async def test_a_batch_counts_what_was_submitted_to_it_and_how_it_ended(cluster, gate):
    await cluster.start(registry_of(double, fail, wait=gate.wait), concurrency=2)
    client = await cluster.client()
    nightly = client.options(batch="nightly-2026-11-24", retries=0)
    await nightly.delay("fail", 1)
    await nightly.submit_batch([("double", (x,)) for x in range(5)])
    await client.options(batch="nightly-2026-11-24", countdown=3600).delay("double", 1)
    await client.delay("double", 9)
    await eventually(lambda: counted(client, "nightly-2026-11-24", success=5, failure=1))
    batch = await client.batch("nightly-2026-11-24")
    assert (batch.submitted, batch.waiting, batch.cancelled) == (7, 1, 0)
    assert not batch.finished
    assert await client.batch("another") is None
    assert [b.batch_id async for b in client.batches()] == ["nightly-2026-11-24"]


async def counted(client, batch_id, **counts):
    batch = await client.batch(batch_id)
    return batch is not None and all(getattr(batch, n) == count for n, count in counts.items())


async def test_cancelling_a_batch_cancels_what_waits_and_what_runs(cluster, gate):
    await cluster.start(registry_of(double, wait=gate.wait), concurrency=3)
    client = await cluster.client()
    ids = await client.options(batch="b").submit_batch([("wait", (x,)) for x in range(20)])
    await client.options(batch="b", countdown=3600).delay("double", 1)
    other = await client.delay("wait", 99)
    await eventually(lambda: gate.begun == 3)
    outcome = await bounded(client.cancel_batch("b"))
    assert outcome
    assert (outcome.cancelled, outcome.unfinished) == (21, 0)
    batch = await client.batch("b")
    assert (batch.submitted, batch.cancelled, batch.finished) == (21, 21, True)
    assert (await client.get_task_result(ids[0])).status is TaskStatus.CANCELLED
    assert not (await client.get_task_result(other)).status.is_terminal
    again = await client.cancel_batch("b")
    assert (again.cancelled, again.unfinished) == (0, 0)
    gate.event.set()


async def test_the_counts_of_a_batch_outlast_its_results_and_a_restart(cluster):
    await cluster.start(registry_of(double), result_cache_size=10)
    client = await cluster.client()
    mapped = client.map("double", range(100), window=20)
    results = await mapped
    assert len(results) == 100
    assert await client.get_task_result(results[0].task_id) is None
    before = await client.batch(mapped.batch_id)
    await cluster.stop_control_plane()
    await cluster.start_control_plane(result_cache_size=10)
    assert await client.batch(mapped.batch_id) == before
    assert before.success == 100


async def test_a_batch_id_that_cannot_be_one_is_refused(cluster):
    await cluster.start()
    client = await cluster.client()
    for wrong in ("", "x" * 101, "a\nb", 7):
        with pytest.raises(ConfigurationError, match="batch="):
            client.options(batch=wrong)
        with pytest.raises(ConfigurationError, match="batch="):
            await client.batch(wrong)


async def test_the_synchronous_client_does_the_same(cluster):
    await cluster.start(registry_of(double, add))
    here = threading.get_ident()

    def use():
        readers = set()

        def items():
            for x in range(300):
                readers.add(threading.get_ident())
                yield x

        with SyncClient(discovery_address=cluster.discovery_address) as client:
            mapped = client.map("double", items(), window=20)
            assert [r.result for r in mapped] == [2 * x for x in range(300)]
            assert readers == {threading.get_ident()} != {here}
            assert client.batch(mapped.batch_id).success == 300
            assert [b.batch_id for b in client.batches()] == [mapped.batch_id]
            assert [r.result for r in client.starmap("add", [(1, 2), (3, 4)])] == [3, 7]
            ids = client.submit_batch([("double", (x,)) for x in range(30)])
            assert [r.result for r in client.gather(*ids)] == [2 * x for x in range(30)]
            some = client.as_completed(iter(ids), window=3)
            assert {r.task_id for r in some} == set(ids)
            with pytest.raises(LookupError) as caught:
                list(client.map("double", failing()))
            assert "had submitted 2 tasks" in "".join(caught.value.__notes__)
            optioned = client.options(batch="mine", countdown=3600)
            optioned.submit_batch([("double", (1,))] * 3)
            assert client.cancel_batch("mine").cancelled == 3
            stopped = client.map("double", range(1_000), window=5)
            assert next(stopped).result == 0
            stopped.close()
            assert client.batch(stopped.batch_id).submitted < 20

    await bounded(asyncio.to_thread(use))


def failing():
    yield 1
    yield 2
    raise LookupError("no more rows")


async def test_a_map_that_the_control_plane_has_no_room_for_says_so_and_how_far_it_came(
    cluster, gate
):
    await cluster.start(registry_of(wait=gate.wait), limits=CoreLimits(live_tasks_max=10))
    client = await cluster.client(retries=0)
    gate.event.set()
    with pytest.raises(Overloaded, match=r"handed out \d+ results") as caught:
        await bounded(client.map("wait", range(1_000), window=100))
    assert caught.value.retry_after_s > 0


async def test_more_unfinished_batches_than_are_remembered_are_refused_until_one_is_over(
    cluster, gate
):
    await cluster.start(registry_of(wait=gate.wait), limits=CoreLimits(batches_max=2))
    client = await cluster.client(retries=0)
    for batch in ("a", "b"):
        await client.options(batch=batch).delay("wait", 1)
    with pytest.raises(Overloaded, match="2 batches are unfinished"):
        await client.options(batch="c").delay("wait", 1)
    gate.event.set()
    await eventually(lambda: finished(client, "a"))
    await client.options(batch="c").delay("wait", 1)
    assert await client.batch("c") is not None
