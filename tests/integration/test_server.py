"""Strangers, garbage and other versions disturb nobody; a Unix socket serves as well as TCP."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from typing import Any

import msgspec
import pytest

from fastqueue import Client
from fastqueue.config import Address, ControlPlaneSettings
from fastqueue.control_plane.app import ControlPlane
from fastqueue.control_plane.listener import Listener
from fastqueue.core.records import NewTask, TaskOptions
from fastqueue.errors import ConfigurationError, ControlPlaneUnavailable
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import frame
from fastqueue.protocol.handshake import Handshake
from harness import bounded, eventually, registry_of


async def add(x: int, y: int) -> int:
    return x + y


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


def _hello(protocol: int = greetings.PROTOCOL_VERSION, role: str = "client") -> bytes:
    return frame(
        msg.encode(greetings.Hello(protocol=protocol, role=role, instance="i", name="test"))
    )


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await bounded(reader.readexactly(4)), "big")
    return await bounded(reader.readexactly(length))


async def _is_hung_up(reader: asyncio.StreamReader) -> bool:
    try:
        return await bounded(reader.read()) == b""
    except ConnectionResetError:
        return True


def _in_batch(batch: str) -> NewTask:
    return NewTask("id", "add", 2, 0, b"", options=TaskOptions(batch=batch))


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0\0\5hello",
        b"\xff" * 5000,
        frame(os.urandom(200)),
        frame(msg.encode(["not", "a", "hello"])),
        frame(b"x" * 5000),
        frame(msg.encode({"type": "evil\n2026 ERROR forged"})),
        frame(_hello()[4:].replace(b"test", b"e\n\x1b[")),
        _hello()[:10],
    ],
)
async def test_a_stranger_is_dropped_and_the_others_are_served(cluster, garbage, caplog) -> None:
    await cluster.start(registry_of(add))
    client = await cluster.client()
    reader, writer = await _open(cluster.address)
    writer.write(garbage)
    if garbage == _hello()[:10]:
        writer.write_eof()
    assert await _is_hung_up(reader)
    writer.close()
    assert (await client.submit_task("add", (1, 2))).result == 3
    assert len([r for r in caplog.records if "dropped" in r.getMessage()]) <= 1
    assert all(r.getMessage().isprintable() for r in caplog.records)


@pytest.mark.parametrize(
    "body",
    [
        random.Random(7).randbytes(100),
        msg.encode([99, 1]),
        msg.encode([1, 1, [["", "add", 2, 0, b""]]]),
        msg.encode([1, 1, [["id", "add\n\x1b[2J", 2, 0, b""]]]),
        msg.encode([1, 1, [["i\nd", "add", 2, 0, b""]]]),
        msg.encode(msg.Submit(1, [_in_batch("b\x1b[2J")])),
        msg.encode(msg.Submit(1, [_in_batch("b" * 101)])),
        msg.encode(msg.AskBatch(1, "")),
        msg.encode(msg.AskBatch(1, "b", "i" * 65)),
        msg.encode(msg.Report(1, [])),
        msg.encode(msg.Ready(["add"], 1, [])),
    ],
)
async def test_a_client_that_sends_what_it_may_not_is_dropped(cluster, body) -> None:
    await cluster.start(registry_of(add))
    client = await cluster.client()
    reader, writer = await _open(cluster.address)
    writer.write(_hello())
    assert greetings.decode_greeting(await _read_frame(reader))
    writer.write(frame(body))
    assert await _is_hung_up(reader)
    writer.close()
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_subworker_may_not_submit(cluster) -> None:
    await cluster.start(registry_of(add))
    reader, writer = await _open(cluster.address)
    writer.write(_hello(role="subworker"))
    await _read_frame(reader)
    writer.write(frame(msg.encode(msg.Submit(1, []))))
    assert await _is_hung_up(reader)
    writer.close()


async def test_no_line_of_a_reported_stack_looks_like_one_of_the_log(cluster, caplog) -> None:
    await cluster.start()
    client = await cluster.client()

    async def is_known() -> bool:
        return bool((await client.inspect())["subworkers"])

    writers = []
    for role, message in (
        ("subworker", msg.Ready(["add"], 1, [])),
        ("heartbeat", msg.Heartbeat(3.0, stack="at line 1\n2026 ERROR forged\n\x1b[2J\r")),
    ):
        reader, writer = await _open(cluster.address)
        writers.append(writer)
        writer.write(_hello(role=role))
        await _read_frame(reader)
        writer.write(frame(msg.encode(message)))
        await eventually(is_known)
    [line] = await eventually(lambda: [m for m in caplog.messages if "is blocked" in m])
    assert line.split("\n")[1:] == ["  at line 1", "  2026 ERROR forged", r"  \x1b[2J\r"]
    for writer in writers:
        writer.close()


async def test_another_protocol_version_is_told_so(cluster) -> None:
    await cluster.start()
    reader, writer = await _open(cluster.address)
    writer.write(_hello(protocol=99))
    refusal = greetings.decode_greeting(await _read_frame(reader))
    assert isinstance(refusal, greetings.Refusal)
    assert refusal.code == "protocol"
    assert "99" in refusal.message
    assert f"protocol {greetings.PROTOCOL_VERSION}" in refusal.message
    assert await _is_hung_up(reader)
    writer.close()


async def test_a_client_that_is_refused_says_why(cluster, monkeypatch) -> None:
    await cluster.start()

    class Newer(Handshake):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            hello = greetings.decode_hello(self.hello)
            self.hello = msg.encode(msgspec.structs.replace(hello, protocol=99))

    monkeypatch.setattr("fastqueue.link.dialer.Handshake", Newer)
    client = Client(control_plane_address=cluster.address, timeout=1.5)
    await client.start()
    with pytest.raises(ControlPlaneUnavailable, match="install the same version"):
        await client.delay("add", 1, 2)
    client.stop()


async def test_a_frame_over_the_limit_ends_only_its_own_connection(cluster) -> None:
    await cluster.start(registry_of(add))
    client = await cluster.client()
    reader, writer = await _open(cluster.address)
    writer.write(_hello())
    welcome = greetings.decode_greeting(await _read_frame(reader))
    assert isinstance(welcome, greetings.Welcome)
    writer.write((welcome.frame_bytes_max + 1).to_bytes(4, "big"))
    assert await _is_hung_up(reader)
    writer.close()
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_unix_socket_serves_as_well_and_is_its_owners_alone(cluster, tmp_path) -> None:
    path, discovery = tmp_path / "queue.sock", tmp_path / "discovery.sock"
    umask = os.umask(0)
    try:
        await cluster.start_control_plane(
            base_address=f"ipc://{path}", discovery_address=f"ipc://{discovery}"
        )
    finally:
        os.umask(umask)
    assert [one.stat().st_mode & 0o777 for one in (path, discovery)] == [0o600, 0o600]
    await cluster.add_subworker(registry_of(add), control_plane_address=f"ipc://{path}")
    client = await cluster.client(control_plane_address=f"ipc://{path}")
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_dead_unix_socket_is_replaced_and_a_living_one_refused(cluster, tmp_path) -> None:
    path = tmp_path / "queue.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    await cluster.start_control_plane(base_address=f"ipc://{path}")
    second = ControlPlane(
        ControlPlaneSettings(
            base_address=f"ipc://{path}",
            discovery_address=cluster.discovery_address,
            data_dir=str(tmp_path / "second"),
        )
    )
    with pytest.raises(ConfigurationError, match="--base-address"):
        await second.start()
    client = await cluster.client(control_plane_address=f"ipc://{path}")
    assert (await client.inspect())["clients"] == 1


async def test_a_file_at_the_base_address_stays_and_the_start_is_refused(cluster, tmp_path) -> None:
    path = tmp_path / "precious.txt"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"is no socket.* --base-address"):
        await cluster.start_control_plane(base_address=f"ipc://{path}")
    assert path.read_text() == "precious"


async def test_nobody_else_may_connect_to_a_unix_socket_at_any_time(monkeypatch, tmp_path) -> None:
    """Whatever the umask is: its mode is set before it listens."""
    chmod, refused = os.chmod, []

    def chmod_and_try(path: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(path)
        refused.append(path)
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", chmod_and_try)
    path = str(tmp_path / "queue.sock")
    listener = Listener(asyncio.Protocol)  # type: ignore[arg-type]
    await listener.start(Address(scheme="ipc", path=path))
    listener.close()
    assert refused == [path]


async def test_a_peer_that_says_nothing_is_hung_up_on(cluster, monkeypatch) -> None:
    monkeypatch.setattr("fastqueue.control_plane.server._HELLO_TIMEOUT_S", 0.1)
    await cluster.start()
    reader, writer = await _open(cluster.address)
    assert await _is_hung_up(reader)
    writer.close()


async def test_more_connections_than_allowed_are_turned_away(cluster, monkeypatch) -> None:
    monkeypatch.setattr("fastqueue.control_plane.app.sessions_max", lambda: 2)
    await cluster.start()
    held = [await _open(cluster.address) for _ in range(2)]
    for reader, writer in held:
        writer.write(_hello())
        assert isinstance(greetings.decode_greeting(await _read_frame(reader)), greetings.Welcome)
    reader, writer = await _open(cluster.address)
    refusal = greetings.decode_greeting(await _read_frame(reader))
    assert isinstance(refusal, greetings.Refusal)
    assert refusal.retry
    for _, each in [*held, (reader, writer)]:
        each.close()
    assert await _is_hung_up(reader)


async def test_connections_that_say_nothing_make_way_for_one_that_does(
    cluster, monkeypatch
) -> None:
    monkeypatch.setattr("fastqueue.control_plane.app.sessions_max", lambda: 2)
    await cluster.start()
    silent = [await _open(cluster.address) for _ in range(2)]
    reader, writer = await _open(cluster.address)
    writer.write(_hello())
    assert isinstance(greetings.decode_greeting(await _read_frame(reader)), greetings.Welcome)
    assert await _is_hung_up(silent[0][0])
    for _, each in [*silent, (reader, writer)]:
        each.close()


async def test_a_client_that_never_reads_hurts_nobody_and_costs_little(cluster) -> None:
    async def large() -> str:
        return "x" * 100_000

    await cluster.start(registry_of(add, large))
    client = await cluster.client()
    reader, writer = await _open(cluster.address)
    writer.write(_hello())
    await _read_frame(reader)
    writer.transport.pause_reading()
    tasks = [NewTask(f"{n:036d}", "large", 2, 0, b"[[],{}]") for n in range(200)]
    writer.write(frame(msg.encode(msg.Submit(1, tasks))))
    last = f"{199:036d}"
    await eventually(lambda: _is_finished(client, last))
    assert (await client.submit_task("add", (1, 2))).result == 3
    # It is told all of it once it reads again.
    writer.transport.resume_reading()
    pushed = 0
    while pushed < 200:
        message = msgspec.msgpack.decode(await _read_frame(reader))
        pushed += len(message[1]) if message[0] == 27 else 0
    writer.close()


async def _is_finished(client: Client, task_id: str) -> bool:
    result = await client.get_task_result(task_id)
    return result is not None and result.status.is_terminal


def test_the_hello_and_the_greeting_are_maps_that_any_version_can_read() -> None:
    assert isinstance(msgspec.msgpack.decode(_hello()[4:]), dict)
