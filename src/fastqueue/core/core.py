"""Own every decision about the queue: `Core.apply(command, now) -> Decision(changes, effects)`.

The engine tells the core what happened and carries out what it decides: first the changes, into
the store, then the effects. The core does no I/O and knows neither clock nor chance, so a run of
it can be repeated exactly. `Tick` ends each batch of commands: it runs what is due and leases what
is ready, so that one batch makes few, large leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastqueue.core import commands as cmd
from fastqueue.core.batches import answer_batch, list_batches, settle_batches
from fastqueue.core.changes import CallbacksRemoved
from fastqueue.core.checkpoints import save_checkpoint
from fastqueue.core.dead_letters import list_dead, requeue_dead, trim_dead
from fastqueue.core.decision import Decision
from fastqueue.core.delaying import due_loaded, expired_loaded, look_for_due
from fastqueue.core.effects import DeliverCallbacks
from fastqueue.core.following import follow, tell, tell_followers
from fastqueue.core.inspection import inspect
from fastqueue.core.leasing import (
    disconnect_worker,
    give_back,
    lease_ready,
    loaded,
    report,
    set_capacity,
    worker_ready,
)
from fastqueue.core.liveness import give_up_silent, heartbeat, heartbeat_lost
from fastqueue.core.offers import find_offers, tell_offers, tell_unoffered, watch_offers
from fastqueue.core.queue_control import (
    go_on_purging,
    purge,
    purged_loaded,
    remove_run_limit,
    set_queue,
    set_run_limit,
)
from fastqueue.core.requests import (
    cancel,
    client_ready,
    disconnect_client,
    end_cancelled,
    query,
    watch,
)
from fastqueue.core.scheduling import (
    change_schedule,
    list_schedules,
    put_schedule,
    run_schedule_now,
    run_schedules,
    take_definitions,
)
from fastqueue.core.state import Snapshot, State
from fastqueue.core.submission import submit
from fastqueue.core.suspects import expire_workers, worker_died

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.schedules import DueRuns

__all__ = ["Core"]


class Core:
    """Hold the queue's state and decide what follows from each command."""

    def __init__(self, limits: CoreLimits, snapshot: Snapshot, now: float) -> None:
        self.state = State(limits, snapshot, now)

    def apply(self, command: cmd.Command, now: float) -> Decision:
        """Decide what follows from `command`, at the monotonic time `now` in seconds."""
        decision = Decision()
        _HANDLERS[type(command)](self.state, command, now, decision)
        return decision

    def holds(self, task_id: str) -> bool:
        """Say whether the id is known without asking the store."""
        return self.state.holds(task_id)

    def is_recovering(self, now: float) -> bool:
        """Say whether leases that aren't stored may still be out: it began with a crash just now.

        Whoever stops then hasn't stopped in order: the next one has to wait for them as well.
        """
        return now < self.state.leases_begin_at

    def runs_due(self, at: float, now: float) -> list[DueRuns]:
        """Return what schedules are to run at the wall clock's time `at`, for `RunSchedules`.

        That follows in the same turn; nothing may come between.
        """
        schedules = self.state.schedules
        if schedules.next_due > at or schedules.held_off_until > now:
            return []
        return schedules.due_runs(at)

    def last_run_of(self, schedule_id: str) -> str:
        """Return the task of a schedule's last run; empty if there is none."""
        found = self.state.schedules.get(schedule_id)
        return "" if found is None else found.last_task_id

    def next_due(self) -> float | None:
        """Return the monotonic time at which a turn has something to do, or None."""
        state = self.state
        delay_s = state.delays.wait_s(state.last_tick_at, state.last_tick)
        run_s = state.schedules.wait_s(state.last_tick_at, state.last_tick)
        times = (
            None if delay_s is None else state.last_tick + delay_s,
            None if run_s is None else state.last_tick + run_s,
            state.workers.next_deadline(),
            state.workers.silence_due if state.workers.by_session else None,
            state.retention.next_expiry(),
            state.batches.next_expiry(),
            state.outbox.next_due(),
            state.gates.next_due(),
            state.last_tick if state.purges and state.is_purge_due else None,
            state.unoffered.next_due(),
            state.workers.offers.next_due(),
            state.leases_begin_at if state.leases_begin_at > state.last_tick else None,
        )
        return min((t for t in times if t is not None), default=None)


