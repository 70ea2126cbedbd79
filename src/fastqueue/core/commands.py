"""Own the commands: what happened, told to the core by the engine.

Ids, times and what only the store knows arrive inside a command; the core asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from fastqueue.core.records import (
    Callback,
    DeadLetterFilter,
    HeldLease,
    LimitId,
    News,
    NewTask,
    Offer,
    Outcome,
    QueueChange,
    Refused,
    RunLimit,
    TaskOptions,
    UniqueHold,
)
from fastqueue.core.schedule_records import ScheduleSpec
from fastqueue.core.schedules import DueRuns
from fastqueue.tasks.models import TaskStatus

__all__ = [
    "AskBatch",
    "CallbacksSent",
    "Cancel",
    "ChangeSchedule",
    "ClientReady",
    "Command",
    "DiskSpace",
    "DueLoaded",
    "ExpiredLoaded",
    "FindOffers",
    "Follow",
    "GiveBack",
    "Heartbeat",
    "HeartbeatLost",
    "Inspect",
    "ListBatches",
    "ListDead",
    "ListSchedules",
    "Loaded",
    "Purge",
    "PurgedLoaded",
    "PutSchedule",
    "Query",
    "RemoveRunLimit",
    "Report",
    "Requeue",
    "RunScheduleNow",
    "RunSchedules",
    "SaveCheckpoint",
    "SessionLost",
    "SetCapacity",
    "SetQueue",
    "SetRunLimit",
    "StoredTask",
    "Submit",
    "Tell",
    "Tick",
    "Watch",
    "WatchOffers",
    "WorkerDied",
    "WorkerReady",
]


class StoredTask(Struct, frozen=True, gc=False):
    """Carry a live task as the store has it, into the core's window.

    `lease_token`, `lease_worker` and `lease_at_most_once` are set if a lease of it is stored;
    `belongs` (queue, rank, name) if it waits for a time, and so is in no lane; `checkpoint_bytes`
    is the size of the checkpoint that an attempt has saved, 0 if none has. Some answers of the
    store say when it is due (`due_at`).
    """

    key: int
    task_id: str
    client: str
    attempt: int
    crashes: int
    format: int
    submitted_at: float
    payload_bytes: int
    callback: Callback | None = None
    lease_token: int = 0
    lease_worker: str = ""
    lease_at_most_once: bool = False
    failures: int = 0
    options: TaskOptions | None = None
    cancelling: bool = False
    belongs: tuple[str, int, str] | None = None
    checkpoint_bytes: int = 0
    due_at: float | None = None

    @property
    def is_delayed(self) -> bool:
        """Say whether it waits for a time."""
        return self.belongs is not None

    @property
    def status(self) -> TaskStatus:
        """Return its status; its lease, if it has one, is for the core to know."""
        if not self.is_delayed:
            return TaskStatus.QUEUED
        return TaskStatus.RETRYING if self.failures else TaskStatus.SCHEDULED


class DueLoaded(Struct, frozen=True, gc=False):
    """The store returned delayed tasks that are due, most urgent first.

    `next_due` is, by rank, when the next of the others is due; `at` what was asked for.
    """

    at: float
    tasks: Sequence[StoredTask]
    next_due: Sequence[float]


class ExpiredLoaded(Struct, frozen=True, gc=False):
    """The store returned tasks whose time to be started is over, and when the next one's is.

    `rows` are (expires at, task id); `stored` are those that are live, the others have ended.
    """

    at: float
    rows: Sequence[tuple[float, str]]
    stored: Mapping[str, StoredTask]
    next_expiry: float


class ClientReady(Struct, frozen=True, gc=False):
    """A client's session has begun."""

    session: int
    instance: str


class WorkerReady(Struct, frozen=True, gc=False):
    """A subworker's session has begun: what it offers, and which leases it still holds.

    `at_most_once` are those of the names whose tasks are never to be run twice; `schedules` are
    those of its definitions, and `problems` (schedule id, why) those that can't be taken.
    `started_at` is when its process started, by its own clock; `at` is the control plane's.
    `queues` are those that it serves, none if all; `run_limits` what its definitions say of
    themselves.
    """

    session: int
    instance: str
    worker_id: str
    names: frozenset[str]
    capacity: int
    held: Sequence[HeldLease] = ()
    stored: Mapping[str, StoredTask] = {}
    at_most_once: frozenset[str] = frozenset()
    schedules: Sequence[ScheduleSpec] = ()
    problems: Sequence[tuple[str, str]] = ()
    started_at: float = 0.0
    at: float = 0.0
    queues: frozenset[str] = frozenset()
    run_limits: Sequence[RunLimit] = ()
    offers: Sequence[Offer] = ()


