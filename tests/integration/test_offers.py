"""Arguments are checked where they are given; what nobody offers waits, and says so."""

import asyncio
import dataclasses
import logging

import pytest
from tests.harness import bounded, eventually, registry_of
from tests.ports import free_address

from fastqueue import SyncClient
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import InvalidArguments, TaskNotOffered, TaskTimeout
from fastqueue.tasks.registry import TaskRegistry


def add(x: int, y: int) -> int:
    return x + y


def newer_add(x: int, y: int, z: int = 0) -> int:
    return x + y + z


def echo(value):
    return value


def in_queue(registry, queue):
    """Return the same definitions with another queue."""
    moved = TaskRegistry()
    for definition in registry:
        moved.register(dataclasses.replace(definition, queue=queue))
    return moved


async def _all_of(mapped):
    return [result async for result in mapped]


async def stored(client):
    stats = await client.inspect("stats")
    return stats["queued"] + stats["running"] + stats["results"]


# -- arguments


async def test_wrong_arguments_are_refused_before_anything_is_submitted(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("add") is None)
    with pytest.raises(InvalidArguments) as caught:
        await client.delay("add", 1)
    assert str(caught.value) == (
        "task 'add' can't be called so: 'y' is missing; its signature is add(x: int, y: int)"
    )
    assert (caught.value.task_name, caught.value.argument) == ("add", "'y'")
    assert isinstance(caught.value, TypeError)
    calls = (
        lambda: client.submit_task("add", (1, "2")),
        lambda: client.submit_batch([("add", (1, 2)), ("add", (1, 2, 3))]),
        lambda: client.options(countdown=60).delay("add", 1, z=3),
        lambda: client.delay_with_callback("add", free_address(), 1),
        lambda: _all_of(client.starmap("add", [(1, "2")])),
    )
    for call in calls:
        with pytest.raises(InvalidArguments, match="add"):
            await call()
    assert await stored(client) == 0
    assert (await bounded(client.submit_task("add", (1, 2)))).result == 3


async def test_the_first_call_of_a_client_is_checked(cluster):
    await cluster.start(registry_of(add))
    first = await cluster.client()
    await eventually(lambda: first.why_waits("add") is None)
    client = await cluster.client()
    with pytest.raises(InvalidArguments):
        await client.delay("add")


async def test_checking_can_be_turned_off(cluster, monkeypatch):
    await cluster.start(registry_of(add))
    for client in (await cluster.client(validate=False), None):
        if client is None:
            monkeypatch.setenv("FASTQUEUE_VALIDATE", "no")
            client = await cluster.client()
        result = await bounded(client.submit_task("add", (1,)))
        assert result.error.startswith("TypeError")


async def test_of_two_versions_either_may_take_a_call(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("add") is None)
    with pytest.raises(InvalidArguments):
        await client.delay("add", 1, 2, 3)
    await cluster.add_subworker(registry_of(add=newer_add))
    await cluster.subworkers[1].connected()
    # It may not have been told yet: then it asks before it refuses.
    await eventually(lambda: _is_offered_by(client, "add", 2))
    await client.delay("add", 1, 2, 3)
    with pytest.raises(InvalidArguments, match=r"z: int = \.\.\.\) or add\(x: int, y: int\)"):
        await client.delay("add")


async def _is_offered_by(client, name, count):
    rows = (await client.inspect("offers"))["offers"]
    return sum(row["subworkers"] for row in rows if row["name"] == name) == count


async def test_what_was_learnt_from_a_subworker_that_is_gone_refuses_nothing(cluster):
    await cluster.start(registry_of(add), limits=CoreLimits(offers_pause_s=1e6))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("add") is None)
    await cluster.subworkers.pop().stop()
    await cluster.add_subworker(registry_of(add=newer_add))
    await eventually(lambda: _is_offered_by(client, "add", 1))
    # Nobody tells it any more, so what it believes is wrong.
    result = await bounded(client.submit_task("add", (1, 2, 3)))
    assert result.result == 6


async def test_more_than_is_pushed_is_asked_for(cluster):
    limits = CoreLimits(offers_pushed_bytes_max=10)
    await cluster.start(in_queue(registry_of(add), "sums"), limits=limits)
    client = await cluster.client()
    await eventually(lambda: _is_offered_by(client, "add", 1))
    with pytest.raises(InvalidArguments):
        await client.delay("add", 1)
    other = await cluster.client()
    assert [r.result for r in await _all_of(other.starmap("add", [(1, 2), (3, 4)]))] == [3, 7]
    assert client.why_waits("nope") is None
    task_id = await client.delay("nope")
    assert client.why_waits("nope") == "no connected subworker offers a task named 'nope'"
    assert (await client.get_task_result(task_id)).status == "queued"
    assert (await bounded(client.submit_task("add", (1, 2)))).result == 3


