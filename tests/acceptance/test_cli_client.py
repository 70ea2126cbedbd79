"""The commands that ask a control plane for something, as a shell sees them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from cli_site import LINGERING, TASKS, held_by, say, serve

import fastqueue


async def test_submit_waits_and_prints_what_the_task_returned(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "add", "--args", "5", "3")
    assert (said.code, said.out, said.err) == (0, "8\n", "")


async def test_submit_takes_json_texts_and_negative_numbers_and_what_looks_like_an_option(site):
    await serve(site)
    said = await say(
        site,
        *("submit", "--task-name", "echo", "--priority", "HIGH", "--kwargs", '{"priority": 1}'),
        *("--args", "-1", "[true]", "text", "--args=-2", "--", "--json", "-x"),
    )
    assert said.code == 0
    assert json.loads(said.out) == [[-1, [True], "text", -2, "--json", "-x"], {"priority": 1}]


async def test_a_text_is_printed_as_it_is(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "add", "--args", "[red]", "<b>")
    assert said.out == "[red]<b>\n"


async def test_a_task_that_failed_shows_its_traceback_and_exits_1(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "boom")
    assert (said.code, said.out) == (1, "")
    assert 'raise ValueError("boom")' in said.err
    assert said.err.splitlines()[-1].startswith("fastqueue: task 'boom' (")
    assert said.err.endswith("failed: ValueError: boom\n")

    said = await say(site, "submit", "--task-name", "boom", "--json")
    assert (said.code, said.err) == (1, "")
    document = json.loads(said.out)
    assert document["status"] == "failure"
    assert document["error"] == "ValueError: boom"
    assert "boom" in document["traceback"]


async def test_a_task_submitted_without_waiting_can_be_asked_after(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "hold", "--args", "a", "--non-blocking")
    assert said.code == 0
    task_id = said.out.strip()
    await held_by(site, "a")
    said = await say(site, "status", "--task-id", task_id, "--json")
    assert json.loads(said.out)["status"] == "running"

    said = await say(site, "submit", "--task-name", "hold", "--args", "a", "--timeout", "0.2")
    assert said.code == 1
    assert "isn't finished in time; it goes on: see `fastqueue status --task-id" in said.err
    assert said.out == ""

    said = await say(
        site, "submit", "--task-name", "hold", "--args", "a", "--timeout", "0.2", "--json"
    )
    assert said.code == 1
    document = json.loads(said.out)
    assert sorted(document) == ["status", "task_id"]
    assert document["status"] == "queued"
    assert document["task_id"] in said.err
    assert "isn't finished in time" in said.err

    said = await say(
        site,
        *("submit", "--task-name", "hold", "--args", "b"),
        until=(site.folder / "b.pid").exists,
    )
    assert (said.code, said.out) == (130, "")
    assert "isn't waited for any more; it goes on" in said.err
    assert "Traceback" not in said.err

    (site.folder / "a.go").touch()
    (site.folder / "b.go").touch()
    client = await site.client()
    async for _ in client.as_completed([task_id]):
        pass
    said = await say(site, "status", "--task-id", task_id)
    assert said.code == 0
    assert "success" in said.out
    assert task_id in said.out
    said = await say(site, "cancel", "--task-id", task_id)
    assert (said.code, said.out) == (1, "")
    assert f"task {task_id} isn't cancelled, for its status is success" in said.err


async def test_a_running_task_is_cancelled(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "hold", "--args", "a", "--non-blocking")
    task_id = said.out.strip()
    await held_by(site, "a")
    said = await say(site, "cancel", "--task-id", task_id, "--json")
    assert said.code == 0
    assert json.loads(said.out) == {"task_id": task_id, "cancelled": True, "status": "cancelled"}


async def test_a_task_that_runs_for_too_long_is_ended(site):
    await serve(site)
    for option in ("--soft-time-limit=0.2", "--time-limit=0.2"):
        said = await say(site, "submit", "--task-name", "hold", "--args", "a", option)
        assert (said.code, said.out) == (1, "")
        assert "failed: " in said.err
        assert "imit" in said.err.splitlines()[-1]


async def test_a_queued_task_is_cancelled_and_an_unknown_one_isnt(site):
    await serve(site)
    said = await say(site, "submit", "--task-name", "nobodys", "--non-blocking", "--json")
    document = json.loads(said.out)
    assert document["status"] == "queued"
    said = await say(site, "cancel", "--task-id", document["task_id"], "--json")
    assert said.code == 0
    assert json.loads(said.out) == {
        "task_id": document["task_id"],
        "cancelled": True,
        "status": "cancelled",
    }

    said = await say(site, "cancel", "--task-id", "nope")
    assert (said.code, said.out) == (1, "")
    assert "doesn't know a task nope" in said.err
    said = await say(site, "status", "--task-id", "nope")
    assert (said.code, said.out) == (1, "")
    assert "doesn't know a task nope" in said.err
    said = await say(site, "status", "--task-id", "nope", "--json")
    assert (said.code, json.loads(said.out)) == (1, None)


async def test_a_scheduled_task_is_cancelled(site):
    await serve(site)
    said = await say(
        site,
        *("submit", "--task-name=add", "--args", "1", "2"),
        *("--countdown=3600", "--non-blocking"),
    )
    assert said.code == 0
    task_id = said.out.strip()
    said = await say(site, "status", "--task-id", task_id)
    assert (said.code, said.err) == (0, "")
    assert "scheduled" in said.out
    assert "failed attempt" not in said.out
    said = await say(site, "cancel", "--task-id", task_id)
    assert (said.code, said.out) == (0, f"cancelled {task_id}\n")
    said = await say(site, "cancel", "--task-id", task_id)
    assert (said.code, said.out) == (0, f"cancelled {task_id}\n"), "it is cancelled"


async def test_a_task_that_isnt_over_in_time_is_told_as_it_is(site):
    await serve(site)
    said = await say(
        site,
        *("submit", "--task-name=add", "--args", "1", "2", "--json"),
        *("--countdown=3600", "--timeout=0.5"),
    )
    assert said.code == 1
    assert json.loads(said.out)["status"] == "scheduled"
    assert "isn't finished in time; it goes on" in said.err


async def test_a_token_for_submitting_shows_no_attempts_and_no_dead_letters(site, monkeypatch):
    for role in ("SUBMIT", "WORKER", "ADMIN"):
        monkeypatch.setenv(f"FASTQUEUE_TOKEN_{role}", f"the-token-for-{role}-of-this-test")
    await serve(site)
    for role in ("SUBMIT", "WORKER", "ADMIN"):
        monkeypatch.delenv(f"FASTQUEUE_TOKEN_{role}")
    submit, admin = (
        {"FASTQUEUE_TOKEN": f"the-token-for-{role}-of-this-test"} for role in ("SUBMIT", "ADMIN")
    )
    retried = ("--retries=1", "--backoff=0")
    said = await say(site, "submit", "--task-name=boom", *retried, "--json", environment=submit)
    assert said.code == 1
    task_id = json.loads(said.out)["task_id"]

    status = ("status", "--task-id", task_id, "--json")
    said = await say(site, *status, environment=submit)
    assert (said.code, said.err) == (0, "")
    assert "attempts" not in json.loads(said.out)
    said = await say(site, *status, environment=admin)
    assert [one["attempt"] for one in json.loads(said.out)["attempts"]] == [1]

    for command in (("dead-letters",), ("requeue", "--all"), ("requeue", "--task-id", task_id)):
        said = await say(site, *command, environment=submit)
        assert (said.code, said.out) == (1, "")
        assert "token_admin" in said.err
    said = await say(site, "requeue", "--all", environment=admin)
    assert said.code == 0
    assert said.out.startswith(f"{task_id} -> ")


async def test_stats_tell_which_subworkers_and_tasks_there_are(site):
    await serve(site, "--worker-id=main")
    said = await say(site, "stats", "--json")
    assert said.code == 0
    stats = json.loads(said.out)
    assert [one["worker_id"] for one in stats["subworkers"]] == ["main-1"]
    assert "add" in stats["task_names"]
    said = await say(site, "stats")
    assert said.code == 0
    (row,) = (line for line in said.out.splitlines() if "main-1" in line)
    assert re.search(r" \d+\.\d  ", row), "how long ago it was heard is told to a tenth"


async def test_list_shows_what_modules_define_and_nothing_that_they_print(site):
    site.write("tasks.py", 'print("hello")\n' + TASKS)
    said = await say(site, "list", "--task-modules", "tasks", "--json")
    assert said.code == 0
    listed = {one["name"]: one for one in json.loads(said.out)}
    assert listed["add"]["executor"] == "coroutine"
    assert listed["add"]["doc"] == "Add two numbers."
    assert "tasks.py:" in listed["add"]["place"]
    assert listed["boom"]["executor"] == "thread"
    assert "hello" in said.err

    said = await say(site, "list", environment={"FASTQUEUE_TASK_MODULES": "tasks"})
    assert said.code == 0
    assert "Add two numbers." in said.out


@pytest.mark.parametrize(
    "command",
    [
        ("submit", "--task-name", "add"),
        ("submit", "--task-name", "add", "--non-blocking", "--json"),
        ("status", "--task-id", "x"),
        ("cancel", "--task-id", "x", "--json"),
        ("stats",),
        ("dead-letters",),
        ("requeue", "--all", "--json"),
        ("requeue", "--task-id", "x", "y", "--json"),
    ],
)
async def test_without_a_control_plane_a_command_exits_3_and_says_where_it_looked(site, command):
    said = await say(
        site, *command, "--timeout=0.2", f"--control-plane-address={site.base_address}"
    )
    assert (said.code, said.out) == (3, "")
    assert site.base_address in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("submit", "--nope"), "--nope"),
        (("nope",), "nope"),
        (("submit",), "--task-name"),
        (("submit", "--task-name=add", "--priority=urgent"), "critical"),
        (("submit", "--task-name=add", "--kwargs=[]"), "JSON object"),
        (("submit", "--task-name=", "--args=1"), "task name"),
        (("submit", "--task-name=add", "--timeout=0"), "timeout"),
        (("submit", "--task-name=add", "--eta=2030-01-01T00:00"), "offset from UTC"),
        (("submit", "--task-name=add", "--eta=tomorrow"), "ISO 8601"),
        (("submit", "--task-name=add", "--eta=60"), "ISO 8601"),
        (("submit", "--task-name=add", "--expires=soon"), "number of seconds"),
        (("submit", "--task-name=add", "--expires=nan"), "expires=nan"),
        (("submit", "--task-name=add", "--countdown=-1"), "countdown=-1"),
        (("submit", "--task-name=add", "--countdown=1", "--eta=2030-01-01T00:00Z"), "give one"),
        (("submit", "--task-name=add", "--retries=-1"), "retries=-1"),
        (("submit", "--task-name=add", "--backoff=-1"), "backoff=-1"),
        (("submit", "--task-name=add", "--backoff-max=inf"), "backoff_max=inf"),
        (("submit", "--task-name=add", "--queue="), "queue="),
        (("submit", "--task-name=add", "--time-limit=-1"), "time_limit=-1"),
        (("status", "--task-id", "x", "y"), "y"),
        (("dead-letters", "--limit=0"), "--limit"),
        (("requeue",), "with one of --task-id, --name, --queue and --all"),
        (("requeue", "--all", "--name=add"), "with one of --task-id"),
        (("requeue", "--task-id", "x", "--queue=mail"), "with one of --task-id"),
        (("requeue", "--task-id"), "--task-id"),
        (("status", "--task-id=x", "--control-plane-address=nonsense"), "nonsense"),
        (("status", "--task-id=x", "--discovery-address=http://x"), "http://x"),
        (("list", "--task-modules"), "--task-modules"),
        (("list", "--task-modules", "missing"), "missing"),
    ],
)
async def test_a_wrong_command_line_exits_2_and_says_what_is_wrong(site, command, complaint):
    said = await say(site, *command)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert "Traceback" not in said.err
    assert "no control plane" not in said.err  # none was looked for


def test_a_reader_that_has_gone_is_no_reason_for_noise(tmp_path):
    (tmp_path / "tasks.py").write_text(TASKS)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "fastqueue", "list", "--task-modules=tasks"],
            check=False,
            cwd=tmp_path,
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=30,
        )
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize(
    "command",
    [
        "list --task-modules tasks > /dev/full",
        "list --task-modules tasks >&-",
        "list --task-modules tasks --json > /dev/full",
        "--version > /dev/full",
        "submit --help > /dev/full",
    ],
)
def test_an_output_that_cant_be_written_exits_74_and_says_so_in_a_line(tmp_path, command):
    (tmp_path / "tasks.py").write_text(TASKS)
    ended = subprocess.run(
        f'"{sys.executable}" -m fastqueue {command}',
        check=False,
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 74
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("fastqueue: standard output ")


async def test_list_doesnt_wait_for_a_thread_that_a_module_started(site):
    site.write("tasks.py", TASKS + LINGERING)
    said = await say(site, "list", "--task-modules", "tasks")
    assert (said.code, said.err) == (0, "")
    assert "Add two numbers." in said.out
    assert (site.folder / "cleaned").exists()


async def test_the_version_is_told(site):
    said = await say(site, "--version")
    assert (said.code, said.out) == (0, f"fastqueue {fastqueue.__version__}\n")


async def test_help_tells_the_commands_and_the_exit_codes(site):
    said = await say(site, "--help")
    assert said.code == 0
    clients = ("submit", "status", "cancel", "dead-letters", "requeue", "stats", "list")
    for word in ("control-plane", "subworker", *clients):
        assert word in said.out
    codes = [line.split(None, 1) for line in said.out.partition("Exit codes:")[2].splitlines()]
    assert [code[0] for code in codes if code] == ["0", "1", "2", "3", "74", "130"]


INTERRUPTED_AT = """\
import importlib.metadata, os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
[command] = importlib.metadata.entry_points(group="console_scripts", name="fastqueue")
sys.exit(command.load()())
"""


@pytest.mark.parametrize(
    "module", ["fastqueue.cli.app", "typer", "fastqueue.cli.control_plane", "fastqueue.core.core"]
)
def test_a_command_that_is_interrupted_while_it_loads_exits_130_without_noise(tmp_path, module):
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, "control-plane", "--processes=0"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "INTERRUPTED_AT": module},
        capture_output=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_help_loads_no_command():
    heavy = ("apsw", "pynng", "uvloop", "fastqueue.control_plane.app", "fastqueue.subworker.app")
    program = f"import sys, fastqueue.cli.app; print([m for m in {heavy!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert loaded.stdout.decode().strip() == "[]"