def _session_lost(state: State, command: cmd.SessionLost, now: float, decision: Decision) -> None:
    worker = state.workers.by_session.get(command.session)
    if worker is not None:
        disconnect_worker(state, worker, now)
    elif command.session in state.clients_by_session:
        disconnect_client(state, command.session)


def _worker_ready(state: State, command: cmd.WorkerReady, now: float, decision: Decision) -> None:
    worker_ready(state, command, now, decision)
    take_definitions(state, command, now, decision)


def _callbacks_sent(
    state: State, command: cmd.CallbacksSent, now: float, decision: Decision
) -> None:
    done = [*command.delivered, *command.given_up]
    state.outbox.settle(
        command.address,
        len(done),
        reachable=command.reachable,
        jitter=command.jitter,
        now=now,
    )
    if done:
        decision.changes.append(CallbacksRemoved(done))


def _disk_space(state: State, command: cmd.DiskSpace, now: float, decision: Decision) -> None:
    state.disk_shortage = command if command.is_short else None


def _tick(state: State, command: cmd.Tick, now: float, decision: Decision) -> None:
    state.last_tick, state.last_tick_at = now, command.at
    give_up_silent(state, now, decision)
    expire_workers(state, command.at, now, decision)
    state.evict(now, decision)
    end_cancelled(state, command.at, now, decision)
    trim_dead(state, decision)
    if state.purges:
        go_on_purging(state, command.at, now, decision)
    tell_offers(state, now, decision)
    tell_unoffered(state, now, decision)
    look_for_due(state, command.at, now, decision)
    lease_ready(state, command.at, now, decision)
    settle_batches(state, now, decision)
    for address in state.outbox.take_due(now):
        decision.effects.append(DeliverCallbacks(address))
    tell_followers(state, decision)


_HANDLERS: dict[type, Callable[[State, Any, float, Decision], None]] = {
    cmd.Submit: submit,
    cmd.Report: report,
    cmd.Tick: _tick,
    cmd.WorkerReady: _worker_ready,
    cmd.GiveBack: give_back,
    cmd.SetCapacity: set_capacity,
    cmd.Heartbeat: heartbeat,
    cmd.HeartbeatLost: heartbeat_lost,
    cmd.WorkerDied: worker_died,
    cmd.ClientReady: client_ready,
    cmd.SessionLost: _session_lost,
    cmd.Cancel: cancel,
    cmd.ListDead: list_dead,
    cmd.Requeue: requeue_dead,
    cmd.SetQueue: set_queue,
    cmd.Purge: purge,
    cmd.PurgedLoaded: purged_loaded,
    cmd.SetRunLimit: set_run_limit,
    cmd.RemoveRunLimit: remove_run_limit,
    cmd.Query: query,
    cmd.Watch: watch,
    cmd.WatchOffers: watch_offers,
    cmd.FindOffers: find_offers,
    cmd.Inspect: inspect,
    cmd.Loaded: loaded,
    cmd.DueLoaded: due_loaded,
    cmd.ExpiredLoaded: expired_loaded,
    cmd.CallbacksSent: _callbacks_sent,
    cmd.DiskSpace: _disk_space,
    cmd.RunSchedules: run_schedules,
    cmd.RunScheduleNow: run_schedule_now,
    cmd.PutSchedule: put_schedule,
    cmd.ChangeSchedule: change_schedule,
    cmd.ListSchedules: list_schedules,
    cmd.AskBatch: answer_batch,
    cmd.ListBatches: list_batches,
    cmd.SaveCheckpoint: save_checkpoint,
    cmd.Tell: tell,
    cmd.Follow: follow,
}
