"""The commands `control-plane` and `subworker`: how they start, and every way they end."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest
from cli_site import LINGERING, READY, TASKS, gone, held_by, is_alive, say, says, serve

from fastqueue import TaskStatus
from harness import eventually


async def pid_of_a_subworker(client):
    return (await client.submit_task("whoami")).result


async def exit_code_after_ctrl_c(process):
    """Press Ctrl-C until the process ends: right after the first, another doesn't count."""

    def ended_at_another():
        if process.is_running:
            os.kill(process.pid, signal.SIGINT)
        return not process.is_running

    await eventually(ended_at_another)
    return await process.exit_code()


# -- starting


async def test_the_ready_line_names_everything_with_the_ports_that_were_chosen(site):
    control_plane = await serve(
        site, "--base-address=tcp://127.0.0.1:0", "--durability=normal", "--data-dir=my data"
    )
    address, discovery, folder, durability, count = READY.search(control_plane.log).groups()
    assert discovery == site.discovery_address
    assert folder == str(site.folder / "my data")
    assert (durability, count) == ("normal", "1")
    client = await site.client(control_plane_address=address)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_subworkers_find_a_control_plane_whose_discovery_port_was_chosen(site):
    control_plane = await serve(site, "--discovery-address=tcp://127.0.0.1:0", "--processes=2")
    discovery = READY.search(control_plane.log).group(2)
    assert not discovery.endswith(":0")
    client = await site.client(discovery_address=discovery)
    assert len((await client.inspect())["subworkers"]) == 2


async def test_task_modules_come_from_the_environment_or_a_file_too(site):
    site.write("tasks.py", TASKS)
    site.write("more.py", "from fastqueue import task\n\n@task\ndef more():\n    return 'more'\n")
    control_plane = site.command(
        "control-plane",
        *("control-plane", "--base-address", site.base_address),
        environment={"FASTQUEUE_TASK_MODULES": "tasks more"},
    )
    await control_plane.says("control plane ready")
    client = await site.client()
    assert (await client.submit_task("more")).result == "more"
    assert (await client.submit_task("add", (1, 2))).result == 3

    site.write("fastqueue.toml", 'task-modules = ["tasks"]\n')
    subworker = site.command("w", "subworker", "--worker-id=w")
    await subworker.says("tasks on offer")


async def test_every_option_of_the_servers_can_stand_in_a_file_or_the_environment(site):
    site.write("tasks.py", TASKS)
    site.write(
        "fastqueue.toml",
        f"""
        [control-plane]
        base-address = "{site.base_address}"
        task-modules = ["tasks"]
        concurrency = 3
        grace = 20
        processes = 2
        [subworker]
        task-modules = ["no_such_module"]
        concurrency = 4
        """,
    )
    control_plane = site.command("control-plane", "control-plane")
    await control_plane.says("durability full, 2 local subworkers")
    client = await site.client()
    assert [one["capacity"] for one in (await client.inspect())["subworkers"]] == [3, 3]

    variables = {"FASTQUEUE_PROCESSES": "2", "FASTQUEUE_LOG_LEVEL": "debug"}
    options = ("--worker-id=w", "--task-modules=tasks")
    subworker = site.command("w", "subworker", *options, environment=variables)
    await says(subworker, "tasks on offer", 2)
    assert "DEBUG [w-1]" in subworker.log


async def test_the_environment_of_a_coordinator_is_no_hindrance_to_the_other_commands(site):
    site.write("tasks.py", TASKS)
    environment = {"FASTQUEUE_PROCESSES": "0", "FASTQUEUE_LOG_LEVEL": "info"}
    said = await say(site, "list", "--task-modules", "tasks", environment=environment)
    assert said.code == 0
    address = f"--base-address={site.base_address}"
    control_plane = site.command("cp", "control-plane", address, environment=environment)
    await control_plane.says("0 local subworkers")


async def test_the_dashboards_options_are_accepted(site):
    await serve(site, "--no-gui", "--gui-host=0.0.0.0", "--gui-port=1")


async def test_user_code_stays_out_of_the_control_planes_process(site):
    site.write("tasks.py", TASKS + "\nPath('imported').open('a').write(f'{os.getpid()}\\n')\n")
    control_plane = await serve(site)
    importers = (site.folder / "imported").read_text().split()
    assert len(importers) == 1
    assert str(control_plane.pid) not in importers


