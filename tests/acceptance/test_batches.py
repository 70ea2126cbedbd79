"""Real processes and batches: counted through kills, cancelled as one, mapped lazily."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import pytest
from cli_site import TASKS, held_by, say, serve

from fastqueue import SyncClient, TaskStatus
from harness import LONG_S, bounded, eventually

MORE = """
@task(retries=1, backoff=0.05)
def work(n):
    time.sleep(0.01)
    if n % 10 == 3:
        raise ValueError(n)
    with open("ledger.txt", "a") as ledger:
        ledger.write(f"{n}\\n")
    return n
"""


@pytest.fixture
def project(site):
    site.write("tasks.py", TASKS + MORE)
    return site


async def finished(client, batch_id, submitted):
    batch = await client.batch(batch_id)
    is_over = batch is not None and batch.finished and batch.submitted == submitted
    return batch if is_over else None


async def test_the_counts_of_a_batch_are_exact_through_kills_of_everything(project):
    plane = await project.control_plane()
    subworker = project.subworker("one")
    client = await project.client(timeout=LONG_S, retries=50)
    results = []

    async def use():
        async for result in client.map("work", range(600), window=60, batch="nightly"):
            results.append(result)

    using = asyncio.create_task(use())
    for n, done in enumerate((100, 220, 340)):
        await eventually(lambda done=done: len(results) >= done or using.done())
        plane.kill()
        plane = await project.control_plane(name=f"control-plane-{n}")
    await eventually(lambda: len(results) >= 450 or using.done())
    subworker.kill()
    project.subworker("two")
    await bounded(using, 2 * LONG_S)
    assert [r.status for r in results] == [
        TaskStatus.FAILURE if n % 10 == 3 else TaskStatus.SUCCESS for n in range(600)
    ]
    batch = await finished(client, "nightly", 600)
    assert (batch.success, batch.failure, batch.cancelled) == (540, 60, 0)
    ran = Counter(int(n) for (n,) in project.ledger())
    assert set(ran) == {n for n in range(600) if n % 10 != 3}
    plane.kill()
    await project.control_plane(name="control-plane-last")
    assert await finished(client, "nightly", 600) == batch


async def test_a_client_that_is_killed_leaves_what_it_submitted_and_no_more(project):
    await project.control_plane()
    project.write(
        "submit.py",
        """
        import sys
        from fastqueue import SyncClient

        with SyncClient(timeout=30) as client:
            for result in client.map("work", range(1_000_000), window=40, batch="endless"):
                print("result", flush=True)
        """,
    )
    project.subworker("one")
    submitter = project.run("submitter", sys.executable, "submit.py")
    await submitter.says("result")
    submitter.kill()
    client = await project.client()
    batch = await eventually(lambda: over(client, "endless"))
    assert 40 <= batch.submitted < 100_000
    assert batch.success + batch.failure == batch.submitted


async def over(client, batch_id):
    batch = await client.batch(batch_id)
    return batch if batch is not None and batch.finished else None


async def test_the_command_line_shows_cancels_and_lists_batches(project):
    await serve(project, "--concurrency=1")
    submit = ("submit", "--task-name", "hold", "--non-blocking", "--batch", "nightly")
    for name in ("a", "b"):
        assert (await say(project, *submit, "--args", name)).code == 0
    await say(project, *submit, "--args", "c", "--countdown", "3600")
    await held_by(project, "a")
    shown = await say(project, "batch", "show", "nightly", "--json")
    document = json.loads(shown.out)
    assert shown.code == 0
    assert (document["submitted"], document["cancelled"], document["finished"]) == (3, 0, False)
    assert document["waiting"] + document["running"] == 3
    assert "submitted" in (await say(project, "batch", "show", "nightly")).out
    cancelled = await say(project, "batch", "cancel", "nightly")
    assert (cancelled.code, cancelled.out) == (0, "cancelled 3 tasks of batch nightly\n")
    [listed] = json.loads((await say(project, "batch", "list", "--json")).out)
    assert (listed["batch_id"], listed["cancelled"], listed["finished"]) == ("nightly", 3, True)
    assert "nightly" in (await say(project, "batch", "list")).out


async def test_the_command_line_says_what_is_wrong_with_a_batch(project):
    await serve(project)
    for command in ("show", "cancel"):
        unknown = await say(project, "batch", command, "nothing")
        assert unknown.code == 1
        assert "doesn't know a batch nothing" in unknown.err
    assert "there are no batches" in (await say(project, "batch", "list")).err
    long = await say(project, "batch", "show", "x" * 101)
    assert long.code == 2
    assert "1 to 100 printable characters" in long.err
    wrong = await say(project, "submit", "--task-name", "add", "--batch", "a\tb")
    assert wrong.code == 2
    assert "1 to 100 printable characters" in wrong.err


async def test_a_batch_is_cancelled_while_the_control_plane_is_killed(project):
    plane = await project.control_plane()
    client = await project.client(timeout=LONG_S)
    await client.options(batch="b").submit_batch([("work", (n,)) for n in range(5_000)])
    cancelling = asyncio.create_task(client.cancel_batch("b"))
    await eventually(lambda: begun(client))
    plane.kill()
    await project.control_plane(name="control-plane-2")
    outcome = await bounded(cancelling)
    assert outcome.unfinished == 0
    batch = await client.batch("b")
    assert (batch.submitted, batch.cancelled, batch.finished) == (5_000, 5_000, True)
    assert outcome.cancelled == 5_000


async def begun(client):
    batch = await client.batch("b")
    return batch.cancelled > 0


async def test_a_synchronous_script_maps_over_a_generator(project):
    await serve(project)

    def use():
        with SyncClient(discovery_address=project.discovery_address) as client:
            mapped = client.starmap("add", ((n, n) for n in range(200)), window=20)
            return [result.result for result in mapped]

    assert await bounded(asyncio.to_thread(use)) == [2 * n for n in range(200)]
