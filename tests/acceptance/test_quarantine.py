"""Tasks that kill their process are quarantined; the tasks beside them are run all the same."""

from __future__ import annotations

import pytest

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
    assert "ended with exit code 9" in results[poison[0]].error
    assert "was killed by SIGSEGV" in results[poison[1]].error
    again = await bounded(client.submit_task("add", (1, 2)))
    assert again.result == 3


async def test_how_many_crashes_quarantine_a_task_can_be_set(site) -> None:
    site.write("tasks.py", TASKS)
    site.command(
        "control-plane",
        *("control-plane", "--base-address", site.base_address, "--task-modules", "tasks"),
        *("--processes", "1", "--max-crashes", "1"),
    )
    client = await site.client(timeout=60)
    result = await client.submit_task("exits")
    assert (result.status, result.attempt) == ("failure", 1)
    assert result.error.startswith("TaskQuarantined: the subworker process ended with exit code 9")


ONCE = """
    import os
    import pathlib

    from fastqueue import task

    @task(delivery="at_most_once")
    async def begins_and_dies(file):
        with pathlib.Path(file).open("a") as begun:
            begun.write("begun\\n")
        os.kill(os.getpid(), 9)

    @task(delivery="at_most_once")
    async def add(x, y):
        return x + y
"""


@pytest.mark.parametrize("where", ["a control plane's", "one of its own"])
async def test_a_task_to_be_run_at_most_once_fails_when_its_process_dies(site, where) -> None:
    site.write("tasks.py", ONCE)
    if where == "one of its own":
        await site.control_plane()
        site.subworker("w", "--concurrency", "1")
    else:
        site.command(
            "control-plane",
            *("control-plane", "--base-address", site.base_address, "--task-modules", "tasks"),
            *("--processes", "1", "--concurrency", "1"),
        )
    client = await site.client(timeout=60)
    file = site.folder / "begun"
    dies = await client.delay("begins_and_dies", str(file))
    behind = [await client.delay("add", n, n) for n in range(20)]
    results = {}
    async for result in client.as_completed([dies, *behind], timeout=60):
        results[result.task_id] = result
    assert results[dies].status == "failure"
    assert results[dies].error.startswith("LeaseLost: the subworker was killed by SIGKILL")
    assert file.read_text() == "begun\n"
    # Those that were leased with it hadn't begun, which its supervisor knows.
    assert [results[task_id].result for task_id in behind] == [2 * n for n in range(20)]
