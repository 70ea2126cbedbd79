"""Own the records that cross every boundary unchanged: wire, core and store.

They are msgspec structs in array form, so that a decoded frame is already what the core works on
and a decided effect is already what the wire carries: the hot path builds each once. Payloads and
results are bytes here and everywhere in the control plane; only clients and subworkers decode them.

Times are seconds since the Unix epoch (UTC), as told by the process that saw the event.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import UNSET, Meta, Struct, UnsetType

from fastqueue.tasks.events import LINE_CHARS_MAX, LINES_MAX, MESSAGE_CHARS_MAX, NUMBER_MAX
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.signatures import SIGNATURE_BYTES_MAX

__all__ = [
    "BATCH_ID_LENGTH_MAX",
    "DEFAULT_QUEUE",
    "EPOCH_BITS",
    "LEASE_BITS",
    "SHORT_TEXT_LENGTH_MAX",
    "WALL_TIME_MAX",
    "AttemptRecord",
    "BatchCounts",
    "BatchId",
    "Callback",
    "DeadLetter",
    "DeadLetterFilter",
    "Happening",
    "HeldLease",
    "Lease",
    "LimitId",
    "NewTask",
    "News",
    "Offer",
    "Outcome",
    "PendingCallback",
    "ProgressRecord",
    "QueueChange",
    "QueueSettings",
    "RateMark",
    "Refused",
    "Result",
    "RunLimit",
    "RunningTask",
    "TaskId",
    "TaskOptions",
    "UniqueHold",
    "fencing_token",
]

DEFAULT_QUEUE = "default"

TaskId = Annotated[str, Meta(min_length=1, max_length=64)]
TaskName = Annotated[str, Meta(min_length=1, max_length=200)]
QueueName = Annotated[str, Meta(min_length=1, max_length=100)]
BATCH_ID_LENGTH_MAX = 100
BatchId = Annotated[str, Meta(min_length=1, max_length=BATCH_ID_LENGTH_MAX)]
SHORT_TEXT_LENGTH_MAX = 200
ShortText = Annotated[str, Meta(max_length=SHORT_TEXT_LENGTH_MAX)]
Rank = Annotated[int, Meta(ge=0, le=3)]
FormatCode = Annotated[int, Meta(ge=0, le=1)]

# What a datetime can represent; also keeps out NaN and infinity.
WALL_TIME_MAX = 253_402_300_799.0
WallTime = Annotated[float, Meta(ge=0.0, le=WALL_TIME_MAX)]

FAIR_KEY_LENGTH_MAX = 200
FairKey = Annotated[str, Meta(max_length=FAIR_KEY_LENGTH_MAX)]
UNIQUE_KEY_LENGTH_MAX = 200
UniqueKey = Annotated[str, Meta(max_length=UNIQUE_KEY_LENGTH_MAX)]

# A year; keeps out NaN and infinity.
Seconds = Annotated[float, Meta(ge=0.0, le=31_536_000.0)]
RETRIES_MAX = 1_000
Weight = Annotated[float, Meta(ge=0.001, le=1_000.0)]
Ageing = Annotated[float, Meta(ge=0.001, le=31_536_000.0)]

_Number = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
_Line = Annotated[str, Meta(max_length=LINE_CHARS_MAX)]

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
        fair_key: whose task it is, for shares and limits; empty for nobody's in particular.
        unique_key: what makes it the same as another of its name, or its successor.
        unique_for_s: how long another submission under the key is the same as this one.
        debounce_s: how long it waits for a later one to take its place.
        latest_wins: whether it cancels the one before it under the key.
        batch: the batch that the task is counted in.
    """

    due_at: WallTime | None = None
    expires_at: WallTime | None = None
    retries: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] | None = None
    backoff_s: Seconds | None = None
    backoff_max_s: Seconds | None = None
    soft_limit_s: Seconds | None = None
    time_limit_s: Seconds | None = None
    fair_key: FairKey = ""
    unique_key: UniqueKey = ""
    unique_for_s: Seconds | None = None
    debounce_s: Seconds | None = None
    latest_wins: bool = False
    batch: BatchId | None = None


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
    require_worker: bool = False


