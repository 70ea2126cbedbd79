"""Real processes and schedules: of definitions and made at run time, through kills and restarts."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import timedelta

import pytest
from cli_site import say, serve

from fastqueue.errors import ConfigurationError, ScheduleNotFound, SubmissionRefused
from fastqueue.tasks.ids import run_id
from harness import bounded, eventually

TASKS = """
import os
from datetime import timedelta
from fastqueue import task

# One write each, at the end of the file, whoever else writes: no line is lost or torn.
ledger = os.open("ledger.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

@task(every=timedelta(seconds=0.5), missed="all")
def beat():
    os.write(ledger, b"beat\\n")

@task
def mark(name, *, times=1):
    os.write(ledger, (f"{name}\\n" * times).encode())
    return name

@task
async def long(name):
    import asyncio
    os.write(ledger, f"{name} begins\\n".encode())
    await asyncio.sleep(60)
"""

PLAIN = TASKS.replace('@task(every=timedelta(seconds=0.5), missed="all")', "@task")
SLOWER = TASKS.replace("seconds=0.5", "hours=5")


@pytest.fixture
def project(site):
    site.write("tasks.py", TASKS)
    return site


def ledger(site):
    path = site.folder / "ledger.txt"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


async def fired(client, schedule_id, count):
    """Wait until a schedule has fired so often; return it."""

    async def look():
        found = await client.schedules.get(schedule_id)
        return found if found is not None and found.fired >= count else None

    return await eventually(look, f"{count} runs of {schedule_id}")


async def states(client, task_ids):
    answer = await client.inspect("tasks", task_ids)
    return [answer[task_id]["state"] for task_id in task_ids]


async def test_a_definitions_schedule_runs_and_no_run_is_lost_or_doubled_by_kills(project):
    control_plane = await serve(project)
    client = await project.client()
    first = await fired(client, "task:beat", 2)
    begun = first.last_at.timestamp() - 0.5 * (first.fired - 1)
    for _ in range(4):
        control_plane.kill()
        control_plane = await serve(project)
        before = (await bounded(client.schedules.get("task:beat"))).fired
        await fired(client, "task:beat", before + 2)
    paused = await bounded(client.schedules.pause("task:beat"))
    runs = [run_id("task:beat", begun + 0.5 * n) for n in range(paused.fired)]
    assert runs[-1] == paused.last_task_id

    async def all_are_over():
        return set(await states(client, runs)) == {"recorded"}

    await eventually(all_are_over, lambda: f"the end of {len(runs)} runs; {ledger(project)}")
    # Each was submitted once; one that ran when its subworker was killed may have run again.
    assert paused.fired <= ledger(project)["beat"] <= paused.fired + 4 * 8


async def test_a_pause_lasts_over_restarts_and_a_resumed_one_makes_up_for_nothing(project):
    control_plane = await serve(project)
    client = await project.client()
    await fired(client, "task:beat", 1)
    paused = await bounded(client.schedules.pause("task:beat"))
    assert paused.paused
    assert paused.next_at is None
    control_plane.kill()
    await serve(project)
    assert (await bounded(client.schedules.get("task:beat"))).paused
    time_paused = time.time()
    resumed = await bounded(client.schedules.resume("task:beat"))
    assert resumed.fired == paused.fired
    later = await fired(client, "task:beat", paused.fired + 1)
    assert later.fired - paused.fired <= 2 + (time.time() - time_paused) / 0.5


async def test_a_changed_definition_replaces_its_schedule_and_one_without_takes_it_away(project):
    control_plane = await serve(project)
    client = await project.client()
    before = await fired(client, "task:beat", 1)
    for module, every in ((SLOWER, timedelta(hours=5)), (PLAIN, None), (TASKS, before.every)):
        control_plane.terminate()
        await control_plane.exit_code()
        project.write("tasks.py", module)
        control_plane = await serve(project)

        async def is_so(every=every):
            found = await client.schedules.get("task:beat")
            return (None if found is None else found.every) == every

        await eventually(is_so, f"a schedule of {every}")
    assert (await bounded(client.schedules.get("task:beat"))).fired >= before.fired


async def test_a_schedule_made_at_run_time_survives_a_kill_right_after_it_was_made(project):
    control_plane = await serve(project)
    client = await project.client()
    made = await bounded(
        client.schedules.add(
            "mark", ("made",), {"times": 1}, id="marks", every=0.5, priority="high"
        )
    )
    control_plane.kill()
    assert (made.id, made.fired) == ("marks", 0)
    await serve(project)
    await fired(client, "marks", 3)
    await eventually(lambda: ledger(project)["made"] >= 3, "three marks")
    again = await bounded(
        client.schedules.add(
            "mark", ("made",), {"times": 1}, id="marks", every=0.5, priority="high"
        )
    )
    assert again.fired >= 3
    with pytest.raises(SubmissionRefused, match="'marks'"):
        await client.schedules.add("mark", ("other",), id="marks", every=60)
    other = await client.schedules.add("mark", ("other",), id="marks", every=60, replace=True)
    assert other.every == timedelta(minutes=1)
    assert other.fired >= 3
    assert await client.schedules.delete("marks")
    assert not await client.schedules.delete("marks")


async def test_runs_that_may_not_overlap_do_not_and_an_older_one_is_cancelled(project):
    await serve(project)
    client = await project.client()
    add = client.schedules.add
    await add("long", ("skipped",), id="skips", every=0.5, overlap="skip")
    await add("long", ("cancelled",), id="cancels", every=0.5, overlap="cancel")

    async def has_left_out():
        return (await client.schedules.get("skips")).left_out >= 3

    await eventually(has_left_out, "three runs left out")
    assert (await client.schedules.get("skips")).fired == 1
    newest = await fired(client, "cancels", 4)
    assert await client.schedules.pause("cancels")
    await eventually(lambda: ledger(project)["skipped begins"] == 1, "the first run")
    older = run_id("cancels", newest.last_at.timestamp() - 0.5)

    async def is_cancelled():
        result = await client.get_task_result(older)
        return result is not None and result.status == "cancelled"

    await eventually(is_cancelled, "the end of the older run")
    with pytest.raises(SubmissionRefused, match="isn't over"):
        await client.schedules.run_now("skips")


async def test_errors_name_what_is_wrong(project):
    await serve(project)
    client = await project.client()
    schedules = client.schedules
    for method in (schedules.pause, schedules.resume, schedules.run_now, schedules.preview):
        with pytest.raises(ScheduleNotFound, match="'nothing'"):
            await method("nothing")
    assert await schedules.get("nothing") is None
    assert await schedules.get("x" * 1_000) is None
    for options, says in (
        ({}, "cron and every"),
        ({"every": 5, "id": "task:x"}, "task:"),
        ({"every": 5, "id": "a\nb"}, "printable"),
        ({"every": 5, "countdown": 3}, "countdown"),
        ({"cron": "* * *"}, "cron"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            await schedules.add("mark", **options)
    with pytest.raises(TypeError, match="evry"):
        await schedules.add("mark", every=5, evry=5)


async def test_the_command_line_makes_shows_changes_and_deletes_them(project):
    await serve(project)

    async def run(*words, code=0):
        said = await say(project, "schedules", *words)
        assert said.code == code, said
        return said

    made = await run(
        *("add", "--task-name", "mark", "--args", "cli", "--kwargs", '{"times": 2}'),
        *("--id", "daily", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"),
        *("--overlap", "skip", "--expires", "1h"),
    )
    assert made.out == "daily\n"
    listed = json.loads((await run("list", "--json")).out)
    assert [one["id"] for one in listed] == ["daily", "task:beat"]
    assert "30 2 * * * Europe/Berlin" in (await run("show", "--id", "daily")).out
    task_id = (await run("run", "--id", "daily")).out.strip()
    await eventually(lambda: ledger(project)["cli"] == 2, "the run that was asked for")
    assert task_id in (await run("show", "--id", "daily")).out
    times = json.loads((await run("preview", "--id", "daily", "--limit", "3", "--json")).out)
    assert len(times) == 3
    assert all(at[11:16] in ("02:30", "03:00") for at in times)
    assert (await run("pause", "--id", "daily")).out == "daily\n"
    assert "paused" in (await run("list")).out
    assert (await run("resume", "--id", "daily")).out == "daily\n"
    assert (await run("delete", "--id", "daily")).out == ""
    assert "no schedule 'daily'" in (await run("show", "--id", "daily", code=1)).err
    assert "no schedule 'daily'" in (await run("pause", "--id", "daily", code=1)).err
    assert "pause it" in (await run("delete", "--id", "task:beat", code=1)).err


async def test_a_preview_of_a_timetable_needs_no_control_plane(site):
    said = await say(
        site, "schedules", "preview", "--cron", "30 2 * 3 0", "--timezone", "Europe/Berlin"
    )
    assert said.code == 0
    assert len(said.out.splitlines()) == 10
    # The last Sunday of March has no 02:30 there.
    assert any("03:00:00+02:00" in line for line in said.out.splitlines())
    for words, says in (
        ((), "--cron or --every"),
        (("--every", "5x"), "5x"),
        (("--cron", "* * * * *", "--start", "2030-01-01"), "--start"),
        (("--cron", "99 * * * *"), "99"),
    ):
        said = await say(site, "schedules", "preview", *words)
        assert said.code == 2
        assert says in said.err
