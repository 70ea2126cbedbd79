"""A disk that fills under a real control plane: refused in time, recorded to the end, resumed."""

from __future__ import annotations

import asyncio
import platform
import signal
import sys

import pytest
from small_disk import MIB, small_disk  # noqa: F401 - a fixture

from fastqueue.errors import ControlPlaneUnavailable, DiskFull
from harness import bounded, eventually

TASKS = """
import asyncio, os
from fastqueue import task

@task
async def hold(n, gate="gate"):
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    return n * 3

@task
async def size(text):
    return len(text)
"""
WATERMARK = 8 * MIB


class Place:
    """Be a project whose store is on a small disk."""

    def __init__(self, site, disk):
        site.write("tasks.py", TASKS)
        self.site = site
        self.disk = disk

    def start(self, *options):
        """Start a control plane without subworkers; returns at once."""
        command = [sys.executable, "-m", "fastqueue", "control-plane", "--processes", "0"]
        command += ["--base-address", self.site.base_address, "--data-dir", str(self.disk.path)]
        command += ["--disk-free-min", str(WATERMARK), *options]
        return self.site.run("control-plane", *self.disk.inside, *command)

    async def control_plane(self, *options):
        """Start one; return once it listens."""
        process = self.start(*options)
        await process.says("listens at")
        return process


@pytest.fixture
def place(site, small_disk):  # noqa: F811 - the fixture
    return Place(site, small_disk)


async def refused(client):
    """Submit until a task is refused; return why."""

    async def look():
        try:
            await client.delay("hold", 0)
        except DiskFull as error:
            return error
        return None

    return await eventually(look, "a refusal")


async def results(client, task_ids):
    found = [r async for r in client.as_completed(task_ids, timeout=60)]
    return {r.task_id: (r.status, r.result) for r in found}