class Offer(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say what a subworker offers under a task name.

    Attributes:
        name: the task definition's.
        queue: where its tasks wait if the submission doesn't say; empty if that isn't known.
        signature: what arguments it takes, as `tasks.signatures` has it; empty if that isn't known.
    """

    name: TaskName
    queue: Annotated[str, Meta(max_length=100)] = ""
    signature: Annotated[bytes, Meta(max_length=SIGNATURE_BYTES_MAX)] = b""


class Lease(Struct, array_like=True, gc=False, omit_defaults=True):
    """Carry one task to the subworker that shall run it.

    The core leaves `payload` empty; the engine fills it in from its cache or the store. `failures`
    is how many attempts have failed before, which isn't `attempt - 1` if a subworker died.
    `checkpoint` is what an earlier attempt saved last, if one did; the core leaves it empty then.
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
    queue: str = DEFAULT_QUEUE
    checkpoint: bytes | None = None


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


class QueueSettings(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say what holds for one queue.

    Attributes:
        name: which queue.
        is_paused: nothing of it is leased.
        weight: its share of the free slots, relative to other queues.
        ageing_s: how long a task has to wait to count for one priority more; None is never.
        wait_limit_s: how long its tasks may wait before they are cancelled; None is any time.
    """

    name: QueueName
    is_paused: bool = False
    weight: Weight = 1.0
    ageing_s: Ageing | None = None
    wait_limit_s: Seconds | None = None


class QueueChange(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Say which settings of a queue are to change; what isn't given stays as it is."""

    name: QueueName
    is_paused: bool | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    ageing_s: Ageing | UnsetType | None = UNSET
    wait_limit_s: Seconds | UnsetType | None = UNSET


class LimitId(NamedTuple):
    """Name a run limit: what it is of, and whether each fair key has it to itself.

    Attributes:
        scope: "task" (a task name), "queue" or "key" (a fair key).
        name: which of them.
        is_each: whether it is of each fair key in it apart.
    """

    scope: Literal["task", "queue", "key"]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    is_each: bool = False


class RunLimit(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Say how many tasks may run at once, and how many may begin in a time.

    Attributes:
        id: of what.
        concurrency: how many may be leased at once; None is any number.
        rate: how many may begin a second; None is any number.
        burst: how many of them may begin at once after a pause.
        weight: the share of a fair key, relative to others.
        is_defined: whether a subworker told it of its task definition; one that somebody set comes
            first.
    """

    id: LimitId
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    rate: Annotated[float, Meta(ge=1e-6, le=1e6)] | None = None
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    weight: Weight = 1.0
    is_defined: bool = False

    @property
    def is_limit(self) -> bool:
        """Say whether it limits anything; a weight alone doesn't."""
        return self.concurrency is not None or self.rate is not None


class RateMark(NamedTuple):
    """Say when the bucket of a rate is full again, by the wall clock."""

    limit: LimitId
    fair_key: str
    full_at: float


class UniqueHold(Struct, frozen=True, gc=False):
    """Say which task holds a unique key, and until when, by the wall clock."""

    name: str
    key: str
    task_id: str
    until: float
    is_latest: bool = False


class BatchCounts(Struct, array_like=True, frozen=True, gc=False):
    """Tell how many tasks of a batch there are, and how many of them have ended, and how.

    `running` is of the moment, and isn't stored.
    """

    batch_id: str
    created_at: float
    changed_at: float
    submitted: int
    success: int
    failure: int
    cancelled: int
    running: int = 0


class AttemptRecord(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell of one attempt of a task that was followed by another."""

    task_id: str
    attempt: int
    started_at: float
    completed_at: float
    worker_id: str
    error: str
    traceback: str | None = None


class ProgressRecord(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell how far an attempt has come, in the task's own units."""

    done: _Number
    total: _Number | None = None
    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""


class News(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell what an attempt has told since the last time: `lines` from the number `first_line` on.

    `dropped` is how many lines of the attempt were too many so far.
    """

    task_id: TaskId
    token: int
    progress: ProgressRecord | None = None
    first_line: Annotated[int, Meta(ge=0)] = 0
    lines: Annotated[list[_Line], Meta(max_length=LINES_MAX)] = []
    dropped: Annotated[int, Meta(ge=0)] = 0


class Happening(Struct, array_like=True, frozen=True, gc=False, omit_defaults=True):
    """Tell a follower what is new about a task, or how things stand; None is nothing new.

    `token` is that of the lease it runs under, 0 if it doesn't run: one attempt may have several.
    """

    task_id: str
    attempt: int
    status: TaskStatus | None = None
    progress: ProgressRecord | None = None
    first_line: int = 0
    lines: list[str] = []
    dropped: int = 0
    token: int = 0


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
    progress: ProgressRecord | None = None
    waits_for: str | None = None

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
