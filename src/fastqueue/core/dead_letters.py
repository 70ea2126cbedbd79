"""Own the dead letters: tasks that failed for good, kept so that they can be queued again.

They are in the store alone, with all that a submission has; memory holds their number and size.
Queued again a task has another id: the first one has its one result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue.core.changes import DeadLettersRemoved, DeadLettersTrimmed
from fastqueue.core.commands import Submit
from fastqueue.core.decision import Decision
from fastqueue.core.effects import AcknowledgeSubmit, AnswerDeadLetters, AnswerInspect
from fastqueue.core.submission import submit

if TYPE_CHECKING:
    from fastqueue.core.commands import ListDead, Requeue
    from fastqueue.core.state import State

__all__ = ["list_dead", "requeue_dead", "trim_dead"]


def list_dead(state: State, command: ListDead, now: float, decision: Decision) -> None:
    """Answer which dead letters there are."""
    effect = AnswerDeadLetters(command.session, command.request, command.filter)
    decision.effects.append(effect)


def requeue_dead(state: State, command: Requeue, now: float, decision: Decision) -> None:
    """Queue dead letters again, each as a new task; say of each what came of it."""
    submission = Submit(
        command.session, command.request, "", command.at, list(command.letters.values())
    )
    inner = Decision()
    submit(state, submission, now, inner)
    refused = {
        refusal.task_id: refusal.message
        for effect in inner.effects
        if isinstance(effect, AcknowledgeSubmit)
        for refusal in effect.refused
    }
    removed = [old for old, new in command.letters.items() if new.task_id not in refused]
    decision.changes += inner.changes
    if removed:
        _discount(state, len(removed))
        decision.changes.append(DeadLettersRemoved(removed))
    answer = {
        old: refused.get(new, "requeued" if old in command.letters or new in command.seen else "")
        for old, new in command.pairs
    }
    decision.effects.append(AnswerInspect(command.session, command.request, answer, ()))


def trim_dead(state: State, decision: Decision) -> None:
    """Drop the oldest dead letters if there are too many."""
    limits = state.limits
    surplus = state.dead_letters - limits.dead_letters_max
    if state.dead_letters_bytes > limits.dead_letters_bytes_max:
        surplus = max(surplus, state.dead_letters - state.dead_letters // 2)
    if surplus > 0:
        _discount(state, surplus)
        decision.changes.append(DeadLettersTrimmed(surplus))


def _discount(state: State, count: int) -> None:
    """Note that some are gone; their size isn't known, so it is taken for the average."""
    average = state.dead_letters_bytes / state.dead_letters
    state.dead_letters -= count
    state.dead_letters_bytes = round(average * state.dead_letters)