class WorkerDied(Struct, frozen=True, gc=False):
    """A subworker's process has ended, as its supervisor saw: how, and what it was running.

    `running` are the fencing tokens of the tasks that had begun, or None if that isn't known.
    """

    instance: str
    cause: str
    running: frozenset[int] | None


class SessionLost(Struct, frozen=True, gc=False):
    """A session's connection has ended."""

    session: int


class Submit(Struct, frozen=True, gc=False):
    """A client submitted tasks.

    `seen` are the ids among them that the store already knows in any state, and `evicted` those
    of them that only a tombstone is left of; `refused` are those that the server turned down before
    they came here. `holders` are who holds the unique keys that are asked for, by (name, key), and
    `stored` those of these tasks that are live and that the core doesn't hold.
    """

    session: int
    request: int
    client: str
    submitted_at: float
    tasks: Sequence[NewTask]
    seen: frozenset[str] = frozenset()
    evicted: frozenset[str] = frozenset()
    refused: Sequence[Refused] = ()
    holders: Mapping[tuple[str, str], UniqueHold] = {}
    stored: Mapping[str, StoredTask] = {}


class Report(Struct, frozen=True, gc=False):
    """A subworker reported outcomes; `sequence` is what it wants acknowledged.

    `at` is the control plane's wall clock: what is kept for how long doesn't depend on the
    subworker's.
    """

    session: int
    sequence: int
    outcomes: Sequence[Outcome]
    at: float


class GiveBack(Struct, frozen=True, gc=False):
    """A subworker gives leases back that it hasn't started."""

    session: int
    leases: Sequence[HeldLease]


class SetCapacity(Struct, frozen=True, gc=False):
    """A subworker says how many leases it wants to hold at once from now on."""

    session: int
    capacity: int


class Heartbeat(Struct, frozen=True, gc=False):
    """A subworker's process is alive; its loop answers (`blocked_s` is 0) or hasn't for so long.

    `session` is the heartbeats' own.
    """

    session: int
    instance: str
    blocked_s: float = 0.0
    task_name: str = ""
    task_id: str = ""
    stack: str = ""


class HeartbeatLost(Struct, frozen=True, gc=False):
    """The session of a subworker's heartbeats has ended."""

    session: int
    instance: str


class Cancel(Struct, frozen=True, gc=False):
    """A client wants tasks cancelled; `stored` are the live ones the core doesn't hold."""

    session: int
    request: int
    task_ids: Sequence[str]
    at: float
    stored: Mapping[str, StoredTask] = {}


class ListDead(Struct, frozen=True, gc=False):
    """A client asks for dead letters."""

    session: int
    request: int
    filter: DeadLetterFilter


class Requeue(Struct, frozen=True, gc=False):
    """A client wants dead letters queued again: pairs of (task id, the new task's id).

    `letters` are those that there are, as submissions under the new ids; `seen` are the new ids
    that are known: this command has come before.
    """

    session: int
    request: int
    pairs: Sequence[tuple[str, str]]
    at: float
    letters: Mapping[str, NewTask] = {}
    seen: frozenset[str] = frozenset()


class SetQueue(Struct, frozen=True, gc=False):
    """A client wants other settings for a queue."""

    session: int
    request: int
    change: QueueChange


class Purge(Struct, frozen=True, gc=False):
    """A client wants all that waits in a queue cancelled."""

    session: int
    request: int
    queue: str


class PurgedLoaded(Struct, frozen=True, gc=False):
    """The store returned delayed tasks of a queue that is purged, in the order of their keys.

    `last` is the purge's mark, `is_last` says that there are no more of them.
    """

    queue: str
    last: int
    tasks: Sequence[StoredTask]
    at: float
    is_last: bool


class SetRunLimit(Struct, frozen=True, gc=False):
    """A client wants a limit of what runs set."""

    session: int
    request: int
    limit: RunLimit


class RemoveRunLimit(Struct, frozen=True, gc=False):
    """A client wants a limit of what runs removed that was set."""

    session: int
    request: int
    id: LimitId


class AskBatch(Struct, frozen=True, gc=False):
    """A client asks about a batch, and with `after` (a task id, or "") for its next live tasks."""

    session: int
    request: int
    batch_id: str
    after: str | None = None


class ListBatches(Struct, frozen=True, gc=False):
    """A client asks which batches there are; `after` (created at, id) is the last one it had."""

    session: int
    request: int
    after: tuple[float, str] | None
    limit: int


class Query(Struct, frozen=True, gc=False):
    """A client asks what is known of tasks."""

    session: int
    request: int
    task_ids: Sequence[str]


