"""How a client starts, waits for a control plane, and stops."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from tests.ports import free_address

from fastqueue import Client, TaskPriority
from fastqueue.errors import ClientStateError, ConfigurationError, ControlPlaneUnavailable
from harness import Cluster, bounded, eventually, registry_of


async def add(x, y):
    return x + y


LISTENER = "tcp://127.0.0.1:6000"
SOME_ID = "01999999-0000-7000-8000-000000000000"


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


async def test_a_client_is_started_in_less_time_than_it_would_wait_for_nobody(cluster, caplog):
    await cluster.start(registry_of(add))
    started = []
    for _ in range(5):
        client = Client(discovery_address=cluster.discovery_address)
        before = time.perf_counter()
        await client.start()
        started.append(time.perf_counter() - before)
        await client.aclose()
    nobody = Client(discovery_address=free_address())
    before = time.perf_counter()
    await nobody.start()
    waited = time.perf_counter() - before
    nobody.stop()
    assert sorted(started)[2] < waited / 4
    assert len(warnings_of(caplog)) == 1  # that of the one who found nobody


async def test_a_client_with_nobody_there_warns_once_and_names_the_address(caplog):
    address = free_address()
    async with Client(discovery_address=address, timeout=0.3) as client:
        with pytest.raises(ControlPlaneUnavailable):
            await client.delay("add", 1, 2)
        (warning,) = warnings_of(caplog)
        assert address in warning
        assert "fastqueue control-plane" in warning


CALLS = {
    "delay": lambda client: client.delay("add", 1, 2),
    "submit_task": lambda client: client.submit_task("add", (1, 2)),
    "delay_with_callback": lambda client: client.delay_with_callback("add", LISTENER, 1, 2),
    "submit_batch": lambda client: client.submit_batch([("add", (1, 2))]),
    "get_task_result": lambda client: client.get_task_result(SOME_ID),
    "cancel": lambda client: client.cancel(SOME_ID),
    "inspect": lambda client: client.inspect(),
    "as_completed": lambda client: anext(client.as_completed([SOME_ID])),
}


async def test_without_a_control_plane_every_call_says_how_long_it_waited_and_where():
    address = free_address()
    async with Client(discovery_address=address, timeout=0.2) as client:
        calls = (call(client) for call in CALLS.values())
        errors = await bounded(asyncio.gather(*calls, return_exceptions=True))
    for name, error in zip(CALLS, errors, strict=True):
        assert isinstance(error, ControlPlaneUnavailable), name
        assert isinstance(error, ConnectionError)
        assert address in str(error), name
        assert "0.2 s" in str(error), name


async def test_a_given_control_plane_address_is_named_when_nobody_is_there():
    address = free_address()
    async with Client(control_plane_address=address, timeout=0.2) as client:
        with pytest.raises(ControlPlaneUnavailable, match=address):
            await client.delay("add", 1, 2)


async def test_calls_made_before_there_is_a_control_plane_wait_for_it(cluster):
    client = await cluster.client()
    calls = [
        asyncio.ensure_future(client.submit_task("add", (1, 2))),
        asyncio.ensure_future(client.delay("add", 3, 4)),
        asyncio.ensure_future(client.get_task_result(SOME_ID)),
    ]
    await cluster.start(registry_of(add))
    result, task_id, unknown = await bounded(asyncio.gather(*calls))
    assert result.result == 3
    assert unknown is None
    await eventually(lambda: client.get_status(task_id) == "success")
    assert client.get_result(task_id).result == 7


async def test_a_control_plane_that_comes_later_is_found_many_times_over(cluster):
    """Somebody who comes and goes is found anew each time, by what was there all along."""
    client = await cluster.client()
    await cluster.add_subworker(registry_of(add))
    for n in range(3):
        await cluster.start_control_plane()
        assert (await bounded(client.submit_task("add", (n, 1)))).result == n + 1
        await cluster.stop_control_plane()


async def test_starting_twice_is_starting_once(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    await client.start()
    assert (await client.submit_task("add", (1, 2))).result == 3
    assert (await client.inspect())["clients"] == 1


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_before_start_and_after_stop_a_call_says_so(cluster, call):
    await cluster.start()
    client = Client(discovery_address=cluster.discovery_address)
    with pytest.raises(ClientStateError, match=r"isn't started.*await client\.start\(\)"):
        await call(client)
    await client.start()
    client.stop()
    with pytest.raises(ClientStateError, match=r"is stopped.*await client\.start\(\)"):
        await call(client)


async def test_the_local_cache_knows_nothing_before_start_and_after_stop(cluster):
    await cluster.start(registry_of(add))
    client = Client(discovery_address=cluster.discovery_address)
    assert client.get_result("an id") is None
    await client.start()
    result = await client.submit_task("add", (1, 2))
    client.stop()
    assert client.get_status(result.task_id) is None


async def test_stopping_twice_and_stopping_what_never_started_do_nothing(cluster):
    await cluster.start()
    client = Client(discovery_address=cluster.discovery_address)
    client.stop()
    await client.aclose()
    await client.start()
    client.stop()
    client.stop()
    await client.aclose()


async def test_a_client_can_be_stopped_from_another_thread_and_ends_the_calls_that_wait(cluster):
    await cluster.start()
    client = Client(discovery_address=cluster.discovery_address)
    await client.start()
    waiting = asyncio.ensure_future(client.submit_task("nobody_runs_this"))
    await eventually(lambda: client.inspect(), "an answer")
    thread = threading.Thread(target=lambda: (client.stop(), client.stop()))
    thread.start()
    with pytest.raises(ClientStateError, match="stopped while this call waited"):
        await bounded(waiting)
    thread.join()


async def test_a_client_can_be_stopped_after_its_loop_has_ended():
    address = free_address()
    clients = []

    def run():
        async def main():
            client = Client(discovery_address=address)
            clients.append(client)
            await client.start()

        asyncio.run(main())

    await asyncio.to_thread(run)
    clients[0].stop()


async def test_a_stopped_client_can_be_started_again(cluster):
    await cluster.start(registry_of(add))
    client = Client(discovery_address=cluster.discovery_address)
    for n in range(2):
        await client.start()
        assert (await client.submit_task("add", (n, n))).result == 2 * n
        client.stop()


async def test_aclose_flushes_what_was_submitted(cluster):
    ran = []
    await cluster.start(registry_of(note=ran.append))
    client = Client(discovery_address=cluster.discovery_address)
    await client.start()
    calls = [asyncio.ensure_future(client.delay("note", n)) for n in range(50)]
    await asyncio.sleep(0)  # they have begun, and nothing is acknowledged
    await bounded(client.aclose())
    assert all(call.done() and not call.exception() for call in calls)
    await eventually(lambda: sorted(ran) == list(range(50)))


async def test_a_client_is_an_async_context_manager(cluster):
    await cluster.start(registry_of(add))
    async with Client(discovery_address=cluster.discovery_address) as client:
        assert (await client.submit_task("add", (1, 2))).result == 3
    with pytest.raises(ClientStateError):
        await client.delay("add", 1, 2)


async def test_a_second_event_loop_is_told_so(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()

    def elsewhere(make_call):
        async def main():
            with pytest.raises(ClientStateError, match="another event loop"):
                await make_call()

        asyncio.run(main())

    await asyncio.to_thread(elsewhere, lambda: client.delay("add", 1, 2))
    await asyncio.to_thread(elsewhere, lambda: client.get_task_result("an id"))
    await asyncio.to_thread(elsewhere, client.start)
    await asyncio.to_thread(elsewhere, client.aclose)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_two_event_loops_have_a_client_each(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()

    def elsewhere():
        async def main():
            async with Client(discovery_address=cluster.discovery_address) as other:
                return [(await other.submit_task("add", (n, 1000))).result for n in range(20)]

        return asyncio.run(main())

    there = asyncio.ensure_future(asyncio.to_thread(elsewhere))
    here = [(await client.submit_task("add", (n, 1))).result for n in range(20)]
    assert here == [n + 1 for n in range(20)]
    assert await bounded(there) == [n + 1000 for n in range(20)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"discovery_address": "127.0.0.1:5550"}, "tcp://"),
        ({"discovery_address": "tcp://127.0.0.1"}, "port"),
        ({"discovery_address": "tcp://127.0.0.1:99999"}, "99999"),
        ({"control_plane_address": "http://localhost"}, "control_plane_address"),
        ({"serialization_format": "yaml"}, "serialization_format"),
    ],
)
def test_a_wrong_setting_is_named_when_the_client_is_made(options, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        Client(**options)
    assert isinstance(caught.value, ValueError)


def test_every_setting_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FASTQUEUE_TIMEOUT", "never")
    with pytest.raises(ConfigurationError, match="FASTQUEUE_TIMEOUT"):
        Client()
    Client(timeout=5)


@pytest.mark.parametrize("priority", ["urgent", "", 7, None, 0, "CRITICAL!"])
async def test_a_wrong_priority_lists_the_four(cluster, priority):
    await cluster.start()
    client = await cluster.client()
    for call in (
        client.delay("add", priority=priority),
        client.submit_task("add", (), priority=priority),
        client.submit_batch([("add", ())], priority=priority),
        client.delay_with_callback("add", "tcp://127.0.0.1:6000", priority=priority),
    ):
        with pytest.raises(ValueError, match=r"critical.*high.*normal.*low"):
            await call


@pytest.mark.parametrize(
    "priority", ["high", "HIGH", "High", " high ", TaskPriority.HIGH, "critical", "LOW", "normal"]
)
async def test_a_priority_is_a_name_in_any_letter_case(cluster, priority):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    task_id = await client.delay("add", 1, 2, priority=priority)
    await eventually(lambda: client.get_status(task_id) == "success")


def test_a_client_whose_event_loop_has_ended_can_be_started_on_another(tmp_path):
    """As in a notebook or a script that calls asyncio.run more than once."""
    client = Client(discovery_address=free_address(), timeout=5)

    async def use():
        cluster = Cluster(tmp_path)
        cluster.discovery_address = client._settings.discovery_address
        await cluster.start(registry_of(add))
        try:
            await client.start()
            return (await client.submit_task("add", (1, 2))).result
        finally:
            await cluster.close()

    assert asyncio.run(use()) == 3
    assert asyncio.run(use()) == 3
    client.stop()
