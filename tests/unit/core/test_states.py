"""The transition table is the whole truth about a task's life."""

from __future__ import annotations

import itertools

import pytest

from fastqueue.core.states import TRANSITIONS, IllegalTransition, TaskEvent, next_status
from fastqueue.tasks.models import TaskStatus


@pytest.mark.parametrize(("status", "event"), list(itertools.product(TaskStatus, TaskEvent)))
def test_every_pair_is_either_in_the_table_or_refused(status: TaskStatus, event: TaskEvent) -> None:
    if (status, event) in TRANSITIONS:
        assert next_status(status, event) is TRANSITIONS[status, event]
    else:
        with pytest.raises(IllegalTransition, match=event.name):
            next_status(status, event)


def test_nothing_leads_out_of_a_terminal_status() -> None:
    assert not any(status.is_terminal for status, _ in TRANSITIONS)


def test_every_terminal_status_can_be_reached() -> None:
    assert {s for s in TRANSITIONS.values() if s.is_terminal} == {
        s for s in TaskStatus if s.is_terminal
    }
