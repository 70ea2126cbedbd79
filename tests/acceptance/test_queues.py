"""Real processes and queues: served, paused, purged, limited, shared; and why a task waits."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from cli_site import TASKS, say

from fastqueue import TaskStatus
from harness import LONG_S, bounded, eventually

MORE = """
import asyncio

@task(concurrency_per_key=1)
async def note(key, n):
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"begin {key} {n}\\n")
    await asyncio.sleep(0.02)
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"end {key} {n}\\n")
    return n


@task(queue="mail")
async def mail(n):
    return n


@task
async def until(name):
    while not Path(f"{name}.go").exists():
        await asyncio.sleep(0.01)
    return name
"""


@pytest.fixture
def project(site):
    site.write("tasks.py", TASKS + MORE)
    return site


async def reason(client, task_id):
    return (await client.why(task_id)).reason


async def until_reason(client, task_id, wanted):
    async def is_so():
        return (await client.why(task_id)).reason == wanted

    await eventually(is_so, wanted)


async def test_subworkers_serve_the_queues_that_they_name(project):
    await project.control_plane()
    client = await project.client(timeout=LONG_S)
    project.subworker("for-mail", "--queues", "mail,letters")
    letter = await client.options(queue="letters").submit_task("whoami")
    assert (letter.status, letter.worker_id) == (TaskStatus.SUCCESS, "for-mail")
    other = await client.delay("whoami")
    waits = await client.why(other)
    assert waits.reason == "no_subworker"
    assert "don't serve queue 'default'" in waits.text
    project.subworker("for-all")
    await eventually(lambda: client.get_result(other).status == TaskStatus.SUCCESS)
    assert client.get_result(other).worker_id == "for-all"


async def test_a_paused_queue_waits_over_a_kill_of_the_control_plane_until_it_is_resumed(project):
    plane = await project.control_plane()
    project.subworker("one")
    client = await project.client(timeout=LONG_S, retries=50)
    await client.queues.pause("mail")
    task_id = await client.options(queue="mail").delay("mail", 1)
    assert await reason(client, task_id) == "paused"
    plane.kill()
    await project.control_plane(name="again")
    assert (await client.submit_task("add", (1, 2))).result == 3
    assert await reason(client, task_id) == "paused"
    [mail] = [one for one in await client.queues.list() if one.name == "mail"]
    assert (mail.paused, mail.ready) == (True, 1)
    await client.queues.resume("mail")
    await eventually(lambda: client.get_result(task_id).status == TaskStatus.SUCCESS)


async def test_a_purge_cancels_what_waits_and_survives_a_kill(project):
    plane = await project.control_plane()
    client = await project.client(timeout=LONG_S, retries=50)
    ready = await client.submit_batch((("mail", (n,)) for n in range(9_000)), queue="mail")
    later = await client.submit_batch(
        (("mail", (n,)) for n in range(500)), queue="mail", countdown=3_600
    )
    kept = await client.delay("mail", 0)
    assert await client.queues.purge("mail") >= 0
    plane.kill()
    await project.control_plane(name="again")
    after = await client.options(queue="mail").delay("mail", 1)
    statuses = Counter()
    async for result in client.as_completed([*ready, *later], timeout=LONG_S):
        statuses[result.status] += 1
        assert "purged" in result.error
    assert statuses == {TaskStatus.CANCELLED: 9_500}
    project.subworker("one")
    for task_id in (kept, after):
        await eventually(lambda i=task_id: client.get_result(i).status == TaskStatus.SUCCESS)


async def test_of_each_fair_key_one_runs_at_a_time_and_they_take_turns(project):
    await project.control_plane()
    client = await project.client(timeout=LONG_S)
    ids = []
    for key in ("a", "b", "c"):
        calls = [("note", (key, n)) for n in range(20)]
        ids += await client.submit_batch(calls, fair_key=key)
    project.subworker("one")
    project.subworker("two")
    async for result in client.as_completed(ids, timeout=LONG_S):
        assert result.status == TaskStatus.SUCCESS
    running, begun = Counter(), Counter()
    for what, key, _ in project.ledger():
        running[key] += 1 if what == "begin" else -1
        assert running[key] <= 1, "two of one key at once"
        if what == "begin":
            begun[key] += 1
            assert max(begun.values()) - min(begun[k] for k in "abc") <= 3


async def test_a_subworker_that_dies_gives_its_place_in_a_limit_back(project):
    await project.control_plane()
    client = await project.client(timeout=LONG_S)
    await client.limits.set(task="until", concurrency=1)
    first = project.subworker("first")
    holder = await client.delay("until", "x")
    await until_reason(client, holder, "running")
    waits = await client.delay("until", "x")
    why = await client.why(waits)
    assert why.reason == "limit"
    assert [one["task_id"] for one in why.details["holders"]] == [holder]
    project.subworker("second")
    first.kill()
    project.write("x.go", "")
    for task_id in (holder, waits):
        await eventually(lambda i=task_id: client.get_result(i).status == TaskStatus.SUCCESS)


async def test_a_rate_holds_over_a_restart_and_says_when_it_opens(project):
    plane = await project.control_plane()
    project.subworker("one")
    client = await project.client(timeout=LONG_S, retries=50)
    await client.limits.set(task="add", rate="1/h")
    assert (await client.submit_task("add", (1, 2))).result == 3
    task_id = await client.delay("add", 1, 2)
    plane.terminate()
    assert await plane.exit_code() == 0
    await project.control_plane(name="again")
    assert (await client.submit_task("echo")).status == TaskStatus.SUCCESS
    why = await client.why(task_id)
    assert why.reason == "rate"
    assert 0 < why.details["opens_in_s"] <= 3_600
    assert await client.limits.remove(task="add")
    await eventually(lambda: client.get_result(task_id).status == TaskStatus.SUCCESS)


async def test_the_same_submission_has_the_id_of_the_first_whoever_submits_it(project):
    plane = await project.control_plane()
    one = await project.client(timeout=LONG_S, retries=50)
    two = await project.client(timeout=LONG_S, retries=50)
    first = await one.options(unique_for=3_600).delay("add", 1, 2)
    assert await two.options(unique_for=3_600).delay("add", 1, 2) == first
    assert await two.options(unique_for=3_600).delay("add", 2, 2) != first
    plane.kill()
    await project.control_plane(name="again")
    same = await two.submit_batch([("add", (1, 2))] * 3, unique_for=3_600)
    assert same == [first] * 3
    project.subworker("one")
    result = await bounded(two.submit_task("add", (1, 2), unique_for=3_600))
    assert (result.task_id, result.result) == (first, 3)
    mapped = await bounded(_collect(two.map("echo", [7, 7, 8], unique_for=3_600)))
    assert len({result.task_id for result in mapped}) == 2


async def _collect(results):
    return [result async for result in results]


async def test_of_many_debounced_submissions_the_last_runs(project):
    await project.control_plane()
    project.subworker("one")
    client = await project.client(timeout=LONG_S)
    options = client.options(unique_key="index", debounce=0.3)
    ids = [await options.delay("echo", n) for n in range(5)]
    results = {r.task_id: r async for r in client.as_completed(ids, timeout=LONG_S)}
    assert [results[i].status for i in ids] == [TaskStatus.CANCELLED] * 4 + [TaskStatus.SUCCESS]
    assert results[ids[-1]].result == [[4], {}]
    assert f"task {ids[1]} was submitted later" in results[ids[0]].error


async def test_the_latest_cancels_the_one_that_runs(project):
    await project.control_plane()
    project.subworker("one")
    client = await project.client(timeout=LONG_S)
    first = await client.options(unique_key="report", latest_wins=True).delay("until", "x")
    await until_reason(client, first, "running")
    project.write("y.go", "")
    second = await client.options(unique_key="report", latest_wins=True).delay("until", "y")
    results = {r.task_id: r async for r in client.as_completed([first, second], timeout=LONG_S)}
    assert results[first].status == TaskStatus.CANCELLED
    assert results[second].status == TaskStatus.SUCCESS


async def test_the_command_line_shows_and_changes_queues_and_limits(project):
    await project.control_plane()
    client = await project.client(timeout=LONG_S)
    assert (await say(project, "queues", "pause", "--queue", "mail")).code == 0
    configured = ("queues", "configure", "--queue", "mail", "--weight", "3", "--ageing", "5m")
    assert (await say(project, *configured)).code == 0
    listed = await say(project, "queues", "list", "--json")
    [mail] = json.loads(listed.out)
    assert (mail["name"], mail["paused"], mail["weight"]) == ("mail", True, 3.0)
    shown = await say(project, "queues", "list")
    assert "paused" in shown.out
    limit = ("limits", "set", "--task-name", "add", "--each-key", "--concurrency", "2")
    assert (await say(project, *limit, "--rate", "100/m burst 5")).code == 0
    [found] = json.loads((await say(project, "limits", "list", "--json")).out)
    assert (found["each_key"], found["concurrency"], found["burst"]) == (True, 2, 5)
    task_id = await client.options(queue="mail").delay("mail", 1)
    why = await say(project, "why", task_id)
    assert why.code == 0
    assert why.out.startswith("paused: queue 'mail' is paused")
    assert (await say(project, "why", "no-such-task")).code == 1
    purged = await say(project, "queues", "purge", "--queue", "mail")
    assert "1 tasks" in purged.err
    await eventually(lambda: client.get_result(task_id).status == TaskStatus.CANCELLED)
    removed = await say(project, "limits", "remove", "--task-name", "add", "--each-key")
    assert removed.code == 0
    bad = await say(project, "limits", "set", "--queue", "q", "--rate", "often")
    assert bad.code == 2
    assert "'often'" in bad.err
    nothing = await say(project, "limits", "set", "--concurrency", "1")
    assert nothing.code == 2
    assert "give one of them" in nothing.err


async def test_what_can_not_be_is_said_at_the_call(project):
    await project.control_plane()
    client = await project.client(timeout=LONG_S)
    for wrong in (
        {"fair_key": ""},
        {"fair_key": "x" * 201},
        {"unique_key": "k"},
        {"unique_for": 5, "debounce": 5},
        {"unique_for": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            client.options(**wrong)
    with pytest.raises(ValueError, match="weight"):
        await client.queues.configure("q", weight=0)
    await asyncio.sleep(0)
