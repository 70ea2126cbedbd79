"""Real processes that are killed, moved and drained: nothing acknowledged is lost or done twice."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter

import pytest
from tests.ports import free_address

from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer
from harness import bounded, eventually, monotonic

TASKS = """
import asyncio, os, time
from fastqueue import task

# One write each, at the end of the file, whoever else writes: no line is lost or torn.
ledger = os.open("ledger.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(*words):
    os.write(ledger, (" ".join(map(str, words)) + "\\n").encode())

@task
def quick(n):
    note("run", n)
    return n * 3

@task
async def hold(n, gate="gate"):
    note("start", n, os.getpid(), time.clock_gettime(time.CLOCK_MONOTONIC))
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    note("run", n)
    return n * 3

@task
def leave_behind():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)

@task
async def stamp():
    return time.clock_gettime(time.CLOCK_MONOTONIC)
"""

RELEASED_WITHIN_S = 3.0


@pytest.fixture
def project(site):
    site.write("tasks.py", TASKS)
    return site


def started(site):
    return [words for words in site.ledger() if words[0] == "start"]


def runs(site):
    return Counter(int(words[1]) for words in site.ledger() if words[0] == "run")


async def all_started(site, count):
    return await eventually(
        lambda: len(found := started(site)) >= count and found,
        lambda: f"{count} tasks to start, of which {len(started(site))} have",
    )


async def queue_is(client, **expected):
    """Wait until the control plane counts so many tasks."""

    async def look():
        stats = await client.inspect()
        return all(stats[name] == count for name, count in expected.items())

    await eventually(look, f"{expected}")


async def collect(client, task_ids):
    """Return each task's one result, by id."""
    results = [result async for result in client.as_completed(task_ids, timeout=60)]
    assert len(results) == len(set(task_ids))
    return {result.task_id: result for result in results}


async def assert_stored(site, results):
    """Check that a client that knows nothing is told the same of every task."""
    stranger = await site.client()
    asked = await asyncio.gather(*map(stranger.get_task_result, results))
    assert asked == list(results.values())


async def test_a_control_plane_killed_with_1000_queued_and_10_running_loses_and_repeats_nothing(
    project,
):
    control_plane = await project.control_plane()
    project.subworker("worker", "--concurrency", "10")
    client = await project.client()
    stored = await client.submit_batch([("quick", (n,)) for n in range(200)])
    await collect(client, stored)
    running = await client.submit_batch([("hold", (1_000 + n, f"gate{n % 2}")) for n in range(10)])
    await all_started(project, 10)
    queued = await client.submit_batch([("quick", (2_000 + n,)) for n in range(1_000)])
    await queue_is(client, running=10, queued=1_000)

    control_plane.kill()
    project.touch("gate0")  # half of what runs is over while there is no control plane
    await eventually(lambda: sum(n >= 1_000 for n in runs(project)) == 5)
    await project.control_plane()
    project.touch("gate1")

    results = await collect(client, [*stored, *running, *queued])
    expected = [*range(200), *range(1_000, 1_010), *range(2_000, 3_000)]
    assert [result.status for result in results.values()] == ["success"] * 1_210
    assert [results[i].result for i in (*stored, *running, *queued)] == [3 * n for n in expected]
    await assert_stored(project, results)
    # The subworker lived on, so that nothing at all had to be run a second time.
    assert runs(project) == Counter(expected)
    assert len(started(project)) == 10


async def test_a_control_plane_killed_again_and_again_under_load_loses_and_repeats_nothing(
    project,
):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client = await project.client(retries=100, timeout=60)
    task_ids = {}
    stored = set()

    async def submit(n):
        task_ids[n] = await client.delay("quick", n)

    def have_results():
        # A result that was pushed is one that was stored.
        return {n for n, i in task_ids.items() if client.get_status(i) == "success"}

    for crash in range(3):
        first, known = crash * 1_000, len(stored)
        submitting = [asyncio.ensure_future(submit(first + n)) for n in range(1_000)]
        await eventually(lambda known=known: len(have_results()) >= known + 100)
        control_plane.kill()
        stored = have_results()
        control_plane = await project.control_plane()
        await bounded(asyncio.gather(*submitting), 60)
    results = await collect(client, task_ids.values())
    assert {n: results[i].result for n, i in task_ids.items()} == {n: 3 * n for n in range(3_000)}
    await assert_stored(project, results)
    times_run = runs(project)
    assert set(times_run) == set(range(3_000))
    assert len(stored) >= 300
    assert {n for n in stored if times_run[n] != 1} == set()


