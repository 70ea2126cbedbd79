"""Tasks that kill their process are quarantined; the tasks beside them are run all the same."""

from __future__ import annotations

from harness import bounded

TASKS = """
    import ctypes
    import os

    from fastqueue import task

    @task
    def exits():
        os._exit(9)

    @task
    async def segfaults():
        ctypes.string_at(0)

    @task
    async def add(x, y):
        return x + y
"""


async def test_a_task_that_kills_its_process_fails_and_the_others_go_through(site) -> None:
    site.write("tasks.py", TASKS)
    address = site.base_address
    site.command(
        "control-plane",
        *("control-plane", "--base-address", address, "--task-modules", "tasks"),
        *("--processes", "1"),
    )
    client = await site.client(timeout=60)
    poison = [await client.delay("exits"), await client.delay("segfaults")]
    good = [await client.delay("add", n, n) for n in range(20)]
    results = {}
    async for result in client.as_completed([*poison, *good], timeout=60):
        results[result.task_id] = result
    for n, task_id in enumerate(good):
        assert results[task_id].result == 2 * n
    for task_id in poison:
        assert results[task_id].status == "failure"
        assert results[task_id].error.startswith("TaskQuarantined: ")
    again = await bounded(client.submit_task("add", (1, 2)))
    assert again.result == 3
