"""Own how task ids are made: UUIDv7, so that they sort by time (RFC 9562, section 5.7)."""

from __future__ import annotations

import sys
import uuid

__all__ = ["new_task_id"]

if sys.version_info >= (3, 14):

    def new_task_id() -> str:
        """Return a new task id."""
        return str(uuid.uuid7())

else:
    from uuid_utils import uuid7

    def new_task_id() -> str:
        """Return a new task id."""
        return str(uuid7())
