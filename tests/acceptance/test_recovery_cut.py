"""Connections that are cut, and subworkers given up too early: one result is recorded."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
from collections import Counter

import pytest

from fastqueue.errors import ControlPlaneUnavailable, ResultExpired
from harness import bounded, eventually, registry_of
from proxy import CuttingProxy


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


async def test_whoever_waits_for_a_task_whose_store_was_lost_is_told_so(cluster, runs):
    await cluster.start(runs.task_of("worker"), concurrency=1)
    client, other = await cluster.client(), await cluster.client()
    waiting = asyncio.ensure_future(client.submit_task("hold", (1,)))
    await eventually(lambda: runs.started["worker"] == 1)
    queued = await client.delay("hold", 2)
    watching = asyncio.ensure_future(anext(other.as_completed([queued])))
    await eventually(lambda: other._connection.results.unfinished())
    await cluster.stop_control_plane()
    shutil.rmtree(cluster.folder / "data")
    await cluster.start_control_plane()
    for lost in (waiting, watching):
        with pytest.raises(ResultExpired):
            await bounded(lost)
    assert client.get_status(queued) is None
    assert await client.get_task_result(queued) is None
    # The subworker goes on with the new store, and what it still ran for the old one is refused.
    runs.open("worker")
    assert (await bounded(client.submit_task("hold", (3,)))).result == ["worker", 3]
    assert (await client.inspect())["results"] == 1


async def test_a_control_plane_that_hangs_is_not_waited_for_longer_than_the_timeout(site):
    control_plane = await site.control_plane()
    client = await site.client(timeout=0.3)
    await client.delay("task", 1)
    control_plane.signal(signal.SIGSTOP)
    try:
        with pytest.raises(ControlPlaneUnavailable, match=r"0\.3 s"):
            await bounded(client.delay("task", 2))
        with pytest.raises(ControlPlaneUnavailable, match=r"0\.3 s"):
            await bounded(client.get_task_result("an id"))
    finally:
        control_plane.signal(signal.SIGCONT)
    # Nobody was told that the second one is stored; it may be, once.
    patient = await site.client()
    await patient.delay("task", 3)
    assert (await patient.inspect())["queued"] in (2, 3)
