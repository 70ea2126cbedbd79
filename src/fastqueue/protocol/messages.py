"""Own the messages between control plane, subworkers and clients, once they have greeted.

They are arrays, compact and quick to decode; each is one of `ToControlPlane`, `ToSubworker` or
`ToClient`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from fastqueue.core.records import (
    BatchId,
    DeadLetterFilter,
    Happening,
    HeldLease,
    Lease,
    LimitId,
    News,
    NewTask,
    Offer,
    Outcome,
    QueueChange,
    QueueName,
    Refused,
    Result,
    RunLimit,
    RunningTask,
    ShortText,
    TaskId,
    TaskName,
    WallTime,
)
from fastqueue.core.schedule_records import ScheduleId, ScheduleSpec
from fastqueue.errors import ProtocolError
from fastqueue.protocol.decoding import DECODE_ERRORS, cited
from fastqueue.protocol.printable import check_printable
from fastqueue.tasks.events import CHECKPOINT_BYTES_MAX
from fastqueue.tasks.models import TaskStatus

__all__ = [
    "BATCH_TASKS_MAX",
    "REQUEUED_MAX",
    "SCHEDULES_LISTED_MAX",
    "SIGNATURES_BYTES_MAX",
    "STACK_CHARS_MAX",
    "AskBatch",
    "Cancel",
    "CancelRunning",
    "Cancelled",
    "Capacity",
    "ChangeQueue",
    "ChangeSchedule",
    "CheckpointSaved",
    "Died",
    "Expired",
    "Failed",
    "FindOffers",
    "Follow",
    "Following",
    "Found",
    "GiveBack",
    "Happened",
    "Heartbeat",
    "Inspect",
    "Inspected",
    "Leases",
    "ListBatches",
    "ListDead",
    "ListSchedules",
    "Offered",
    "OffersFound",
    "Purge",
    "Push",
    "PutSchedule",
    "Query",
    "Ready",
    "RemoveRunLimit",
    "Report",
    "Reported",
    "Requeue",
    "Revoked",
    "RunSchedule",
    "SaveCheckpoint",
    "SetRunLimit",
    "Submit",
    "Submitted",
    "Tell",
    "ToClient",
    "ToControlPlane",
    "ToSubworker",
    "Watch",
    "WatchOffers",
    "Watched",
    "decode_to_client",
    "decode_to_control_plane",
    "decode_to_subworker",
    "encode",
]

_Message = TypeVar("_Message")

# One message is one command, and a command is dealt with in one go: these bound how long that is.
_TaskIds = Annotated[list[TaskId], Meta(max_length=1_000)]
_NewTasks = Annotated[list[NewTask], Meta(max_length=10_000)]
_Outcomes = Annotated[list[Outcome], Meta(max_length=10_000)]
_HeldLeases = Annotated[list[HeldLease], Meta(max_length=200_000)]
_TaskNames = Annotated[list[TaskName], Meta(max_length=10_000)]
# Each may be as large as a payload, and all are read at once.
REQUEUED_MAX = 10
_Schedules = Annotated[list[ScheduleSpec], Meta(max_length=10_000)]
# Each is up to some thousand bytes without its arguments.
SCHEDULES_LISTED_MAX = 200
# As many as one request can name.
BATCH_TASKS_MAX = 1_000
_Offers = Annotated[list[Offer], Meta(max_length=10_000)]
SIGNATURES_BYTES_MAX = 4 * 1024**2
"""How large all signatures that one subworker tells may be together."""
_Tokens = Annotated[list[int], Meta(max_length=100_000)]

# What a heartbeat may say of the stack of a blocked event loop.
STACK_CHARS_MAX = 8_000


class Submit(Struct, array_like=True, tag=1, frozen=True, gc=False):
    """Submit tasks."""

    request: int
    tasks: _NewTasks


class Cancel(Struct, array_like=True, tag=2, frozen=True, gc=False):
    """Cancel tasks that are queued."""

    request: int
    task_ids: _TaskIds


class Query(Struct, array_like=True, tag=3, frozen=True, gc=False):
    """Ask what is known of tasks."""

    request: int
    task_ids: _TaskIds


class Watch(Struct, array_like=True, tag=4, frozen=True, gc=False):
    """Ask for the results of tasks to be pushed: now, or when they are recorded."""

    request: int
    task_ids: _TaskIds


class Inspect(Struct, array_like=True, tag=5, frozen=True, gc=False):
    """Ask the control plane about itself (`topic`), or about certain tasks."""

    request: int
    topic: ShortText
    task_ids: _TaskIds = []


class ListDead(Struct, array_like=True, tag=6, frozen=True, gc=False):
    """Ask which dead letters there are; the answer is `Inspected`, with a list of `DeadLetter`."""

    request: int
    filter: DeadLetterFilter


class Requeue(Struct, array_like=True, tag=7, frozen=True, gc=False):
    """Have dead letters queued again: pairs of (task id, the id of the new task).

    The answer is `Inspected`: by task id "requeued", nothing if there is none, or why not.
    """

    request: int
    pairs: Annotated[list[tuple[TaskId, TaskId]], Meta(max_length=REQUEUED_MAX)]


class PutSchedule(Struct, array_like=True, tag=8, frozen=True, gc=False):
    """Make a schedule, or replace the one of this id; the answer is `Inspected`, its state."""

    request: int
    spec: ScheduleSpec
    replaces: bool = False

    def __post_init__(self) -> None:
        check_printable(self.spec.schedule_id, self.spec.name, self.spec.queue)


class ChangeSchedule(Struct, array_like=True, tag=101, frozen=True, gc=False):
    """Pause, resume or delete a schedule.

    The answer is `Inspected`: its state then, of one that is deleted before, or nothing if there
    is none.
    """

    request: int
    schedule_id: ScheduleId
    action: Literal["pause", "resume", "delete"]


class RunSchedule(Struct, array_like=True, tag=102, frozen=True, gc=False):
    """Run a schedule now, as a task with this id; the answer is `Inspected`: that id, or nothing.

    The id is the client's, so that a request that is sent again runs nothing twice.
    """

    request: int
    schedule_id: ScheduleId
    task_id: TaskId

    def __post_init__(self) -> None:
        check_printable(self.task_id)


class ListSchedules(Struct, array_like=True, tag=103, frozen=True, gc=False):
    """Ask for the schedule of an id, or for those whose ids come after `after`.

    The answer is `Inspected`, a list of states; in a list of several they have no arguments.
    """

    request: int
    schedule_id: ScheduleId | None = None
    after: Annotated[str, Meta(max_length=205)] = ""
    limit: Annotated[int, Meta(ge=1, le=SCHEDULES_LISTED_MAX)] = SCHEDULES_LISTED_MAX


class AskBatch(Struct, array_like=True, tag=41, frozen=True, gc=False):
    """Ask what is known of a batch, and with `after` (a task id, or "") for its next live tasks.

    The answer is `Inspected`: a list of `BatchCounts` or nothing, and of at most
    `BATCH_TASKS_MAX` task ids.
    """

    request: int
    batch_id: BatchId
    after: Annotated[str, Meta(max_length=64)] | None = None


class ListBatches(Struct, array_like=True, tag=42, frozen=True, gc=False):
    """Ask which batches there are, the youngest first; `after` (created at, id) is the last had.

    The answer is `Inspected`, with a list of `BatchCounts`.
    """

    request: int
    after: tuple[WallTime, BatchId] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000


class Ready(Struct, array_like=True, tag=11, frozen=True, gc=False):
    """Say that a subworker can take leases: what it offers and what it still holds.

    `at_most_once` are those of the names whose tasks are never to be run twice; `schedules` are
    those that definitions have, and `started_at` is when the process started, by its own clock.
    `queues` are those that it serves, none if all; `run_limits` what its definitions say of
    themselves; `offers` tell more of some of the names.
    """

    names: _TaskNames
    capacity: Annotated[int, Meta(ge=0, le=100_000)]
    held: _HeldLeases
    at_most_once: _TaskNames = []
    schedules: _Schedules = []
    started_at: WallTime = 0.0
    queues: Annotated[list[QueueName], Meta(max_length=1_000)] = []
    run_limits: Annotated[list[RunLimit], Meta(max_length=20_000)] = []
    offers: _Offers = []

    def __post_init__(self) -> None:
        check_printable(*self.names, *self.at_most_once, *self.queues)
        for spec in self.schedules:
            check_printable(spec.schedule_id, spec.name, spec.queue)
        check_printable(*(offer.queue for offer in self.offers))
        if sum(len(offer.signature) for offer in self.offers) > SIGNATURES_BYTES_MAX:
            raise ValueError(f"all signatures are more than {SIGNATURES_BYTES_MAX:,} bytes")


class Report(Struct, array_like=True, tag=12, frozen=True, gc=False):
    """Report outcomes; they are kept until `Reported` names the sequence number."""

    sequence: int
    outcomes: _Outcomes


class GiveBack(Struct, array_like=True, tag=13, frozen=True, gc=False):
    """Give back leases that aren't started."""

    leases: _HeldLeases


