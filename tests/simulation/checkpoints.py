"""Own what simulated attempts save for the next ones, and what must come of it.

Each value says whose it is: the task, the token of the lease that saved it, and its place among all
that were ever saved of the task.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastqueue.core.core import Core
    from fastqueue.core.records import Lease
    from fastqueue.store.memory import MemoryStore

__all__ = ["Checkpoints", "check_checkpoints"]


class Checkpoints:
    """Know what was saved, and what was said to be on disk."""

    def __init__(self) -> None:
        self._saved: dict[str, int] = defaultdict(int)
        # Per task, of each lease the last value that was acknowledged.
        self._acknowledged: dict[str, dict[int, int]] = defaultdict(dict)
        self.handed_over = 0
        self.refused = 0
        self.voided = 0

    def make(self, lease: Lease) -> bytes:
        """Return a new value."""
        self._saved[lease.task_id] += 1
        return f"{lease.task_id}/{lease.token}/{self._saved[lease.task_id]}".encode()

    def acknowledge(self, lease: Lease, value: bytes) -> None:
        """Note that a value is said to be on disk."""
        _, place = _token_and_place(value)
        known = self._acknowledged[lease.task_id]
        known[lease.token] = max(known.get(lease.token, 0), place)

    def check_leased(self, lease: Lease) -> None:
        """Assert that an attempt gets what an earlier one saved last, if that is on disk."""
        earlier = [n for t, n in self._acknowledged[lease.task_id].items() if t < lease.token]
        if lease.checkpoint is None:
            assert not earlier, "a checkpoint that was acknowledged is lost"
            return
        task_id, *_ = lease.checkpoint.decode().split("/")
        assert task_id == lease.task_id, "a checkpoint is another task's"
        token, place = _token_and_place(lease.checkpoint)
        assert token < lease.token, "a checkpoint comes from a later attempt"
        assert place >= max(earlier, default=0), "a checkpoint is older than an acknowledged one"
        self.handed_over += 1


def _token_and_place(value: bytes) -> tuple[int, int]:
    _, token, place = value.decode().split("/")
    return int(token), int(place)


def check_checkpoints(core: Core, store: MemoryStore) -> None:
    """Assert what must hold of checkpoints, and of what tasks tell, between two turns."""
    state, tables, limits = core.state, store._tables, core.state.limits
    assert tables.checkpoints.keys() <= tables.keys.keys(), "a checkpoint outlives its task"
    assert state.checkpoints_bytes == sum(map(len, tables.checkpoints.values()))
    assert state.checkpoints_bytes <= limits.checkpoints_bytes_max
    for task_id, task in state.tasks.items():
        stored = tables.checkpoints.get(task_id, b"")
        assert task.checkpoint_bytes == len(stored), "memory and store disagree on a checkpoint"
    followed = state.followed
    assert not followed.has_fresh, "what happened isn't told"
    assert len(followed.told) <= limits.told_max
    lines = [line for told in followed.told.values() for line in told.lines]
    assert followed.lines_bytes == sum(len(line) + 1 for line in lines)
    for task_id, told in followed.told.items():
        assert state.tasks[task_id].token == told.token, "what a void lease told is kept"
        assert len(told.lines) <= limits.told_lines_max
    for task_id, sessions in followed.followers.items():
        assert task_id in tables.keys, "a task that is over is followed"
        for session in sessions:
            assert session in state.clients_by_session, "a session that has ended follows"
            assert task_id in followed.by_session[session]
    count = sum(map(len, followed.by_session.values()))
    assert count == sum(map(len, followed.followers.values()))
    assert all(len(ids) <= limits.followed_max for ids in followed.by_session.values())
