"""A task that runs knows itself, tells of itself, and goes on where an attempt before it was."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import UTC, datetime

import pytest
from tests.harness import bounded, eventually, registry_of

from fastqueue import SyncClient, current_task, task
from fastqueue.errors import FastQueueError, LeaseLost, NotInTask, Overloaded, PayloadTooLarge
from fastqueue.tasks.events import Finished, LogLine, Missed, Progress, StatusChanged
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.registry import TaskRegistry


async def events_of(client, task_id):
    return [event async for event in client.watch(task_id)]


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def registered(function):
    registry = TaskRegistry()
    registry.register(function.__fastqueue_task__)
    return registry


def test_outside_of_a_task_there_is_none():
    with pytest.raises(NotInTask, match="where no task runs"):
        current_task()
    assert issubclass(NotInTask, RuntimeError)
    assert issubclass(NotInTask, FastQueueError)


async def test_a_coroutine_and_a_thread_know_what_they_run(cluster):
    async def coroutine():
        ctx = current_task()
        inner = await asyncio.gather(asyncio.to_thread(lambda: current_task().id))
        return [ctx.id, ctx.name, ctx.queue, ctx.attempt, ctx.deadline, inner]

    def thread():
        ctx = current_task()
        copied = contextvars.copy_context().run(lambda: current_task().id)
        return [ctx.id, ctx.name, ctx.queue, ctx.attempt, ctx.deadline, [copied]]

    await cluster.start(registry_of(coroutine, thread))
    client = await cluster.client()
    for name in ("coroutine", "thread"):
        result = await client.options(queue="mail").submit_task(name)
        known = [result.task_id, name, "mail", 1, None, [result.task_id]]
        assert result.result == known, result.error


async def test_the_deadline_is_that_of_the_first_limit(cluster):
    @task("limited_context", time_limit=60, soft_time_limit=20)
    async def limited():
        return current_task().deadline

    await cluster.start(registered(limited))
    client = await cluster.client()
    result = await client.submit_task("limited_context")
    deadline = datetime.fromisoformat(result.result)
    assert abs((deadline - result.started_at).total_seconds() - 20) < 1
    assert deadline.tzinfo is not None
    assert deadline > datetime.now(UTC)


async def test_a_watch_tells_status_lines_progress_and_at_last_the_result(cluster):
    release = asyncio.Event()

    async def work():
        ctx = current_task()
        await ctx.progress(1, 4, "a quarter")
        ctx.log("line %d\nand %s", 1, "two")
        await release.wait()
        ctx.progress(4, 4)
        ctx.log("the last words")
        return "done"

    await cluster.start(registry_of(work))
    client, other = await cluster.client(), await cluster.client()
    task_id = await client.delay("work")
    seen = []

    async def watch(who):
        async for event in who.watch(task_id):
            seen.append((who, event))

    watching = [asyncio.create_task(watch(who)) for who in (client, other)]
    await eventually(lambda: len({who for who, e in seen if isinstance(e, Progress)}) == 2)
    known = await client.get_task_result(task_id)
    assert (known.progress.done, known.progress.total) == (1.0, 4.0)
    assert known.progress.message == "a quarter"
    release.set()
    await bounded(asyncio.gather(*watching))
    for who in (client, other):
        events = [event for one, event in seen if one is who]
        assert isinstance(events[0], StatusChanged)
        assert of(StatusChanged, events)[-1].status is TaskStatus.RUNNING
        texts = [line.text for line in of(LogLine, events)]
        assert texts == ["line 1", "and two", "the last words"]
        assert of(Progress, events)[-1].done == 4.0
        assert isinstance(events[-1], Finished)
        assert len(of(Finished, events)) == 1
        assert events[-1].result.result == "done"
        assert events[-1].result.progress is None


async def test_who_comes_late_sees_the_last_lines_and_the_result_alone_when_it_is_over(cluster):
    release = threading.Event()

    def work():
        ctx = current_task()
        for number in range(300):
            ctx.log(str(number))
        ctx.progress(1)
        release.wait(30)

    await cluster.start(registry_of(work))
    client, late = await cluster.client(), await cluster.client()
    task_id = await client.delay("work")
    await eventually(lambda: has_progress(client, task_id))
    seen = []

    async def watch():
        async for event in late.watch(task_id):
            seen.append(event)

    watching = asyncio.create_task(watch())
    await eventually(lambda: of(Progress, seen))
    assert [line.number for line in of(LogLine, seen)] == list(range(200, 300))
    assert sum(event.lines for event in of(Missed, seen)) == 200
    release.set()
    await bounded(watching)
    assert [type(event) for event in await bounded(events_of(late, task_id))] == [Finished]


async def has_progress(client, task_id):
    result = await client.get_task_result(task_id)
    return result is not None and result.progress is not None


async def test_a_retry_reads_what_the_attempt_before_it_saved(cluster):
    @task("resumed", retries=2, backoff=0.01)
    async def resumed():
        ctx = current_task()
        before = ctx.checkpointed
        await ctx.checkpoint({"attempt": ctx.attempt, "before": before})
        if ctx.attempt < 3:
            raise ValueError("again")
        return before

    await cluster.start(registered(resumed))
    client = await cluster.client()
    task_id = await client.delay("resumed")
    events = await bounded(events_of(client, task_id))
    assert events[-1].result.result == {
        "attempt": 2,
        "before": {"attempt": 1, "before": None},
    }
    statuses = [(event.status, event.attempt) for event in of(StatusChanged, events)]
    assert statuses[-1] == (TaskStatus.RUNNING, 3)
    engine = cluster.control_plane._engine
    assert engine.core.state.checkpoints_bytes == 0
    assert engine.store.read_checkpoint(task_id) is None


async def test_a_thread_waits_for_its_checkpoint_without_await(cluster):
    def work():
        current_task().checkpoint([1, 2])
        current_task().checkpoint([3])
        return "saved"

    await cluster.start(registry_of(work))
    client = await cluster.client()
    assert (await client.submit_task("work")).result == "saved"


async def test_what_cannot_be_saved_says_why(cluster):
    async def large():
        await current_task().checkpoint("x" * 1024**2)

    async def strange():
        await current_task().checkpoint(object())

    async def numberless():
        current_task().progress(float("nan"))

    await cluster.start(registry_of(large, strange, numberless))
    client = await cluster.client()
    error = (await client.submit_task("large")).error
    assert error.startswith(PayloadTooLarge.__name__)
    assert "1,048,578 bytes" in error
    assert (await client.submit_task("strange")).error.startswith("SerializationError")
    assert "nan" in (await client.submit_task("numberless")).error


async def test_a_checkpoint_for_which_there_is_no_room_is_refused_and_the_task_goes_on(cluster):
    async def work():
        try:
            await current_task().checkpoint("much too large")
        except Overloaded as error:
            return str(error)

    from fastqueue.core.limits import CoreLimits

    await cluster.start(registry_of(work), limits=CoreLimits(checkpoints_bytes_max=5))
    client = await cluster.client()
    assert "5 bytes" in (await client.submit_task("work")).result


async def test_an_attempt_whose_lease_is_lost_is_told_so(cluster):
    caught = []
    begun, release = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        await release.wait()
        try:
            await current_task().checkpoint(1)
        except LeaseLost as error:
            caught.append(str(error))
            raise

    await cluster.start(registry_of(work))
    client = await cluster.client()
    await client.delay("work")
    await bounded(begun.wait())
    # As after a partition: the control plane has given the lease up, and nobody said so here.
    state = cluster.control_plane._engine.core.state
    (live,) = state.tasks.values()
    token, live.token = live.token, live.token + 1
    release.set()
    await eventually(lambda: caught)
    assert "doesn't count any more" in caught[0]
    live.token = token


async def test_a_watch_and_a_checkpoint_outlast_the_control_plane(cluster):
    release = asyncio.Event()
    saved = []

    async def work():
        ctx = current_task()
        ctx.log("before")
        await release.wait()
        ctx.log("after")
        await ctx.checkpoint("on disk")
        saved.append(True)
        return "done"

    await cluster.start(registry_of(work), base_address=cluster_address())
    client = await cluster.client()
    task_id = await client.delay("work")
    seen = []

    async def watch():
        async for event in client.watch(task_id):
            seen.append(event)

    watching = asyncio.create_task(watch())
    await eventually(lambda: of(LogLine, seen))
    address = cluster.address
    await cluster.stop_control_plane()
    release.set()
    await asyncio.sleep(0)
    assert not saved
    await cluster.start_control_plane(base_address=address)
    await bounded(watching)
    assert saved
    assert of(LogLine, seen)[0].text == "before"
    assert len(of(Finished, seen)) == 1
    assert seen[-1].result.result == "done"


def cluster_address():
    from tests.ports import free_address

    return free_address()


async def test_a_watch_of_nothing_says_so(cluster):
    async def work():
        return None

    await cluster.start(registry_of(work))
    client = await cluster.client()
    for task_id in ("unknown", "", "x" * 100):
        with pytest.raises(LookupError):
            await bounded(events_of(client, task_id))


async def test_a_watch_that_is_left_is_forgotten(cluster):
    release = asyncio.Event()

    async def work():
        await release.wait()

    await cluster.start(registry_of(work))
    client = await cluster.client()
    task_id = await client.delay("work")
    watching = client.watch(task_id)
    assert isinstance(await anext(watching), StatusChanged)
    await watching.aclose()
    followed = cluster.control_plane._engine.core.state.followed
    await eventually(lambda: not followed.followers)
    assert not client._connection.feeds._feeds
    release.set()


async def test_a_thread_that_exceeds_its_limit_says_which(cluster):
    @task("too_long", time_limit=0.2)
    def too_long():
        while True:
            threading.Event().wait(0.005)

    @task("too_long_softly", soft_time_limit=0.2)
    def too_long_softly():
        while True:
            threading.Event().wait(0.005)

    registry = TaskRegistry()
    registry.register(too_long.__fastqueue_task__)
    registry.register(too_long_softly.__fastqueue_task__)
    await cluster.start(registry)
    client = await cluster.client()
    assert "time limit of 0.2 s" in (await client.submit_task("too_long")).error
    assert "0.2 s, its soft time limit" in (await client.submit_task("too_long_softly")).error


async def test_a_client_without_an_event_loop_watches_too(cluster):
    async def work():
        current_task().log("one")
        await current_task().progress(1, 1)
        return "done"

    await cluster.start(registry_of(work))

    def watch():
        with SyncClient(control_plane_address=cluster.address) as client:
            task_id = client.delay("work")
            events = list(client.watch(task_id))
            return events, list(client.watch(task_id))

    events, again = await asyncio.to_thread(watch)
    assert events[-1].result.result == "done"
    assert [type(event) for event in again] == [Finished]
