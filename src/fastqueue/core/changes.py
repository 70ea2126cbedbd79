"""Own the changes: what the store must make durable before any effect is released.

Each carries many tasks. `LAZY` changes may wait for the next commit that happens anyway: losing
one costs a task a second run, a result its place in the LRU order or a rate a few of its tokens,
never a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastqueue.core.records import (
    AttemptRecord,
    BatchCounts,
    LimitId,
    NewTask,
    PendingCallback,
    QueueSettings,
    RateMark,
    Result,
    RunLimit,
    UniqueHold,
)
from fastqueue.core.schedule_records import ScheduleState

__all__ = [
    "LAZY",
    "BatchForgotten",
    "BatchTasksAdded",
    "BatchTasksEnded",
    "BatchesCounted",
    "CallbacksAdded",
    "CallbacksRemoved",
    "CancelsRequested",
    "Change",
    "CheckpointSaved",
    "DeadLettersRemoved",
    "DeadLettersTrimmed",
    "ExpiriesPassed",
    "LaneAdded",
    "LanesRemoved",
    "LeasesAdded",
    "LeasesEnded",
    "LeasesLost",
    "PurgeChanged",
    "QueueChanged",
    "RatesSpent",
    "ResultsAccessed",
    "ResultsEvicted",
    "RunLimitRemoved",
    "RunLimitSet",
    "SchedulesAdvanced",
    "SchedulesPut",
    "SchedulesRemoved",
    "Stopped",
    "TasksAdded",
    "TasksDelayed",
    "TasksDue",
    "TasksFinished",
    "TasksRetried",
    "TombstonesRotated",
    "UniquesForgotten",
    "UniquesHeld",
]


@dataclass(frozen=True, slots=True)
class LaneAdded:
    """A lane exists from now on."""

    lane_id: int
    queue: str
    rank: int
    name: str
    fair_key: str = ""


@dataclass(frozen=True, slots=True)
class LanesRemoved:
    """Lanes that have no task left are forgotten."""

    lane_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """Tasks were accepted under these keys, from one client."""

    keys: Sequence[int]
    tasks: Sequence[NewTask]
    client: str
    submitted_at: float


@dataclass(frozen=True, slots=True)
class TasksDelayed:
    """New tasks were accepted that aren't due yet; as `TasksAdded`, by their `options.due_at`."""

    keys: Sequence[int]
    tasks: Sequence[NewTask]
    client: str
    submitted_at: float


@dataclass(frozen=True, slots=True)
class TasksRetried:
    """Attempts failed, and their tasks wait to be tried again.

    Rows of (new key, attempts, failures, old key), and in parallel of (due, queue, rank, name);
    `attempts` tell of what failed.
    """

    rows: Sequence[tuple[int, int, int, int]]
    waits: Sequence[tuple[float, str, int, str]]
    attempts: Sequence[AttemptRecord]


@dataclass(frozen=True, slots=True)
class TasksDue:
    """Tasks that waited for a time are in their lanes: rows of (new key, old key)."""

    rows: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ExpiriesPassed:
    """Tasks whose time to be started is over were dealt with: rows of (expires at, task id)."""

    rows: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class UniquesHeld:
    """Tasks hold unique keys from now on, whoever held them before."""

    holds: Sequence[UniqueHold]


@dataclass(frozen=True, slots=True)
class UniquesForgotten:
    """Unique keys are held no longer: whose time is over, and past `kept_max` the first to end.

    None is any number: they aren't counted.
    """

    at: float
    kept_max: int | None


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """Other settings hold for a queue."""

    settings: QueueSettings


@dataclass(frozen=True, slots=True)
class PurgeChanged:
    """What a queue has up to a sequence number is to go from it; 0 ends that."""

    queue: str
    last_sequence: int


@dataclass(frozen=True, slots=True)
class RunLimitSet:
    """A limit of what runs holds from now on, in place of the one of its id and origin."""

    limit: RunLimit


@dataclass(frozen=True, slots=True)
class RunLimitRemoved:
    """A limit of what runs holds no longer."""

    id: LimitId
    is_defined: bool


@dataclass(frozen=True, slots=True)
class RatesSpent:
    """Buckets of rates were drawn from: when they are full, by the wall clock.

    Those that are full at `at` needn't be kept.
    """

    marks: Sequence[RateMark]
    at: float


