"""Own the records that cross every boundary unchanged: wire, core and store.

They are msgspec structs in array form, so that a decoded frame is already what the core works on
and a decided effect is already what the wire carries: the hot path builds each once. Payloads and
results are bytes here and everywhere in the control plane; only clients and subworkers decode them.

Times are seconds since the Unix epoch (UTC), as told by the process that saw the event.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from fastqueue.tasks.models import TaskStatus

__all__ = [
    "DEFAULT_QUEUE",
    "EPOCH_BITS",
    "LEASE_BITS",
    "SHORT_TEXT_LENGTH_MAX",
    "WALL_TIME_MAX",
    "AttemptRecord",
    "Callback",
    "DeadLetter",
    "DeadLetterFilter",
    "HeldLease",
    "Lease",
    "NewTask",
    "Outcome",
    "PendingCallback",
    "Refused",
    "Result",
    "RunningTask",
    "TaskId",
    "TaskOptions",
    "fencing_token",
]

DEFAULT_QUEUE = "default"

TaskId = Annotated[str, Meta(min_length=1, max_length=64)]
TaskName = Annotated[str, Meta(min_length=1, max_length=200)]
QueueName = Annotated[str, Meta(min_length=1, max_length=100)]
SHORT_TEXT_LENGTH_MAX = 200
ShortText = Annotated[str, Meta(max_length=SHORT_TEXT_LENGTH_MAX)]
Rank = Annotated[int, Meta(ge=0, le=3)]
FormatCode = Annotated[int, Meta(ge=0, le=1)]

# What a datetime can represent; also keeps out NaN and infinity.
WALL_TIME_MAX = 253_402_300_799.0
WallTime = Annotated[float, Meta(ge=0.0, le=WALL_TIME_MAX)]

# A year; keeps out NaN and infinity.
Seconds = Annotated[float, Meta(ge=0.0, le=31_536_000.0)]
RETRIES_MAX = 1_000

LEASE_BITS = 40
EPOCH_BITS = 22


def fencing_token(epoch: int, lease_number: int) -> int:
    """Return (boot epoch, lease number) as the one integer that fences a lease.

    Both only grow, so a later lease of a task always has the greater token. 22 bits of epoch are
    four million restarts and 40 bits of lease a trillion leases each; both fit SQLite's integer.
    """
    return (epoch << LEASE_BITS) | lease_number


class Callback(Struct, array_like=True, frozen=True, gc=False):
    """Say where to report a task's completion: an address, and data to send along (JSON)."""

    address: Annotated[str, Meta(min_length=1, max_length=256)]
    data: Annotated[bytes, Meta(max_length=64 * 1024)]


class TaskOptions(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say what one submission asks for; what is None is left to the task's definition.

    Attributes:
        due_at: not to be started before this time.
        expires_at: not to be started at this time or later.
        retries: how often the task may be tried again after a failure.
        backoff_s: the wait before the first retry, doubled each time.
        backoff_max_s: the longest such wait.
        soft_limit_s: how long an attempt may run before `SoftTimeLimit` is raised in it.
        time_limit_s: how long it may run before it is ended.
    """

    due_at: WallTime | None = None
    expires_at: WallTime | None = None
    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = None
    backoff_s: Seconds | None = None
    backoff_max_s: Seconds | None = None
    soft_limit_s: Seconds | None = None
    time_limit_s: Seconds | None = None


class NewTask(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Carry one submission from the client to the store."""

    task_id: TaskId
    name: TaskName
    rank: Rank
    format: FormatCode
    payload: bytes
    callback: Callback | None = None
    queue: QueueName = DEFAULT_QUEUE
    options: TaskOptions | None = None


class Lease(Struct, array_like=True, gc=False, omit_defaults=True):
    """Carry one task to the subworker that shall run it.

    The core leaves `payload` empty; the engine fills it in from its cache or the store. `failures`
    is how many attempts have failed before, which isn't `attempt - 1` if a subworker died.
    """

    task_id: str
    token: int
    attempt: int
    name: str
    rank: int
    format: int
    wants_json: bool
    payload: bytes = b""
    failures: int = 0
    options: TaskOptions | None = None


class RunningTask(Struct, array_like=True, frozen=True, gc=False):
    """Name a lease whose task is to be cancelled where it runs."""

    task_id: TaskId
    token: int


class HeldLease(Struct, array_like=True, frozen=True, gc=False):
    """Name a lease that a subworker still holds: when it reconnects, or gives the task back."""

    task_id: TaskId
    token: int
    attempt: int = 0


class Outcome(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Report what came of one leased task.

    `json_result` is the result as JSON where the task's own format isn't, for its callback. Of one
    that failed, `retry_in_s` says that it is to be tried again, and when; `cancelled` that the task
    itself gave up, by raising `Cancel`; `crashed` that a process of its own died with it, and then
    `error` says how, to be read after "the process".
    """

    task_id: TaskId
    token: int
    succeeded: bool
    started_at: WallTime
    completed_at: WallTime
    result: bytes | None = None
    error: str | None = None
    traceback: str | None = None
    json_result: bytes | None = None
    retry_in_s: Seconds | None = None
    cancelled: bool = False
    crashed: bool = False


class DeadLetter(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell of a task that failed for good; it can be queued again under another id."""

    task_id: str
    died_at: float
    name: str
    queue: str
    rank: int
    attempt: int
    payload_bytes: int
    error: str = ""
    traceback: str | None = None


class DeadLetterFilter(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say which dead letters are meant; what is None is any. `after` is the last one had."""

    name: TaskName | None = None
    queue: QueueName | None = None
    after: tuple[WallTime, TaskId] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000


class AttemptRecord(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell of one attempt of a task that was followed by another."""

    task_id: str
    attempt: int
    started_at: float
    completed_at: float
    worker_id: str
    error: str
    traceback: str | None = None


class Result(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell what is known of one task; once terminal, this is what is recorded."""

    task_id: str
    status: TaskStatus
    name: str = ""
    attempt: int = 0
    format: int = 0
    result: bytes | None = None
    error: str | None = None
    traceback: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    worker_id: str | None = None

    @property
    def size_bytes(self) -> int:
        """Return what keeping it costs, near enough: its value, error and traceback."""
        return len(self.result or b"") + len(self.error or "") + len(self.traceback or "")


class Refused(Struct, array_like=True, frozen=True, gc=False):
    """Say which task of a submission wasn't taken, and why."""

    task_id: str
    code: str
    message: str
    retry_after_s: float = 0.0


class PendingCallback(Struct, array_like=True, frozen=True, gc=False):
    """Carry one callback that is due, with all that its body is made of."""

    address: str
    task_id: str
    status: TaskStatus
    result: bytes | None
    error: str | None
    started_at: float | None
    completed_at: float | None
    data: bytes