async def test_wrong_arguments_with_no_subworker_are_found_by_the_one_that_comes(cluster):
    await cluster.start()
    client = await cluster.client()
    task_id = await client.delay("add", 1)
    await cluster.add_subworker(registry_of(add))
    await eventually(lambda: client.get_status(task_id) == "failure")
    assert client.get_result(task_id).error.startswith("TypeError")


async def test_after_the_control_plane_is_another_what_it_says_counts(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("add") is None)
    address = cluster.address
    await cluster.stop_control_plane()
    await cluster.start_control_plane(base_address=address)
    await eventually(lambda: _is_offered_by(client, "add", 1))
    with pytest.raises(InvalidArguments):
        await client.delay("add")
    assert (await bounded(client.submit_task("add", (1, 2)))).result == 3


# -- queues


async def test_a_task_by_name_waits_in_the_queue_of_its_offered_definition(cluster):
    await cluster.start(in_queue(registry_of(echo), "mail"))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("echo") is None)
    await client.options(countdown=60).delay("echo", 1)
    for queue, options in (("mail", {}), ("other", {"queue": "other"})):
        result = await bounded(client.submit_task("echo", (1,), **options))
        assert result.status == "success"
        lanes = cluster.control_plane._engine.core.state.lanes
        assert any(lane.queue == queue for lane in lanes)
    assert not any(lane.queue == "default" for lane in lanes)


# -- names


async def test_a_task_that_nobody_offers_waits_and_says_for_what(cluster, caplog):
    caplog.set_level(logging.WARNING)
    await cluster.start(registry_of(add, echo), limits=CoreLimits(unoffered_grace_s=0.05))
    client = await cluster.client(timeout=1)
    await eventually(lambda: client.why_waits("add") is None)
    with pytest.raises(TaskTimeout) as caught:
        await client.submit_task("addd", (1, 2))
    assert "registered are: add, echo; did you mean 'add'?" in str(caught.value)
    waiting = await client.get_task_result(caught.value.task_id)
    assert (waiting.status, waiting.result, waiting.error) == ("queued", None, None)
    assert waiting.waits_for == "a subworker that offers 'addd'; none that is connected does"
    [entry] = (await client.inspect("stats"))["unoffered"]
    assert (entry["name"], entry["tasks"]) == ("addd", 1)
    assert entry["waiting_s"] > 0
    lines = [r for r in caplog.messages if "tasks wait for a subworker that offers" in r]
    assert lines == [
        "tasks wait for a subworker that offers addd (1); none that is connected does; offered "
        "are: add, echo"
    ]
    await cluster.add_subworker(registry_of(addd=add))
    await eventually(lambda: client.get_status(caught.value.task_id) == "success")
    assert (await client.inspect("stats"))["unoffered"] == []


async def test_many_tasks_of_a_name_that_nobody_offers_all_wait_for_it(cluster):
    limits = CoreLimits(window_max=64, window_total=64)
    await cluster.start(registry_of(add), limits=limits)
    client = await cluster.client()
    task_ids = await client.submit_batch([("later", (n,)) for n in range(1_000)])
    # Most of them are only in the store.
    for task_id in (task_ids[0], task_ids[-1]):
        assert "'later'" in (await client.get_task_result(task_id)).waits_for
    await cluster.add_subworker(registry_of(later=echo))
    results = [r async for r in client.as_completed(task_ids, timeout=30)]
    assert {r.status for r in results} == {"success"}


async def test_with_no_subworker_at_all_a_task_waits_for_one(cluster):
    await cluster.start()
    client = await cluster.client(timeout=0.5)
    with pytest.raises(TaskTimeout, match="none offers any") as caught:
        await client.submit_task("add", (1, 2))
    await cluster.add_subworker(registry_of(add))
    await eventually(lambda: client.get_status(caught.value.task_id) == "success")


async def test_what_requires_a_subworker_is_refused_without_one(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    await eventually(lambda: client.why_waits("add") is None)
    strict = client.options(require_worker=True)
    with pytest.raises(TaskNotOffered, match="'addd'; registered are: add; did you mean 'add'"):
        await strict.delay("addd", 1, 2)
    with pytest.raises(TaskNotOffered):
        await client.submit_task("addd", (1, 2), require_worker=True)
    with pytest.raises(TaskNotOffered):
        await strict.delay_with_callback("addd", free_address())
    assert await stored(client) == 0
    assert (await bounded(strict.submit_task("add", (1, 2)))).result == 3


async def test_a_client_without_an_event_loop_is_told_and_refused_the_same(cluster):
    await cluster.start(registry_of(add))

    def use():
        with SyncClient(discovery_address=cluster.discovery_address) as client:
            client.submit_task("add", (1, 2))
            with pytest.raises(InvalidArguments):
                client.delay("add", 1)
            with pytest.raises(TaskNotOffered):
                client.options(require_worker=True).delay("addd")
            assert client.why_waits("add") is None
            return client.why_waits("addd")

    assert "did you mean 'add'" in await bounded(asyncio.to_thread(use))
