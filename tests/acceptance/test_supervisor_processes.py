"""What becomes of local subworkers that die, and of those whose control plane dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import pytest
from cli_site import TASKS, gone, held_by, is_alive, say, says, serve

from fastqueue.config import SubworkerSettings
from fastqueue.subworker.app import Subworker
from fastqueue.subworker.supervisor import Supervisor, numbered
from harness import bounded, eventually, registry_of


async def test_a_killed_subworker_is_replaced_under_its_name(site):
    control_plane = await serve(site)
    client = await site.client()
    before = await client.submit_task("whoami")
    os.kill(before.result, signal.SIGKILL)
    await control_plane.says(f"(process {before.result}) was killed by SIGKILL; starting it in")
    after = await client.submit_task("whoami")
    assert after.result != before.result
    assert after.worker_id == before.worker_id


async def test_a_subworker_of_its_own_is_replaced_under_its_name_too(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    supervisor = site.subworker("w")
    client = await site.client()
    before = await client.submit_task("whoami")
    assert before.worker_id == "w"
    assert [before.result] == supervisor.children
    os.kill(before.result, signal.SIGSEGV)
    await supervisor.says(f"subworker w (process {before.result}) was killed by SIGSEGV")
    after = await client.submit_task("whoami")
    assert (after.worker_id, [after.result]) == ("w", supervisor.children)


async def test_a_task_that_kills_its_process_runs_again_in_the_next(site):
    await serve(site)
    client = await site.client()
    result = await client.submit_task("die_once")
    assert (result.result, result.attempt) == ("alive", 2)


async def test_a_subworker_that_keeps_dying_is_started_ever_less_often(site):
    control_plane = await serve(site)
    client = await site.client()
    pid = (await client.submit_task("whoami")).result
    # Once one could be started, none is given up.
    site.write("tasks.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    os.kill(pid, signal.SIGKILL)
    await control_plane.says("was killed by SIGKILL; starting it in 0.1 s")
    for delay in ("0.2", "0.4", "0.8"):
        await control_plane.says(f"was killed by SIGSEGV; starting it in {delay} s")
    # Once it can be started, it is.
    site.write("tasks.py", TASKS)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_module_broken_later_doesnt_end_what_ran_before(site):
    control_plane = await serve(site)
    client = await site.client()
    pid = (await client.submit_task("whoami")).result
    (site.folder / "tasks.py").rename(site.folder / "away.py")
    os.kill(pid, signal.SIGKILL)
    await control_plane.says("ended with exit code 2; starting it in")
    (site.folder / "away.py").rename(site.folder / "tasks.py")
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_subworkers_are_out_of_reach_of_the_terminals_ctrl_c(site):
    control_plane = await serve(site)
    client = await site.client()
    session = (await client.submit_task("session")).result
    assert session != os.getsid(control_plane.pid)
    assert session == (await client.submit_task("whoami")).result


async def test_a_task_that_reads_stdin_finds_nothing(site):
    await serve(site)
    client = await site.client()
    assert (await client.submit_task("ask")).result == ""
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_killed_control_plane_leaves_no_idle_subworker_behind(site):
    control_plane = await serve(site, "--processes=2")
    pids = control_plane.children
    assert len(pids) == 2
    control_plane.kill()
    await gone(*pids)


async def test_a_killed_supervisor_leaves_no_idle_subworker_behind(site):
    site.write("tasks.py", TASKS)
    supervisor = site.subworker("w", "--processes=2")
    await site.control_plane()
    await says(supervisor, "tasks on offer", 2)
    pids = supervisor.children
    assert len(pids) == 2
    supervisor.kill()
    await gone(*pids)


async def test_an_orphan_finishes_what_it_runs_and_delivers_it_after_a_restart(site):
    control_plane = await serve(site)
    client = await site.client()
    task_id = await client.delay("hold", "a")
    pid = await held_by(site, "a")
    control_plane.kill()
    await eventually(lambda: "the parent is gone; finishing what runs" in control_plane.log)
    site.touch("a.go")
    assert is_alive(pid)

    # Nobody else here could have run it.
    await serve(site, "--processes=0")
    async for result in client.as_completed([task_id]):
        assert (result.status, result.result, result.attempt) == ("success", "a", 1)
    await gone(pid)


async def test_an_orphan_takes_nothing_new(site):
    control_plane = await serve(site)
    client = await site.client()
    await client.delay("hold", "a")
    pid = await held_by(site, "a")
    control_plane.kill()
    await serve(site, name="second")
    for _ in range(5):
        assert (await client.submit_task("whoami")).result != pid
    site.touch("a.go")
    await gone(pid)


async def test_an_orphan_stops_at_a_signal(site):
    control_plane = await serve(site, "--grace=0")
    client = await site.client()
    await client.delay("hold", "a")
    pid = await held_by(site, "a")
    control_plane.kill()
    os.kill(pid, signal.SIGTERM)
    await gone(pid)


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
runpy.run_module("fastqueue", run_name="__main__", alter_sys=True)
"""


