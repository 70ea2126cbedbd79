"""A task whose values and errors bring failing code along costs nobody else a slot."""

from __future__ import annotations

import pytest

from harness import bounded, registry_of
from hostile import ERRORS, VALUES


async def add(x, y):
    return x + y


def add_in_a_thread(x, y):
    return x + y


def tasks_of(kind):
    def make(name):
        return VALUES[name]()

    def fail(name):
        raise ERRORS[name]

    async def make_coroutine(name):
        return make(name)

    async def fail_coroutine(name):
        fail(name)

    if kind == "thread":
        return registry_of(make=make, fail=fail, add=add_in_a_thread)
    return registry_of(make=make_coroutine, fail=fail_coroutine, add=add)


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_whatever_a_task_returns_or_raises_it_ends_and_its_slot_is_free(cluster, kind):
    await cluster.start(tasks_of(kind), concurrency=1)
    client = await cluster.client(timeout=5)
    calls = [*(("make", name) for name in VALUES), *(("fail", name) for name in ERRORS)]
    for task_name, name in calls:
        result = await bounded(client.submit_task(task_name, (name,)))
        assert (name, result.status) == (name, "failure")
        assert result.error
        assert (await bounded(client.submit_task("add", (1, 2)))).result == 3
    assert (await client.inspect())["running"] == 0
