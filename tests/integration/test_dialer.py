"""The dialer finds the control plane whatever else is announced or listens."""

from __future__ import annotations

import asyncio
import socket

from fastqueue import Client
from fastqueue.control_plane.discovery import Announcer
from fastqueue.protocol.announcement import Announcement
from harness import eventually, free_address, registry_of


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


def _connects(client: Client, address: str) -> bool:
    connection = client._connection
    return connection is not None and connection.dialer._attempted == address
