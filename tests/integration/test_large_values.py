"""Many large values at once pass through, at the speed of whoever is slowest, and stop nobody."""

from __future__ import annotations

import asyncio

import msgspec

from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import NewTask
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from harness import bounded, registry_of

MIB = 1024**2


async def length(text: str) -> int:
    return len(text)


async def text(size: int) -> str:
    return "x" * size


async def fail_at_length(size: int) -> None:
    raise ValueError("ж" * size)


async def add(x: int, y: int) -> int:
    return x + y


async def test_many_large_results_are_reported_and_pushed(cluster) -> None:
    await cluster.start(registry_of(text, add), concurrency=32)
    client = await cluster.client()
    ids = [await client.delay("text", 12 * MIB) for _ in range(16)]
    async for result in client.as_completed(ids, timeout=60):
        assert len(result.result) == 12 * MIB
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_many_large_errors_at_once_are_reported(cluster) -> None:
    await cluster.start(registry_of(fail_at_length), concurrency=1_000)
    client = await cluster.client()
    ids = await client.submit_batch([("fail_at_length", (7_000,))] * 1_000)
    async for result in client.as_completed(ids, timeout=60):
        assert result.status == "failure"


async def test_many_large_arguments_are_leased(cluster) -> None:
    await cluster.start_control_plane()
    client = await cluster.client()
    large = "x" * (15 * MIB)
    ids = [await client.delay("length", large) for _ in range(12)]
    await cluster.add_subworker(registry_of(length), concurrency=32)
    async for result in client.as_completed(ids, timeout=60):
        assert result.result == 15 * MIB


async def test_leases_of_one_subworker_are_bounded_by_their_bytes(cluster) -> None:
    running = most = 0
    gate = asyncio.Event()

    async def hold(_text: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            gate.set()
        await gate.wait()
        running -= 1

    limits = CoreLimits(lease_bytes_max=2_000)
    await cluster.start(registry_of(hold=hold), limits=limits, concurrency=32)
    client = await cluster.client()
    ids = await client.submit_batch([("hold", ("x" * 1_000,))] * 20)
    async for _ in client.as_completed(ids, timeout=30):
        pass
    assert most == 2


async def test_large_results_are_queried_together(cluster) -> None:
    await cluster.start(registry_of(text))
    client = await cluster.client()
    ids = [(await client.submit_task("text", (12 * MIB,))).task_id for _ in range(4)]
    other = await cluster.client()
    found = await asyncio.gather(*(other.get_task_result(i) for i in [*ids, "nothing", *ids]))
    assert [len(r.result) if r else None for r in found] == [*[12 * MIB] * 4, None, *[12 * MIB] * 4]


async def test_large_results_of_another_client_are_pushed_to_one_that_watches(cluster) -> None:
    await cluster.start(registry_of(text))
    client = await cluster.client()
    ids = [await client.delay("text", 2 * MIB) for _ in range(40)]
    async for _ in client.as_completed(ids, timeout=60):
        pass
    other = await cluster.client()
    count = 0
    async for result in other.as_completed(ids, timeout=60):
        count += len(result.result) == 2 * MIB
    assert count == 40


async def test_a_higher_payload_limit_holds_in_both_directions(cluster) -> None:
    await cluster.start_control_plane(payload_bytes_max=48 * MIB)
    await cluster.add_subworker(registry_of(text, length, add))
    client = await cluster.client()
    assert (await client.submit_task("length", ("x" * (40 * MIB),))).result == 40 * MIB
    assert len((await client.submit_task("text", (40 * MIB,))).result) == 40 * MIB
    too_large = await client.submit_task("text", (50 * MIB,))
    assert too_large.error is not None
    assert too_large.error.startswith("PayloadTooLarge: ")
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_resent_task_whose_result_is_evicted_is_told_as_expired(cluster) -> None:
    await cluster.start(registry_of(add), limits=CoreLimits(retained_max=1))
    client = await cluster.client()
    first = await client.submit_task("add", (1, 2))
    await client.submit_task("add", (3, 4))
    # As after a lost acknowledgement: the same submission again, its result gone meanwhile.
    again = NewTask(first.task_id, "add", 2, 0, b"[[1,2],{}]")
    waiter = client._connection.results.wait(first.task_id)
    await bounded(client._connection.submissions.submit(again))
    assert await bounded(waiter) is None


async def test_a_lease_given_back_twice_and_absurd_times_do_no_harm(cluster) -> None:
    await cluster.start(registry_of(add))
    client = await cluster.client()
    host, port = cluster.address.removeprefix("tcp://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))

    def send(message: object) -> None:
        body = msg.encode(message)
        writer.write(len(body).to_bytes(4, "big") + body)

    async def receive() -> bytes:
        size = int.from_bytes(await bounded(reader.readexactly(4)), "big")
        return await bounded(reader.readexactly(size))

    send(
        greetings.Hello(
            protocol=greetings.PROTOCOL_VERSION, role="subworker", instance="i", name="odd"
        )
    )
    await receive()
    send(msg.Ready(["only_here"], 1, []))
    await client.delay("only_here")
    (lease,) = _leases(await receive())
    send(msg.GiveBack([lease, lease, lease]))
    (again,) = _leases(await receive())
    for value in (float("nan"), float("inf"), -1.0, 1e300):
        assert (await client.submit_task("add", (1, 2))).result == 3
        send([12, 1, [[again.task_id, again.token, True, value, value, b"1"]]])
    assert (await client.submit_task("add", (1, 2))).result == 3
    writer.close()


def _leases(body: bytes) -> list[msg.HeldLease]:
    message = msgspec.msgpack.decode(body, type=msg.ToSubworker)
    assert isinstance(message, msg.Leases)
    return [msg.HeldLease(lease.task_id, lease.token) for lease in message.leases]
