"""What goes wrong with a task, its name, arguments or result: said clearly, never a hang."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fastqueue import Client, SerializationFormat
from fastqueue.config import ControlPlaneSettings, SubworkerSettings
from fastqueue.errors import (
    ConfigurationError,
    PayloadTooLarge,
    SerializationError,
    SubmissionRefused,
    TaskImportError,
)
from fastqueue.subworker.app import Subworker
from fastqueue.tasks.registry import TaskRegistry
from harness import bounded, registry_of


async def add(x, y):
    return x + y


def echo(value):
    return value


class Opaque:
    def __repr__(self):
        return "a secret"


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (((Opaque(),), {}), "argument 1"),
        (((1, [2, {"deep": Opaque()}]), {}), "argument 2"),
        (((), {"y": Opaque()}), "'y'"),
        (((1, float("nan")), {}), "argument 2"),
        (((1, "\ud800"), {}), "argument 2"),
        (((1, {1: {2: object}}), {}), "argument 2"),
    ],
)
async def test_an_argument_that_cannot_be_serialised_is_named_at_the_call(
    cluster, arguments, place
):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    args, kwargs = arguments
    for call in (
        client.delay("add", *args, **kwargs),
        client.submit_task("add", args, kwargs),
        client.submit_batch([("add", (1, 2)), ("add", args, kwargs)]),
        client.delay_with_callback("add", "tcp://127.0.0.1:6000", *args, **kwargs),
    ):
        with pytest.raises(SerializationError, match="'add'") as caught:
            await call
        assert place in str(caught.value)
        assert "secret" not in str(caught.value)  # values are never shown
        assert isinstance(caught.value, TypeError)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_arguments_that_refer_to_themselves_are_refused(cluster):
    await cluster.start()
    client = await cluster.client()
    circle = []
    circle.append(circle)
    with pytest.raises(SerializationError, match="argument 1"):
        await client.delay("add", circle)


async def test_by_default_16_mib_of_arguments_are_taken_and_no_more(cluster):
    await cluster.start(registry_of(length=len))
    client = await cluster.client()
    limit = 16 * 1024**2
    fits = "x" * (limit - 100)
    assert (await client.submit_task("length", (fits,))).result == limit - 100
    with pytest.raises(PayloadTooLarge, match=r"'length'.*16,777,2\d\d.*16,777,216") as caught:
        await client.submit_task("length", ("x" * limit,))
    assert isinstance(caught.value, ValueError)
    assert (await client.submit_task("length", ("xyz",))).result == 3


async def test_the_limit_on_arguments_can_be_set_and_is_checked_by_the_control_plane_too(cluster):
    client = await cluster.client()  # nobody has told it the limit yet
    early = asyncio.ensure_future(client.delay("echo", "x" * 2_000))
    fitting = asyncio.ensure_future(client.submit_task("echo", ("x" * 100,)))
    await cluster.start(registry_of(echo), payload_bytes_max=1_000)
    with pytest.raises(PayloadTooLarge, match="1,000"):
        await bounded(early)
    assert (await bounded(fitting)).status == "success"
    with pytest.raises(PayloadTooLarge, match="1,000"):
        await client.delay("echo", "x" * 2_000)


async def test_data_for_a_callback_is_checked_at_the_call(cluster):
    await cluster.start()
    client = await cluster.client()
    listener = "tcp://127.0.0.1:6000"
    with pytest.raises(SerializationError):
        await client.delay_with_callback("add", listener, callback_data=Opaque())
    with pytest.raises(PayloadTooLarge, match="callback_data"):
        await client.delay_with_callback("add", listener, callback_data="x" * 70_000)


# -- results


@pytest.mark.parametrize(
    "value",
    [Opaque(), {"deep": [1, Opaque()]}, float("inf"), "\udcff", {(1, 2): 3}, {1: Opaque()}],
    ids=["object", "nested", "infinity", "surrogate", "tuple key", "value"],
)
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_a_result_that_cannot_be_serialised_is_a_failure_that_says_so(cluster, value, kind):
    def make():
        return value

    async def make_coroutine():
        return value

    await cluster.start(registry_of(add, make=make if kind == "thread" else make_coroutine))
    client = await cluster.client()
    result = await bounded(client.submit_task("make"))
    assert result.status == "failure"
    assert result.error.startswith("SerializationError: ")
    assert "result" in result.error
    assert result.result is None
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_result_over_the_limit_is_a_failure_that_says_so(cluster):
    await cluster.start(registry_of(fill=lambda n: "x" * n), payload_bytes_max=10_000)
    client = await cluster.client()
    assert (await client.submit_task("fill", (9_000,))).status == "success"
    result = await client.submit_task("fill", (11_000,))
    assert result.status == "failure"
    assert result.error.startswith("PayloadTooLarge: ")
    assert "10,000" in result.error


class EvilError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (ValueError(), "ValueError"),
        (ValueError("x" * 100_000), "ValueError: xxx"),
        (ValueError("\ud800"), "ValueError: "),
        (EvilError(), "EvilError: "),
        (KeyError("key"), "KeyError: 'key'"),
    ],
    ids=["empty", "huge", "surrogate", "evil", "key"],
)
async def test_whatever_a_task_raises_its_failure_begins_with_the_type(cluster, error, begins):
    def fails():
        raise error

    await cluster.start(registry_of(fails))
    client = await cluster.client()
    result = await bounded(client.submit_task("fails"))
    assert result.status == "failure"
    assert result.error.startswith(begins)
    assert len(result.error) < 10_000


async def test_a_plain_function_that_returns_a_coroutine_fails_saying_so(cluster):
    async def inner():
        return 1

    await cluster.start(registry_of(forgot_to_await=lambda: inner()))
    client = await cluster.client()
    result = await client.submit_task("forgot_to_await")
    assert result.status == "failure"
    assert "async def" in result.error


# -- pickle


async def test_without_consent_a_subworker_unpickles_nothing_and_says_how_to_allow_it(site):
    site.write(
        "tasks.py",
        """
        from pathlib import Path
        from fastqueue import task

        @task
        def echo(value):
            return value

        @task
        def exists(path):
            return Path(path).exists()
        """,
    )
    await site.control_plane()
    site.subworker("worker")
    client = await site.client(serialization_format=SerializationFormat.PICKLE)
    result = await bounded(client.submit_task("echo", (Trap(str(site.folder / "sprung")),)))
    assert result.status == "failure"
    assert "pickle" in result.error
    assert "--allow-pickle" in result.error
    plain = await site.client()
    asked = await plain.submit_task("exists", (str(site.folder / "sprung"),))
    assert asked.result is False


class Trap:
    """Make a file when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (open, (self._path, "w"))


