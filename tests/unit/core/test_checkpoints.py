"""What an attempt saves for the next one, and who may."""

from __future__ import annotations

import pytest
from tests.unit.core.builders import (
    connect_worker,
    has,
    leases,
    make_core,
    new_task,
    only,
    submit,
    succeed,
    tick,
)

from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core import effects as fx
from fastqueue.core.core import Core
from fastqueue.core.decision import Decision
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Lease


def save(core: Core, lease: Lease, value: bytes = b"1", session: int = 10) -> Decision:
    return core.apply(cmd.SaveCheckpoint(session, 5, lease.task_id, lease.token, value), 0.0)


def leased(core: Core, *names: str) -> list[Lease]:
    submit(core, *(new_task(name) for name in names))
    connect_worker(core)
    return leases(tick(core))


def lose_worker(core: Core, session: int = 10) -> None:
    core.apply(cmd.SessionLost(session), 0.0)
    tick(core, 5.0)


def test_a_checkpoint_is_a_change_and_acknowledged() -> None:
    core = make_core()
    (lease,) = leased(core, "a")
    assert lease.checkpoint is None
    decision = save(core, lease, b"half")
    assert only(decision, ch.CheckpointSaved).value == b"half"
    acknowledged = only(decision, fx.AcknowledgeCheckpoint)
    assert (acknowledged.sequence, acknowledged.refusal) == (5, "")


def test_the_next_lease_says_that_there_is_one_and_no_other_does() -> None:
    core = make_core()
    first, _ = leased(core, "a", "b")
    save(core, first)
    lose_worker(core)
    connect_worker(core, 11, instance="v", now=6.0)
    found = {lease.task_id: lease.checkpoint for lease in leases(tick(core, 6.0))}
    assert found == {"a": b"", "b": None}


def test_an_attempt_that_lost_its_lease_saves_nothing() -> None:
    core = make_core()
    (old,) = leased(core, "a")
    lose_worker(core)
    connect_worker(core, 11, instance="v", now=6.0)
    (new,) = leases(tick(core, 6.0))
    connect_worker(core, 12, instance="w", now=6.0)
    stale = save(core, old, session=12)
    assert only(stale, fx.AcknowledgeCheckpoint).is_lease_lost
    assert not has(stale, ch.CheckpointSaved)
    # Nor does another subworker that has learnt the valid token.
    assert only(save(core, new, session=12), fx.AcknowledgeCheckpoint).is_lease_lost
    assert not only(save(core, new, session=11), fx.AcknowledgeCheckpoint).refusal


def test_it_ends_with_the_task() -> None:
    core = make_core()
    first, second = leased(core, "a", "b")
    save(core, first)
    assert only(succeed(core, second), ch.TasksFinished).checkpointed == []
    assert only(succeed(core, first), ch.TasksFinished).checkpointed == ["a"]
    assert core.state.checkpoints_bytes == 0


def test_all_of_them_together_are_bounded_and_a_smaller_one_is_always_taken() -> None:
    core = make_core(CoreLimits(checkpoints_bytes_max=10))
    first, second = leased(core, "a", "b")
    assert not only(save(core, first, b"8" * 8), fx.AcknowledgeCheckpoint).refusal
    refused = save(core, second, b"3" * 3)
    assert "10 bytes" in only(refused, fx.AcknowledgeCheckpoint).refusal
    assert not only(refused, fx.AcknowledgeCheckpoint).is_lease_lost
    assert not only(save(core, first, b"7" * 7), fx.AcknowledgeCheckpoint).refusal
    assert not only(save(core, second, b"3" * 3), fx.AcknowledgeCheckpoint).refusal
    assert core.state.checkpoints_bytes == 10


def test_on_a_full_disk_none_is_taken() -> None:
    core = make_core()
    (lease,) = leased(core, "a")
    core.apply(cmd.DiskSpace(True, 10, 1000, "/data"), 0.0)
    assert "/data" in only(save(core, lease), fx.AcknowledgeCheckpoint).refusal


@pytest.mark.parametrize("sizes", [(5,), (5, 900, 3)])
def test_what_a_subworker_holds_counts_its_checkpoints(sizes: tuple[int, ...]) -> None:
    core = make_core()
    (lease,) = leased(core, "a")
    (worker,) = core.state.workers
    before = worker.leased_bytes
    for size in sizes:
        save(core, lease, b"x" * size)
    assert worker.leased_bytes == before + sizes[-1]
    succeed(core, lease)
    assert worker.leased_bytes == 0