async def test_a_subworker_of_its_own_joins_a_control_plane_without_any(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.command(
        "w",
        *("subworker", "--worker-id", "w", "--control-plane-address", site.base_address),
        *("--task-modules", "tasks", "--processes", "2"),
    )
    await says(subworker, "tasks on offer", 2)
    client = await site.client()
    workers = {one["worker_id"] for one in (await client.inspect())["subworkers"]}
    assert workers == {"w-1", "w-2"}

    subworker.signal(signal.SIGINT)
    assert await subworker.exit_code() == 0


# -- what can't start


@pytest.mark.parametrize(
    "command",
    [
        ("control-plane", "--base-address=tcp://127.0.0.1:0", "--processes=3"),
        ("subworker",),
        ("subworker", "--processes=3"),
        ("list",),
    ],
    ids=lambda command: " ".join(command[:1] + command[2:]),
)
async def test_a_task_module_that_doesnt_import_exits_2_with_its_traceback_once(site, command):
    site.write("broken.py", "def f():\n    import not_there\n\nf()\n")
    said = await say(site, *command, "--task-modules", "broken")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("Traceback") == 1
    assert 'broken.py", line 2, in f' in said.err
    assert "loading.py" not in said.err
    assert "task module 'broken' doesn't import" in said.err


async def test_without_task_modules_nothing_starts_and_the_way_out_is_told(site):
    said = await say(site, "control-plane")
    assert said.code == 2
    assert "--processes 0" in said.err
    said = await say(site, "subworker")
    assert said.code == 2
    assert "--task-modules" in said.err


async def test_two_tasks_of_one_name_exit_2(site):
    site.write("a.py", "from fastqueue import task\n\n@task\ndef same():\n    pass\n")
    site.write("b.py", "from fastqueue import task\n\n@task\ndef same():\n    pass\n")
    said = await say(site, "subworker", "--task-modules", "a", "b")
    assert said.code == 2
    assert "two functions claim" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("option", ["--base-address", "--discovery-address"])
async def test_a_port_in_use_exits_2_and_names_the_address(site, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        said = await say(
            site,
            *("control-plane", "--processes=0", "--base-address=tcp://127.0.0.1:0"),
            f"{option}={address}",
        )
    assert said.code == 2
    assert address in said.err
    assert "Traceback" not in said.err


async def test_a_data_directory_in_use_exits_2_and_names_its_holder(site):
    control_plane = await site.control_plane()
    said = await say(
        site,
        *("control-plane", "--processes=0", "--base-address=tcp://127.0.0.1:0"),
        "--discovery-address=tcp://127.0.0.1:0",
    )
    assert said.code == 2
    assert f"in use by another control plane (process {control_plane.pid})" in said.err


async def test_a_damaged_store_exits_1_and_is_left_as_it_is(site):
    store = site.folder / "data" / "fastqueue.db"
    store.parent.mkdir()
    store.write_bytes(b"nonsense" * 1_000)
    said = await say(site, "control-plane", "--processes=0", "--base-address", site.base_address)
    assert said.code == 1
    assert "damaged" in said.err
    assert "Traceback" not in said.err
    assert store.read_bytes() == b"nonsense" * 1_000


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--base-address=nonsense"], "nonsense"),
        (["--base-address=tcp://0.0.0.0:0"], "--insecure"),
        (["--durability=some"], "durability"),
        (["--callback-allow=10.0.0.0/99"], "10.0.0.0/99"),
        (["--result-cache-size=0"], "result_cache_size"),
        (["--processes=-1"], "--processes"),
        (["--processes=many"], "--processes"),
        (["--processes=20000000"], "processes is 20000000: it must be a whole number, 0 to 1024"),
        (["--log-level=loud"], "--log-level"),
        (["--unknown"], "--unknown"),
        (["--worker-id"], "--worker-id"),
        (["--concurrency=5000000000"], "concurrency"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
async def test_a_wrong_option_exits_2_and_says_what_is_wrong(site, options, complaint):
    said = await say(site, "control-plane", "--task-modules", "tasks", *options)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["control-plane", "--processes=0", "--data-dir=.fastqueue"],
        ["subworker", "--task-modules=tasks"],
        ["list", "--task-modules=tasks"],
    ],
    ids=lambda arguments: arguments[0],
)
async def test_in_a_directory_that_is_gone_a_command_exits_2_and_says_so(site, arguments):
    command = [sys.executable, "-P", "-m", "fastqueue", *arguments]
    program = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = site.run("gone", sys.executable, "-c", program, *command)
    assert await process.exit_code() == 2
    assert "No such file or directory" in process.log
    assert "Traceback" not in process.log


# -- stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_idle_control_plane_stops_at_a_signal_and_takes_its_subworkers_along(site, number):
    control_plane = await serve(site, "--processes=2")
    client = await site.client()
    pid = await pid_of_a_subworker(client)
    control_plane.signal(number)
    assert await control_plane.exit_code() == 0
    assert not is_alive(pid)
    assert "Traceback" not in control_plane.log
    assert "died" not in control_plane.log


async def test_what_ends_while_a_control_plane_stops_is_still_stored(site):
    control_plane = await serve(site)
    client = await site.client()
    task_id = await client.delay("hold", "a")
    await held_by(site, "a")
    control_plane.signal(signal.SIGTERM)
    await control_plane.says("[control-plane-1] stopping")
    # It goes on serving meanwhile.
    assert (await client.get_task_result(task_id)).status is TaskStatus.RUNNING
    site.touch("a.go")
    assert await control_plane.exit_code() == 0

    await serve(site, "--processes=0")
    result = await client.get_task_result(task_id)
    assert (result.status, result.result) == ("success", "a")


async def test_a_task_that_goes_on_for_longer_than_the_grace_is_given_back(site):
    control_plane = await serve(site, "--grace=0.1")
    client = await site.client()
    task_id = await client.delay("hold", "a")
    pid = await held_by(site, "a")
    control_plane.signal(signal.SIGTERM)
    assert await control_plane.exit_code() == 0
    assert "given back: hold" in control_plane.log
    assert not is_alive(pid)

    site.touch("a.go")
    await serve(site)
    async for result in client.as_completed([task_id]):
        assert (result.status, result.attempt) == ("success", 1)


async def test_a_subworker_that_doesnt_listen_to_signals_is_killed(site):
    site.write(
        "tasks.py",
        TASKS + "\n@task\nasync def block():\n"
        "    Path('block.pid').write_text(str(os.getpid()))\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "    time.sleep(60)\n",
    )
    control_plane = await serve(site, "--grace=0.1")
    client = await site.client()
    await client.delay("block")
    pid = await held_by(site, "block")
    control_plane.signal(signal.SIGTERM)
    assert await control_plane.exit_code() == 0
    assert "didn't end in time and are killed" in control_plane.log
    assert not is_alive(pid)


async def test_a_thread_that_a_task_module_started_is_not_waited_for(site):
    site.write("tasks.py", TASKS + LINGERING)
    control_plane = await serve(site)
    pid = await pid_of_a_subworker(await site.client())
    control_plane.signal(signal.SIGTERM)
    assert await control_plane.exit_code() == 0
    assert "killed" not in control_plane.log
    assert "not waiting for threads of the task modules: Thread-" in control_plane.log
    assert not is_alive(pid)
    assert (site.folder / "cleaned").exists()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_ctrl_c_ends_a_control_plane_and_its_subworkers_at_once(site, first):
    control_plane = await serve(site)
    client = await site.client()
    await client.delay("hold", "a")
    pid = await held_by(site, "a")
    control_plane.signal(first)
    await control_plane.says("[control-plane-1] stopping")
    assert await exit_code_after_ctrl_c(control_plane) == 130
    await gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_subworker_drains_at_a_signal(site, number):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.subworker("w")
    client = await site.client()
    task_id = await client.delay("hold", "a")
    assert await held_by(site, "a") == subworker.worker_pid
    subworker.signal(number)
    await subworker.says("stopping")
    site.touch("a.go")
    assert await subworker.exit_code() == 0
    assert (await client.get_task_result(task_id)).status is TaskStatus.SUCCESS


async def test_a_subworker_ends_although_a_thread_is_still_in_a_task(site):
    site.write("tasks.py", TASKS)
    await site.control_plane()
    subworker = site.subworker("w", "--grace=0")
    client = await site.client()
    task_id = await client.delay("hold", "a")
    await held_by(site, "a")
    subworker.signal(signal.SIGTERM)
    assert await subworker.exit_code() == 0
    assert f"given back: hold ({task_id})" in subworker.log
    result = await client.get_task_result(task_id)
    assert result.status is TaskStatus.QUEUED
    site.touch("a.go")


async def test_a_second_ctrl_c_ends_a_subworker_at_once_even_if_a_task_blocks_its_loop(site):
    site.write(
        "tasks.py",
        TASKS + "\n@task\nasync def block():\n"
        "    Path('block.pid').write_text(str(os.getpid()))\n    time.sleep(60)\n",
    )
    await site.control_plane()
    subworker = site.subworker("w")
    client = await site.client()
    await client.delay("block")
    await held_by(site, "block")
    subworker.signal(signal.SIGINT)
    assert await exit_code_after_ctrl_c(subworker) == 130