async def test_a_control_plane_killed_with_subworkers_of_its_own_gets_their_results(project):
    async def control_plane():
        process = project.command(
            *("control-plane", "control-plane", "--task-modules", "tasks", "--processes", "1"),
            *("--base-address", project.base_address, "--concurrency", "10"),
        )
        await process.says("control plane ready")
        return process

    first = await control_plane()
    client = await project.client()
    running = await client.submit_batch([("hold", (n,)) for n in range(10)])
    await all_started(project, 10)
    queued = await client.submit_batch([("quick", (1_000 + n,)) for n in range(100)])
    await queue_is(client, running=10, queued=100)
    first.kill()
    second = await control_plane()
    project.touch("gate")
    results = await collect(client, [*running, *queued])
    expected = [*range(10), *range(1_000, 1_100)]
    assert [results[i].result for i in (*running, *queued)] == [3 * n for n in expected]
    await assert_stored(project, results)
    times_run = runs(project)
    # A lease that was too young to be written may be given to another subworker as well: that is
    # "at least once". What was queued has never been given to anybody.
    assert set(times_run) == set(expected)
    assert {times_run[n] for n in range(1_000, 1_100)} == {1}
    second.terminate()
    assert await second.exit_code() == 0


async def test_the_tasks_of_a_killed_subworker_run_elsewhere_within_3_seconds(project):
    await project.control_plane()
    doomed = project.subworker("doomed", "--concurrency", "4")
    client = await project.client()
    # A process that it forked and that lives on is no sign of life.
    await client.submit_task("leave_behind")
    task_ids = await client.submit_batch([("hold", (n,)) for n in range(4)])
    await all_started(project, 4)
    project.subworker("heir")
    # How long this machine takes now, under whatever load, from a submission to its start.
    round_trips = []
    for _ in range(5):
        before = monotonic()
        round_trips.append((await client.submit_task("stamp")).result - before)
    killed_at = monotonic()
    doomed.kill()
    starts = (await all_started(project, 8))[4:]
    late = [float(at) - killed_at for *_, at in starts]
    assert max(late) < RELEASED_WITHIN_S + 10 * max(round_trips[1:])
    project.touch("gate")
    results = await collect(client, task_ids)
    assert {(r.status, r.worker_id) for r in results.values()} == {("success", "heir")}
    assert [results[i].result for i in task_ids] == [0, 3, 6, 9]


async def test_a_subworker_killed_under_load_loses_nothing_and_stored_results_stand(project):
    await project.control_plane()
    workers = [project.subworker(f"worker-{n}") for n in range(2)]
    client = await project.client()
    await eventually(lambda: has_subworkers(client, 2))
    task_ids = await client.submit_batch([("quick", (n,)) for n in range(3_000)])
    numbers = {task_id: n for n, task_id in enumerate(task_ids)}
    finished = client.as_completed(task_ids, timeout=60)
    results = [await anext(finished) for _ in range(300)]
    workers[0].kill()
    stored = {numbers[i] for i in task_ids if client.get_status(i) == "success"}
    results += [result async for result in finished]
    assert {numbers[r.task_id]: r.result for r in results} == {n: 3 * n for n in range(3_000)}
    assert len(results) == 3_000
    times_run = runs(project)
    assert {n for n in stored if times_run[n] != 1} == set()
    assert set(times_run) == set(range(3_000))


async def has_subworkers(client, count):
    return sum(one["connected"] for one in (await client.inspect())["subworkers"]) == count


async def test_a_client_and_a_subworker_started_first_find_the_control_plane(project):
    client = await project.client()
    project.subworker("worker")
    waiting = asyncio.ensure_future(client.submit_task("quick", (7,)))
    await project.control_plane()
    assert (await bounded(waiting)).result == 21


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_control_plane_that_moves_to_another_port_is_followed(project, end):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client = await project.client()
    held = await client.delay("hold", 1)
    await all_started(project, 1)
    getattr(control_plane, end)()
    await control_plane.exit_code()
    elsewhere = await project.control_plane(base_address=free_address())
    assert (await client.submit_task("quick", (2,))).result == 6
    project.touch("gate")
    await eventually(lambda: client.get_status(held) == "success")
    assert (await client.get_task_result(held)).result == 3
    assert runs(project) == Counter([1, 2])
    assert elsewhere.is_running


async def test_results_are_pushed_to_a_client_after_each_of_several_restarts(project):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client, other = await project.client(), await project.client()
    for n in range(3):
        task_ids = [await client.delay("hold", 10 * n + k, f"gate{n}") for k in range(3)]
        foreign = other.as_completed(task_ids, timeout=60)
        first = asyncio.ensure_future(anext(foreign))
        await all_started(project, 3 * n + 3)
        control_plane.kill()
        control_plane = await project.control_plane()
        project.touch(f"gate{n}")
        # Nothing is asked for: the client's own cache is filled from the other side.
        await eventually(lambda ids=task_ids: {client.get_status(i) for i in ids} == {"success"})
        results = [await first, *[result async for result in foreign]]
        assert sorted(r.result for r in results) == [3 * (10 * n + k) for k in range(3)]


