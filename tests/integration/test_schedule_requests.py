"""Schedules over real sockets: who may change them, many of them, without asyncio, two versions."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from fastqueue import SyncClient
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import TaskOptions
from fastqueue.core.schedule_records import ScheduleSpec
from fastqueue.errors import (
    ConfigurationError,
    Overloaded,
    ScheduleNotFound,
    SubmissionRefused,
)
from fastqueue.protocol import messages as msg
from fastqueue.tasks.registry import TaskRegistry
from fastqueue.tasks.scheduling import schedule_policy_of
from fastqueue.tasks.timetable import Timetable
from harness import LONG_S, bounded, eventually, registry_of

SUBMIT, WORKER, ADMIN = (f"the-token-for-{role}-of-the-tests" for role in ("sub", "work", "adm"))


async def echo(*args: object) -> list[object]:
    return list(args)


def scheduled(**options) -> TaskRegistry:
    """Return a registry of one task that has a schedule."""
    [definition] = registry_of(echo)
    registry = TaskRegistry()
    registry.register(dataclasses.replace(definition, schedule=schedule_policy_of(options)))
    return registry


async def test_a_schedule_runs_its_task_with_its_arguments(cluster) -> None:
    await cluster.start(registry_of(echo))
    client = await cluster.client()
    await client.schedules.add("echo", (1, "two"), id="s", every=0.1, count=1, priority="critical")

    async def is_over():
        found = await client.schedules.get("s")
        return found if found.fired == 1 else None

    over = await eventually(is_over, "its one run")
    assert over.next_at is None
    async for result in client.as_completed([over.last_task_id], timeout=LONG_S):
        assert result.result == [1, "two"]
    assert await client.schedules.preview("s") == []


async def test_only_an_admin_has_to_do_with_schedules_where_each_role_has_a_token(cluster) -> None:
    await cluster.start_control_plane(token_submit=SUBMIT, token_worker=WORKER, token_admin=ADMIN)
    schedules = (await cluster.client(token=SUBMIT)).schedules
    for refused in (
        schedules.add("echo", every=60),
        schedules.list(),
        schedules.get("s"),
        schedules.pause("s"),
        schedules.delete("s"),
        schedules.run_now("s"),
    ):
        with pytest.raises(SubmissionRefused, match="token_admin"):
            await refused
    admin = (await cluster.client(token=ADMIN)).schedules
    assert (await admin.add("echo", id="s", every=60)).id == "s"
    assert [one.id for one in await admin.list()] == ["s"]


async def test_more_schedules_than_one_answer_holds_are_all_listed_and_bounded(cluster) -> None:
    count = msg.SCHEDULES_LISTED_MAX + 5
    await cluster.start_control_plane(limits=CoreLimits(schedules_max=count))
    client = await cluster.client()
    ids = [f"s{n:04d}" for n in range(count)]
    await asyncio.gather(*(client.schedules.add("echo", id=i, every=3600) for i in ids))
    assert [one.id for one in await client.schedules.list()] == ids
    with pytest.raises(Overloaded, match=f"{count:,}"):
        await client.schedules.add("echo", id="more", every=3600)


async def test_without_asyncio_it_is_the_same(cluster) -> None:
    await cluster.start(registry_of(echo))

    def use() -> None:
        with SyncClient(discovery_address=cluster.discovery_address, timeout=LONG_S) as client:
            schedules = client.schedules
            made = schedules.add("echo", id="s", cron="0 5 * * *", timezone="Asia/Tokyo")
            assert (made.cron, made.timezone, made.paused) == ("0 5 * * *", "Asia/Tokyo", False)
            assert schedules.get("s") == made
            assert schedules.list() == [made]
            assert schedules.pause("s").paused
            assert not schedules.resume("s").paused
            task_id = schedules.run_now("s")
            [result] = client.as_completed([task_id], timeout=LONG_S)
            assert result.status == "success"
            assert [at.hour for at in schedules.preview("s", 2)] == [5, 5]
            assert schedules.delete("s")
            with pytest.raises(ScheduleNotFound):
                schedules.pause("s")

    await asyncio.to_thread(use)


async def test_of_two_versions_the_one_that_started_last_has_the_word(cluster) -> None:
    await cluster.start_control_plane()
    client = await cluster.client()

    async def every():
        found = await client.schedules.get("task:echo")
        return None if found is None else found.every

    async def becomes(wanted: timedelta | None):
        async def is_so():
            return await every() == wanted

        await eventually(is_so, f"a schedule of {wanted}")

    old = await cluster.add_subworker(scheduled(every=3600))
    await becomes(timedelta(hours=1))
    await cluster.add_subworker(scheduled(every=60))
    await becomes(timedelta(minutes=1))
    # The old one loses its connection and comes back.
    await cluster.stop_control_plane()
    await bounded(old._runtime.disconnected.wait())
    await cluster.start_control_plane()
    await bounded(old._runtime.connected.wait())
    workers = lambda: cluster.control_plane._engine.core.state.workers.connected  # noqa: E731
    await eventually(lambda: workers() == 2, "both subworkers")
    client = await cluster.client()
    assert await every() == timedelta(minutes=1)
    await cluster.add_subworker(registry_of(echo))
    await becomes(None)


async def test_a_schedule_in_a_zone_that_is_not_known_here_is_refused_or_said_in_the_log(
    cluster, monkeypatch, caplog
) -> None:
    await cluster.start_control_plane()
    client = await cluster.client()
    registry = scheduled(cron="0 5 * * *", timezone="Asia/Tokyo")

    def unknown(name: str) -> str:
        raise ConfigurationError(f"timezone={name!r}: this machine knows no such time zone")

    monkeypatch.setattr("fastqueue.tasks.timetable.checked_zone", unknown)
    await cluster.add_subworker(registry)
    await eventually(lambda: "task:echo isn't taken" in caplog.text, "a line in the log")
    assert await client.schedules.list() == []
    # As a client does on a machine that knows the zone.
    spec = ScheduleSpec("s", Timetable(cron="0 5 * * *"), "echo", 2, 0, b"[[],{}]")
    with pytest.raises(SubmissionRefused, match="no such time zone"):
        await client._started().requests.ask(lambda request: msg.PutSchedule(request, spec))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (TaskOptions(due_at=5.0), "no times of their own"),
        (TaskOptions(expires_at=5.0), "no times of their own"),
        (TaskOptions(unique_key="k"), "no unique key"),
        (TaskOptions(fair_key="a\nb"), "fair_key"),
        (TaskOptions(batch="a\nb"), "batch"),
    ],
)
async def test_what_the_runs_of_a_schedule_can_not_ask_for_is_refused(
    cluster, options: TaskOptions, says: str
) -> None:
    await cluster.start_control_plane()
    client = await cluster.client()
    spec = ScheduleSpec("s", Timetable(every_s=60.0), "echo", 2, 0, b"[[],{}]", options=options)
    with pytest.raises(SubmissionRefused, match=says):
        await client._started().requests.ask(lambda request: msg.PutSchedule(request, spec))
    assert await client.schedules.list() == []