class Watch(Struct, frozen=True, gc=False):
    """A client wants the results of tasks pushed to it; `stored` as in `Cancel`."""

    session: int
    request: int
    task_ids: Sequence[str]
    stored: Mapping[str, StoredTask] = {}


class Inspect(Struct, frozen=True, gc=False):
    """A client asks about the queue itself.

    To say why tasks don't run: `stored` as in `Cancel`, `ahead` how many of its lane are before
    each of these, up to a bound, and the wall clock.
    """

    session: int
    request: int
    topic: str
    task_ids: Sequence[str] = ()
    stored: Mapping[str, StoredTask] = {}
    ahead: Mapping[str, int] = {}
    at: float = 0.0


class WatchOffers(Struct, frozen=True, gc=False):
    """A client is to be told what is offered, now and when it changes."""

    session: int


class FindOffers(Struct, frozen=True, gc=False):
    """A client asks what is offered under some names now."""

    session: int
    request: int
    names: Sequence[str]


class Loaded(Struct, frozen=True, gc=False):
    """The store returned the next tasks of a lane's window."""

    lane_id: int
    tasks: Sequence[StoredTask]
    exhausted: bool


class CallbacksSent(Struct, frozen=True, gc=False):
    """The sender is done with an address for now: these are delivered, these given up."""

    address: str
    delivered: Sequence[int]
    given_up: Sequence[int] = ()
    reachable: bool = True
    jitter: float = 0.5


class DiskSpace(Struct, frozen=True, gc=False):
    """The engine looked at the room that is left; if it is short, nothing new is accepted.

    `enough_bytes` is where that changes, `where` what a person has to look at.
    """

    is_short: bool
    free_bytes: int
    enough_bytes: int
    where: str


class SaveCheckpoint(Struct, frozen=True, gc=False):
    """An attempt wants a value saved for the next one; `sequence` is what is to be acknowledged."""

    session: int
    sequence: int
    task_id: str
    token: int
    value: bytes


class Tell(Struct, frozen=True, gc=False):
    """Running tasks tell of themselves."""

    session: int
    news: Sequence[News]


class Follow(Struct, frozen=True, gc=False):
    """A client wants to be told what happens to a task, or with `ends` not any more.

    `stored` is the task, if it is live and the core doesn't hold it.
    """

    session: int
    request: int
    task_id: str
    ends: bool = False
    stored: StoredTask | None = None


class Tick(Struct, frozen=True, gc=False):
    """Time has passed; `at` is the wall clock, for what the core records."""

    at: float


class RunSchedules(Struct, frozen=True, gc=False):
    """Runs of schedules are due, as the core itself has said of this moment.

    `seen` are the ids among them that the store knows in any state, and `stored` those of the runs
    before them that are live and that the core doesn't hold.
    """

    at: float
    runs: Sequence[DueRuns]
    seen: frozenset[str] = frozenset()
    stored: Mapping[str, StoredTask] = {}


class RunScheduleNow(Struct, frozen=True, gc=False):
    """A client wants a schedule run, as a task with this id; `seen` and `stored` as above."""

    session: int
    request: int
    schedule_id: str
    task_id: str
    at: float
    seen: frozenset[str] = frozenset()
    stored: Mapping[str, StoredTask] = {}


class PutSchedule(Struct, frozen=True, gc=False):
    """A client makes a schedule, or replaces one if `replaces`; `problem` is why it can't be."""

    session: int
    request: int
    spec: ScheduleSpec
    replaces: bool
    at: float
    problem: str = ""


class ChangeSchedule(Struct, frozen=True, gc=False):
    """A client wants a schedule paused, resumed or deleted."""

    session: int
    request: int
    schedule_id: str
    action: Literal["pause", "resume", "delete"]
    at: float


class ListSchedules(Struct, frozen=True, gc=False):
    """A client asks for a schedule, or if it is None for those whose ids come after `after`."""

    session: int
    request: int
    schedule_id: str | None
    after: str
    limit: int


Command = (
    ClientReady
    | WorkerReady
    | WorkerDied
    | SessionLost
    | Submit
    | Report
    | GiveBack
    | SetCapacity
    | Heartbeat
    | HeartbeatLost
    | Cancel
    | ListDead
    | SetQueue
    | Purge
    | PurgedLoaded
    | SetRunLimit
    | RemoveRunLimit
    | Requeue
    | Query
    | Watch
    | WatchOffers
    | FindOffers
    | Inspect
    | Loaded
    | DueLoaded
    | ExpiredLoaded
    | CallbacksSent
    | DiskSpace
    | Tick
    | RunSchedules
    | RunScheduleNow
    | PutSchedule
    | ChangeSchedule
    | ListSchedules
    | AskBatch
    | ListBatches
    | SaveCheckpoint
    | Tell
    | Follow
)