async def test_results_and_undelivered_callbacks_survive_a_kill(project):
    control_plane = await project.control_plane()
    project.subworker("worker")
    client = await project.client()
    address = free_address()  # nobody listens there yet
    submitted = [
        await client.delay_with_callback("quick", address, n, callback_data={"n": n})
        for n in range(20)
    ]
    task_ids = [one.task_id for one in submitted]
    results = await collect(client, task_ids)
    await eventually(lambda: owed_is(client, 20))
    control_plane.kill()
    await project.control_plane()
    await assert_stored(project, results)
    async with PairPattern(address, is_server=True) as listener:
        received = {}
        while len(received) < 20:
            body = await bounded(listener.recv())
            told = TaskSerializer.deserialize(body, SerializationFormat.JSON)
            received[told["task_id"]] = told
        await eventually(lambda: owed_is(client, 0))
    for n, task_id in enumerate(task_ids):
        assert received[task_id]["result"] == 3 * n
        assert received[task_id]["callback_data"] == {"n": n}


async def owed_is(client, count):
    return (await client.inspect())["callbacks_owed"] == count


async def test_a_drained_subworker_finishes_what_runs_and_gives_back_the_rest(project):
    await project.control_plane()
    drained = project.subworker("drained")
    client = await project.client()
    held = [await client.delay("hold", n) for n in range(5)]
    await all_started(project, 5)
    flood = await client.submit_batch([("quick", (1_000 + n,)) for n in range(3_000)])
    finished = client.as_completed(flood, timeout=60)
    for _ in range(100):
        await anext(finished)
    drained.terminate()
    await eventually(lambda: has_capacity(client, "drained", 0))
    project.subworker("heir")
    results = {r.task_id: r async for r in finished}
    project.touch("gate")
    assert await drained.exit_code() == 0
    results |= await collect(client, held)
    # What was given back was never started, and what was started was finished: once each.
    assert runs(project) == Counter([*range(5), *range(1_000, 4_000)])
    assert {result.attempt for result in results.values()} == {1}
    assert {results[i].worker_id for i in held} == {"drained"}


async def has_capacity(client, worker_id, capacity):
    for one in (await client.inspect())["subworkers"]:
        if one["worker_id"] == worker_id:
            return one["capacity"] == capacity
    return False


async def test_what_outlasts_the_grace_period_is_given_back_without_spending_an_attempt(project):
    await project.control_plane()
    drained = project.subworker("drained", "--grace", "0.2", "--concurrency", "4")
    client = await project.client()
    task_ids = await client.submit_batch([("hold", (n,)) for n in range(8)])
    await all_started(project, 4)
    drained.terminate()
    assert await drained.exit_code() == 0
    await queue_is(client, queued=8, running=0)
    project.subworker("heir")
    project.touch("gate")
    results = await collect(client, task_ids)
    assert {(r.worker_id, r.attempt) for r in results.values()} == {("heir", 1)}


async def test_sigterm_ends_a_control_plane_cleanly_and_its_queue_is_there_the_next_time(project):
    control_plane = await project.control_plane()
    client = await project.client()
    task_ids = await client.submit_batch([("quick", (n,)) for n in range(50)])
    control_plane.terminate()
    assert await control_plane.exit_code() == 0
    await project.control_plane()
    project.subworker("worker")
    results = await collect(client, task_ids)
    assert [results[i].result for i in task_ids] == [3 * n for n in range(50)]


async def test_a_control_plane_whose_data_directory_is_removed_ends_and_says_so(project):
    control_plane = await project.control_plane()
    client = await project.client()
    await client.delay("quick", 1)
    shutil.rmtree(project.folder / "data")
    # If this is still acknowledged, it is the last.
    submitting = asyncio.create_task(client.delay("quick", 2))
    assert await control_plane.exit_code() == 1
    assert "data' was removed or replaced while it was in use" in control_plane.log
    submitting.cancel()
    await asyncio.wait([submitting])
    client.stop()


async def test_a_client_killed_after_its_acknowledgements_has_lost_nothing(project):
    await project.control_plane()
    project.write(
        "submitter.py",
        """
        import asyncio, os, signal
        from fastqueue import Client

        async def main():
            client = Client()
            await client.start()
            calls = [asyncio.ensure_future(client.delay("quick", n)) for n in range(500)]
            for n, call in enumerate(asyncio.as_completed(calls)):
                print(await call, flush=True)
                if n == 250:
                    os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
        """,
    )
    submitter = project.run("submitter", sys.executable, "submitter.py")
    assert await submitter.exit_code() == -9
    task_ids = submitter.log.split()
    assert len(task_ids) == 251
    project.subworker("worker")
    client = await project.client()
    results = await collect(client, task_ids)
    assert {result.status for result in results.values()} == {"success"}
    assert set(runs(project).values()) == {1}
