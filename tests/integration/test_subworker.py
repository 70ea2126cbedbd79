"""What a subworker does with what it can't run, and without a control plane."""

from __future__ import annotations

import asyncio
import logging

from harness import LONG_S, bounded, eventually, registry_of

NOBODY = "tcp://127.0.0.1:1"


async def add(x, y):
    return x + y


def unconnected(caplog):
    return [r for r in caplog.records if "no connection to a control plane" in r.getMessage()]


async def test_a_subworker_without_a_control_plane_says_so_again_and_again_until_it_has_one(
    cluster, caplog, monkeypatch
):
    monkeypatch.setattr("fastqueue.subworker.app._UNCONNECTED_FIRST_S", 0.05)
    monkeypatch.setattr("fastqueue.subworker.app._UNCONNECTED_AGAIN_S", 0.06)
    subworker = await cluster.add_subworker(registry_of(add))
    await eventually(lambda: len(unconnected(caplog)) >= 2)
    first, second = unconnected(caplog)[:2]
    assert first.levelno == logging.WARNING
    assert "for 0.05 s, looked for by its announcements at" in first.getMessage()
    assert cluster.discovery_address in first.getMessage()
    assert "for 0.11 s" in second.getMessage()

    await cluster.start_control_plane()
    await bounded(subworker.connected())
    said = len(unconnected(caplog))
    await cluster.stop_control_plane()
    await eventually(lambda: len(unconnected(caplog)) > said)


async def test_a_subworker_without_a_control_plane_leaves_nothing_when_it_stops(cluster):
    subworker = await cluster.add_subworker(registry_of(add), control_plane_address=NOBODY)
    await bounded(subworker.stop())
    assert "fastqueue-unconnected" not in {one.get_name() for one in asyncio.all_tasks()}


async def test_what_waits_behind_a_long_task_is_given_to_an_idle_subworker(cluster):
    running, release = asyncio.Event(), asyncio.Event()

    async def tick():
        pass

    async def hold():
        running.set()
        await release.wait()

    registry = registry_of(tick, hold)
    await cluster.start_control_plane()
    client = await cluster.client()
    # The many before it make the subworker fetch ahead.
    calls = [("tick", ())] * 3_000 + [("hold", ())] + [("tick", ())] * 20
    ids = await client.submit_batch(calls)
    busy = await cluster.add_subworker(registry, concurrency=1, worker_id="busy")
    await bounded(running.wait())
    assert busy._runtime.held.waiting
    await cluster.add_subworker(registry, concurrency=1, worker_id="idle")
    results = [result async for result in client.as_completed(ids[-20:], timeout=LONG_S)]
    assert {(result.status, result.worker_id) for result in results} == {("success", "idle")}
    assert {result.attempt for result in results} == {1}
    release.set()
