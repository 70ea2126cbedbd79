"""Own the messages between a subworker and the processes that its tasks have for themselves.

They travel as frames over a socket pair. The process is told `Setup` once and answers `Started` or
`CannotStart`; from then on each `Run` is answered by `Ended`. In between the task may tell of
itself by `Noted`, and have a checkpoint saved by `Checkpointing`, which is answered by
`CheckpointAnswered`. When the stream from above ends, so does the process.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from fastqueue.core.records import Lease, News, Outcome  # noqa: TC001 - read at run time
from fastqueue.errors import ProtocolError

__all__ = [
    "CannotStart",
    "CheckpointAnswered",
    "Checkpointing",
    "Ended",
    "FromProcess",
    "Noted",
    "Run",
    "Setup",
    "Started",
    "ToProcess",
    "decode_from_process",
    "decode_to_process",
    "encode",
]


class Setup(Struct, array_like=True, tag=1, frozen=True):
    """Say what a process is to import, and how it is set.

    Attributes:
        task_modules: the modules that define its tasks.
        worker_id: the subworker's, for the log.
        log_level: the least severe log lines that are shown.
        allow_pickle: whether it may unpickle.
    """

    task_modules: list[str]
    worker_id: str
    log_level: str
    allow_pickle: bool


class Run(Struct, array_like=True, tag=2, frozen=True):
    """Run one task, the result of which may be so large."""

    lease: Lease
    result_bytes_max: int


class CheckpointAnswered(Struct, array_like=True, tag=3, frozen=True):
    """Say that a checkpoint is on disk, or by `refusal` why not."""

    sequence: int
    refusal: str = ""
    is_lease_lost: bool = False


class Started(Struct, array_like=True, tag=11, frozen=True):
    """Say that the task modules are imported."""


class CannotStart(Struct, array_like=True, tag=12, frozen=True):
    """Say why no task can be run here."""

    error: str


class Ended(Struct, array_like=True, tag=13, frozen=True):
    """Say what came of the task."""

    outcome: Outcome


class Noted(Struct, array_like=True, tag=14, frozen=True):
    """Say what the task tells of itself."""

    news: News


class Checkpointing(Struct, array_like=True, tag=15, frozen=True):
    """Have a checkpoint of the task saved."""

    sequence: int
    value: bytes


ToProcess = Setup | Run | CheckpointAnswered
FromProcess = Started | CannotStart | Ended | Noted | Checkpointing

encode = msgspec.msgpack.Encoder().encode
_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)
decode_to_process = _to_process.decode


def decode_from_process(body: bytes) -> FromProcess:
    """Return what a process said.

    Raises:
        ProtocolError: it can't be understood; a task may have written to the socket.
    """
    try:
        return _from_process.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"it sent what can't be understood: {error}") from error
