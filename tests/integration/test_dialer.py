"""The dialer finds the control plane whatever else is announced or listens."""

from __future__ import annotations

import asyncio
import socket

from tests.ports import free_address

from fake_control_plane import FakeControlPlane
from fastqueue import Client
from fastqueue.control_plane.discovery import Announcer
from fastqueue.link.connection import Connection
from fastqueue.protocol.announcement import Announcement
from harness import bounded, eventually, registry_of


async def add(x: int, y: int) -> int:
    return x + y


async def test_nonsense_that_is_announced_is_ignored(cluster, caplog) -> None:
    nonsense = Announcer(
        cluster.discovery_address,
        Announcement(control_plane_id="x", address="nonsense", epoch=1, protocol=1),
    )
    await nonsense.start()
    client = Client(discovery_address=cluster.discovery_address, timeout=30)
    await client.start()
    await eventually(lambda: "ignored an announcement" in caplog.text)
    await nonsense.stop()
    await cluster.start(registry_of(add))
    assert (await client.submit_task("add", (1, 2))).result == 3
    await client.aclose()


async def test_a_control_plane_at_every_interface_is_dialled_where_it_was_heard(cluster) -> None:
    await cluster.start(registry_of(add), base_address="tcp://0.0.0.0:0", insecure=True)
    client = await cluster.client()
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_stranger_at_the_old_address_does_not_delay_the_move(cluster, monkeypatch) -> None:
    # Were its hello to be waited for, the test would fail by its own bound.
    monkeypatch.setattr("fastqueue.link.dialer._CONNECT_TIMEOUT_S", 300.0)
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    stale = Announcer(
        cluster.discovery_address,
        Announcement(control_plane_id="x", address=f"tcp://127.0.0.1:{port}", epoch=1, protocol=1),
    )
    await stale.start()
    client = Client(discovery_address=cluster.discovery_address, timeout=30)
    starting = asyncio.create_task(client.start())
    await eventually(lambda: _connects(client, f"tcp://127.0.0.1:{port}"))
    await stale.stop()
    await cluster.start(registry_of(add), base_address=free_address())
    await starting
    assert (await client.submit_task("add", (1, 2))).result == 3
    silent.close()
    await client.aclose()


async def test_a_connection_ends_when_a_newer_start_of_its_control_plane_is_announced() -> None:
    discovery_address = free_address()
    async with FakeControlPlane(epoch=1) as before, FakeControlPlane(epoch=2) as after:
        announcers = [
            Announcer(
                discovery_address,
                Announcement(
                    control_plane_id="fake", address=fake.address, epoch=epoch, protocol=1
                ),
            )
            for epoch, fake in [(1, before), (2, after)]
        ]
        client = Client(discovery_address=discovery_address, timeout=30)
        await announcers[0].start()
        await client.start()
        await bounded(announcers[0].stop())
        assert (before.greeted, before.ended) == (1, 0)
        await announcers[1].start()
        await eventually(lambda: before.ended == 1 and after.greeted == 1)
        client.stop()
        await announcers[1].stop()


TCP_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 13_000),
]


async def test_both_ends_of_a_connection_notice_a_host_that_vanished(cluster, monkeypatch) -> None:
    made = []

    class Seen(Connection):
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            made.append(transport.get_extra_info("socket"))

    monkeypatch.setattr("fastqueue.link.dialer.Connection", Seen)
    monkeypatch.setattr("fastqueue.control_plane.server.Connection", Seen)
    await cluster.start()
    await cluster.client()
    assert len(made) == 2
    for sock in made:
        for level, option, value in TCP_OPTIONS:
            assert sock.getsockopt(level, option) == value, option


def _connects(client: Client, address: str) -> bool:
    connection = client._connection
    return connection is not None and connection.dialer._attempted == address
