"""Own the look past the end of the log that finds damage which SQLite takes for a torn write.

After a crash SQLite reads its log up to the first frame whose checksum is wrong and drops the rest:
that is how it forgets a transaction that was under way. A damaged frame in the middle makes it
drop, in silence, all that was acknowledged after it. The two can be told apart: with
`synchronous=FULL` a transaction is begun only when the one before it is on disk, so that past the
valid frames there is at most one transaction of this log.

The layout is that of https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FRAME_HEADER_BYTES", "count_dropped"]

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">4I8x")  # page number, database pages if it commits, two salts
FRAME_HEADER_BYTES = _FRAME.size
_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683


def count_dropped(connection: apsw.Connection, log: Path) -> int:
    """Return how many transactions SQLite has dropped that were complete on disk.

    Args:
        connection: has read the database, and so its log; `synchronous` has always been FULL.
        log: the log's file.
    """
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        valid, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        page_bytes: int = connection.pragma("page_size")
        return _count_followed(_frames_after(file, valid, page_bytes))
    finally:
        os.close(file)


def _count_followed(frames: Iterator[tuple[int, int]]) -> int:
    """Count the commits that a frame of another transaction comes after."""
    count = 0
    commit_page = 0
    for page, database_pages in frames:
        # A file system that may tear a sector makes SQLite repeat the last frame to fill it.
        if commit_page and page != commit_page:
            count += 1
            commit_page = 0
        if database_pages:
            commit_page = page
    return count


def _frames_after(file: int, valid: int, page_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield page number and commit mark of those frames of this log that follow the valid ones."""
    salts = _salts(os.pread(file, _HEADER.size, 0))
    size = _FRAME.size + page_bytes
    for offset in range(_HEADER.size + valid * size, os.fstat(file).st_size - size + 1, size):
        page, database_pages, *frame_salts = _FRAME.unpack(os.pread(file, _FRAME.size, offset))
        if salts is None and any(frame_salts):
            # The header is damaged: the first frame tells which log this is. Not by zeros, of
            # which a file may consist that was given its size before.
            salts = frame_salts
        if frame_salts == salts:
            yield page, database_pages


def _salts(header: bytes) -> list[int] | None:
    """Return the header's salts, or None if it isn't as it was written."""
    if len(header) < _HEADER.size:
        return None
    magic, *fields = _HEADER.unpack(header)
    if magic not in (_MAGIC_LITTLE, _MAGIC_BIG):
        return None
    order = "<" if magic == _MAGIC_LITTLE else ">"
    first = second = 0
    words = struct.unpack(f"{order}6I", header[:24])
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return fields[3:5] if fields[5:] == [first, second] else None