async def test_below_the_watermark_tasks_are_refused_running_ones_finish_and_service_resumes(place):
    control_plane = await place.control_plane()
    place.site.subworker("worker", "--concurrency", "8")
    client = await place.site.client(retries=0)
    patient = await place.site.client(retries=100, timeout=60)
    running = await client.submit_batch([("hold", (n,)) for n in range(8)])

    async def all_run():
        return (await client.inspect())["running"] == 8

    await eventually(all_run, "eight tasks to run")
    queued = await client.submit_batch([("size", ("x" * 50_000,)) for _ in range(40)])
    place.disk.fill(WATERMARK // 2)
    error = await refused(client)
    assert str(place.disk.path) in str(error)
    assert "bytes are free" in str(error)
    assert error.retry_after_s > 0
    waiting = asyncio.ensure_future(patient.submit_task("size", ("patient",)))

    # What is accepted runs to its end and is recorded, in the room that was left for it.
    place.site.touch("gate")
    done = await results(client, [*running, *queued])
    assert [done[i] for i in running] == [("success", 3 * n) for n in range(8)]
    assert {done[i] for i in queued} == {("success", 50_000)}
    with pytest.raises(DiskFull):
        await client.delay("size", "more")
    assert not waiting.done()

    place.disk.clear()
    assert (await bounded(waiting)).result == 7  # sent again by itself, after the hint
    assert (await client.submit_task("size", ("again",))).result == 5
    assert control_plane.log.count("new tasks are refused") == 1
    assert control_plane.log.count("new tasks are accepted") == 1
    assert control_plane.is_running
    stranger = await place.site.client()
    known = await asyncio.gather(*map(stranger.get_task_result, [*running, *queued]))
    assert {r.task_id: (r.status, r.result) for r in known} == done


async def test_a_disk_that_the_backlog_filled_takes_tasks_again_once_they_are_done(place):
    await place.control_plane("--result-cache-size", "10")
    client = await place.site.client(retries=0)
    task_ids = []
    payload = "x" * 500_000

    async def submit():
        try:
            task_ids.append(await client.delay("size", payload))
        except DiskFull:
            return True
        return False

    await eventually(submit, "the backlog to fill the disk")
    assert len(task_ids) > 20
    place.site.subworker("worker")

    async def is_taken():
        try:
            return await client.submit_task("size", ("small",))
        except DiskFull:
            return None

    assert (await eventually(is_taken, "room in what the tasks have left")).result == 5
    await eventually(lambda: {client.get_status(i) for i in task_ids} == {"success"})


async def test_a_disk_without_any_room_loses_nothing_and_needs_no_restart(place):
    control_plane = await place.control_plane("--disk-free-min", "0")
    place.site.subworker("worker", "--concurrency", "4")
    client = await place.site.client(timeout=60, retries=100)
    running = await client.submit_batch([("hold", (n,)) for n in range(4)])
    place.disk.fill(0)
    hasty = await place.site.client(timeout=2, retries=0)

    async def breaks():
        try:
            await hasty.delay("size", "x" * 400_000)
        except ControlPlaneUnavailable:
            return "nothing is accepted until there is room" in control_plane.log
        return False

    await eventually(breaks, "the disk's end")
    place.site.touch("gate")
    waiting = asyncio.ensure_future(client.submit_task("size", ("patient",)))
    place.disk.clear()
    done = await results(client, running)
    assert [done[i] for i in running] == [("success", 3 * n) for n in range(4)]
    assert (await bounded(waiting, 60)).result == 7
    assert control_plane.is_running


@pytest.mark.parametrize("is_new", [True, False], ids=["a new store", "a store with tasks"])
async def test_a_start_on_a_full_disk_says_so_and_waits_for_room(place, is_new):
    stored = None
    if not is_new:
        first = await place.control_plane()
        client = await place.site.client()
        stored = await client.delay("size", "stored")
        await client.aclose()
        first.terminate()
        assert await first.exit_code() == 0
    place.disk.fill(0)
    waiting = place.start()
    await waiting.says("waiting for room to start")
    assert str(place.disk.path) in waiting.log
    assert "bytes are free" in waiting.log
    assert "listens at" not in waiting.log
    place.disk.clear()
    await waiting.says("listens at")
    if stored is not None:
        client = await place.site.client()
        assert (await client.get_task_result(stored)).status == "queued"


async def test_a_start_that_waits_for_room_ends_cleanly_when_it_is_told_to(place):
    place.disk.fill(0)
    waiting = place.start()
    await waiting.says("waiting for room to start")
    waiting.signal(signal.SIGINT)
    assert await waiting.exit_code() == 0
    assert "Traceback" not in waiting.log


# The kernel itself refuses to write anything past the first MB of a file, as if a quota were used
# up. (Most kernels can't set a quota on a file system that a test could mount.)
USED_UP = """
import ctypes, errno, platform, runpy, struct

PWRITE = {"x86_64": 18, "aarch64": 67}[platform.machine()]
NUMBER, OFFSET = 0, 16 + 3 * 8  # where a filter finds them of the call
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
rules = [
    (LOAD, 0, 0, NUMBER),
    (IF_EQUAL, 0, 3, PWRITE),
    (LOAD, 0, 0, OFFSET),
    (IF_AT_LEAST, 0, 1, 1_000_000),
    (RETURN, 0, 0, FAIL | errno.EDQUOT),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
prctl = ctypes.CDLL(None).prctl
assert prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
assert prctl(SECCOMP, FILTER, program) == 0
runpy.run_module("fastqueue", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) not in {("linux", "x86_64"), ("linux", "aarch64")},
    reason="the filter is made for these",
)
async def test_a_quota_that_is_used_up_is_a_full_disk_and_loses_nothing(site):
    control_plane = site.run(
        "control-plane",
        *(sys.executable, "-c", USED_UP, "control-plane", "--processes=0"),
        *("--base-address", site.base_address),
    )
    await control_plane.says("listens at")
    client = await site.client(timeout=2, retries=0)
    task_ids = []

    async def submit():
        try:
            task_ids.append(await client.delay("size", "x" * 100_000))
        except ControlPlaneUnavailable:
            return "nothing is accepted until there is room" in control_plane.log
        return False

    await eventually(submit, "the end of the quota")
    assert control_plane.is_running
    assert task_ids

    control_plane.kill()
    await site.control_plane()
    client = await site.client()
    known = await asyncio.gather(*map(client.get_task_result, task_ids))
    assert {result.status for result in known} == {"queued"}
