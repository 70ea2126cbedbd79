"""Own short ways to build what the core's tests speak in."""

from __future__ import annotations

from typing import TypeVar

from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.decision import Decision
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Callback, HeldLease, Lease, NewTask, Outcome
from fastqueue.core.state import Snapshot

Effect = TypeVar("Effect")
NORMAL = 2


def make_core(limits: CoreLimits | None = None, snapshot: Snapshot | None = None) -> Core:
    return Core(limits or CoreLimits(), snapshot or Snapshot(epoch=1), now=0.0)


def new_task(
    task_id: str,
    name: str = "add",
    rank: int = NORMAL,
    *,
    payload: bytes = b"[]",
    callback: Callback | None = None,
) -> NewTask:
    return NewTask(task_id, name, rank, 0, payload, callback)


def submit(core: Core, *tasks: NewTask, client: str = "c", session: int = 1) -> Decision:
    return core.apply(cmd.Submit(session, 1, client, 100.0, tasks), 0.0)


def connect_client(core: Core, session: int = 1, instance: str = "c") -> Decision:
    return core.apply(cmd.ClientReady(session, instance), 0.0)


def connect_worker(
    core: Core,
    session: int = 10,
    *,
    instance: str = "w",
    names: tuple[str, ...] = ("add",),
    capacity: int = 10,
    held: tuple[HeldLease, ...] = (),
    stored: dict[str, cmd.StoredTask] | None = None,
    now: float = 0.0,
) -> Decision:
    return core.apply(
        cmd.WorkerReady(
            session, instance, instance, frozenset(names), capacity, held, stored or {}
        ),
        now,
    )


def tick(core: Core, now: float = 0.0) -> Decision:
    return core.apply(cmd.Tick(1000.0 + now), now)


def leases(decision: Decision) -> list[Lease]:
    return [lease for e in decision.effects if isinstance(e, fx.SendLeases) for lease in e.leases]


def succeed(core: Core, *given: Lease, session: int = 10, now: float = 0.0) -> Decision:
    outcomes = [Outcome(g.task_id, g.token, True, 1.0, 2.0, b"1") for g in given]
    return core.apply(cmd.Report(session, 1, outcomes, 1000.0), now)


def only(decision: Decision, kind: type[Effect]) -> Effect:
    """Return the one effect or change of this kind."""
    found = [x for x in (*decision.effects, *decision.changes) if isinstance(x, kind)]
    assert len(found) == 1, found
    return found[0]


def has(decision: Decision, kind: type[object]) -> bool:
    return any(isinstance(x, kind) for x in (*decision.effects, *decision.changes))
