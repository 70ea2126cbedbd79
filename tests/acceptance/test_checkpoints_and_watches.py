"""Checkpoints and watches over real processes: killed midway, and gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from fastqueue.tasks.events import Finished, LogLine, Progress, StatusChanged
from harness import bounded, eventually

TASKS = """
    import asyncio
    import os
    import pathlib
    import time

    from fastqueue import current_task, task

    def note(name, step):
        with open("ledger.txt", "a") as file:
            file.write(f"{name} {step}\\n")

    def is_released(name):
        part = pathlib.Path(name + ".part")
        part.write_text(str(os.getpid()))
        part.rename(name + ".waits")
        return pathlib.Path("release").exists()

    def steps(name):
        ctx = current_task()
        for step in range(ctx.checkpointed or 0, 6):
            while step == 3 and not is_released(name):
                time.sleep(0.01)
            note(name, step)
            ctx.progress(step + 1, 6, "working")
            ctx.log("%s does step %d", name, step)
            ctx.checkpoint(step + 1)
        return ctx.attempt

    @task
    def thread():
        return steps("thread")

    @task(executor="process")
    def process():
        return steps("process")

    @task
    async def coroutine():
        ctx = current_task()
        for step in range(ctx.checkpointed or 0, 6):
            while step == 3 and not is_released("coroutine"):
                await asyncio.sleep(0.01)
            note("coroutine", step)
            await ctx.progress(step + 1, 6, "working")
            ctx.log("coroutine does step %d", step)
            await ctx.checkpoint(step + 1)
        return ctx.attempt
"""
EXECUTORS = ("coroutine", "thread", "process")


def is_there(pid):
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Watches:
    """Watch tasks beside a test, and hold what each was told."""

    def __init__(self, client, task_ids):
        self.events = {task_id: [] for task_id in task_ids}
        self._watching = [asyncio.create_task(self._watch(client, i)) for i in task_ids]

    async def _watch(self, client, task_id):
        async for event in client.watch(task_id):
            self.events[task_id].append(event)

    def have_come_to(self, done):
        return all(
            any(isinstance(event, Progress) and event.done >= done for event in events)
            for events in self.events.values()
        )

    async def end(self):
        await bounded(asyncio.gather(*self._watching), 60)


@pytest.mark.parametrize("whom", ["subworker", "control plane", "both"])
async def test_every_step_is_done_once_whoever_is_killed_in_between(site, whom):
    site.write("tasks.py", TASKS)
    control_plane = await site.control_plane()
    subworker = site.subworker("w1")
    client = await site.client(timeout=60)
    task_ids = [await client.delay(name) for name in EXECUTORS]
    watches = Watches(client, task_ids)
    # Each waits after its third checkpoint has returned, which is on disk then.
    await eventually(lambda: all((site.folder / f"{name}.waits").exists() for name in EXECUTORS))
    await eventually(lambda: watches.have_come_to(3))
    pids = {int(path.read_text()) for name in EXECUTORS for path in [site.folder / f"{name}.waits"]}
    if whom in ("control plane", "both"):
        control_plane.kill()
    if whom in ("subworker", "both"):
        os.kill(subworker.worker_pid, signal.SIGKILL)
        # What is killed may run on for a moment, a task's own process for one more.
        await eventually(lambda: not any(map(is_there, pids)))
    if whom in ("control plane", "both"):
        await site.control_plane(name="control-plane-again")
    site.touch("release")
    await watches.end()
    ledger = sorted(map(tuple, site.ledger()))
    assert ledger == sorted((name, str(step)) for name in EXECUTORS for step in range(6))
    for name, events in zip(EXECUTORS, watches.events.values(), strict=True):
        ends = [event for event in events if isinstance(event, Finished)]
        assert events[-1:] == ends
        assert ends[0].result.status == "success", ends[0].result.error
        assert ends[0].result.result == (1 if whom == "control plane" else 2)
        assert isinstance(events[0], StatusChanged)
        texts = [event.text for event in events if isinstance(event, LogLine)]
        assert texts == sorted(set(texts)), "a line was told twice, or out of order"
        assert texts[:3] == [f"{name} does step {step}" for step in range(3)]


async def test_the_command_shows_lines_and_progress_and_ends_as_the_task_does(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    site.subworker("w1")
    client = await site.client(timeout=60)
    task_id = await client.delay("process")
    watching = site.command("watch", "watch", task_id)
    await watching.says("process does step 2")
    interrupted = site.command("interrupted", "watch", task_id)
    await interrupted.says("process does step 2")
    interrupted.signal(signal.SIGINT)
    assert await interrupted.exit_code() == 130
    assert "it goes on" in interrupted.log
    assert "Traceback" not in interrupted.log
    site.touch("release")
    assert await watching.exit_code() == 0
    assert "fastqueue: running\n" in watching.log
    assert "6/6 (100%) working\n" in watching.log
    assert "process does step 5\n" in watching.log
    unknown = site.command("unknown", "watch", "nobody-knows-it")
    assert await unknown.exit_code() == 1
    assert "doesn't know a task nobody-knows-it" in unknown.log
