"""Connections that are cut, and subworkers given up too early: one result is recorded."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from harness import CuttingProxy, bounded, eventually, registry_of


class Runs:
    """Be a task that runs until it is let go, and count its runs by subworker."""

    def __init__(self):
        self.started = Counter()
        self.ended = Counter()
        self._gates = {}

    def task_of(self, subworker):
        gate = self._gates[subworker] = asyncio.Event()

        async def hold(n):
            self.started[subworker] += 1
            await gate.wait()
            self.ended[subworker] += 1
            return [subworker, n]

        return registry_of(hold)

    def open(self, subworker):
        self._gates[subworker].set()


@pytest.fixture
def runs():
    return Runs()


async def test_the_late_report_of_a_subworker_given_up_is_refused(cluster, runs):
    await cluster.start()
    client = await cluster.client()
    async with CuttingProxy(cluster.address) as proxy:
        await cluster.add_subworker(
            runs.task_of("early"), control_plane_address=proxy.address, worker_id="early"
        )
        task_ids = [await client.delay("hold", n) for n in range(3)]
        await eventually(lambda: runs.started["early"] == 3)
        await cluster.add_subworker(runs.task_of("late"), worker_id="late")
        await proxy.close_the_door()
        await eventually(lambda: runs.started["late"] == 3, "the tasks to be leased again")
        # The one given up finishes first, comes back, and reports what nobody waits for.
        runs.open("early")
        await eventually(lambda: runs.ended["early"] == 3)
        await proxy.open_the_door()
        await eventually(lambda: stale_is(client, 3), "its outcomes to be refused")
        assert {client.get_status(i) for i in task_ids} == {"queued"}
        runs.open("late")
        results = [r async for r in client.as_completed(task_ids, timeout=30)]
    assert sorted(r.result for r in results) == [["late", n] for n in range(3)]
    assert {r.worker_id for r in results} == {"late"}
    for task_id in task_ids:
        assert (await client.get_task_result(task_id)).result[0] == "late"


async def stale_is(client, count):
    return (await client.inspect())["stale_outcomes"] == count


async def test_a_subworker_that_comes_back_in_time_keeps_what_it_runs(cluster, runs):
    await cluster.start()
    client = await cluster.client()
    async with CuttingProxy(cluster.address) as proxy:
        await cluster.add_subworker(
            runs.task_of("cut"), control_plane_address=proxy.address, worker_id="cut"
        )
        task_ids = [await client.delay("hold", n) for n in range(3)]
        await eventually(lambda: runs.started["cut"] == 3)
        await cluster.add_subworker(runs.task_of("other"), worker_id="other")
        for _ in range(3):
            connections = proxy.connections
            proxy.cut()
            await eventually(lambda old=connections: proxy.connections > old)
        runs.open("cut")
        results = [r async for r in client.as_completed(task_ids, timeout=30)]
    assert sorted(r.result for r in results) == [["cut", n] for n in range(3)]
    assert runs.started == Counter(cut=3)


async def test_a_report_cut_off_before_its_acknowledgement_is_recorded_once(cluster, runs):
    await cluster.start()
    client = await cluster.client()
    async with CuttingProxy(cluster.address) as proxy:
        await cluster.add_subworker(runs.task_of("cut"), control_plane_address=proxy.address)
        task_id = await client.delay("hold", 1)
        await eventually(lambda: runs.started["cut"] == 1)
        proxy.hold_replies()
        runs.open("cut")
        await eventually(lambda: client.get_status(task_id) == "success")
        result = await client.get_task_result(task_id)
        connections = proxy.connections
        proxy.cut()
        proxy.release_replies()
        await eventually(lambda: proxy.connections > connections)
        assert (await bounded(client.submit_task("hold", (2,)))).result == ["cut", 2]
    assert await client.get_task_result(task_id) == result
    assert runs.ended["cut"] == 2


async def test_a_task_that_blocks_the_subworkers_loop_is_not_run_a_second_time(cluster, tmp_path):
    """A plain `time.sleep` in a coroutine, as everybody writes it once."""
    release = threading.Event()
    started = []

    async def blocks():
        started.append(1)
        release.wait(60)
        return "unblocked"

    await cluster.start()
    client = await cluster.client()
    subworker = asyncio.to_thread(run_subworker, cluster, registry_of(blocks), release)
    running = asyncio.ensure_future(subworker)
    task_id = await client.delay("blocks")
    await eventually(lambda: started)
    # Longer than any grace time for a subworker whose connection has ended.
    idle = registry_of(blocks)
    await cluster.add_subworker(idle)
    for _ in range(40):
        assert (await client.get_task_result(task_id)).status == "running"
        await asyncio.sleep(0.05)
    release.set()
    await eventually(lambda: client.get_status(task_id) == "success")
    assert len(started) == 1
    await bounded(running)


def run_subworker(cluster, registry, until):
    """Run a subworker on an event loop of its own until its task has been released."""

    async def main():
        subworker = await cluster.add_subworker(registry, worker_id="blocked")
        await asyncio.to_thread(until.wait)
        await subworker.stop()
        cluster.subworkers.remove(subworker)

    asyncio.run(main())
