"""The values everything speaks in behave as users expect of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import httpx
import pytest
from fastapi import FastAPI

from fastqueue import Cancellation, TaskPriority, TaskResult, TaskStatus

RESULT = TaskResult(
    task_id="a",
    status=TaskStatus.SUCCESS,
    result={"x": 1},
    started_at=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    completed_at=dt.datetime(2026, 1, 2, 3, 4, 6, tzinfo=dt.UTC),
    name="add",
    attempt=1,
)


def test_a_status_is_its_text() -> None:
    assert TaskStatus.SUCCESS == "success"
    assert f"{TaskStatus.SUCCESS}" == "success"
    assert json.dumps(TaskStatus.SUCCESS) == '"success"'
    assert TaskStatus.SUCCESS.value == "success"


def test_only_three_statuses_are_terminal() -> None:
    assert {s.value for s in TaskStatus if s.is_terminal} == {"success", "failure", "cancelled"}


@pytest.mark.parametrize("text", ["high", "HIGH", "High", " high ", TaskPriority.HIGH])
def test_a_priority_may_be_named_in_any_letter_case(text: str) -> None:
    assert TaskPriority.parse(text) is TaskPriority.HIGH


@pytest.mark.parametrize("value", ["urgent", "", 1, None, b"high"])
def test_any_other_priority_is_refused_listing_the_four(value: object) -> None:
    with pytest.raises(ValueError, match="'critical', 'high', 'normal', 'low'"):
        TaskPriority.parse(value)  # type: ignore[arg-type]


def test_priorities_rank_from_critical_to_low() -> None:
    ranked = sorted(TaskPriority, key=lambda p: p.rank)
    assert ranked == ["critical", "high", "normal", "low"]
    assert [TaskPriority.of_rank(p.rank) for p in ranked] == ranked


def test_a_result_is_truthy_whatever_its_status_and_value() -> None:
    for status in TaskStatus:
        assert TaskResult(task_id="a", status=status, result=None)


def test_a_cancellation_is_truthy_only_if_the_task_is_cancelled() -> None:
    assert Cancellation(task_id="a", cancelled=True, status=TaskStatus.CANCELLED)
    assert not Cancellation(task_id="a", cancelled=False, status=None)


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESULT.status = TaskStatus.FAILURE  # type: ignore[misc]


def test_a_result_shows_what_matters_in_a_notebook_but_no_traceback() -> None:
    shown = repr(dataclasses.replace(RESULT, traceback="Traceback ..."))
    assert "success" in shown.lower()
    assert "{'x': 1}" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_result_is_returned_from_a_fastapi_endpoint_without_help(annotated: bool) -> None:
    app = FastAPI()

    async def endpoint():  # type: ignore[no-untyped-def]
        return RESULT

    app.get("/", response_model=TaskResult if annotated else None)(endpoint)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = (await client.get("/")).json()
    assert answer["status"] == "success"
    assert answer["result"] == {"x": 1}
    assert answer["completed_at"].startswith("2026-01-02T03:04:06")
    assert answer["task_id"] == "a"
