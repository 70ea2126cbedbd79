"""Why a control plane doesn't start: said clearly, nothing damaged, nothing left held."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sqlite3

import pytest
from tests.ports import free_address, free_port

from fastqueue import Client
from fastqueue.errors import (
    ConfigurationError,
    ControlPlaneUnavailable,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    StoreTooNew,
)
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import FrameDecoder, frame
from harness import Cluster, bounded, registry_of


async def add(x, y):
    return x + y


@pytest.fixture
async def folder(cluster):
    """Give the folder of a control plane that has stopped, with something in its store."""
    await cluster.start(registry_of(add))
    client = await cluster.client()
    for n in range(200):
        await client.submit_task("add", (n, n))
    await client.delay("nobody_runs_this", "y" * 20_000)
    await client.aclose()
    for subworker in cluster.subworkers:
        await subworker.stop()
    await cluster.stop_control_plane()
    return cluster.folder


@contextlib.contextmanager
def taken(port):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


@pytest.mark.parametrize("which", ["base_address", "discovery_address"])
async def test_a_port_in_use_is_named_and_nothing_stays_held(cluster, which):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    with taken(port), pytest.raises(ConfigurationError, match=address) as caught:
        await cluster.start_control_plane(**{which: address})
    assert f"--{which.replace('_', '-')}" in str(caught.value)
    await cluster.start_control_plane(**{which: address})  # neither the port nor the store is held


async def test_two_control_planes_have_two_data_directories(cluster, tmp_path):
    await cluster.start_control_plane()
    other = Cluster(tmp_path)
    with pytest.raises(StoreLocked, match="in use by another control plane") as caught:
        await other.start_control_plane()
    assert str(tmp_path / "data") in str(caught.value)
    assert "--data-dir" in str(caught.value)
    client = await cluster.client()
    assert (await client.inspect())["queued"] == 0
    await cluster.stop_control_plane()
    await other.start_control_plane()
    await other.close()


@pytest.mark.parametrize("where", ["under a file", "where nobody may write"])
async def test_a_data_directory_that_cannot_be_written_is_named(cluster, tmp_path, where):
    (tmp_path / "file").touch()
    # Not even the superuser can make a folder in these two places.
    data_dir = str(tmp_path / "file" / "data") if where == "under a file" else "/proc/1/data"
    with pytest.raises(ConfigurationError, match="can't be written") as caught:
        await cluster.start_control_plane(data_dir=data_dir)
    assert data_dir in str(caught.value)
    assert "--data-dir" in str(caught.value)


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:5555", "tcp://192.0.2.1:5555", "tcp://[::]:5555"]
)
@pytest.mark.parametrize("which", ["base_address", "discovery_address"])
async def test_an_address_others_can_reach_is_refused_unless_it_is_said_twice(
    cluster, which, address
):
    with pytest.raises(ConfigurationError, match=which) as caught:
        await cluster.start_control_plane(**{which: address})
    assert "--insecure" in str(caught.value)


async def test_an_address_nobody_has_is_refused_at_start(cluster):
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        await cluster.start_control_plane(base_address="tcp://192.0.2.1:5555", insecure=True)


def contents(folder):
    data = folder / "data"
    return {p.name: p.read_bytes() for p in data.iterdir() if p.name.startswith("fastqueue.db")}


def overwrite_header(path):
    with path.open("r+b") as file:
        file.write(b"not a database!!" * 8)


def overwrite_middle(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def cut_in_half(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)


def replace_by_text(path):
    path.write_text("dear diary\n" * 1_000)


def replace_by_another_programs(path):
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table diary (entry text)")
        connection.commit()


@pytest.mark.parametrize(
    "damage",
    [
        overwrite_header,
        overwrite_middle,
        cut_in_half,
        replace_by_text,
        replace_by_another_programs,
    ],
)
async def test_a_corrupt_store_is_refused_and_left_as_it_is(folder, damage):
    damage(folder / "data" / "fastqueue.db")
    before = contents(folder)
    again = Cluster(folder)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="left as it is") as caught:
            await again.start_control_plane()
        assert str(folder / "data" / "fastqueue.db") in str(caught.value)
        assert "backup" in str(caught.value)
    assert contents(folder)["fastqueue.db"] == before["fastqueue.db"]


async def test_a_store_of_a_newer_schema_is_refused_and_left_as_it_is(folder):
    path = folder / "data" / "fastqueue.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (known,) = connection.execute("pragma user_version").fetchone()
        connection.execute("pragma user_version = 999")
        connection.commit()
    before = contents(folder)
    with pytest.raises(StoreTooNew, match=rf"999.*up to {known}"):
        await Cluster(folder).start_control_plane()
    assert contents(folder)["fastqueue.db"] == before["fastqueue.db"]


async def test_a_store_that_is_a_folder_is_refused(folder):
    path = folder / "data" / "fastqueue.db"
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"fastqueue\.db"):
        await Cluster(folder).start_control_plane()


async def test_a_store_may_be_copied_and_used_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(folder / "data", elsewhere / "data")
    cluster = Cluster(elsewhere)
    await cluster.start_control_plane()
    client = await cluster.client()
    stats = await client.inspect()
    assert (stats["queued"], stats["results"]) == (1, 200)
    await cluster.close()


async def test_strangers_at_the_port_disturb_nobody(cluster, caplog):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    host, _, port = cluster.address.removeprefix("tcp://").rpartition(":")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100_000, b"\0\0\0\4garb", b"\0"):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(garbage)
            assert (await client.submit_task("add", (1, 2))).result == 3
    assert (await client.inspect())["clients"] == 1
    warnings = [r for r in caplog.records if r.name.startswith("fastqueue.control_plane.server")]
    assert 1 <= len([r for r in warnings if r.levelname == "WARNING"]) <= 4


async def test_a_peer_of_another_version_is_told_which_ones_there_are(cluster, caplog):
    await cluster.start(registry_of(add))
    client = await cluster.client()
    host, _, port = cluster.address.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    hello = greetings.Hello(protocol=99, role=greetings.ROLE_CLIENT, instance="x", version="99.0")
    writer.write(frame(msg.encode(hello)))
    (body,) = FrameDecoder(10_000).feed(await bounded(reader.read(10_000)))
    refusal = greetings.decode_greeting(body)
    assert isinstance(refusal, greetings.Refusal)
    assert refusal.code == "protocol"
    assert "99" in refusal.message
    assert f"protocol {greetings.PROTOCOL_VERSION}" in refusal.message
    assert await bounded(reader.read()) == b""  # and the connection is ended
    writer.close()
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_client_that_is_refused_says_why_in_its_errors(caplog):
    refusal = greetings.Refusal(code="protocol", message="you speak another protocol")

    async def refuse(reader, writer):
        await reader.read(10_000)
        writer.write(frame(msg.encode(refusal)))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(control_plane_address=f"tcp://127.0.0.1:{port}", timeout=0.2) as client:
            with pytest.raises(ControlPlaneUnavailable, match="you speak another protocol"):
                await client.delay("add", 1, 2)
            with pytest.raises(ControlPlaneUnavailable, match="you speak another protocol"):
                await client.get_task_result("an id")
    told = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(told) == 1


async def test_a_client_and_its_control_plane_may_be_at_a_unix_socket(cluster, tmp_path):
    address = f"ipc://{tmp_path.parent}/cp.sock"
    await cluster.start_control_plane(base_address=address, discovery_address=free_address())
    await cluster.add_subworker(registry_of(add), control_plane_address=address)
    client = await cluster.client(control_plane_address=address)
    assert (await client.submit_task("add", (1, 2))).result == 3
