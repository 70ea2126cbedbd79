"""What a client knows of results, and what it asks for when it comes back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fastqueue import TaskStatus
from fastqueue.client.results import Results, to_task_result
from fastqueue.core.records import Result


@pytest.mark.parametrize("seconds", [float("inf"), float("-inf"), float("nan"), 1e300, -1e15, 1e12])
def test_a_time_no_calendar_has_is_no_time(seconds):
    result = Result("a", TaskStatus.SUCCESS, started_at=seconds, completed_at=seconds)
    shown = to_task_result(result)
    assert shown.started_at is None
    assert shown.completed_at is None


def test_a_time_is_aware_and_utc():
    shown = to_task_result(Result("a", TaskStatus.SUCCESS, started_at=0.0, completed_at=1.5))
    assert shown.started_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert shown.completed_at == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


async def test_a_task_not_yet_acknowledged_is_not_asked_for_even_if_the_cache_forgot_it():
    results = Results(size_max=2)
    for n in range(5):
        results.note_submitted(f"task-{n}")
        results.wait(f"task-{n}")
    assert results.unfinished() == []
    results.note_queued("task-0")
    results.note_queued("task-4")
    assert sorted(results.unfinished()) == ["task-0", "task-4"]


async def test_a_task_that_was_not_taken_is_asked_for_if_somebody_still_waits_for_it():
    results = Results(size_max=2)
    results.note_submitted("task")
    results.forget("task")
    assert results.unfinished() == []
    results.wait("task")
    assert results.unfinished() == ["task"]


async def test_what_another_client_submitted_is_asked_for():
    results = Results(size_max=2)
    results.wait("foreign")
    assert results.unfinished() == ["foreign"]


async def test_results_are_remembered_up_to_a_bound_of_bytes_the_least_recent_forgotten_first():
    results = Results(size_max=100, bytes_max=10_000)
    for n in range(6):
        results.note_submitted(f"task-{n}")
        results.note_queued(f"task-{n}")
        if n == 3:
            results.get("task-0")
        results.push([Result(f"task-{n}", TaskStatus.SUCCESS, result=b"x" * 2_200)])
    remembered = [n for n in range(6) if results.get(f"task-{n}") is not None]
    assert remembered == [0, 3, 4, 5]
    results.give_up([f"task-{n}" for n in remembered])
    assert results._bytes == 0