class Capacity(Struct, array_like=True, tag=14, frozen=True, gc=False):
    """Say how many leases the subworker wants to hold at once from now on."""

    capacity: Annotated[int, Meta(ge=0, le=100_000)]


class Heartbeat(Struct, array_like=True, tag=15, frozen=True, gc=False):
    """Say that a subworker's process is alive, and whether its event loop answers.

    `blocked_s` is for how long it hasn't, 0 if it does; the rest says what blocks it: the task, if
    it is one, and the stack of the loop's thread.
    """

    blocked_s: Annotated[float, Meta(ge=0)] = 0.0
    task_name: ShortText = ""
    task_id: ShortText = ""
    stack: Annotated[str, Meta(max_length=STACK_CHARS_MAX)] = ""

    def __post_init__(self) -> None:
        check_printable(self.task_name, self.task_id)


class Died(Struct, array_like=True, tag=16, frozen=True, gc=False):
    """Say how a subworker's process ended, as its supervisor saw.

    `running` are the tokens of the leases that had begun in it, or None if that isn't known.
    """

    instance: ShortText
    cause: ShortText
    running: _Tokens | None

    def __post_init__(self) -> None:
        check_printable(self.instance, self.cause)


class ChangeQueue(Struct, array_like=True, tag=51, frozen=True, gc=False):
    """Change settings of a queue; the answer is `Inspected`, with all of them."""

    request: int
    change: QueueChange


