"""The log has its usual size before anything is in it, if there is room for that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastqueue.core import changes as ch
from fastqueue.store.sqlite.log_room import make_room
from fastqueue.store.sqlite.store import SqliteStore

ROOM_BYTES = 4_000 * (4_096 + 24)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "fastqueue.db-wal"


async def test_a_store_makes_room_for_its_log_when_it_is_new_and_when_it_is_opened_again(
    tmp_path, log
):
    for n in range(2):
        store = SqliteStore(tmp_path, room_for_log=True)
        assert log.stat().st_size == ROOM_BYTES
        store.load(0.0)
        store.write([ch.LaneAdded(n + 1, "default", 2, f"name-{n}")])
        await store.commit()
        assert log.stat().st_size == ROOM_BYTES
        store.close()
        assert not log.exists()


def test_a_store_that_was_killed_has_all_it_committed_to_a_log_with_room(tmp_path, log):
    code = """
import asyncio, os, pathlib, sys
from fastqueue.core import changes as ch
from fastqueue.core.records import NewTask
from fastqueue.store.sqlite.store import SqliteStore
async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]), room_for_log=True)
    store.load(0.0)
    store.write([ch.LaneAdded(1, "default", 2, "add")])
    for n in range(50):
        task = NewTask(f"task-{n}", "add", 2, 0, b"")
        store.write([ch.TasksAdded([(1 << 44) + n], [task], "c", 1.0)])
        await store.commit()
asyncio.run(main())
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert log.stat().st_size == ROOM_BYTES
    store = SqliteStore(tmp_path, room_for_log=True)
    store.load(0.0)
    ids = [f"task-{n}" for n in range(50)]
    assert store.find_live(ids).keys() == set(ids)
    store.close()


def test_no_room_is_made_where_it_would_be_an_eighth_of_what_is_free(log):
    log.touch()
    free = os.statvfs(log).f_bavail * os.statvfs(log).f_frsize
    make_room(log, free // 4)
    assert log.stat().st_size == 0


def test_a_log_that_has_something_in_it_is_left_as_it_is(log):
    log.write_bytes(b"frames")
    make_room(log, 1_000)
    assert log.read_bytes() == b"frames"


def test_a_log_that_is_not_there_is_not_made(log):
    make_room(log, 1_000)
    assert not log.exists()


def test_room_that_a_quota_does_not_allow_is_given_back(log, monkeypatch):
    log.touch()
    write = os.write

    def write_some(file, data):
        if os.fstat(file).st_size >= 3 * 1024**2:
            raise OSError(122, "Disk quota exceeded")
        return write(file, data)

    monkeypatch.setattr(os, "write", write_some)
    make_room(log, 5 * 1024**2)
    assert log.stat().st_size == 0
