"""Tasks in processes of their own, over the command line: what becomes of them when these end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from harness import bounded, eventually

TASKS = """
    import os
    import pathlib
    import time

    from fastqueue import task

    @task(executor="process")
    def add(x, y):
        return x + y

    @task(executor="process")
    def dies():
        os._exit(9)

    @task(executor="process")
    def holds(name):
        (pathlib.Path(name + ".part")).write_text(str(os.getpid()))
        (pathlib.Path(name + ".part")).rename(name + ".begun")
        while not pathlib.Path(name + ".release").exists():
            time.sleep(0.01)
        return os.getpid()
"""


def is_there(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def begin(site, client, name: str) -> tuple[str, int]:
    task_id = await client.delay("holds", name)
    begun = site.folder / f"{name}.begun"
    await eventually(begun.exists)
    pid = int(begun.read_text())
    begun.unlink()
    return task_id, pid


async def results_of(client, *task_ids):
    found = {r.task_id: r async for r in client.as_completed(task_ids, timeout=60)}
    return [found[task_id] for task_id in task_ids]


async def test_a_task_that_kills_its_process_is_quarantined_and_its_subworker_never_notices(site):
    site.write("tasks.py", TASKS)
    process = site.command(
        "control-plane",
        *("control-plane", "--base-address", site.base_address, "--task-modules", "tasks"),
        *("--processes", "1"),
    )
    client = await site.client(timeout=60)
    good = [await client.delay("add", n, n) for n in range(20)]
    dead = await client.delay("dies")
    last, *others = await results_of(client, dead, *good)
    assert [(r.result, r.attempt) for r in others] == [(2 * n, 1) for n in range(20)]
    assert (last.status, last.attempt) == ("failure", 3)
    assert last.error == (
        "TaskQuarantined: the process died each of the 3 times that this task was running in it, "
        "the last time it ended with exit code 9; it isn't run again"
    )
    assert len({r.worker_id for r in [last, *others]}) == 1
    assert "they are quarantined" in process.log
    assert process.log.count(f"subworker {last.worker_id} at ") == 1, "it connected once"


async def test_a_subworker_that_is_killed_leaves_no_process_behind_and_its_task_runs_again(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.subworker("w1")
    client = await site.client(timeout=60)
    task_id, pid = await begin(site, client, "a")
    idle = await client.submit_task("add", (1, 2))
    assert idle.result == 3
    os.kill(subworker.worker_pid, signal.SIGKILL)
    await eventually(lambda: not is_there(pid))
    await eventually((site.folder / "a.begun").exists)
    site.touch("a.release")
    [result] = await results_of(client, task_id)
    assert (result.status, result.attempt) == ("success", 2)
    assert result.result != pid


async def test_a_whole_service_told_to_stop_finishes_what_runs_in_processes(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.subworker("w1")
    client = await site.client(timeout=60)
    task_id, pid = await begin(site, client, "a")
    # As a service manager does: all of its processes are told.
    for one in (pid, subworker.worker_pid, subworker.pid):
        os.kill(one, signal.SIGTERM)
    await subworker.says("stopping")
    site.touch("a.release")
    [result] = await results_of(client, task_id)
    assert (result.result, result.attempt) == (pid, 1)
    assert await subworker.exit_code() == 0
    assert not is_there(pid)


async def test_what_outlasts_the_grace_time_is_killed_and_spends_no_attempt(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.subworker("w1", "--grace", "0")
    client = await site.client(timeout=60)
    task_id, pid = await begin(site, client, "a")
    subworker.terminate()
    assert await subworker.exit_code() == 0
    assert not is_there(pid)
    site.touch("a.release")
    site.subworker("w2")
    [result] = await results_of(client, task_id)
    assert (result.status, result.attempt, result.worker_id) == ("success", 1, "w2")


async def test_processes_log_as_their_subworker_does_and_print_where_it_prints(site):
    site.write(
        "tasks.py",
        """
        import logging

        from fastqueue import task

        @task(executor="process")
        async def talks():
            logging.getLogger("mine").warning("a line of the task's")
            print("printed by the task")
        """,
    )
    await site.control_plane()
    subworker = site.subworker("w1")
    client = await site.client(timeout=60)
    assert (await bounded(client.submit_task("talks"))).status == "success"
    await subworker.says("WARNING [w1] a line of the task's")
    await subworker.says("printed by the task")


async def test_how_many_processes_a_subworker_has_for_its_tasks_can_be_set(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    site.subworker("w1", "--task-processes", "3")
    client = await site.client(timeout=60)
    begun = [await begin(site, client, name) for name in ("a", "b", "c")]
    assert len({pid for _, pid in begun}) == 3
    for name in ("a", "b", "c"):
        site.touch(f"{name}.release")
    await results_of(client, *(task_id for task_id, _ in begun))
