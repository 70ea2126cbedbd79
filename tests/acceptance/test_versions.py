"""Real processes of two versions side by side, and names that nobody offers yet."""

from __future__ import annotations

import json

import pytest
from cli_site import say, serve

from fastqueue.errors import InvalidArguments, TaskNotOffered
from harness import bounded, eventually

OLD = """
from fastqueue import task

@task(queue="sums", retries=500, backoff=0.05, backoff_max=0.1, jitter=False)
def total(x: int, y: int):
    return ["old", x + y]
"""

NEW = """
from fastqueue import task

@task(queue="sums", retries=500, backoff=0.05, backoff_max=0.1, jitter=False)
def total(x: int, y: int, *, scale: int = 1):
    return ["new", (x + y) * scale]

@task
def extra():
    return "extra"
"""


async def offered(client, name):
    """Return how many subworkers offer a name, by signature."""
    rows = (await client.inspect("offers"))["offers"]
    return {row["signature"]: row["subworkers"] for row in rows if row["name"] == name}


async def test_a_rolling_deployment_refuses_what_neither_version_takes_and_runs_the_rest(site):
    site.write("old.py", OLD)
    site.write("new.py", NEW)
    control_plane = await site.control_plane()
    old = site.subworker("old", modules="old")
    client = await site.client()
    await eventually(lambda: offered(client, "total"))
    assert await offered(client, "total") == {"total(x: int, y: int)": 1}
    assert (await bounded(client.submit_task("total", (1, 2)))).result == ["old", 3]
    with pytest.raises(InvalidArguments, match="it has no argument 'scale'"):
        await client.delay("total", 1, 2, scale=3)

    new = site.subworker("new", modules="new")

    async def both():
        return len(await offered(client, "total")) == 2

    await eventually(both)
    # Either version may get it; the old one fails, and it is tried again.
    risky = await client.delay("total", 1, 2, scale=3)
    with pytest.raises(InvalidArguments):
        await client.delay("total", 1, 2, scale="3")

    old.kill()
    await eventually(lambda: client.get_status(risky) == "success")
    assert client.get_result(risky).result == ["new", 9]

    async def only_new():
        return list(await offered(client, "total")) == [
            "total(x: int, y: int, *, scale: int = ...)"
        ]

    await eventually(only_new)
    control_plane.kill()
    await site.control_plane()
    await eventually(only_new)
    result = await bounded(client.submit_task("total", (2, 2), {"scale": 2}))
    assert result.result == ["new", 8]
    # By its name as by its function: in the queue of its definition.
    lanes = (await client.inspect("stats"))["lanes"]
    assert {lane["queue"] for lane in lanes if lane["name"] == "total"} <= {"sums"}
    new.kill()


async def test_a_task_that_nobody_offers_waits_through_a_crash_until_somebody_does(site):
    site.write("old.py", OLD)
    site.write("new.py", NEW)
    control_plane = await site.control_plane()
    site.subworker("old", modules="old")
    client = await site.client()
    task_id = await client.delay("extra")
    await control_plane.says("tasks wait for a subworker that offers extra (1)")
    control_plane.kill()
    control_plane = await site.control_plane()
    await control_plane.says("tasks wait for a subworker that offers extra (1)")
    waiting = await client.get_task_result(task_id)
    assert (waiting.status, waiting.error) == ("queued", None)
    assert waiting.waits_for.startswith("a subworker that offers 'extra'")
    strict = client.options(require_worker=True)
    with pytest.raises(TaskNotOffered):
        await strict.delay("extra")
    site.subworker("new", modules="new")
    await eventually(lambda: client.get_status(task_id) == "success")
    assert (await bounded(strict.submit_task("extra"))).result == "extra"


async def test_the_command_line_says_what_is_wrong_with_a_name_or_an_argument(site):
    site.write("tasks.py", OLD)
    await serve(site)
    client = await site.client()
    await eventually(lambda: offered(client, "total"))

    said = await say(site, "submit", "--task-name=total", "--args", "1")
    assert (said.code, said.out) == (2, "")
    assert "'y' is missing; its signature is total(x: int, y: int)" in said.err
    said = await say(site, "submit", "--task-name=total", "--args", "1", "two")
    assert said.code == 2
    off = {"FASTQUEUE_VALIDATE": "off"}
    said = await say(
        site, "submit", "--task-name=total", "--retries=0", "--args", "1", environment=off
    )
    assert (said.code, "TypeError" in said.err) == (1, True)

    said = await say(site, "submit", "--task-name=totl", "--require-worker")
    assert (said.code, said.out) == (1, "")
    assert "registered are: total; did you mean 'total'?" in said.err

    said = await say(site, "submit", "--task-name=totl", "--timeout=1")
    assert said.code == 1
    assert "did you mean 'total'?" in said.err
    said = await say(site, "submit", "--task-name=totl", "--non-blocking")
    assert said.code == 0
    assert "waits: no connected subworker offers a task named 'totl'" in said.err
    task_id = said.out.strip()
    said = await say(site, "status", "--task-id", task_id)
    assert "a subworker that offers 'totl'" in said.out
    said = await say(site, "stats")
    assert "unoffered: name" in said.out
    assert "totl" in said.out


async def test_list_without_modules_shows_what_connected_subworkers_offer(site):
    site.write("tasks.py", OLD)
    await serve(site)
    client = await site.client()
    await eventually(lambda: offered(client, "total"))
    said = await say(site, "list")
    assert (said.code, said.err) == (0, "")
    assert "total(x: int, y: int)" in said.out
    modules = {"FASTQUEUE_TASK_MODULES": "tasks"}
    assert "tasks.py:" in (await say(site, "list", environment=modules)).out
    said = await say(site, "list", "--offered", "--json", environment=modules)
    assert json.loads(said.out) == [
        {
            "name": "total",
            "queue": "sums",
            "signature": "total(x: int, y: int)",
            "subworkers": 1,
        }
    ]
