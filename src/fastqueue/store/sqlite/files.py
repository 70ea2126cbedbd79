"""Own the store's files: the data directory, its lock, opening the database, its schema.

A second control plane on one data directory would be a second owner of the queue, and SQLite alone
wouldn't stop it: the lock file does, for as long as the process lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
from importlib import resources
from typing import TYPE_CHECKING

import apsw

from fastqueue.errors import (
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreTooNew,
)
from fastqueue.store.sqlite.log_check import FRAME_HEADER_BYTES, count_dropped
from fastqueue.store.sqlite.log_room import make_room

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "DATABASE_NAME",
    "LOCK_NAME",
    "DirectoryLock",
    "InPlace",
    "is_full",
    "migrate",
    "no_room",
    "open_database",
]

DATABASE_NAME = "fastqueue.db"
LOCK_NAME = "lock"
# The lock file's first line is its holder's process id, always this long, so that the second,
# which says that there is a store, is never written over.
_HOLDER_WIDTH = 10
_HAS_STORE = b"has a store\n"
_APPLICATION_ID = 0x66717565  # "fque"
_OPEN_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_SYNCHRONOUS = {"full": 2, "normal": 1}
# A store up to this size is checked whole at start; it takes some tens of milliseconds. Damage in
# a larger one is found when it is read, and ends the control plane then.
_CHECKED_BYTES_MAX = 32 * 1024**2
_CACHE_KIB = 16 * 1024
# Pages in the log before a commit also writes them back: 16 MiB.
_CHECKPOINT_PAGES = 4_000


class DirectoryLock:
    """Hold a data directory for this process alone, until `release` or the process ends.

    Attributes:
        where: the directory, as an absolute path.
        has_store: whether a store was completed there; one that is gone isn't begun anew.

    Raises:
        ConfigurationError: the directory can't be made or written.
        StoreFull: there is no room for the lock.
        StoreLocked: another control plane holds it.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self.where = str(directory.absolute())
            _make_durably(directory)
            self._file = os.open(
                directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            if is_full(error):
                raise no_room(directory) from error
            raise ConfigurationError(
                f"the data directory {str(directory)!r} can't be written: {error.strerror}; "
                "choose another with --data-dir or FASTQUEUE_DATA_DIR"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, _HOLDER_WIDTH).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreLocked(
                f"the data directory {str(directory)!r} is in use by another control plane"
                f"{f' (process {holder})' if holder else ''}; stop that one, or choose another "
                "directory with --data-dir"
            ) from error
        self.has_store = os.pread(self._file, len(_HAS_STORE), _HOLDER_WIDTH + 1) == _HAS_STORE
        try:
            os.pwrite(self._file, f"{os.getpid():<{_HOLDER_WIDTH}}\n".encode(), 0)
        except OSError as error:
            os.close(self._file)
            if is_full(error):
                raise no_room(directory) from error
            raise

    def note_store(self) -> None:
        """Remember that there is a store, with its schema, on disk."""
        os.pwrite(self._file, _HAS_STORE, _HOLDER_WIDTH + 1)
        os.fsync(self._file)
        self.has_store = True

    def free_bytes(self) -> int:
        """Return what its file system has free for a user that isn't root, in bytes."""
        found = os.fstatvfs(self._file)
        return found.f_bavail * found.f_frsize

    def release(self) -> None:
        """Let another control plane have the directory."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class InPlace:
    """Tell whether files that are in use are still where they were opened.

    A file that was removed can be written as ever, and is gone with the process that has it open.

    Args:
        directory: where they are.
        names: of the files.
    """

    def __init__(self, directory: Path, names: Iterable[str]) -> None:
        self._where = str(directory.absolute())
        self._opened = [(directory / name, os.stat(directory / name)) for name in names]

    def check(self) -> None:
        """Look whether all are; cheap.

        Raises:
            StoreError: one was removed or replaced.
        """
        for path, opened in self._opened:
            try:
                found: os.stat_result | None = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                found = None
            except OSError:
                continue  # it isn't known, and what is open can be used
            if found is None or not os.path.samestat(found, opened):
                raise StoreError(
                    f"the data directory {self._where!r} was removed or replaced while it was in "
                    f"use: its {path.name!r} is {'gone' if found is None else 'another file'}, and "
                    "what is stored now would be lost. Put back a backup, or start with an empty "
                    "one; stop the control plane first next time"
                )


def _make_durably(directory: Path) -> None:
    """Make a directory, with those above it, so that no power loss takes it away again.

    SQLite syncs what is in the data directory, but not that the directory itself is there.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in missing:
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def open_database(
    directory: Path,
    durability: str,
    lock: DirectoryLock,
    *,
    room_for_log: bool = False,
    vfs: str | None = None,
) -> apsw.Connection:
    """Open the store in `directory`, creating it if there never was one, its schema up to date.

    Args:
        directory: the data directory.
        durability: as for `SqliteStore`.
        lock: holds the directory.
        room_for_log: as for `SqliteStore`.
        vfs: as for `SqliteStore`.

    Raises:
        StoreCorrupt: the file is damaged, gone or isn't a store; it is left as it is.
        StoreTooNew: a newer fastqueue wrote it.
        StoreFull: there is no room to create it or to note that it was opened.
        StoreError: it can't be opened.
    """
    if durability == "memory":
        in_memory = apsw.Connection(":memory:")
        migrate(in_memory, ":memory:")
        return in_memory
    path = directory / DATABASE_NAME
    if lock.has_store and not (path.is_file() and path.stat().st_size):
        raise _gone(directory)
    connection: apsw.Connection | None = None
    try:
        # SQLite gives its log and the database the same mode. The descriptor is closed before
        # SQLite has any lock on the file, which closing it later would drop.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = apsw.Connection(str(path), _OPEN_FLAGS, vfs)
        connection.pragma("locking_mode", "exclusive")
        # Before anything is set that would change the file.
        _check(connection, path, lock, durability)
        _configure(connection, path, durability)
        migrate(connection, str(path))
        if not lock.has_store:
            # The log may still be lost, with the log's file or (if normal) the power.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            lock.note_store()
        # With "normal" hardly ever a commit waits for an fsync.
        if room_for_log and durability == "full":
            frame_bytes = FRAME_HEADER_BYTES + connection.pragma("page_size")
            make_room(path.with_name(f"{path.name}-wal"), _CHECKPOINT_PAGES * frame_bytes)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        if connection is not None:
            connection.close()
        raise _corrupt(path, str(error)) from error
    except (apsw.Error, OSError) as error:
        full = is_full(error, connection)
        if connection is not None:
            connection.close()
        if full:
            raise no_room(directory) from error
        raise StoreError(f"the store {str(path)!r} can't be opened: {error}") from error
    return connection


def _configure(connection: apsw.Connection, path: Path, durability: str) -> None:
    mode = connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", durability)
    connection.pragma("cache_size", -_CACHE_KIB)
    connection.pragma("temp_store", "memory")
    connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
    synchronous = connection.pragma("synchronous")
    if mode != "wal" or synchronous != _SYNCHRONOUS[durability]:
        raise StoreError(
            f"the store {str(path)!r} can't be made durable: journal_mode is {mode}, "
            f"synchronous {synchronous}"
        )


def _check(connection: apsw.Connection, path: Path, lock: DirectoryLock, durability: str) -> None:
    application_id = connection.pragma("application_id")
    is_new = connection.pragma("schema_version") == 0
    if is_new and lock.has_store:
        raise _gone(path.parent)
    if not is_new and application_id != _APPLICATION_ID:
        raise _corrupt(path, "it is a database of another program")
    if path.stat().st_size <= _CHECKED_BYTES_MAX:
        answer = connection.pragma("quick_check")
        if answer != "ok":
            raise _corrupt(path, str(answer))
    # With "normal" a power cut may leave as much, and that isn't damage.
    log = path.with_name(f"{path.name}-wal")
    if durability == "full" and (dropped := count_dropped(connection, log)):
        # Closing the connection would copy the log back, without what is behind the damage.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise StoreCorrupt(
            f"the store's log {str(log)!r} is damaged: {dropped:,} transactions were acknowledged "
            "behind the damage and can't be read; it is left as it is: restore the whole directory "
            "from a backup, or start once with --durability normal to go on without them (which "
            "is right if it last ran so and the power was cut)"
        )


