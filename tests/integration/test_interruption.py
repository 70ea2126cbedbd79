"""What is interrupted ends and gives its slot back, however early; and what is told of failures."""

from __future__ import annotations

import asyncio

import pytest

from harness import bounded, registry_of


async def wait():
    await asyncio.sleep(3_600)


async def add(x, y):
    return x + y


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        ({"time_limit": 0}, "TimeLimit: it ran longer than its time limit of 0 s"),
        ({"soft_time_limit": 0}, "SoftTimeLimit: it has run for 0 s, its soft time limit"),
    ],
)
async def test_a_coroutine_whose_time_is_over_before_its_first_step_ends(cluster, limit, error):
    await cluster.start(registry_of(wait, add), concurrency=1)
    client = await cluster.client(timeout=4)  # less than what is stuck is given
    result = await bounded(client.submit_task("wait", **limit))
    assert (result.status, result.error) == ("failure", error)
    assert (await bounded(client.submit_task("add", (1, 2)))).result == 3


async def test_failures_with_large_errors_are_listed_in_as_many_frames_as_they_need(cluster):
    async def fail():
        raise ValueError("x" * 7_900)

    await cluster.start(registry_of(fail))
    client = await cluster.client()
    ids = await client.submit_batch([("fail", ())] * 90)
    assert len([result async for result in client.as_completed(ids)]) == 90
    letters = [letter async for letter in client.dead_letters()]
    assert sorted(letter.task_id for letter in letters) == sorted(ids)
    assert all(len(letter.error) > 7_900 for letter in letters)


async def test_of_very_many_failed_attempts_the_last_ones_are_told_whole(cluster):
    async def fail():
        raise ValueError("x" * 7_900)

    await cluster.start(registry_of(fail))
    client = await cluster.client(timeout=30)
    result = await client.submit_task("fail", retries=60, backoff=0)
    attempts = await client.attempts(result.task_id)
    assert [attempt.attempt for attempt in attempts] == list(range(1, 61))
    assert len(attempts[-1].error) > 7_900
    assert attempts[-1].traceback
    assert 0 < len(attempts[0].error) <= 200
    assert attempts[0].traceback is None