class Purge(Struct, array_like=True, tag=52, frozen=True, gc=False):
    """Cancel all that waits in a queue; the answer is `Inspected`: how many are ready now."""

    request: int
    queue: QueueName

    def __post_init__(self) -> None:
        check_printable(self.queue)


class SetRunLimit(Struct, array_like=True, tag=53, frozen=True, gc=False):
    """Set a limit of what runs, in place of the one of its id."""

    request: int
    limit: RunLimit


class RemoveRunLimit(Struct, array_like=True, tag=54, frozen=True, gc=False):
    """Remove a limit of what runs; the answer is `Inspected`: whether it was set."""

    request: int
    id: LimitId


class Tell(Struct, array_like=True, tag=17, frozen=True, gc=False):
    """Tell what running tasks say of themselves; nobody acknowledges it."""

    news: Annotated[list[News], Meta(max_length=1_000)]


class SaveCheckpoint(Struct, array_like=True, tag=111, frozen=True, gc=False):
    """Have a value saved for the task's next attempt; kept until `CheckpointSaved` answers it."""

    sequence: int
    task_id: TaskId
    token: int
    value: Annotated[bytes, Meta(min_length=1, max_length=CHECKPOINT_BYTES_MAX)]


class Follow(Struct, array_like=True, tag=113, frozen=True, gc=False):
    """Ask to be told what happens to a task, or with `ends` not to be told any more."""

    request: int
    task_id: TaskId
    ends: bool = False


class WatchOffers(Struct, array_like=True, tag=123, frozen=True, gc=False):
    """Ask to be told what connected subworkers offer, by `Offered`: now, and when it changes."""


class FindOffers(Struct, array_like=True, tag=121, frozen=True, gc=False):
    """Ask what connected subworkers offer under some names; the answer is `OffersFound`."""

    request: int
    names: Annotated[list[TaskName], Meta(max_length=100)]


class Submitted(Struct, array_like=True, tag=21, frozen=True, gc=False, omit_defaults=True):
    """Acknowledge a submission: all of it is on disk, but for what is refused.

    `same` are pairs of (id, id of the task that it is the same as): that one alone is stored.
    """

    request: int
    refused: list[Refused]
    same: list[tuple[str, str]] = []


class Cancelled(Struct, array_like=True, tag=22, frozen=True, gc=False):
    """Answer a `Cancel`, in the order of its ids: cancelled now, and the status."""

    request: int
    answers: list[tuple[bool, TaskStatus | None]]


class Found(Struct, array_like=True, tag=23, frozen=True, gc=False):
    """Answer a `Query`, in the order of its ids; None is unknown or expired.

    A large answer comes in parts; only the last one says `is_last`.
    """

    request: int
    results: list[Result | None]
    is_last: bool = True


class Watched(Struct, array_like=True, tag=24, frozen=True, gc=False):
    """Answer a `Watch`; `unknown` are ids that are neither live nor recorded."""

    request: int
    unknown: list[str]


class Inspected(Struct, array_like=True, tag=25, frozen=True, gc=False):
    """Answer an `Inspect`."""

    request: int
    answer: Any


