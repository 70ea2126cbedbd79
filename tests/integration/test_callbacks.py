"""Callbacks from submission to a listener in another process, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.ports import free_address

from fastqueue import SerializationFormat
from fastqueue.errors import TaskTimeout
from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import TaskSerializer
from harness import LONG_S, bounded, eventually, registry_of

# As a program in any language would be: a bare Pair0 socket, and JSON.
BARE_SOCKET = """
import sys, pynng
with pynng.Pair0(listen=sys.argv[1]) as socket:
    print("ready", flush=True)
    while True:
        print(socket.recv().decode(), flush=True)
"""

PAIR_PATTERN = """
import asyncio, sys
from fastqueue.patterns.nng_patterns import PairPattern
async def main():
    listener = PairPattern(sys.argv[1], is_server=True)
    await listener.start()
    print("ready", flush=True)
    while True:
        print((await listener.recv()).decode(), flush=True)
asyncio.run(main())
"""

SEVEN_KEYS = [
    "task_id",
    "status",
    "result",
    "error",
    "started_at",
    "completed_at",
    "callback_data",
]


async def add(x, y):
    return x + y


def boom():
    raise ValueError("boom")


class Listener:
    """Be a callback listener in a process of its own."""

    def __init__(self, process):
        self._process = process

    async def next(self):
        line = await bounded(self._process.stdout.readline())
        return TaskSerializer.deserialize(line, SerializationFormat.JSON)

    async def take(self, count):
        """Return the first bodies of so many different tasks, by id."""
        bodies = {}
        while len(bodies) < count:
            body = await self.next()
            bodies.setdefault(body["task_id"], body)
        return bodies


@contextlib.asynccontextmanager
async def listening(address, code=BARE_SOCKET):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, address, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await bounded(process.stdout.readline()) == b"ready\n"
        yield Listener(process)
    finally:
        process.kill()
        await process.communicate()


async def owed_is(client, count):
    async def look():
        return (await client.inspect())["callbacks_owed"] == count

    await eventually(look, f"{count} callbacks to be owed")


@pytest.mark.parametrize("code", [BARE_SOCKET, PAIR_PATTERN], ids=["bare socket", "PairPattern"])
async def test_a_listener_in_another_process_is_told_of_success_and_failure(cluster, code):
    await cluster.start(registry_of(add, boom))
    client = await cluster.client()
    address = free_address()
    async with listening(address, code) as listener:
        good = await client.delay_with_callback("add", address, 1, 2, callback_data={"user": 7})
        assert (good.status, good.result) == ("pending", None)
        body = await listener.next()
        assert list(body) == SEVEN_KEYS
        assert (body["task_id"], body["status"], body["result"]) == (good.task_id, "success", 3)
        assert body["callback_data"] == {"user": 7}
        assert body["error"] is None
        started, completed = (
            datetime.fromisoformat(body[key]) for key in ("started_at", "completed_at")
        )
        assert started.utcoffset() is not None
        assert completed.utcoffset() is not None

        bad = await client.delay_with_callback("boom", address)
        body = await listener.next()
        assert list(body) == SEVEN_KEYS
        assert (body["task_id"], body["status"]) == (bad.task_id, "failure")
        assert (body["result"], body["error"]) == (None, "ValueError: boom")
        assert body["callback_data"] is None
        await owed_is(client, 0)


async def test_a_cancelled_task_calls_back_as_a_failure(cluster):
    await cluster.start()
    client = await cluster.client()
    address = free_address()
    async with listening(address) as listener:
        queued = await client.delay_with_callback("add", address, 1, 2, callback_data=[1])
        assert await client.cancel(queued.task_id)
        body = await listener.next()
        assert list(body) == SEVEN_KEYS
        assert (body["task_id"], body["status"]) == (queued.task_id, "failure")
        assert body["error"].startswith("Cancelled")
        assert (body["result"], body["started_at"], body["callback_data"]) == (None, None, [1])
        assert body["completed_at"]
        assert (await client.get_task_result(queued.task_id)).status == "cancelled"


async def test_a_listener_that_comes_late_is_told_and_the_task_ran_once(cluster):
    ran = []
    await cluster.start(registry_of(note=ran.append))
    client = await cluster.client()
    address = free_address()
    submitted = [await client.delay_with_callback("note", address, n) for n in range(5)]
    await eventually(lambda: all(client.get_status(s.task_id) == "success" for s in submitted))
    await owed_is(client, 5)
    async with listening(address) as listener:
        bodies = await listener.take(5)
        await owed_is(client, 0)
    assert set(bodies) == {s.task_id for s in submitted}
    assert ran == list(range(5))


async def test_a_callback_holds_up_nothing_else(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    for n in range(30):
        await client.delay_with_callback("add", free_address(), n, n)
    address = free_address()
    async with listening(address) as listener:
        submitted = await client.delay_with_callback("add", address, 1, 2)
        assert (await listener.next())["task_id"] == submitted.task_id
    assert (await client.submit_task("add", (1, 2))).result == 3
    await owed_is(client, 30)


async def test_restarts_of_the_control_plane_in_between_lose_no_callback(cluster):
    release = asyncio.Event()

    async def hold(n):
        await release.wait()
        return n

    await cluster.start(registry_of(add, hold), concurrency=16)
    client = await cluster.client()
    address = free_address()
    over = [await client.delay_with_callback("add", address, n, n) for n in range(5)]
    await owed_is(client, 5)
    running = [await client.delay_with_callback("hold", address, n) for n in range(5)]
    for _ in range(2):
        await cluster.stop_control_plane()
        await cluster.start_control_plane()
    release.set()
    await eventually(lambda: all(client.get_status(s.task_id) == "success" for s in running))
    await cluster.stop_control_plane()
    await cluster.start_control_plane()
    async with listening(address) as listener:
        bodies = await listener.take(10)
    assert [bodies[s.task_id]["result"] for s in over] == [2 * n for n in range(5)]
    assert [bodies[s.task_id]["result"] for s in running] == list(range(5))


async def test_a_pickled_task_calls_back_as_json(cluster):
    await cluster.start()
    await cluster.add_subworker(
        registry_of(pair=lambda x: (x, {"at": datetime(2026, 1, 2, tzinfo=UTC)}), odd=lambda: 1j),
        allow_pickle=True,
    )
    client = await cluster.client(serialization_format=SerializationFormat.PICKLE)
    address = free_address()
    async with listening(address) as listener:
        pair = await client.delay_with_callback("pair", address, 7, callback_data={"n": 1})
        body = await listener.next()
        assert (body["task_id"], body["status"]) == (pair.task_id, "success")
        assert body["callback_data"] == {"n": 1}
        assert body["result"][0] == 7
        # A result that JSON can't carry leaves its callback without, and itself untouched.
        odd = await client.delay_with_callback("odd", address)
        body = await listener.next()
        assert (body["task_id"], body["status"], body["result"]) == (odd.task_id, "success", None)
        assert (await client.get_task_result(odd.task_id)).result == 1j


async def test_many_tasks_call_back_to_one_listener(cluster):
    await cluster.start(registry_of(add), concurrency=64)
    client = await cluster.client()
    address = free_address()
    async with listening(address) as listener:
        calls = (
            client.delay_with_callback("add", address, n, 0, callback_data=n) for n in range(1_000)
        )
        submitted = await bounded(asyncio.gather(*calls))
        bodies = await listener.take(1_000)
        await owed_is(client, 0)
    assert [bodies[s.task_id]["result"] for s in submitted] == list(range(1_000))
    assert [bodies[s.task_id]["callback_data"] for s in submitted] == list(range(1_000))


async def test_a_listener_of_the_same_process_may_serve_one_task_as_in_the_guide(cluster):
    """The guide's listener closes after one callback; the rest waits for its next one."""
    await cluster.start(registry_of(add))
    client = await cluster.client()
    address = free_address()
    submitted = [await client.delay_with_callback("add", address, n, n) for n in range(5)]
    told = Counter()
    async with asyncio.timeout(LONG_S):
        while set(told) != {s.task_id for s in submitted}:
            listener = PairPattern(address, is_server=True)
            await listener.start()
            try:
                data = await listener.recv()
            finally:
                listener.close()
            told[TaskSerializer.deserialize(data, SerializationFormat.JSON)["task_id"]] += 1


async def test_a_callback_nobody_takes_is_given_up_after_its_time_and_says_so(cluster, caplog):
    await cluster.start(registry_of(add), callback_give_up_s=0.1)
    client = await cluster.client()
    address = free_address()
    submitted = await client.delay_with_callback("add", address, 1, 2)
    await eventually(lambda: client.get_status(submitted.task_id) == "success")
    await owed_is(client, 0)
    (line,) = (r.getMessage() for r in caplog.records if "gave up" in r.getMessage())
    assert submitted.task_id in line
    assert address in line


async def test_submitting_with_a_callback_is_acknowledged_like_any_other_submission(cluster):
    client = await cluster.client(timeout=0.3)
    with pytest.raises(ConnectionError):
        await client.delay_with_callback("add", free_address(), 1, 2)
    await cluster.start()
    submitted = await client.delay_with_callback("add", free_address(), 1, 2)
    assert (await client.get_task_result(submitted.task_id)).status == "queued"
    with pytest.raises(TaskTimeout):
        await anext(client.as_completed([submitted.task_id], timeout=0.05))
