"""Own the effects: what must be sent or done once the changes are durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastqueue.core.records import (
    BatchCounts,
    DeadLetterFilter,
    Happening,
    Lease,
    Offer,
    Refused,
    Result,
    RunningTask,
)
from fastqueue.tasks.models import TaskStatus

__all__ = [
    "AcknowledgeCheckpoint",
    "AcknowledgeReport",
    "AcknowledgeSubmit",
    "AnswerBatch",
    "AnswerBatches",
    "AnswerCancel",
    "AnswerDeadLetters",
    "AnswerFollow",
    "AnswerInspect",
    "AnswerOffers",
    "AnswerQuery",
    "AnswerSchedules",
    "AnswerWatch",
    "CancelRunning",
    "CloseSession",
    "DeliverCallbacks",
    "Effect",
    "LoadDue",
    "LoadExpired",
    "LoadPurged",
    "PushResults",
    "PushStored",
    "Refill",
    "RefuseRequest",
    "RevokeLeases",
    "SendLeases",
    "TellBlocked",
    "TellExpired",
    "TellFollowers",
    "TellOffers",
    "TellQuarantined",
    "TellSchedule",
    "TellUnoffered",
    "TellWorkerLost",
]


@dataclass(frozen=True, slots=True)
class AcknowledgeSubmit:
    """Tell a client that all of its request is stored, but for what is refused.

    `same` are pairs of (id, id of the task that it is the same as): that one alone is stored.
    """

    session: int
    request: int
    refused: Sequence[Refused]
    same: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class SendLeases:
    """Send leases to a subworker; `keys` (in parallel) find their payloads in the store."""

    session: int
    leases: list[Lease]
    keys: list[int]


@dataclass(frozen=True, slots=True)
class AcknowledgeReport:
    """Tell a subworker that a report is recorded (or refused): it can forget it."""

    session: int
    sequence: int


@dataclass(frozen=True, slots=True)
class CancelRunning:
    """Tell a subworker to cancel tasks that run there."""

    session: int
    tasks: Sequence[RunningTask]


@dataclass(frozen=True, slots=True)
class RevokeLeases:
    """Tell a subworker that leases it holds are void: its outcome would be refused."""

    session: int
    task_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PushResults:
    """Push results to a client."""

    session: int
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class TellExpired:
    """Tell a client that results it waits for can't be had any more."""

    session: int
    task_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AnswerQuery:
    """Answer a query: live tasks as given, all others as the store has them."""

    session: int
    request: int
    task_ids: Sequence[str]
    live: Mapping[str, Result]


@dataclass(frozen=True, slots=True)
class PushStored:
    """Push results that are recorded already to a client."""

    session: int
    task_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AnswerInspect:
    """Answer a question about the queue; `ask_store` are ids whose fate only the store knows."""

    session: int
    request: int
    answer: Any
    ask_store: Sequence[str] = ()
    topic: str = ""


@dataclass(frozen=True, slots=True)
class RefuseRequest:
    """Say that a request isn't carried out, because of a bound."""

    session: int
    request: int
    why: str


@dataclass(frozen=True, slots=True)
class AnswerWatch:
    """Answer a watch: what is neither live nor recorded, or why none is watched."""

    session: int
    request: int
    unknown: Sequence[str]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class AnswerCancel:
    """Answer a cancellation: per live id, whether it is cancelled and its status.

    Ids that aren't in `answers` are not live: their status is what the store has.
    """

    session: int
    request: int
    task_ids: Sequence[str]
    answers: Mapping[str, tuple[bool, TaskStatus]]


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End a session's connection."""

    session: int
    reason: str


@dataclass(frozen=True, slots=True)
class TellWorkerLost:
    """Say in the log how a subworker ended, and what becomes of its tasks: (name, id) each."""

    worker_id: str
    cause: str
    requeued: Sequence[tuple[str, str]]
    quarantined: Sequence[tuple[str, str]]
    not_repeated: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TellQuarantined:
    """Say in the log which tasks killed a process of their own once too often: (name, id) each."""

    worker_id: str
    tasks: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TellBlocked:
    """Say in the log that a subworker's event loop is blocked, by which task and where in it."""

    worker_id: str
    seconds: float
    task_name: str
    task_id: str
    stack: str


