"""A store that can't be trusted is refused and left as it is."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import apsw
import pytest

from fastqueue.core import changes as ch
from fastqueue.core.records import NewTask
from fastqueue.errors import ConfigurationError, StoreCorrupt, StoreLocked, StoreTooNew
from fastqueue.store.sqlite.files import DATABASE_NAME
from fastqueue.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


def filled(directory: Path) -> Path:
    store = SqliteStore(directory)
    store.load(0.0)
    tasks = [NewTask(f"id-{n:05d}", "add", 2, 0, b"x" * 200) for n in range(500)]
    keys = [(1 << 44) + n for n in range(500)]
    store.write([ch.LaneAdded(1, "default", 2, "add"), ch.TasksAdded(keys, tasks, "c", 1.0)])
    asyncio.run(store.commit())
    store.close()
    return directory / DATABASE_NAME


def test_a_second_store_on_the_directory_is_refused_naming_the_holder(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    try:
        with pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
            SqliteStore(tmp_path)
    finally:
        store.close()
    SqliteStore(tmp_path).close()


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from fastqueue.store.sqlite.store import SqliteStore;"
        "SqliteStore(pathlib.Path(sys.argv[1]))"
    )
    store = SqliteStore(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
        )
    finally:
        store.close()
    assert done.returncode != 0
    assert "StoreLocked" in done.stderr


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 999)
    connection.close()
    with pytest.raises(StoreTooNew, match="999"):
        SqliteStore(tmp_path)


@pytest.mark.parametrize("damage", ["header", "pages", "not a database", "another program's"])
def test_a_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:16] = b"\0" * 16
    elif damage == "pages":
        data[8192:40960] = os.urandom(32768)
    elif damage == "not a database":
        data = bytearray(b"this is a letter to my aunt\n" * 100)
    else:
        path.unlink()
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE recipes (name)")
        other.close()
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="damaged"):
        SqliteStore(tmp_path)
    assert path.read_bytes() == data


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigurationError, match="--data-dir"):
        SqliteStore(file / "below")


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "data")
    store.load(0.0)
    try:
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        for path in (tmp_path / "data").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    finally:
        store.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_durability_is_what_was_asked_for(
    tmp_path: Path, durability: str, synchronous: int
) -> None:
    store = SqliteStore(tmp_path, durability)
    try:
        assert store._connection.pragma("synchronous") == synchronous
        assert store._connection.pragma("journal_mode") == "wal"
    finally:
        store.close()