def is_full(error: Exception, connection: apsw.Connection | None = None) -> bool:
    """Say whether an error means that a disk is full, or that a quota on it is used up.

    SQLite has a code for a full disk, and none for a quota: that is a failed write. Why the system
    refused it is known only from the connection on which it was the latest error.
    """
    if isinstance(error, apsw.IOError):
        # Not a failed sync, which must end the process.
        is_write = error.extendedresult == apsw.SQLITE_IOERR_WRITE  # type: ignore[attr-defined]
        return is_write and connection is not None and connection.system_errno == errno.EDQUOT
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, apsw.FullError)


def no_room(directory: Path) -> StoreFull:
    """Return the error that names the directory and how much is free there."""
    found = os.statvfs(directory if directory.exists() else directory.parent)
    return StoreFull(
        f"there is no room for the store in the data directory {str(directory)!r}: "
        f"{found.f_bavail * found.f_frsize:,} bytes are free on its disk, of which a quota may "
        "allow less"
    )


def _corrupt(path: Path, reason: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"the store {str(path)!r} is damaged ({reason}); it is left as it is: restore it from a "
        "backup, or move the whole directory away to begin with an empty one"
    )


def _gone(directory: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"the data directory {str(directory)!r} had a store, and its {DATABASE_NAME} is gone or "
        "empty: restore it from a backup, or remove the whole directory to begin anew"
    )


def migrate(connection: apsw.Connection, path: str) -> None:
    """Bring the schema up to date, each step in a transaction with its number.

    Raises:
        StoreTooNew: the schema is newer than any this program knows.
    """
    scripts = sorted(
        entry.name
        for entry in resources.files(f"{__package__}.migrations").iterdir()
        if entry.name.endswith(".sql")
    )
    known = len(scripts)
    found = connection.pragma("user_version")
    if found > known:
        raise StoreTooNew(
            f"the store {path!r} has schema {found}; this fastqueue knows up to {known}: "
            "install the newer version that wrote it"
        )
    for number, name in enumerate(scripts[found:], start=found + 1):
        assert int(name.split("_")[0]) == number, f"migration {name} is out of order"
        script = resources.files(f"{__package__}.migrations").joinpath(name).read_text("utf-8")
        with connection:
            connection.execute(script)
            connection.pragma("application_id", _APPLICATION_ID)
            connection.pragma("user_version", number)