@dataclass(frozen=True, slots=True)
class LeasesAdded:
    """Tasks were leased: rows of (key, token, worker instance, at most once).

    One that is to run at most once is durable before it is sent; the others may wait.
    """

    rows: Sequence[tuple[int, int, str, bool]]


@dataclass(frozen=True, slots=True)
class CancelsRequested:
    """Tasks that run are to be cancelled, and whatever comes of that aren't leased again."""

    keys: Sequence[int]


@dataclass(frozen=True, slots=True)
class LeasesEnded:
    """Leases were given back: the tasks are as if never leased."""

    keys: Sequence[int]


@dataclass(frozen=True, slots=True)
class LeasesLost:
    """Leases ended with their subworker: rows of (attempts spent, crashes, key).

    Durable before the task is leased again, so that the dead lease can never be adopted.
    """

    rows: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class TasksFinished:
    """Tasks became terminal.

    Those that failed are kept as dead letters. `keys` and `results` run in parallel; the first
    result's place in the access order is `accessed`, the next one's `accessed + 1`, and so on.
    """

    keys: Sequence[int]
    results: Sequence[Result]
    accessed: int
    recorded_at: float
    # Those of them that have a checkpoint, which ends with them.
    checkpointed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """An attempt saved a value for the next one; it takes the place of the one before."""

    key: int
    task_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class DeadLettersRemoved:
    """Dead letters were queued again under other ids, or dropped."""

    task_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class DeadLettersTrimmed:
    """There are too many dead letters: so many of the oldest are dropped."""

    count: int


@dataclass(frozen=True, slots=True)
class ResultsAccessed:
    """Results were read: rows of (place in the access order, task id)."""

    rows: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class ResultsEvicted:
    """Results are dropped; their ids become tombstones."""

    task_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class TombstonesRotated:
    """The older generation of tombstones is dropped; a new one begins."""


@dataclass(frozen=True, slots=True)
class CallbacksAdded:
    """Callbacks are owed, from the number `first` on, since `owed_at` (control plane's clock)."""

    first: int
    callbacks: Sequence[PendingCallback]
    owed_at: float


@dataclass(frozen=True, slots=True)
class CallbacksRemoved:
    """Callbacks are delivered or given up."""

    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The control plane stops in order: every lease there is is written."""


@dataclass(frozen=True, slots=True)
class SchedulesPut:
    """Schedules were made or changed."""

    states: Sequence[ScheduleState]


@dataclass(frozen=True, slots=True)
class SchedulesAdvanced:
    """Schedules have run, or were paused or resumed: all of them is new but their spec."""

    states: Sequence[ScheduleState]


@dataclass(frozen=True, slots=True)
class SchedulesRemoved:
    """Schedules are no more."""

    schedule_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class BatchTasksAdded:
    """Tasks that were accepted are of batches: rows of (batch id, task id)."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class BatchTasksEnded:
    """Tasks of batches are over: rows of (batch id, task id)."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class BatchesCounted:
    """These are the counts of batches from now on."""

    counts: Sequence[BatchCounts]


@dataclass(frozen=True, slots=True)
class BatchForgotten:
    """A batch without live tasks is forgotten."""

    batch_id: str


Change = (
    CancelsRequested
    | DeadLettersRemoved
    | DeadLettersTrimmed
    | ExpiriesPassed
    | TasksDelayed
    | TasksRetried
    | TasksDue
    | UniquesForgotten
    | UniquesHeld
    | QueueChanged
    | PurgeChanged
    | RunLimitSet
    | RunLimitRemoved
    | RatesSpent
    | LaneAdded
    | LanesRemoved
    | TasksAdded
    | LeasesAdded
    | LeasesEnded
    | LeasesLost
    | TasksFinished
    | ResultsAccessed
    | ResultsEvicted
    | TombstonesRotated
    | CallbacksAdded
    | CallbacksRemoved
    | Stopped
    | SchedulesPut
    | SchedulesAdvanced
    | SchedulesRemoved
    | BatchTasksAdded
    | BatchTasksEnded
    | BatchesCounted
    | BatchForgotten
    | CheckpointSaved
)

LAZY = (LeasesAdded, LeasesEnded, ResultsAccessed, RatesSpent)
