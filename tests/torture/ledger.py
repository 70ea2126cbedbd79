"""Own the ledger: what tasks and clients saw, on disk, apart from everything fastqueue keeps.

Each process appends lines of JSON to a file of its own name and syncs it before it goes on, so that
a kill takes at most the line it was in the middle of. Only the standard library is used here: what
judges the queue shares nothing with it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


class Ledger:
    """Append to one file of the ledger; several threads and processes may."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *words):
        """Append a line and sync it."""
        self.note_all([words])

    def note_all(self, lines):
        """Append lines with one write and one sync."""
        os.write(self._file, b"".join(json.dumps(words).encode() + b"\n" for words in lines))
        os.fdatasync(self._file)


def read_lines(folder, pattern):
    """Return the lines of all files that match; one that a kill tore off is left out."""
    lines = []
    for path in sorted(Path(folder).glob(pattern)):
        text = path.read_bytes()
        for line in text[: text.rfind(b"\n") + 1].splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # torn, and another process went on behind it
    return lines


def now():
    """Return the monotonic time, in seconds; on one machine the same in every process."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
