"""Own the disk that can lose power: an SQLite VFS that knows which bytes were synced.

Files are read and written as ever, through SQLite's own VFS. Beside that, the disk remembers what
each file had at its last sync and every write and truncation since; nothing is really synced.
When power is cut, that memory is frozen. What the store does afterwards doesn't count. The files
are then rebuilt as they may be found when power is back.

The model: a sector of 512 bytes holds what it held at some moment since its file's last sync, each
sector at a moment of its own; so writes survive in any order, and torn. The length is that of some
moment too. A file that was made or removed since the directory's last sync may be there or not.
SQLite's own VFS syncs the directory along with the first sync of a journal or log that it opened.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw

__all__ = ["PowerDisk"]

SECTOR_BYTES = 512
_SYNCED_WITH_DIRECTORY = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
_LOG_ROOM_BYTES = 64 * 1024
_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class _File:
    """Remember one file: what it surely has, and what was asked for since."""

    exists: bool = False
    synced: bytearray = field(default_factory=bytearray)
    # Whether it is there by now, if the directory isn't synced since.
    pending_exists: bool | None = None
    # (offset, data) is a write, (length, None) a truncation.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.synced, offset, data)
        self.pending.clear()

    def sync_entry(self) -> None:
        """Let it be as durable that it is there, or isn't, as a sync of its directory does."""
        if self.pending_exists is not None:
            self.exists, self.pending_exists = self.pending_exists, None

    def sync_failed(self, rng: random.Random) -> None:
        """Let a part of what was to be synced be lost for good, unknown to its writer."""
        self.synced = self.survivor(rng, rng.random())
        self.pending.clear()

    def survivor(self, rng: random.Random, luck: float) -> bytearray:
        """Return what the file may have: each sector is the newest with a chance of `luck`.

        A truncation is there as a whole or not at all, as file systems have it.
        """
        base = bytearray(self.synced)
        lengths = [len(base)]
        versions: dict[int, list[tuple[int, bytes]]] = {}
        for offset, data in self.pending:
            before = lengths[-1]
            if data is None:
                lengths.append(offset)
                if rng.random() < luck:
                    del base[offset:]
                    versions = {n: v for n, v in versions.items() if n * SECTOR_BYTES < offset}
                continue
            lengths.append(max(before, offset + len(data)))
            for start, piece in _sectors(offset, data):
                versions.setdefault(start // SECTOR_BYTES, []).append((start, piece))
        found = base.ljust(max(lengths), b"\0")
        for pieces in versions.values():
            kept = len(pieces) if rng.random() < luck else rng.randrange(len(pieces))
            for start, piece in pieces[:kept]:
                found[start : start + len(piece)] = piece
        length = lengths[-1] if rng.random() < luck else rng.choice(lengths)
        return found[:length]


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """Cut what is written at `offset` where the disk's sectors end."""
    pieces = []
    end = offset + len(data)
    while offset < end:
        stop = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        pieces.append((offset, data[: stop - offset]))
        data = data[stop - offset :]
        offset = stop
    return pieces


class PowerDisk(apsw.VFS):
    """Be the disk under a store in `directory`; power is cut at the `cut_at`th change or sync.

    Attributes:
        name: what to give to the store as its VFS.
        calls: how many changes and syncs there were.
        is_cut: whether the power was cut; what is done afterwards is lost.
        cut_in: the call that was under way then, such as "xSync of fastqueue.db-wal".
        fail_sync_at: the call from which on the next sync fails, once.
        failed_in: the sync that failed.
    """

    def __init__(self, directory: Path, *, seed: int, cut_at: int | None = None) -> None:
        self.name = f"power-{next(_NUMBERS)}"
        self.calls = 0
        self.is_cut = False
        self.cut_in = ""
        self.fail_sync_at: int | None = None
        self.failed_in = ""
        self._directory = directory
        self._cut_at = cut_at
        self._random = random.Random(seed)
        self._files: dict[str, _File] = {}
        self._lock_file = b""
        super().__init__(self.name, "")

    # -- the power

    def cut(self, during: str = "rest") -> None:
        """Cut the power now."""
        if self.is_cut:
            return
        self.is_cut, self.cut_in = True, during
        # It is written and synced by the store itself, not through SQLite, between two calls.
        self._lock_file = (self._directory / "lock").read_bytes()

    def rebuild(self, directory: Path, luck: float) -> None:
        """Make the files in `directory` as they may be found after the cut.

        Args:
            directory: where; it is made.
            luck: how likely what wasn't synced survived, by sector: 0 is none of it, 1 all.
        """
        assert self.is_cut
        directory.mkdir()
        (directory / "lock").write_bytes(self._lock_file)
        for name, file in self._files.items():
            exists = file.exists
            if file.pending_exists is not None and self._random.random() < luck:
                exists = file.pending_exists
            if exists:
                content = file.survivor(self._random, luck) if luck else file.synced
                if name.endswith("-wal") and self._random.random() < 0.5:
                    # As it is if the store made room for its log: zeros follow what was written.
                    content = content + bytes(_LOG_ROOM_BYTES)
                (directory / name).write_bytes(content)

    # -- what SQLite calls

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            return apsw.VFSFile("", name, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        is_known = path.name in self._files and path.exists()
        opened = _OpenFile(self, path.name, name, flags)
        if not is_known and not self.is_cut:
            # The store makes the database itself, empty, before SQLite opens it.
            assert path.stat().st_size == 0
            assert path.name not in self._files, "a name used twice isn't modelled"
            self._files[path.name] = _File(pending_exists=True)
        return opened

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        name = Path(filename).name
        if self._counts(f"xDelete of {name}"):
            self._files[name].pending_exists = False
            if syncdir:
                self._sync_directory()
        super().xDelete(filename, syncdir)

    def changed(self, name: str, call: str, offset: int, data: bytes | None) -> None:
        """Remember a write or truncation; it may be under way when power is cut."""
        if self.is_cut:
            return
        self._files[name].pending.append((offset, data))
        self._counts(f"{call} of {name}")

    def sync(self, name: str, *, with_directory: bool) -> None:
        """Remember that a file is synced, unless power is cut while it is."""
        if not self._counts(f"xSync of {name}"):
            return
        if self.fail_sync_at is not None and self.calls >= self.fail_sync_at:
            self.fail_sync_at, self.failed_in = None, name
            self._files[name].sync_failed(self._random)
            raise _failed_sync(name)
        self._files[name].sync()
        if with_directory:
            self._sync_directory()

    def _sync_directory(self) -> None:
        for file in self._files.values():
            file.sync_entry()

    def _counts(self, what: str) -> bool:
        """Count a call; say whether it comes before the cut."""
        if not self.is_cut:
            self.calls += 1
            if self.calls == self._cut_at:
                self.cut(what)
        return not self.is_cut


class _OpenFile(apsw.VFSFile):
    """Be an open file of the disk."""

    def __init__(
        self, disk: PowerDisk, name: str, filename: str | apsw.URIFilename, flags: list[int]
    ) -> None:
        super().__init__("", filename, flags)
        self._disk = disk
        self._name = name
        self._syncs_directory = bool(flags[0] & _SYNCED_WITH_DIRECTORY)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.changed(self._name, "xWrite", offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.changed(self._name, "xTruncate", newsize, None)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._name, with_directory=self._syncs_directory)
        self._syncs_directory = False


def _failed_sync(name: str) -> apsw.IOError:
    error = apsw.IOError(f"a test made the sync of {name} fail")
    error.result = apsw.SQLITE_IOERR
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
    return error
