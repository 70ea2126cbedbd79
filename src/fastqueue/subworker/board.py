"""Own the board on which a subworker notes what it runs, for its supervisor to read in the end.

It is a file without a name, mapped into both processes: what is noted on it outlives the process
that noted it, however that ended, and noting costs a store to memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Board"]

_INSTANCE_BYTES = 64
_FLAG_OFFSET = _INSTANCE_BYTES
_HEADER_BYTES = _INSTANCE_BYTES + 8
_TOKEN = struct.Struct("=q")
# Beyond one a slot: tasks to be run at most once stay on it until their report is acknowledged.
_SPARE = 4_096


class Board:
    """Hold the fencing tokens of the leases that have begun; made by `create` or `attach`.

    Args:
        descriptor: the open file; it is closed with the board.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, 0)
        places = (len(self._map) - _HEADER_BYTES) // _TOKEN.size
        self._free = list(range(places - 1, -1, -1))
        self._place_of: dict[int, int] = {}

    @classmethod
    def create(cls, slots: int) -> Self:
        """Make an empty board for a subworker that runs `slots` tasks at one time."""
        with tempfile.TemporaryFile(prefix="fastqueue-board-") as file:
            file.truncate(_HEADER_BYTES + (slots + _SPARE) * _TOKEN.size)
            return cls(os.dup(file.fileno()))

    @classmethod
    def attach(cls, descriptor: int) -> Self:
        """Open the board that this process has inherited as `descriptor`.

        Raises:
            OSError: that is no board.
            ValueError: that is an empty file.
        """
        # Not for the programs that tasks start.
        os.set_inheritable(descriptor, False)
        return cls(descriptor)

    def fileno(self) -> int:
        """Return the descriptor, to be inherited by the subworker."""
        return self._descriptor

    def close(self) -> None:
        """Give the board up."""
        self._map.close()
        os.close(self._descriptor)

    # -- the subworker's side

    def note_instance(self, instance: str) -> None:
        """Note whose board it is."""
        self._map[:_INSTANCE_BYTES] = instance.encode().ljust(_INSTANCE_BYTES, b"\0")

    def add(self, token: int) -> None:
        """Note that a lease begins."""
        if not self._free:
            # What is on it isn't all any more, so it says nothing from now on.
            _TOKEN.pack_into(self._map, _FLAG_OFFSET, 1)
            return
        place = self._place_of[token] = self._free.pop()
        _TOKEN.pack_into(self._map, _HEADER_BYTES + place * _TOKEN.size, token)

    def remove(self, token: int) -> None:
        """Note that a lease is over; one that isn't on the board changes nothing."""
        place = self._place_of.pop(token, None)
        if place is not None:
            self._free.append(place)
            _TOKEN.pack_into(self._map, _HEADER_BYTES + place * _TOKEN.size, 0)

    # -- the supervisor's side

    def read(self) -> tuple[str, frozenset[int] | None]:
        """Return the subworker's instance, empty if it noted none, and the tokens on the board.

        The tokens are None if there were ever more than there is room for.
        """
        content = self._map[:]
        instance = content[:_INSTANCE_BYTES].rstrip(b"\0").decode("ascii", "replace")
        if _TOKEN.unpack_from(content, _FLAG_OFFSET)[0]:
            return instance, None
        tokens = frozenset(token for (token,) in _TOKEN.iter_unpack(content[_HEADER_BYTES:]))
        return instance, tokens - {0}
