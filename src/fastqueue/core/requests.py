"""Own what clients ask about tasks that are submitted: cancel, query, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import CancelsRequested, ResultsAccessed, TasksDue
from fastqueue.core.delaying import make_ready
from fastqueue.core.effects import (
    AnswerCancel,
    AnswerQuery,
    AnswerWatch,
    CancelRunning,
    PushStored,
)
from fastqueue.core.lanes import SEQUENCE_BITS
from fastqueue.core.records import Result, RunningTask
from fastqueue.core.state import Finished
from fastqueue.core.states import TaskEvent
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastqueue.core.commands import Cancel, ClientReady, Query, StoredTask, Watch
    from fastqueue.core.decision import Decision
    from fastqueue.core.lanes import Task
    from fastqueue.core.state import State

__all__ = [
    "cancel",
    "cancel_tasks",
    "client_ready",
    "disconnect_client",
    "end_cancelled",
    "query",
    "tell_to_cancel",
    "watch",
]


def client_ready(state: State, command: ClientReady, now: float, decision: Decision) -> None:
    """Begin a client's session; results of its tasks are pushed there from now on."""
    state.clients[command.instance] = command.session
    state.clients_by_session[command.session] = command.instance
    state.watched[command.session] = 0


def disconnect_client(state: State, session: int) -> None:
    """End a client's session; nothing is pushed to it until it connects anew and watches."""
    instance = state.clients_by_session.pop(session)
    if state.clients.get(instance) == session:
        del state.clients[instance]
    state.followed.disconnect(session)
    state.workers.offers.listeners.pop(session, None)
    if state.watched.pop(session):
        for task_id, sessions in list(state.watchers.items()):
            if session in sessions:
                sessions.remove(session)
                if not sessions:
                    del state.watchers[task_id]


def cancel(state: State, command: Cancel, now: float, decision: Decision) -> None:
    """Cancel those tasks that wait; have those that run cancelled by their subworkers.

    The answer says what each of them is now. What comes of one that runs is its result.
    """
    answers = cancel_tasks(
        state,
        command.task_ids,
        command.stored,
        "Cancelled: it was cancelled before it started",
        at=command.at,
        now=now,
        decision=decision,
    )
    decision.effects.append(
        AnswerCancel(command.session, command.request, command.task_ids, answers)
    )


def cancel_tasks(
    state: State,
    task_ids: Iterable[str],
    found: Mapping[str, StoredTask],
    error: str,
    *,
    at: float,
    now: float,
    decision: Decision,
    even_running: bool = True,
) -> dict[str, tuple[bool, TaskStatus]]:
    """Cancel tasks, wherever they are.

    Args:
        state: the core's.
        task_ids: which.
        found: those of them that are live and that the core doesn't hold.
        error: the result of those that wait.
        at: the wall clock.
        now: the monotonic clock.
        decision: takes what follows.
        even_running: whether those that run are cancelled too.

    Returns:
        By id of those that are live, whether it is cancelled and its status.
    """
    answers: dict[str, tuple[bool, TaskStatus]] = {}
    finished = Finished(at)
    due: list[tuple[int, int]] = []
    running: list[Task] = []
    for task_id in dict.fromkeys(task_ids):
        task = state.tasks.get(task_id)
        if task is None:
            stored = found.get(task_id)
            if stored is None:
                continue
            if stored.is_delayed:
                task = make_ready(state, stored, now, decision, due, hold=True)
            else:
                task = state.load(state.lanes.by_id[stored.key >> SEQUENCE_BITS], stored)
        if task is None:
            # It stays where it is: there are too many lanes for it to be in one.
            answers[task_id] = (False, found[task_id].status)
            continue
        if task.status is TaskStatus.QUEUED:
            state.end_unreported(task, TaskEvent.CANCELLED, error, now, finished)
            answers[task_id] = (True, TaskStatus.CANCELLED)
        else:
            answers[task_id] = (False, task.status)
            is_running = task.status is TaskStatus.RUNNING
            if even_running and is_running and not task.cancelling:
                task.cancelling = True
                running.append(task)
    if running:
        decision.changes.append(CancelsRequested([task.key for task in running]))
        tell_to_cancel(running, decision)
    if due:
        decision.changes.append(TasksDue(due))
    state.conclude(finished, now, decision)
    return answers


def tell_to_cancel(tasks: Iterable[Task], decision: Decision) -> None:
    """Tell subworkers to cancel tasks; one without a session is told when it is back."""
    by_session: dict[int, list[RunningTask]] = {}
    for task in tasks:
        if task.worker is not None and task.worker.session:
            running = RunningTask(task.task_id, task.token)
            by_session.setdefault(task.worker.session, []).append(running)
    decision.effects += [CancelRunning(session, told) for session, told in by_session.items()]


def end_cancelled(state: State, at: float, now: float, decision: Decision) -> None:
    """Cancel the tasks that ran when somebody asked for it, and whose lease has ended since."""
    if not state.to_cancel:
        return
    finished = Finished(at)
    for task in state.to_cancel:
        if state.tasks.get(task.task_id) is task and task.status is TaskStatus.QUEUED:
            error = "Cancelled: it was cancelled while it ran, and its subworker didn't finish it"
            state.end_unreported(task, TaskEvent.CANCELLED, error, now, finished)
    state.to_cancel.clear()
    state.conclude(finished, now, decision)


def query(state: State, command: Query, now: float, decision: Decision) -> None:
    """Answer what is known; a recorded result that is read moves to the end of the LRU order."""
    live: dict[str, Result] = {}
    accessed = []
    for task_id in command.task_ids:
        task = state.tasks.get(task_id)
        if task is not None:
            live[task_id] = Result(
                task_id,
                task.status,
                task.lane.name,
                task.attempt,
                task.format,
                worker_id=task.worker.worker_id if task.worker is not None else None,
                progress=state.followed.progress_of(task_id),
                waits_for=state.unoffered.waits_for(task.lane.name, task.status),
            )
        elif task_id in state.retention:
            accessed.append((state.retention.access(task_id), task_id))
    if accessed:
        decision.changes.append(ResultsAccessed(accessed))
    decision.effects.append(AnswerQuery(command.session, command.request, command.task_ids, live))


def watch(state: State, command: Watch, now: float, decision: Decision) -> None:
    """Push results that are recorded now, and the others when they are."""
    session = command.session
    client = state.clients_by_session[session]
    recorded, unknown, watched = [], [], []
    for task_id in dict.fromkeys(command.task_ids):
        task = state.tasks.get(task_id) or command.stored.get(task_id)
        if task is not None:
            # The submitter's own tasks are pushed to it anyway.
            if task.client != client and session not in state.watchers.get(task_id, ()):
                watched.append(task_id)
        elif task_id in state.retention:
            recorded.append(task_id)
        else:
            unknown.append(task_id)
    refused = ""
    if state.watched[session] + len(watched) > state.limits.watched_max:
        refused = f"a client may watch {state.limits.watched_max:,} tasks that it didn't submit"
    else:
        state.watched[session] += len(watched)
        for task_id in watched:
            state.watchers.setdefault(task_id, []).append(session)
    decision.effects.append(AnswerWatch(session, command.request, unknown, refused))
    if recorded and not refused:
        decision.effects.append(PushStored(session, recorded))
