"""Own how task ids are made: UUIDv7, so that they sort by time (RFC 9562, section 5.7)."""

from __future__ import annotations

import hashlib
import sys
import uuid

__all__ = ["new_task_id", "run_id"]

if sys.version_info >= (3, 14):

    def new_task_id() -> str:
        """Return a new task id."""
        return str(uuid.uuid7())

else:
    from uuid_utils import uuid7

    def new_task_id() -> str:
        """Return a new task id."""
        return str(uuid7())


def run_id(schedule_id: str, at: float) -> str:
    """Return the id of the task that a schedule runs at a nominal time.

    The same wherever and whenever it is asked for, so that a run is known again. Like any other id
    it sorts by time; in place of chance it has a digest of which run it is.

    Args:
        schedule_id: the schedule.
        at: the nominal time, in seconds since the epoch.
    """
    digest = hashlib.blake2b(f"{schedule_id}\n{float(at)!r}".encode(), digest_size=10).digest()
    milliseconds = min(max(0, int(at * 1000)), 2**48 - 1)
    number = milliseconds << 80 | int.from_bytes(digest)
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
