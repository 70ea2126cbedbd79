"""A subworker that is silent is given up; one whose event loop is blocked is not, and is named."""

from __future__ import annotations

import os
import signal

from harness import bounded, eventually
from proxy import CuttingProxy

TASKS = """
    import asyncio
    import os
    import time

    from fastqueue import task

    def note(*words):
        with open("ledger.txt", "a") as ledger:
            ledger.write(" ".join(map(str, words)) + "\\n")

    @task
    async def blocks(seconds, secret):
        note("blocks", os.getpid())
        time.sleep(seconds)
        return os.getpid()

    @task
    async def waits(n):
        note("waits", os.getpid())
        while not os.path.exists("go"):
            await asyncio.sleep(0.05)
        return os.getpid()
"""


async def blocked_subworkers(client):
    stats = await client.inspect("stats")
    return [entry["blocked"] for entry in stats["subworkers"] if entry["blocked"]]


async def test_a_task_that_blocks_the_loop_longer_than_silence_may_last_runs_once_and_is_named(
    site,
) -> None:
    site.write("tasks.py", TASKS)
    control_plane = await site.control_plane()
    client = await site.client(timeout=60)
    first = site.subworker("first")
    task_id = await client.delay("blocks", 12.5, "a-secret-argument")
    await eventually(site.ledger, "the task to start")
    second = site.subworker("second")
    [blocked] = await eventually(lambda: blocked_subworkers(client), "the stall to be told")
    assert (blocked["task_name"], blocked["task_id"]) == ("blocks", task_id)
    assert "time.sleep(seconds)" in blocked["stack"]
    assert blocked["seconds"] > 0
    results = [r async for r in client.as_completed([task_id], timeout=60)]
    assert results[0].result == first.worker_pid
    assert site.ledger() == [["blocks", str(first.worker_pid)]]
    await first.says("the event loop answers again after")
    for log in (first.log, control_plane.log):
        assert log.count(f"task blocks ({task_id})") == 1
        assert "time.sleep(seconds)" in log
        assert "a-secret-argument" not in log
    assert second.is_running
    stats = await client.inspect("stats")
    assert all(entry["heard_s_ago"] < 10 for entry in stats["subworkers"])
    await eventually(lambda: none_blocked(client), "the end of the stall to be told")


async def none_blocked(client):
    return not await blocked_subworkers(client)


async def test_the_tasks_of_a_stopped_subworker_run_elsewhere_and_its_late_report_is_refused(
    site,
) -> None:
    site.write("tasks.py", TASKS)
    control_plane = await site.control_plane()
    client = await site.client(timeout=60)
    zombie = site.subworker("zombie")
    task_id = await client.delay("waits", 1)
    await eventually(site.ledger, "the task to start")
    other = site.subworker("other")
    await other.says("connected to control plane")
    os.kill(zombie.worker_pid, signal.SIGSTOP)
    started = [["waits", str(zombie.worker_pid)], ["waits", str(other.worker_pid)]]
    await eventually(lambda: site.ledger() == started, "the task to start elsewhere", timeout_s=20)
    assert "nothing was heard of it for 10 s" in control_plane.log
    site.touch("go")
    results = [r async for r in client.as_completed([task_id], timeout=60)]
    assert results[0].result == other.worker_pid
    os.kill(zombie.worker_pid, signal.SIGCONT)

    async def is_refused():
        return (await client.inspect("stats"))["stale_outcomes"]

    # It may learn that its lease is void before it has the outcome; then it reports nothing.
    async def is_back():
        stats = await client.inspect("stats")
        return len([e for e in stats["subworkers"] if e["connected"]]) == 2

    await eventually(is_back, "the zombie to come back")
    assert await is_refused() in (0, 1)
    assert (await bounded(client.get_task_result(task_id))).result == other.worker_pid


async def test_a_connection_cut_while_a_task_blocks_the_loop_does_not_run_it_twice(site) -> None:
    site.write("tasks.py", TASKS)
    await site.control_plane()
    client = await site.client(timeout=60)
    async with CuttingProxy(site.base_address) as proxy:
        first = site.subworker("first", "--control-plane-address", proxy.address)
        task_id = await client.delay("blocks", 5, "")
        await eventually(site.ledger, "the task to start")
        second = site.subworker("second")
        await second.says("connected to control plane")
        await eventually(lambda: blocked_subworkers(client), "the stall to be told")
        proxy.cut()
        results = [r async for r in client.as_completed([task_id], timeout=60)]
    assert results[0].result == first.worker_pid
    assert site.ledger() == [["blocks", str(first.worker_pid)]]
