"""What a client may count on when it submits tasks."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import pytest

from fake_control_plane import FakeControlPlane
from fastqueue import SerializationFormat, TaskPriority, TaskStatus, task
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import (
    ConfigurationError,
    ControlPlaneUnavailable,
    DiskFull,
    Overloaded,
    SerializationError,
    SubmissionRefused,
    TaskTimeout,
)
from fastqueue.protocol import messages as msg
from fastqueue.tasks.registry import default_registry
from harness import LONG_S, bounded, eventually, registry_of
from proxy import CuttingProxy


async def add(x, y):
    return x + y


def add_in_a_thread(x, y):
    return x + y


async def echo(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


async def boom(text="boom"):
    raise ValueError(text)


async def test_delay_returns_an_id_and_the_result_arrives_without_asking(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    task_id = await client.delay("add", 1, 2)
    assert UUID(task_id).version == 7
    await eventually(lambda: client.get_status(task_id) == "success")
    assert client.get_result(task_id).result == 3
    assert (await client.get_task_result(task_id)).result == 3


async def test_what_one_turn_of_the_loop_submits_goes_out_as_one_frame(cluster):
    async with FakeControlPlane() as control_plane:
        client = await cluster.client(control_plane_address=control_plane.address)
        delays = [asyncio.create_task(client.delay("add", n, n)) for n in range(50)]
        await eventually(lambda: control_plane.bodies)
        submits = [msg.decode_to_control_plane(body) for body in control_plane.bodies]
        assert [len(submit.tasks) for submit in submits if isinstance(submit, msg.Submit)] == [50]
        client.stop()
        await asyncio.gather(*delays, return_exceptions=True)


async def test_positional_and_keyword_arguments_arrive_as_they_were_given(cluster):
    await cluster.start(registry_of(echo))
    client = await cluster.client()
    kwargs = {"name_or_task": 1, "args": [2], "kwargs": {"a": 3}, "task_name": "x", "self": 4}
    result = await client.submit_task("echo", (1, "two", None, [3.5]), {**kwargs, "priority": 5})
    assert result.result == {"args": [1, "two", None, [3.5]], "kwargs": {**kwargs, "priority": 5}}
    task_id = await client.delay("echo", 1, priority="high", **kwargs)
    await eventually(lambda: client.get_status(task_id) == "success")
    assert client.get_result(task_id).result == {"args": [1], "kwargs": kwargs}
    (task_id,) = await client.submit_batch([("echo", (1,), {"priority": 2})])
    await eventually(lambda: client.get_status(task_id) == "success")
    assert client.get_result(task_id).result == {"args": [1], "kwargs": {"priority": 2}}


async def test_a_decorated_function_is_as_good_as_its_name(cluster):
    @task("test_client_submit.triple")
    def triple(x):
        return 3 * x

    await cluster.start(default_registry)
    client = await cluster.client()
    assert triple(2) == 6
    assert (await client.submit_task(triple, (2,))).result == 6
    assert (await client.submit_task("test_client_submit.triple", (2,))).result == 6
    task_id = await client.delay(triple, 3)
    (batched,) = await client.submit_batch([(triple, (4,))])
    await eventually(lambda: client.get_status(task_id) == client.get_status(batched) == "success")
    assert client.get_result(task_id).result == 9
    assert client.get_result(batched).result == 12


@pytest.mark.parametrize("wrong", [add, 7, None, "", "x" * 500, "two words", "\ud800", "a\nb"])
async def test_what_is_no_task_is_refused_at_the_call_and_costs_the_others_nothing(cluster, wrong):
    await cluster.start(registry_of(add))
    client = await cluster.client(retries=0)
    other = asyncio.ensure_future(client.submit_task("add", (1, 2)))
    with pytest.raises(ConfigurationError, match="task"):
        await client.delay(wrong, 1, 2)
    assert (await bounded(other)).result == 3


async def test_a_failure_of_the_task_is_a_result_and_never_an_exception(cluster):
    await cluster.start(registry_of(boom))
    client = await cluster.client()
    result = await client.submit_task("boom")
    assert result.status is TaskStatus.FAILURE
    assert result.status == "failure"
    assert result.error == "ValueError: boom"
    assert result.result is None
    assert "raise ValueError(text)" in result.traceback
    assert "src/fastqueue" not in result.traceback  # only the user's own frames are shown
    assert bool(result)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_even_an_exit_or_an_interrupt_in_a_task_is_its_failure_only(cluster, error, kind):
    def exits():
        raise error

    async def coroutine_exits():
        raise error

    await cluster.start(registry_of(add, exits=exits if kind == "thread" else coroutine_exits))
    client = await cluster.client()
    result = await client.submit_task("exits")
    assert result.status == "failure"
    assert result.error.startswith(error.__name__)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_wrong_arguments_that_nobody_checks_are_the_failure_of_that_task(cluster):
    await cluster.start(registry_of(add, add_in_a_thread))
    client = await cluster.client(validate=False)
    for name in ("add", "add_in_a_thread"):
        result = await client.submit_task(name, (1, 2, 3), {"z": 4})
        assert result.status == "failure"
        assert result.error.startswith("TypeError:")


async def test_a_timeout_names_the_task_which_goes_on_and_can_be_queried(cluster):
    release, runs = asyncio.Event(), []

    async def slow():
        runs.append(1)
        await release.wait()
        return "done"

    await cluster.start(registry_of(slow))
    client = await cluster.client(timeout=0.3)
    with pytest.raises(TaskTimeout) as caught:
        await client.submit_task("slow")
    task_id = caught.value.task_id
    assert isinstance(caught.value, TimeoutError)
    assert task_id in str(caught.value)
    assert "0.3 s" in str(caught.value)
    assert (await client.get_task_result(task_id)).status == "running"
    release.set()
    await eventually(lambda: client.get_status(task_id) == "success")
    assert (await client.get_task_result(task_id)).result == "done"
    assert runs == [1]


async def test_a_batch_has_its_ids_in_order(cluster):
    await cluster.start(registry_of(add, echo), concurrency=64)
    client = await cluster.client()
    task_ids = await client.submit_batch([("add", (n, n)) for n in range(2_500)])
    assert len(set(task_ids)) == 2_500
    results = {r.task_id: r.result async for r in client.as_completed(task_ids, timeout=30)}
    assert [results[task_id] for task_id in task_ids] == [2 * n for n in range(2_500)]
    assert await client.submit_batch([]) == []


async def test_a_batch_in_part_refused_says_how_many_and_why(cluster):
    await cluster.start(limits=CoreLimits(live_tasks_max=10))
    client = await cluster.client(retries=0)
    with pytest.raises(SubmissionRefused, match="15 of 25"):
        await client.submit_batch([("nobody_runs_this", ()) for _ in range(25)])
    assert (await client.inspect())["queued"] == 10


async def test_a_refusal_whose_hint_outlasts_the_calls_time_is_raised_as_what_it_is(cluster):
    await cluster.start_control_plane(disk_free_min=10**18)
    client = await cluster.client(timeout=1, retries=100)
    with pytest.raises(DiskFull, match="bytes are free") as caught:
        await bounded(client.delay("add", 1, 2))
    assert caught.value.retry_after_s > 1
    assert isinstance(caught.value, Overloaded)


async def test_past_the_bound_a_submission_is_overloaded_and_taken_when_there_is_room(cluster):
    release = asyncio.Event()

    async def hold():
        await release.wait()

    await cluster.start(registry_of(hold), limits=CoreLimits(live_tasks_max=2))
    impatient = await cluster.client(retries=0)
    patient = await cluster.client(retries=8)
    await impatient.delay("hold")
    await impatient.delay("hold")
    with pytest.raises(Overloaded) as caught:
        await impatient.delay("hold")
    assert caught.value.retry_after_s > 0
    waiting = asyncio.ensure_future(patient.delay("hold"))
    release.set()
    await bounded(waiting)


async def test_results_keep_their_own_values_with_5000_submissions_at_once(cluster):
    rng = random.Random(5)

    async def shuffle(n):
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        return n * 7

    await cluster.start(registry_of(shuffle, threaded=lambda n: n * 11), concurrency=64)
    client = await cluster.client(timeout=60)

    async def both(n):
        name = "threaded" if n % 5 == 0 else "shuffle"
        return n, name, await client.submit_task(name, (n,))

    results = await bounded(asyncio.gather(*(both(n) for n in range(5_000))), 60)
    wrong = [r for n, name, r in results if r.result != n * (11 if name == "threaded" else 7)]
    assert wrong == []
    assert len({r.task_id for _, _, r in results}) == 5_000


async def test_queued_tasks_start_in_strict_order_of_priority_first_in_first_out(cluster):
    release, order = asyncio.Event(), []

    async def hold():
        await release.wait()

    async def note(priority, n):
        order.append((priority, n))

    await cluster.start(registry_of(hold, note), concurrency=1)
    client = await cluster.client()
    held = await client.delay("hold")
    await eventually(lambda: cluster_running(client, held), "the one slot to be taken")
    rng = random.Random(3)
    submitted = [rng.choice(list(TaskPriority)) for _ in range(200)]
    task_ids = [
        await client.delay("note", priority.value, n, priority=priority)
        for n, priority in enumerate(submitted)
    ]
    release.set()
    await bounded(collect(client, task_ids))
    expected = [
        (priority.value, n)
        for priority in TaskPriority
        for n, one in enumerate(submitted)
        if one is priority
    ]
    assert order == expected


async def cluster_running(client, task_id):
    result = await client.get_task_result(task_id)
    return result is not None and result.status == "running"


async def collect(client, task_ids):
    return [result async for result in client.as_completed(task_ids)]


async def test_a_submission_cut_off_before_its_acknowledgement_is_stored_once(cluster):
    await cluster.start()
    watcher = await cluster.client()
    async with CuttingProxy(cluster.address) as proxy:
        client = await cluster.client(control_plane_address=proxy.address)
        proxy.hold_replies()
        call = asyncio.ensure_future(client.delay("count", 1))

        async def is_stored():
            return (await watcher.inspect())["queued"] == 1

        await eventually(is_stored, "the submission to be stored")
        assert not call.done()
        proxy.cut()
        proxy.release_replies()
        task_id = await bounded(call)
        assert proxy.connections == 2
    assert (await watcher.inspect())["queued"] == 1
    runs = []
    await cluster.add_subworker(registry_of(count=runs.append))
    (result,) = [r async for r in watcher.as_completed([task_id], timeout=30)]
    assert result.status == "success"
    assert runs == [1]


async def test_a_line_that_is_cut_again_and_again_loses_and_doubles_nothing(cluster):
    runs = Counter()
    await cluster.start(registry_of(count=lambda n: runs.update([n])))
    async with CuttingProxy(cluster.address) as proxy:
        client = await cluster.client(control_plane_address=proxy.address, retries=1_000)
        calls = [asyncio.ensure_future(client.delay("count", 0))]
        for n in range(1, 300):
            calls.append(asyncio.ensure_future(client.delay("count", n)))
            if n % 30 == 0:
                connections = proxy.connections
                await asyncio.sleep(0)
                proxy.cut()
                await eventually(lambda old=connections: proxy.connections > old)
        task_ids = await bounded(asyncio.gather(*calls))
        results = await bounded(collect(client, task_ids))
    assert len(set(task_ids)) == len(results) == 300
    assert runs == Counter(range(300))


async def test_with_no_retries_a_cut_submission_is_the_callers_to_judge(cluster):
    await cluster.start()
    async with CuttingProxy(cluster.address) as proxy:
        client = await cluster.client(control_plane_address=proxy.address, retries=0)
        proxy.hold_replies()
        call = asyncio.ensure_future(client.delay("count", 1))
        watcher = await cluster.client()

        async def is_stored():
            return (await watcher.inspect())["queued"] == 1

        await eventually(is_stored, "the submission to be stored")
        proxy.cut()
        proxy.release_replies()
        with pytest.raises(ControlPlaneUnavailable, match="may or may not be stored"):
            await bounded(call)
    assert (await watcher.inspect())["queued"] == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_so_many_retries_are_one_try_and_so_many_more(cluster, retries):
    await cluster.start()
    async with CuttingProxy(cluster.address) as proxy:
        client = await cluster.client(control_plane_address=proxy.address, retries=retries)
        proxy.cuts_submissions = True
        with pytest.raises(ControlPlaneUnavailable, match=f"all {retries} retries"):
            await bounded(client.delay("add", 1, 2))
        assert proxy.cuts == 1 + retries
        proxy.cuts_submissions = False
        await bounded(client.delay("add", 1, 2))
        assert (await client.inspect())["queued"] == 1


async def test_a_call_that_is_cancelled_costs_the_others_nothing_and_leaves_nothing_behind(cluster):
    release = asyncio.Event()

    async def hold(n):
        await release.wait()
        return n

    await cluster.start(registry_of(hold))
    client = await cluster.client()
    calls = [asyncio.ensure_future(client.submit_task("hold", (n,))) for n in range(4)]
    await asyncio.sleep(0)  # they are about to be sent, in one frame
    calls[0].cancel()
    await eventually(lambda: running_is(client, 4), "the tasks to run, the abandoned one too")
    calls[1].cancel()
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(client.submit_task("hold", (4,)), 0.05)
    assert not isinstance(caught.value, TaskTimeout)
    release.set()
    results = await bounded(asyncio.gather(*calls, return_exceptions=True))
    assert [isinstance(r, asyncio.CancelledError) for r in results] == [True, True, False, False]
    assert [r.result for r in results[2:]] == [2, 3]
    assert client._connection.results._waiters == {}


async def running_is(client, count):
    return (await client.inspect())["running"] == count


async def test_pickled_arguments_need_the_consent_of_both_ends(cluster):
    # Pickle is allowed or not for a whole process, and this one is the client's too; the refusal
    # of a subworker in a process of its own is among the tests of errors.
    point = Point(1, 2)
    await cluster.start()
    await cluster.add_subworker(registry_of(flip=Point.flip), allow_pickle=True)
    client = await cluster.client(serialization_format=SerializationFormat.PICKLE)
    assert (await client.submit_task("flip", (point,))).result == Point(2, 1)


@dataclass
class Point:
    x: int
    y: int

    def flip(self):
        return Point(self.y, self.x)


async def test_an_argument_that_cannot_be_serialised_is_named_before_anything_is_sent(cluster):
    await cluster.start(registry_of(echo))
    client = await cluster.client()
    with pytest.raises(SerializationError, match="what"):
        await client.delay("echo", 1, what=object())
    with pytest.raises(SerializationError, match="argument 2 of task 'echo'"):
        await client.submit_task("echo", (0, lambda: None))
    stats = await client.inspect()
    assert stats["queued"] == stats["results"] == 0


@pytest.mark.parametrize(
    "call", [("add",), "add", ["add"], ("add", (1,), {}, 4), ("add", "text"), ("add", 5), None]
)
async def test_a_call_of_a_batch_that_is_none_submits_nothing(cluster, call):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    with pytest.raises(TypeError, match="a call of submit_batch is"):
        await client.submit_batch([("add", (1, 2)), call])
    stats = await client.inspect()
    assert (stats["queued"], stats["running"], stats["results"]) == (0, 0, 0)


async def test_a_call_of_a_batch_may_leave_its_keyword_arguments_out(cluster):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    ids = await client.submit_batch(
        [("add", (1, 2)), ["add", [3], {"y": 4}], ("add", (5, 6), None)]
    )
    values = {r.task_id: r.result async for r in client.as_completed(ids, timeout=LONG_S)}
    assert [values[task_id] for task_id in ids] == [3, 7, 11]


async def test_a_task_that_is_cancelled_already_is_cancelled(cluster):
    await cluster.start_control_plane()
    client = await cluster.client()
    task_id = await client.delay("add", 1, 2)
    assert await client.cancel(task_id)
    again = await client.cancel(task_id)
    assert again
    assert again.status == "cancelled"


async def test_callback_data_that_cannot_be_sent_is_named(cluster):
    await cluster.start_control_plane()
    client = await cluster.client()
    with pytest.raises(SerializationError, match="callback_data"):
        await client.delay_with_callback("add", "tcp://127.0.0.1:6000", callback_data=object())