@dataclass(frozen=True, slots=True)
class TellUnoffered:
    """Say in the log that tasks wait which no connected subworker offers, by name how many."""

    waiting: Sequence[tuple[str, int]]
    offered: Sequence[str]


@dataclass(frozen=True, slots=True)
class TellOffers:
    """Tell clients what connected subworkers offer, as it is then."""

    sessions: Sequence[int]


@dataclass(frozen=True, slots=True)
class AnswerOffers:
    """Answer what is offered under some names."""

    session: int
    request: int
    offers: Sequence[Offer]


@dataclass(frozen=True, slots=True)
class Refill:
    """Read the next tasks of a lane from the store, and tell the core by `Loaded`."""

    lane_id: int
    after_key: int
    limit: int


@dataclass(frozen=True, slots=True)
class AnswerDeadLetters:
    """Answer which dead letters there are, from the store."""

    session: int
    request: int
    filter: DeadLetterFilter


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Answer what is known of a batch, and with `after` its next live tasks, from the store."""

    session: int
    request: int
    counts: BatchCounts | None
    batch_id: str
    after: str | None


@dataclass(frozen=True, slots=True)
class AnswerBatches:
    """Answer which batches there are."""

    session: int
    request: int
    batches: Sequence[BatchCounts]


@dataclass(frozen=True, slots=True)
class LoadDue:
    """Read delayed tasks that are due at a time from the store, and tell by `DueLoaded`."""

    at: float
    limit: int


@dataclass(frozen=True, slots=True)
class LoadPurged:
    """Read delayed tasks of a queue that is purged, and tell the core by `PurgedLoaded`.

    Those whose sequence number is greater than `after` and not than `last`.
    """

    queue: str
    after: int
    last: int
    limit: int


@dataclass(frozen=True, slots=True)
class LoadExpired:
    """Read tasks that aren't to start any more from the store, and tell by `ExpiredLoaded`."""

    at: float
    limit: int


@dataclass(frozen=True, slots=True)
class AcknowledgeCheckpoint:
    """Tell a subworker that a checkpoint is on disk, or why it isn't."""

    session: int
    sequence: int
    refusal: str = ""
    is_lease_lost: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFollow:
    """Answer a client that follows a task: how things stand, or why it can't."""

    session: int
    request: int
    happening: Happening | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class TellFollowers:
    """Tell those that follow a task what has happened; who is behind is caught up later."""

    sessions: Sequence[int]
    happening: Happening


@dataclass(frozen=True, slots=True)
class DeliverCallbacks:
    """Deliver what is owed to an address, and tell the core by `CallbacksSent`."""

    address: str


@dataclass(frozen=True, slots=True)
class AnswerSchedules:
    """Answer a request about schedules, or say why it isn't carried out: `code` and `refusal`."""

    session: int
    request: int
    answer: Any
    code: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class TellSchedule:
    """Say in the log what a schedule can't do, or hasn't done."""

    schedule_id: str
    what: str


Effect = (
    AcknowledgeSubmit
    | SendLeases
    | AcknowledgeReport
    | RevokeLeases
    | CancelRunning
    | PushResults
    | PushStored
    | TellExpired
    | TellQuarantined
    | TellWorkerLost
    | AnswerQuery
    | AnswerInspect
    | AnswerDeadLetters
    | AnswerBatch
    | AnswerBatches
    | AnswerWatch
    | AnswerCancel
    | CloseSession
    | TellBlocked
    | TellUnoffered
    | TellOffers
    | AnswerOffers
    | Refill
    | LoadDue
    | LoadExpired
    | LoadPurged
    | RefuseRequest
    | DeliverCallbacks
    | AnswerSchedules
    | TellSchedule
    | AcknowledgeCheckpoint
    | AnswerFollow
    | TellFollowers
)
