"""Own the ports that tests listen on: no two processes that test are given the same one.

A port that is free when it is looked at may be taken before it is used, by a test beside. So each
process holds a block of ports for itself, by a lock on a file, and takes them from there in turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
from itertools import count
from pathlib import Path

# Below the range from which the system takes ports for outgoing connections.
_PORTS = range(11_000, 32_000)
_BLOCK = 100


class _Block:
    """Hold a block of ports until the process ends."""

    def __init__(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"fastqueue-test-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        starts = list(_PORTS[::_BLOCK])
        random.SystemRandom().shuffle(starts)
        for start in starts:
            self._lock = os.open(folder / str(start), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            os.close(self._lock)
        else:
            raise RuntimeError(f"all blocks of ports are in use; see {folder}")
        self._owner = os.getpid()
        self._ports = (start + n % _BLOCK for n in count())

    def take(self) -> int:
        for _ in range(_BLOCK):
            port = next(self._ports)
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        raise RuntimeError("all ports of this process's block are in use")

    @property
    def is_mine(self) -> bool:
        return self._owner == os.getpid()


_block: _Block | None = None


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing uses."""
    global _block
    if _block is None or not _block.is_mine:
        _block = _Block()
    return _block.take()


def free_address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"