async def test_a_control_plane_whose_store_fails_exits_1_and_leaves_its_tasks_running(site):
    site.write("tasks.py", TASKS)
    control_plane = site.run(
        "control-plane",
        *(sys.executable, "-c", LIMITED, "control-plane", "--task-modules=tasks"),
        *("--base-address", site.base_address),
    )
    await control_plane.says("control plane ready")
    client = await site.client(timeout=60)
    task_id = await client.delay("hold", "a")
    pid = await held_by(site, "a")
    # No file may grow beyond 2 MB: to SQLite that is an I/O error, not a full disk.
    submitting = asyncio.create_task(
        client.submit_batch([("nobodys", (n, "x" * 10_000)) for n in range(500)])
    )
    assert await control_plane.exit_code() == 1
    assert control_plane.log.count("I/O error") == 1
    assert "Traceback" not in control_plane.log
    assert is_alive(pid)

    site.touch("a.go")
    await serve(site, "--processes=0")
    async for result in client.as_completed([task_id]):
        assert (result.status, result.result, result.attempt) == ("success", "a", 1)
    assert len(await bounded(submitting)) == 500
    await gone(pid)


async def test_results_that_nobody_takes_are_given_up_after_a_bounded_time(cluster):
    release = asyncio.Event()
    running = asyncio.Event()

    async def hold():
        running.set()
        await release.wait()

    await cluster.start(registry_of(hold))
    client = await cluster.client()
    await client.delay("hold")
    await bounded(running.wait())
    await cluster.stop_control_plane()
    subworker: Subworker = cluster.subworkers[0]
    finishing = asyncio.create_task(subworker.finish(0.05))
    release.set()
    assert await bounded(finishing) is False


async def test_a_supervisor_can_be_started_and_stopped_twice_and_waits_for_its_children(site):
    site.write("tasks.py", TASKS)
    control_plane = await site.control_plane()
    settings = SubworkerSettings(
        worker_id="w",
        log_level="warning",
        control_plane_address=site.base_address,
        task_modules=(str(site.folder / "tasks.py"),),
    )
    supervisor = Supervisor(settings, numbered("w", 2))
    await supervisor.start()
    await supervisor.start()
    await bounded(supervisor.connected())
    pids = supervisor.pids
    assert len(pids) == 2
    waiting = asyncio.create_task(supervisor.wait())
    await bounded(supervisor.stop())
    await bounded(supervisor.stop())
    await bounded(waiting)
    assert not any(map(is_alive, pids))
    assert control_plane.is_running


async def test_a_supervisor_that_is_stopped_as_it_starts_leaves_nothing(site):
    settings = SubworkerSettings(task_modules=(str(site.folder / "tasks.py"),))
    supervisor = Supervisor(settings, numbered("w", 2))
    await supervisor.start()
    await bounded(supervisor.stop())
    assert supervisor.pids == []
    await bounded(supervisor.wait())


async def test_a_supervisor_hears_the_order_to_stop_while_it_starts_many(site, caplog):
    caplog.set_level(logging.DEBUG, "fastqueue.subworker.supervisor")
    site.write("tasks.py", TASKS)
    settings = SubworkerSettings(
        control_plane_address=site.base_address,
        task_modules=(str(site.folder / "tasks.py"),),
    )
    supervisor = Supervisor(settings, numbered("w", 40))
    await supervisor.start()
    await eventually(lambda: len(supervisor.pids) > 1)
    await bounded(supervisor.stop(0))
    assert supervisor.pids == []
    assert sum("is process" in record.message for record in caplog.records) < 20


@pytest.mark.parametrize("name", ["queue", "types", "fastqueue"])
async def test_a_project_may_have_a_module_named_like_one_that_fastqueue_needs(site, name):
    site.write(f"{name}.py", "")
    site.write("tasks.py", TASKS)
    control_plane = site.run(
        "control-plane",
        # As the installed command does it: without the current directory on the path.
        *(sys.executable, "-P", "-m", "fastqueue", "control-plane", "--task-modules=tasks"),
        *("--base-address", site.base_address, "--processes=1"),
    )
    await control_plane.says("control plane ready")
    client = await site.client()
    assert (await client.submit_task("echo", (1,))).result == [[1], {}]


STARTING = """
import os, time
from pathlib import Path
Path(f"starting-{os.getpid()}").touch()
deadline = time.monotonic() + 60
while not Path("go").exists() and time.monotonic() < deadline:
    time.sleep(0.01)
"""


async def test_a_subworker_that_is_killed_while_it_starts_is_started_again_however_often(site):
    site.write("tasks.py", STARTING + TASKS)
    control_plane = site.command(
        "control-plane",
        *("control-plane", "--task-modules=tasks", "--base-address", site.base_address),
        "--processes=1",
    )
    killed = set()
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        [pid] = await eventually(
            lambda: {int(f.name.split("-")[1]) for f in site.folder.glob("starting-*")} - killed
        )
        killed.add(pid)
        os.kill(pid, number)
        await control_plane.says(f"(process {pid}) was killed by {number.name}; starting it in")
    site.touch("go")
    client = await site.client()
    assert (await client.submit_task("add", (1, 2))).result == 3


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("raise KeyboardInterrupt", "ended with exit code 130"),
        ("os._exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    ],
)
async def test_a_subworker_that_dies_of_its_task_modules_is_given_up_after_three_tries(
    site, death, how
):
    site.write("tasks.py", f"import os, signal\n{death}\n")
    said = await say(
        site,
        *("control-plane", "--task-modules=tasks", "--base-address", site.base_address),
        "--processes=2",
    )
    assert said.code == 2
    assert said.err.count(how) == 3
    last = said.err.splitlines()[-1]
    assert how in last
    assert "before its task modules were imported, 3 times in a row; nothing runs" in last