# -- task modules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_package_at_all", "no_such_package_at_all"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('at import')", "at import"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
async def test_a_task_module_that_does_not_import_is_named_with_its_cause(
    tmp_path, monkeypatch, text, why
):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_tasks.py").write_text(text)
    with pytest.raises(TaskImportError, match="broken_tasks") as caught:
        Subworker(SubworkerSettings(task_modules=("broken_tasks",)))
    assert why in f"{caught.value} {caught.value.__cause__!r}"
    sys.modules.pop("broken_tasks", None)


def test_a_subworker_without_a_task_is_refused():
    with pytest.raises(ConfigurationError, match="--task-modules"):
        Subworker(SubworkerSettings(), TaskRegistry())


# -- callbacks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:6000",
        "http://127.0.0.1:6000",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:x",
        "tcp://" + "a" * 500 + ":80",
        "ipc://",
        "",
        None,
        6000,
    ],
)
async def test_what_is_no_callback_address_is_refused_at_the_call(cluster, address):
    await cluster.start()
    client = await cluster.client()
    with pytest.raises(ConfigurationError, match="callback address"):
        await client.delay_with_callback("add", address, 1, 2)


@pytest.mark.parametrize(
    "address", ["tcp://8.8.8.8:80", "tcp://10.0.0.1:80", "tcp://example.com:80", "ipc://relative"]
)
async def test_a_callback_beyond_this_machine_is_refused_at_submission(cluster, address):
    await cluster.start(registry_of(add))
    client = await cluster.client(retries=0)
    plain = asyncio.ensure_future(client.submit_task("add", (1, 2)))
    with pytest.raises(SubmissionRefused, match="callback address"):
        await client.delay_with_callback("add", address, 1, 2)
    assert (await bounded(plain)).result == 3  # of the same frame
    stats = await client.inspect()
    assert stats["results"] == 1
    assert stats["callbacks_owed"] == 0


# -- bounds


def test_settings_out_of_bounds_are_named():
    for settings in (
        {"data_dir": ""},
        {"durability": "maybe"},
        {"result_cache_size": 0},
        {"result_cache_ttl": 0},
        {"payload_bytes_max": 0},
        {"max_crashes": 0},
        {"callback_allow": "everywhere"},
        {"base_address": "tcp://127.0.0.1:99999"},
        {"worker_id": ""},
    ):
        (name,) = settings
        with pytest.raises(ConfigurationError, match=name):
            ControlPlaneSettings.resolve(**settings)
    with pytest.raises(ConfigurationError, match="concurrency"):
        SubworkerSettings.resolve(concurrency=0)
    with pytest.raises(ConfigurationError, match="timeout"):
        Client(timeout=0)
