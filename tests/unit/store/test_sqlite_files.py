"""A store that can't be trusted is refused and left as it is."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
from importlib import resources
from typing import TYPE_CHECKING

import apsw
import pytest

from fastqueue.core import changes as ch
from fastqueue.core.records import NewTask, PendingCallback
from fastqueue.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTooNew,
)
from fastqueue.store.sqlite.files import DATABASE_NAME
from fastqueue.store.sqlite.store import SqliteStore
from fastqueue.tasks.models import TaskStatus

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


@pytest.mark.parametrize("name", [DATABASE_NAME, "lock", "."])
def test_a_store_whose_files_are_removed_in_use_says_so_at_the_next_look(
    tmp_path: Path, name: str
) -> None:
    directory = tmp_path / "data"
    store = SqliteStore(directory)
    try:
        store.load(0.0)
        assert store.room().free_bytes
        (directory / name).rename(tmp_path / "away")
        with pytest.raises(StoreError, match=r"removed or replaced .* is gone"):
            store.room()
        directory.mkdir(exist_ok=True)
        (directory / DATABASE_NAME).touch()
        (directory / "lock").touch()
        with pytest.raises(StoreError, match=r"removed or replaced .* is another file"):
            store.room()
    finally:
        store.close()


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


def left_by_a_crash(directory: Path, *, durability: str = "full") -> Path:
    """Return the log of a store whose process ended without closing it, after 50 transactions."""
    running = directory / "running"
    store = SqliteStore(running, durability)
    store.load(0.0)
    store.write([ch.LaneAdded(1, "default", 2, "add")])
    for n in range(50):
        task = NewTask(f"id-{n:05d}", "add", 2, 0, b"x" * 200)
        store.write([ch.TasksAdded([(1 << 44) + n], [task], "c", 1.0)])
        asyncio.run(store.commit())
    crashed = directory / "crashed"
    shutil.copytree(running, crashed)
    store.close()
    return crashed / f"{DATABASE_NAME}-wal"


def known(directory: Path, durability: str = "full") -> int:
    store = SqliteStore(directory, durability)
    try:
        return len(store.find_known([f"id-{n:05d}" for n in range(50)]))
    finally:
        store.close()


@pytest.mark.parametrize("place", ["magic", "salt", "first frame", "middle"])
def test_a_log_damaged_before_what_was_acknowledged_is_refused_and_left_as_it_is(
    tmp_path: Path, place: str
) -> None:
    log = left_by_a_crash(tmp_path)
    data = bytearray(log.read_bytes())
    data[{"magic": 3, "salt": 17, "first frame": 100, "middle": len(data) // 2}[place]] ^= 0x40
    log.write_bytes(data)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"damaged: \d+ transactions .* acknowledged"):
            SqliteStore(log.parent)
    assert log.read_bytes() == data

    assert known(log.parent, "normal") < 50, "it goes on without them, being told to"


@pytest.mark.parametrize("cut", ["at the end of a frame", "within a frame", "in the last frame"])
def test_a_last_transaction_that_is_torn_is_dropped_without_a_word(
    tmp_path: Path, cut: str
) -> None:
    log = left_by_a_crash(tmp_path)
    data = bytearray(log.read_bytes())
    frame = 4096 + 24
    if cut == "at the end of a frame":
        del data[-frame:]
    elif cut == "within a frame":
        del data[-100:]
    else:
        data[-1] ^= 1
    log.write_bytes(data)
    assert known(log.parent) == 49


def test_what_an_earlier_log_left_behind_is_no_damage(tmp_path: Path) -> None:
    running = tmp_path / "running"
    store = SqliteStore(running)
    store.load(0.0)
    store.write([ch.LaneAdded(1, "default", 2, "add")])
    for n in range(50):
        if n == 45:
            # The log begins anew, over the frames of the one before.
            store._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        task = NewTask(f"id-{n:05d}", "add", 2, 0, b"x" * 200)
        store.write([ch.TasksAdded([(1 << 44) + n], [task], "c", 1.0)])
        asyncio.run(store.commit())
    crashed = tmp_path / "crashed"
    shutil.copytree(running, crashed)
    store.close()
    assert (crashed / f"{DATABASE_NAME}-wal").stat().st_size > 60 * 4096
    assert known(crashed) == 50


@pytest.mark.parametrize("loss", ["truncated", "deleted", "deleted with its log", "emptied"])
def test_a_store_that_is_gone_is_not_begun_anew(tmp_path: Path, loss: str) -> None:
    path = filled(tmp_path)
    if loss == "truncated":
        os.truncate(path, 0)
    elif loss == "emptied":
        path.unlink()
        empty = apsw.Connection(str(path))
        empty.pragma("journal_mode", "wal")
        empty.close()
    else:
        path.unlink()
        if loss == "deleted with its log":
            for other in tmp_path.glob(f"{DATABASE_NAME}-*"):
                other.unlink()
    before = path.read_bytes() if path.exists() else None
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"gone or empty: restore it .* remove the whole"):
            SqliteStore(tmp_path)
    assert (path.read_bytes() if path.exists() else None) == before

    shutil.rmtree(tmp_path)
    SqliteStore(tmp_path).close()


def test_a_directory_is_not_said_to_have_a_store_whose_schema_is_only_in_the_log(
    tmp_path: Path,
) -> None:
    program = (
        "import os, sys, pathlib; from fastqueue.store.sqlite.store import SqliteStore;"
        "SqliteStore(pathlib.Path(sys.argv[1])); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    (tmp_path / f"{DATABASE_NAME}-wal").unlink()
    # What was never checkpointed is lost, but it is a store.
    SqliteStore(tmp_path).close()


@pytest.mark.parametrize("step", ["open", "configure", "migrate", "checkpoint"])
def test_a_start_that_is_killed_before_the_store_is_complete_can_be_made_again(
    tmp_path: Path, step: str
) -> None:
    program = (
        "import os, sys, pathlib, apsw; from fastqueue.store.sqlite import files\n"
        "class Lock(files.DirectoryLock):\n"
        "    def note_store(self): os._exit(9)\n"
        "def die(*given): os._exit(9)\n"
        "step = sys.argv[2]\n"
        "if step == 'open': apsw.Connection = die\n"
        "if step == 'configure': files._configure = die\n"
        "if step == 'migrate': files.migrate = die\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "files.open_database(path, 'full', Lock(path))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), step], check=False)
    assert done.returncode == 9
    assert (tmp_path / DATABASE_NAME).exists()
    SqliteStore(tmp_path).close()


def test_a_directory_that_was_used_without_a_store_never_had_one(tmp_path: Path) -> None:
    SqliteStore(tmp_path, "memory").close()
    filled(tmp_path).unlink()
    SqliteStore(tmp_path, "memory").close()
    with pytest.raises(StoreCorrupt):
        SqliteStore(tmp_path)


def test_a_released_migration_stays_as_it_is() -> None:
    # Stores that were made by it exist, and it never runs on them again: don't edit a migration
    # that is listed here, add the next one, and list it.
    released = {
        "0001_initial.sql": "7dbc65defd600a7bd4c8cc7c73e7693a6eb9a1c8578a75fbc23953d1e8f017ef",
        "0002_at_most_once.sql": "b77473c6411b650eaeb43826493ac92ae6c917c09aa188b87e472389f780d49f",
        "0003_time.sql": "273c93c623fb3303c630def4e52a204d0b2621487003fda7dbe98b0f586b6c12",
        "0004_schedules.sql": "b2c4fbcc04e854cd099846b49563dec0f5040f7547f83ac462e83f5d7c90ec0f",
        "0005_queues.sql": "e675638d7989375124d7c575149bc222f55e426b9a14b5d522154ce9d0faa280",
        "0006_batches.sql": "a9862d13788340b1b3aa92c1b36786029e3f385e525e8e84c51d77aeb1f7f81f",
        "0007_checkpoints.sql": "57040cafd9a1c9e5b4a8c23f31d5ddc3eb2ab3aaa5a7e86fc4760618ceb1bca0",
    }
    folder = resources.files("fastqueue.store.sqlite.migrations")
    found = {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
    assert found == released, "a released migration may not be edited: add a new one"


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


class Quota(apsw.VFS):
    """Do files' I/O as SQLite does, and refuse to write while `refusal`, a system's error, is set.

    Attributes:
        code: what SQLite is told that went wrong.
    """

    def __init__(self, name: str) -> None:
        self.refusal = 0
        self.code = apsw.SQLITE_IOERR_WRITE
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - as SQLite calls it
        return QuotaFile(self, name, flags)

    def xGetLastError(self):  # noqa: N802
        return self.refusal, ""


class QuotaFile(apsw.VFSFile):
    def __init__(self, quota: Quota, name: object, flags: list[int]) -> None:
        self._quota = quota
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802 - as SQLite calls it
        if self._quota.refusal:
            raise apsw.exception_for(self._quota.code)
        super().xWrite(data, offset)


def test_a_quota_that_is_used_up_is_a_full_disk_and_the_store_goes_on_after_it(
    tmp_path: Path,
) -> None:
    quota = Quota("quota")
    store = SqliteStore(tmp_path, vfs="quota")
    store.load(0.0)
    owed = PendingCallback("tcp://x:1", "a", TaskStatus.SUCCESS, b"1", None, 1.0, 2.0, b"null")
    added = ch.CallbacksAdded(1, [owed], 1.0)
    store.write([added])
    quota.refusal = errno.EDQUOT
    with pytest.raises(StoreFull, match="quota"):
        asyncio.run(store.commit())
    store.rollback()
    with pytest.raises(StoreFull, match=str(tmp_path)):
        store.load(0.0)
    quota.refusal = 0
    assert store.load(0.0).next_callback == 1
    store.write([added])
    asyncio.run(store.commit())
    assert store.load(0.0).next_callback == 2
    store.close()


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(errno.EIO, apsw.SQLITE_IOERR_WRITE), (errno.EDQUOT, apsw.SQLITE_IOERR_FSYNC)],
)
def test_any_other_error_of_a_write_and_a_failed_sync_are_no_full_disk(
    tmp_path: Path, refusal: int, code: int
) -> None:
    quota = Quota("quota")
    store = SqliteStore(tmp_path, vfs="quota")
    store.load(0.0)
    store.write([ch.LaneAdded(1, "default", 2, "add")])
    quota.refusal, quota.code = refusal, code
    with pytest.raises(StoreError) as caught:
        asyncio.run(store.commit())
    assert not isinstance(caught.value, StoreFull)
    quota.refusal = 0
    store.close()
