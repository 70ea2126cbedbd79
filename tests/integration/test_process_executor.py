"""Tasks in processes of their own: the same outcomes as anywhere, and no crash harms another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from tests import process_tasks

from fastqueue import SerializationFormat
from fastqueue.core.limits import CoreLimits
from fastqueue.tasks.serializer import allow_pickle
from harness import LONG_S, bounded, eventually

ONCE = CoreLimits(crashes_max=1)


async def start(cluster, limits=None, **settings):
    """Start a control plane and a subworker with the tasks; return a client."""
    await cluster.start(limits=limits)
    await cluster.add_subworker(process_tasks.registry(), **settings)
    return await cluster.client()


def pool_of(cluster):
    return cluster.subworkers[0]._runtime.running.processes


async def result_of(client, task_id):
    [result] = [one async for one in client.as_completed([task_id], timeout=LONG_S)]
    return result


def is_there(pid):
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Held:
    """Hold a task in its process until it is released."""

    def __init__(self, client, folder, name="held"):
        self._client = client
        self._begun, self._release = folder / f"{name}.begun", folder / f"{name}.release"

    async def begin(self):
        self.task_id = await self._client.delay("p.holds", str(self._begun), str(self._release))
        await eventually(self._begun.exists)
        return int(self._begun.read_text())

    async def end(self):
        self._release.touch()
        return await result_of(self._client, self.task_id)


async def test_a_result_comes_back_from_another_process_that_is_used_again(cluster):
    client = await start(cluster)
    first = await client.submit_task("p.pid")
    second = await client.submit_task("p.pid_of_coroutine")
    assert first.result == second.result != os.getpid()
    assert (await client.submit_task("p.add", (1, 2))).result == 3
    assert first.worker_id == second.worker_id


async def test_an_error_and_its_traceback_come_back_and_show_the_tasks_own_code_alone(cluster):
    client = await start(cluster)
    for name in ("boom", "boom_in_coroutine"):
        result = await client.submit_task(f"p.{name}")
        assert (result.status, result.error, result.attempt) == (
            "failure",
            "ValueError: no good",
            1,
        )
        assert f"in {name}\n" in result.traceback
        assert result.traceback.count('File "') == 1
    assert (await client.submit_task("p.exits")).error == "SystemExit: 4"
    assert (await client.submit_task("p.unsendable")).error.startswith("SerializationError")


async def test_a_failure_is_tried_again_as_its_definition_says(cluster, tmp_path):
    client = await start(cluster)
    result = await client.submit_task("p.flaky", (str(tmp_path / "tries"),))
    assert (result.result, result.attempt) == ("at last", 3)


async def test_what_a_task_sets_in_its_context_is_not_seen_by_the_next(cluster):
    client = await start(cluster)
    assert [(await client.submit_task("p.sees_context")).result for _ in range(2)] == [0, 0]


async def test_a_process_that_is_killed_harms_no_other_task_and_its_own_runs_again(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    client = await start(cluster, concurrency=4)
    beside, killed = Held(client, tmp_path, "beside"), Held(client, tmp_path, "killed")
    other_pid, pid = await beside.begin(), await killed.begin()
    (tmp_path / "killed.begun").unlink()
    os.kill(pid, signal.SIGKILL)
    await eventually((tmp_path / "killed.begun").exists)
    again = await killed.end()
    assert (again.status, again.attempt) == ("success", 2)
    assert again.result not in (pid, other_pid)
    result = await beside.end()
    assert (result.result, result.attempt) == (other_pid, 1)


@pytest.mark.parametrize(
    ("name", "args", "how"),
    [
        ("p.segfaults", (), "was killed by SIGSEGV"),
        ("p.leaves", (9,), "ended with exit code 9"),
        ("p.closes_all_files", (), "was killed by SIGKILL"),
        ("p.writes_to_all_files", (), "was killed as a task wrote to its socket"),
        ("p.hogs", (10_000,), "was killed as it used "),
    ],
)
async def test_a_task_that_kills_its_process_is_quarantined_and_says_how(cluster, name, args, how):
    client = await start(cluster, ONCE)
    result = await bounded(client.submit_task(name, args))
    assert (result.status, result.attempt) == ("failure", 1)
    assert result.error.startswith(f"TaskQuarantined: the process {how}")
    assert (await client.submit_task("p.add", (1, 2))).result == 3


async def test_a_task_to_be_run_at_most_once_fails_when_its_process_dies(cluster):
    client = await start(cluster)
    result = await client.submit_task("p.leaves_once")
    assert (result.status, result.attempt) == ("failure", 1)
    assert result.error.startswith("LeaseLost: the process ended with exit code 7")


async def test_a_process_that_dies_is_missed_although_what_it_forked_lives_on(cluster, tmp_path):
    client = await start(cluster, ONCE)
    result = await bounded(client.submit_task("p.forks_and_dies", (str(tmp_path / "release"),)))
    (tmp_path / "release").touch()
    assert "ended with exit code 5" in result.error


async def test_memory_within_the_limit_is_free_and_what_others_left_is_not_blamed_on_a_task(
    cluster, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    client = await start(cluster, ONCE)
    assert (await client.submit_task("p.hogs", (30,))).result == 30
    leaked_in = (await client.submit_task("p.leaks", (150,))).result
    assert (await client.submit_task("p.pid")).result == leaked_in
    assert (await client.submit_task("p.hogs", (30,))).result == 30
    assert (await client.submit_task("p.pid")).result != leaked_in


async def test_a_process_is_replaced_after_as_many_tasks_as_the_definition_says(
    cluster, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    client = await start(cluster)
    warm = (await client.submit_task("p.pid")).result
    pids = [(await client.submit_task("p.once")).result for _ in range(3)]
    assert len({warm, *pids}) == 4, "each has a process that nothing ran in before"
    pids = [(await client.submit_task("p.thrice")).result for _ in range(6)]
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5]


async def test_there_are_no_more_processes_than_allowed_and_what_waits_has_not_begun(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    client = await start(cluster)
    held = Held(client, tmp_path)
    pid = await held.begin()
    waiting = [await client.delay("p.pid") for _ in range(3)]
    await eventually(lambda: len(pool_of(cluster)._waiting) == 3)
    assert pool_of(cluster).pids == [pid]
    assert (await held.end()).result == pid
    assert {(await result_of(client, task_id)).result for task_id in waiting} == {pid}


async def test_what_a_task_prints_harms_nothing(cluster):
    client = await start(cluster)
    assert (await client.submit_task("p.shouts")).result == "done"


async def test_a_task_may_start_programs_and_processes_and_end_them(cluster):
    client = await start(cluster)
    assert (await bounded(client.submit_task("p.runs_a_program"))).result == "said\n"
    assert (await bounded(client.submit_task("p.ends_a_pool"))).result == [1, 2]


async def test_large_arguments_and_results_pass_and_too_large_ones_fail_alone(cluster):
    await cluster.start_control_plane(payload_bytes_max=4_000_000)
    await cluster.add_subworker(process_tasks.registry())
    client = await cluster.client()
    text = "y" * 3_900_000
    assert (await bounded(client.submit_task("p.echo", (text,)))).result == text
    result = await bounded(client.submit_task("p.large", (5_000_000,)))
    assert result.error.startswith("PayloadTooLarge: the result of task 'p.large'")
    assert (await client.submit_task("p.add", (1, 2))).result == 3


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_process_unpickles_only_if_its_subworker_may(cluster, allowed):
    await cluster.start()
    await cluster.add_subworker(process_tasks.registry(), allow_pickle=allowed)
    try:
        allow_pickle()
        client = await cluster.client(serialization_format=SerializationFormat.PICKLE)
        result = await client.submit_task("p.echo", ({1, 2},))
    finally:
        allow_pickle(False)
    if allowed:
        assert result.result == {1, 2}
    else:
        assert result.error.startswith("SerializationError")


async def test_a_drain_waits_for_what_runs_and_gives_back_what_waits(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    client = await start(cluster, grace_s=30.0)
    held = Held(client, tmp_path)
    pid = await held.begin()
    waits = await client.delay("p.add", 1, 2)
    await eventually(lambda: pool_of(cluster)._waiting)
    pool = pool_of(cluster)
    stopping = asyncio.create_task(cluster.subworkers[0].stop())
    await eventually(lambda: not pool._waiting)
    result = await held.end()
    assert await bounded(stopping)
    assert (result.result, result.attempt) == (pid, 1)
    await eventually(lambda: not is_there(pid))
    await cluster.add_subworker(process_tasks.registry())
    again = await result_of(client, waits)
    assert (again.result, again.attempt) == (3, 1)


async def test_what_outlasts_the_grace_period_is_killed_and_no_attempt_is_spent(cluster, tmp_path):
    client = await start(cluster)
    held = Held(client, tmp_path)
    pid = await held.begin()
    (tmp_path / "held.begun").unlink()
    assert not await bounded(cluster.subworkers[0].stop(grace_s=0.0))
    assert not is_there(pid)
    await cluster.add_subworker(process_tasks.registry())
    await eventually((tmp_path / "held.begun").exists)
    result = await held.end()
    assert (result.status, result.attempt) == ("success", 1)


@pytest.mark.parametrize("by", ["the subworker", "somebody"])
async def test_what_a_task_started_is_killed_with_its_process(cluster, tmp_path, by):
    client = await start(cluster, ONCE)
    begun = tmp_path / "begun"
    await client.delay("p.holds_with_a_program", str(begun))
    await eventually(begun.exists)
    program = int(begun.read_text())
    assert is_there(program)
    if by == "somebody":
        [pid] = pool_of(cluster).pids
        os.kill(pid, signal.SIGKILL)
    else:
        await bounded(cluster.subworkers[0].stop(grace_s=0.0))
    await eventually(lambda: not is_there(program))


async def test_processes_ignore_what_a_terminal_or_a_service_sends_to_all(cluster, tmp_path):
    client = await start(cluster)
    held = Held(client, tmp_path)
    pid = await held.begin()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    result = await held.end()
    assert (result.result, result.attempt) == (pid, 1)


async def test_a_process_that_is_idle_for_long_ends_and_another_is_started_when_needed(
    cluster, monkeypatch
):
    monkeypatch.setattr("fastqueue.subworker.process_pool.IDLE_S", 0.05)
    client = await start(cluster)
    first = (await client.submit_task("p.pid")).result
    await eventually(lambda: not pool_of(cluster).pids)
    assert not is_there(first)
    assert (await client.submit_task("p.pid")).result != first


async def test_a_task_that_runs_too_long_is_killed_and_its_subworker_goes_on(cluster):
    client = await start(cluster)
    result = await bounded(client.submit_task("p.sleeps"))
    assert (result.status, result.attempt) == ("failure", 1)
    assert result.error == "TimeLimit: it ran longer than its time limit of 0.2 s"
    assert result.completed_at > result.started_at
    assert (await client.submit_task("p.add", (1, 2))).result == 3
    assert not cluster.subworkers[0].is_worn_out


@pytest.mark.parametrize("name", ["p.notices", "p.notices_in_coroutine"])
async def test_a_soft_limit_is_raised_in_the_process_even_while_it_waits(cluster, name):
    client = await start(cluster)
    first = await bounded(client.submit_task(name))
    assert first.result == "cleaned up: it has run for 0.1 s, its soft time limit"
    assert (await bounded(client.submit_task(name))).result == first.result
    assert (await client.submit_task("p.add", (1, 2))).result == 3


async def test_a_task_that_is_cancelled_is_killed_and_one_that_waits_never_begins(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    client = await start(cluster)
    held = Held(client, tmp_path)
    pid = await held.begin()
    waits = await client.delay("p.holds", str(tmp_path / "never"), str(tmp_path / "never.release"))
    await eventually(lambda: pool_of(cluster)._waiting)
    for task_id in (waits, held.task_id):
        await bounded(client.cancel(task_id))
        result = await result_of(client, task_id)
        assert (result.status, result.error) == (
            "cancelled",
            "Cancelled: it was cancelled while it ran",
        )
    await eventually(lambda: not is_there(pid))
    assert (await bounded(client.submit_task("p.add", (1, 2)))).result == 3
    assert not (tmp_path / "never").exists()
