"""A sync that fails ends the control plane: nobody is told that what it held is stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.power.disk import PowerDisk

from fastqueue.control_plane.engine import Engine
from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import NewTask
from fastqueue.errors import StoreError, StoreFull
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode
from fastqueue.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fastqueue.store.base import NumberedCallback


class RecordedPeers:
    """Be a server without connections: keep what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed: list[str] = []
        self.has_sent = asyncio.Event()

    def send(self, session: int, bodies: Sequence[bytes]) -> None:
        self.sent += bodies
        self.has_sent.set()

    def close(self, session: int, reason: str) -> None:
        self.closed.append(reason)

    def close_all(self, reason: str) -> None:
        self.closed.append(reason)

    def is_writable(self, session: int) -> bool | None:
        return True

    def hold_back(self, session: int) -> None:
        pass

    def read_again(self, session: int) -> None:
        pass

    def resume(self) -> None:
        pass

    def deliver(self, address: str, callbacks: list[NumberedCallback]) -> None:
        pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerDisk]:
    lived = tmp_path / "lived"
    lived.mkdir()
    disk = PowerDisk(lived, seed=1)
    yield disk
    disk.unregister()


def new(task_id: str) -> NewTask:
    return NewTask(task_id, "add", 2, 0, b"[1, 2]")


async def test_a_commit_whose_sync_fails_is_an_error_and_not_a_full_disk(
    tmp_path: Path, disk: PowerDisk
) -> None:
    store = SqliteStore(tmp_path / "lived", vfs=disk.name)
    try:
        store.load(0.0)
        added = ch.TasksAdded([(1 << 44) + 1], [new("a")], "client", 1.0)
        store.write([ch.LaneAdded(1, "default", 2, "add"), added])
        disk.fail_sync_at = disk.calls
        with pytest.raises(StoreError, match="can't be committed") as caught:
            await store.commit()
        assert not isinstance(caught.value, StoreFull)
        assert disk.failed_in == "fastqueue.db-wal"
    finally:
        store.close()


async def test_the_engine_ends_at_a_failed_sync_and_acknowledges_nothing_of_that_turn(
    tmp_path: Path, disk: PowerDisk
) -> None:
    store = SqliteStore(tmp_path / "lived", vfs=disk.name)
    try:
        engine = Engine(store, CoreLimits())
        peers = RecordedPeers()
        running = asyncio.create_task(engine.run(peers))
        engine.put(cmd.ClientReady(1, "client"))
        engine.put(cmd.Submit(1, 1, "client", 1.0, [new("a")]))
        await asyncio.wait_for(peers.has_sent.wait(), 10)
        assert peers.sent == [encode(msg.Submitted(1, []))]

        disk.fail_sync_at = disk.calls
        engine.put(cmd.Submit(1, 2, "client", 1.0, [new("b")]))
        with pytest.raises(StoreError, match="can't be committed") as caught:
            await asyncio.wait_for(running, 10)
        assert not isinstance(caught.value, StoreFull)
        assert len(peers.sent) == 1, "the second submission may not be acknowledged"
        assert peers.closed == [], "it is not taken for a full disk, which would be waited out"
        disk.cut()
    finally:
        store.close()

    disk.rebuild(tmp_path / "left", 0.0)
    recovered = SqliteStore(tmp_path / "left")
    try:
        assert recovered.find_known(["a", "b"]) == {"a"}
    finally:
        recovered.close()
