"""Own the room of the log: its file is given its usual size before anything is in it.

The log is written from its beginning again after each checkpoint, so it stays as long as it once
was. Until it is, each commit makes the file longer, and an fsync has to write the new length
and the new blocks' places as well, which takes about twice as long.

Zeros are no frames, for SQLite as for `log_check`: a log of zeros is an empty log.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_room"]

_PIECE = bytes(1024**2)
# It is for speed alone: a disk that is nearly full has better uses for its last room.
_FREE_SHARE_MAX = 1 / 8


def make_room(log: Path, size_bytes: int) -> None:
    """Lengthen the log's file if it is there and empty; durably, or not at all.

    Args:
        log: the log of an open database that has committed nothing to it yet.
        size_bytes: how long it will be.
    """
    with contextlib.suppress(OSError):
        file = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
        try:
            disk = os.fstatvfs(file)
            is_empty = os.fstat(file).st_size == 0
            if is_empty and size_bytes <= disk.f_bavail * disk.f_frsize * _FREE_SHARE_MAX:
                _lengthen(file, size_bytes)
        finally:
            os.close(file)


def _lengthen(file: int, size_bytes: int) -> None:
    try:
        done = 0
        while done < size_bytes:
            done += os.write(file, _PIECE[: size_bytes - done])
        os.fsync(file)
    except OSError:
        # A quota, perhaps: what was written stands in nobody's way, but others need the room.
        os.ftruncate(file, 0)
        raise
