"""Measure the floor: the same bytes and the same rows, without any of the logic.

What is left of a task when nothing is decided: its messages encoded and decoded, their bytes sent
through a bare socket, its rows written by bare SQLite and committed. All in this process, on one
thread, so that it can be taken beside each run, on a machine that is as fast at that moment.
"""

from __future__ import annotations

import shutil
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastqueue.core.records import Lease, NewTask, Outcome, Result
from fastqueue.protocol import messages as msg
from fastqueue.store.sqlite import statements as sql
from fastqueue.store.sqlite.files import DirectoryLock, open_database
from fastqueue.tasks.ids import new_task_id
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from pathlib import Path

_TASKS = 20_000
_PER_FRAME = 100
_PER_COMMIT = 500


@dataclass(frozen=True)
class Floor:
    """Be what a task costs at least, in microseconds of CPU time."""

    messages_us: float
    socket_us: float
    sqlite_us: float

    @property
    def total_us(self) -> float:
        """Return all of it."""
        return self.messages_us + self.socket_us + self.sqlite_us


def measure_floor(folder: Path) -> Floor:
    """Take the floor once; it takes about half a second."""
    ids = [new_task_id() for _ in range(_TASKS)]
    begun = time.process_time()
    frames = _encode_and_decode(ids)
    messages_s = time.process_time() - begun
    begun = time.process_time()
    _send(frames)
    socket_s = time.process_time() - begun
    sqlite_s = _write(folder / "floor", ids)
    return Floor(*(seconds / _TASKS * 1e6 for seconds in (messages_s, socket_s, sqlite_s)))


def _encode_and_decode(ids: list[str]) -> list[bytes]:
    """Make and read the messages of each task: submitted, leased, reported, pushed."""
    frames = []
    for start in range(0, len(ids), _PER_FRAME):
        part = ids[start : start + _PER_FRAME]
        at = time.time()
        to_control_plane = (
            msg.Submit(1, [NewTask(i, "noop", 2, 0, b"\x92\x90\x80") for i in part]),
            msg.Report(1, [Outcome(i, 1, True, at, at, b"\xc0") for i in part]),
        )
        for message in to_control_plane:
            frames.append(msg.encode(message))
            msg.decode_to_control_plane(frames[-1])
        leases = msg.Leases([Lease(i, 1, 1, "noop", 2, 0, False, b"\x92\x90\x80") for i in part])
        frames.append(msg.encode(leases))
        msg.decode_to_subworker(frames[-1])
        status = TaskStatus.SUCCESS
        results = [Result(i, status, "noop", 1, 0, b"\xc0", None, None, at, at, "w") for i in part]
        frames.append(msg.encode(msg.Push(results)))
        msg.decode_to_client(frames[-1])
    return frames


def _send(frames: list[bytes]) -> None:
    sender, receiver = socket.socketpair()
    with sender, receiver:
        for frame in frames:
            sender.sendall(frame)
            missing = len(frame)
            while missing:
                missing -= len(receiver.recv(missing))


def _write(directory: Path, ids: list[str]) -> float:
    """Write each task's rows as the store does: its task, then its result in the task's place."""
    lock = DirectoryLock(directory)
    connection = open_database(directory, "full", lock)
    try:
        begun = time.process_time()
        for start in range(0, len(ids), _PER_COMMIT):
            part = list(enumerate(ids[start : start + _PER_COMMIT], start=start))
            with connection:
                connection.executemany(
                    sql.ADD_TASK,
                    ((n, i, "client", 1.0, 0, None, None, b"\x92\x90\x80", None) for n, i in part),
                )
            with connection:
                connection.executemany(sql.REMOVE_TASK, ((n,) for n, _ in part))
                connection.executemany(
                    sql.ADD_RESULT,
                    (
                        (i, n, 1.0, 1, "success", "noop", 1, 0, 1.0, 1.0, "w", None, None, b"\xc0")
                        for n, i in part
                    ),
                )
        return time.process_time() - begun
    finally:
        connection.close()
        lock.release()
        shutil.rmtree(directory)
