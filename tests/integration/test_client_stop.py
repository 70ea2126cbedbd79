"""A client that is stopped ends every call that waits, and takes no new one."""

from __future__ import annotations

import asyncio

import pytest

from fastqueue import Client
from fastqueue.client import lifecycle, submissions
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import ClientStateError, ControlPlaneUnavailable
from fastqueue.tasks.ids import new_task_id
from harness import bounded, eventually, registry_of
from proxy import CuttingProxy

SOON_S = 5.0
"""Far less than the timeout of the clients here."""

LISTENER = "tcp://127.0.0.1:6000"
SOME_ID = new_task_id()


@pytest.fixture(autouse=True)
def short_start(monkeypatch):
    """Let clients start quickly where nobody is there."""
    monkeypatch.setattr(lifecycle, "_START_WAIT_S", 0.05)


async def collect(results):
    return [result async for result in results]


CALLS = {
    "delay": lambda client: client.delay("add", 1, 2),
    "submit_task": lambda client: client.submit_task("add", (1, 2)),
    "delay_with_callback": lambda client: client.delay_with_callback("add", LISTENER, 1, 2),
    "submit_batch": lambda client: client.submit_batch([("add", (n, n)) for n in range(2_500)]),
    "get_task_result": lambda client: client.get_task_result(SOME_ID),
    "as_completed": lambda client: collect(client.as_completed([SOME_ID])),
    "cancel": lambda client: client.cancel(SOME_ID),
    "inspect": lambda client: client.inspect(),
}


async def ends_with_a_state_error(call):
    with pytest.raises(ClientStateError, match="stopped"):
        await bounded(call, SOON_S)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_waits_for_a_control_plane_ends_when_the_client_stops(
    cluster, name, turns
):
    client = await cluster.client()
    call = asyncio.ensure_future(CALLS[name](client))
    await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    client.stop()
    await ends_with_a_state_error(call)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_waits_for_an_answer_ends_when_the_client_stops(cluster, name, turns):
    await cluster.start()
    async with CuttingProxy(cluster.address) as proxy:
        client = await cluster.client(control_plane_address=proxy.address)
        proxy.hold_replies()
        call = asyncio.ensure_future(CALLS[name](client))
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        client.stop()
        await ends_with_a_state_error(call)


async def test_an_iteration_begun_before_the_stop_does_not_outlive_it(cluster):
    await cluster.start()
    client = await cluster.client()
    task_ids = [await client.delay("add", n, n) for n in range(3)]
    own = client.as_completed(task_ids)
    foreign = client.as_completed([SOME_ID])
    none = client.as_completed(["impossible\0id"])
    client.stop()
    for results in (own, foreign, none):
        await ends_with_a_state_error(anext(results))


async def test_an_iteration_under_way_ends_when_the_client_stops(cluster):
    async def add(x, y):
        return x + y

    await cluster.start(registry_of(add))
    client = await cluster.client()
    known = await client.submit_task("add", (1, 2))
    results = client.as_completed([known.task_id, SOME_ID])
    assert (await anext(results)) == known
    client.stop()
    await ends_with_a_state_error(anext(results))


async def test_a_submission_that_waits_to_be_tried_again_ends_when_the_client_stops(cluster):
    await cluster.start(limits=CoreLimits(live_tasks_max=1))
    client = await cluster.client(retries=100)
    await client.delay("nobody_runs_this")
    calls = [asyncio.ensure_future(CALLS[name](client)) for name in ("delay", "submit_batch")]
    waiting = client._connection.submissions
    await eventually(lambda: waiting._retrying, "the submissions to wait for another try")
    client.stop()
    for call in calls:
        await ends_with_a_state_error(call)


async def test_a_batch_that_is_stored_in_part_when_the_client_stops_says_so(cluster):
    await cluster.start(limits=CoreLimits(live_tasks_max=10))
    client = await cluster.client(retries=100)
    call = asyncio.ensure_future(client.submit_batch([("add", (n, n)) for n in range(25)]))
    waiting = client._connection.submissions
    await eventually(lambda: waiting._retrying, "the rest to wait for another try")
    client.stop()
    with pytest.raises(ClientStateError, match="15 of 25"):
        await bounded(call, SOON_S)


async def test_a_call_that_waits_for_room_ends_when_the_client_stops(cluster, monkeypatch):
    monkeypatch.setattr(submissions, "_WAITING_TASKS_MAX", 100)
    client = await cluster.client()
    first = asyncio.ensure_future(client.submit_batch([("add", (n, n)) for n in range(1_000)]))
    await eventually(lambda: not client._connection.submissions.has_room, "no more room")
    names = ("delay", "submit_task", "delay_with_callback", "submit_batch")
    calls = [asyncio.ensure_future(CALLS[name](client)) for name in names]
    await asyncio.sleep(0)
    client.stop()
    for call in (first, *calls):
        await ends_with_a_state_error(call)


async def test_a_start_that_is_still_looking_ends_when_the_client_stops(
    cluster, monkeypatch, caplog
):
    monkeypatch.setattr(lifecycle, "_START_WAIT_S", 30.0)
    client = Client(discovery_address=cluster.discovery_address)
    starting = asyncio.ensure_future(client.start())
    await asyncio.sleep(0)
    client.stop()
    await ends_with_a_state_error(starting)
    assert caplog.text == ""
    assert client._connection is None


async def test_flushing_with_nobody_there_ends_when_the_client_stops(cluster):
    client = await cluster.client()
    call = asyncio.ensure_future(client.delay("add", 1, 2))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(client.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    client.stop()
    await bounded(closing, SOON_S)
    await ends_with_a_state_error(call)


async def test_flushing_with_nobody_there_takes_no_longer_than_a_call_may(cluster):
    client = await cluster.client(timeout=0.2)
    call = asyncio.ensure_future(client.delay("add", 1, 2))
    await asyncio.sleep(0)
    await bounded(client.aclose(), SOON_S)
    with pytest.raises(ControlPlaneUnavailable):
        await call