class Failed(Struct, array_like=True, tag=26, frozen=True, gc=False):
    """Say that a request couldn't be carried out, and why."""

    request: int
    code: str
    message: str
    retry_after_s: float = 0.0


class Push(Struct, array_like=True, tag=27, frozen=True, gc=False):
    """Push results to the client that waits for them."""

    results: list[Result]


class Expired(Struct, array_like=True, tag=28, frozen=True, gc=False):
    """Say that results the client waits for can't be had any more."""

    task_ids: list[str]


class Offered(Struct, array_like=True, tag=43, frozen=True, gc=False):
    """Say what connected subworkers offer; it takes the place of what was said before.

    If that is too much for every client, `is_complete` is false, and a client asks by `FindOffers`.
    """

    offers: list[Offer]
    is_complete: bool


class OffersFound(Struct, array_like=True, tag=122, frozen=True, gc=False):
    """Answer a `FindOffers`; a name without an offer is one that nobody offers."""

    request: int
    offers: list[Offer]


class Leases(Struct, array_like=True, tag=31, frozen=True, gc=False):
    """Lease tasks to a subworker."""

    leases: list[Lease]


class Reported(Struct, array_like=True, tag=32, frozen=True, gc=False):
    """Acknowledge a report: what is valid in it is recorded."""

    sequence: int


class Revoked(Struct, array_like=True, tag=33, frozen=True, gc=False):
    """Say that leases are void: their outcomes would be refused."""

    task_ids: list[str]


class CancelRunning(Struct, array_like=True, tag=34, frozen=True, gc=False):
    """Have tasks cancelled that run; what comes of it is in their outcomes."""

    tasks: list[RunningTask]


class CheckpointSaved(Struct, array_like=True, tag=112, frozen=True, gc=False):
    """Answer a `SaveCheckpoint`: it is on disk, unless `refusal` says why it isn't."""

    sequence: int
    refusal: str = ""
    is_lease_lost: bool = False


class Following(Struct, array_like=True, tag=114, frozen=True, gc=False):
    """Answer a `Follow`: how things stand with the task; None if it isn't live."""

    request: int
    happening: Happening | None


class Happened(Struct, array_like=True, tag=115, frozen=True, gc=False):
    """Tell what has happened to tasks that the client follows."""

    happenings: list[Happening]


ToControlPlane = (
    Submit
    | Cancel
    | Query
    | Watch
    | WatchOffers
    | FindOffers
    | Inspect
    | ListDead
    | Requeue
    | PutSchedule
    | ChangeSchedule
    | RunSchedule
    | ListSchedules
    | ChangeQueue
    | Purge
    | SetRunLimit
    | RemoveRunLimit
    | AskBatch
    | ListBatches
    | Ready
    | Report
    | GiveBack
    | Capacity
    | Heartbeat
    | Died
    | Tell
    | SaveCheckpoint
    | Follow
)
ToClient = (
    Submitted
    | Cancelled
    | Found
    | Watched
    | Inspected
    | Failed
    | Push
    | Expired
    | Following
    | Happened
    | Offered
    | OffersFound
)
ToSubworker = Leases | Reported | Revoked | CancelRunning | CheckpointSaved

encode = msgspec.msgpack.Encoder().encode

_to_control_plane: msgspec.msgpack.Decoder[ToControlPlane] = msgspec.msgpack.Decoder(ToControlPlane)
_to_client: msgspec.msgpack.Decoder[ToClient] = msgspec.msgpack.Decoder(ToClient)
_to_subworker: msgspec.msgpack.Decoder[ToSubworker] = msgspec.msgpack.Decoder(ToSubworker)


def _decode(decoder: msgspec.msgpack.Decoder[_Message], body: bytes) -> _Message:
    try:
        return decoder.decode(body)
    except DECODE_ERRORS as error:
        raise ProtocolError(f"it sent what can't be understood: {cited(error)}") from error


def decode_to_control_plane(body: bytes) -> ToControlPlane:
    """Return what a client or a subworker sent.

    Raises:
        ProtocolError: it can't be understood.
    """
    return _decode(_to_control_plane, body)


def decode_to_client(body: bytes) -> ToClient:
    """Return what the control plane sent to a client.

    Raises:
        ProtocolError: it can't be understood.
    """
    return _decode(_to_client, body)


def decode_to_subworker(body: bytes) -> ToSubworker:
    """Return what the control plane sent to a subworker.

    Raises:
        ProtocolError: it can't be understood.
    """
    return _decode(_to_subworker, body)
