"""Whatever a task returns or raises becomes an outcome that can be sent."""

from __future__ import annotations

import pytest

from fastqueue.core.records import Lease
from fastqueue.subworker.outcomes import failed, returned
from fastqueue.tasks.serializer import allow_pickle

LEASE = Lease("a", 5, 1, "add", 2, 0, wants_json=False)


def _raise(error: BaseException) -> BaseException:
    def task() -> None:
        raise error

    try:
        task()
    except BaseException as raised:  # noqa: BLE001
        return raised
    raise AssertionError


def test_a_value_is_encoded() -> None:
    outcome = returned(LEASE, {"x": [1, 2]}, 1.0, 2.0, 1000)
    assert outcome.succeeded
    assert outcome.result == b'{"x":[1,2]}'
    assert (outcome.task_id, outcome.token) == ("a", 5)


def test_a_value_that_is_not_json_is_a_failure_that_says_so() -> None:
    outcome = returned(LEASE, object(), 1.0, 2.0, 1000)
    assert not outcome.succeeded
    assert outcome.error is not None
    assert outcome.error.startswith("SerializationError: ")


def test_a_value_that_is_too_large_is_a_failure_that_says_so() -> None:
    outcome = returned(LEASE, "x" * 2000, 1.0, 2.0, 1000)
    assert not outcome.succeeded
    assert outcome.error is not None
    assert outcome.error.startswith("PayloadTooLarge: ")
    assert "2,002" in outcome.error


def test_an_error_starts_with_its_type_and_has_the_tasks_own_traceback() -> None:
    outcome = failed(LEASE, _raise(ValueError("boom")), 1.0, 2.0)
    assert outcome.error == "ValueError: boom"
    assert outcome.traceback is not None
    assert "in task" in outcome.traceback
    assert "_raise" not in outcome.traceback


def test_an_error_without_a_message_is_its_type_alone() -> None:
    assert failed(LEASE, _raise(KeyError()), 1.0, 2.0).error == "KeyError"


def test_an_error_whose_message_cannot_be_made_is_reported_all_the_same() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = failed(LEASE, _raise(BrokenError()), 1.0, 2.0).error
    assert error is not None
    assert error.startswith("BrokenError: ")


@pytest.mark.parametrize("message", ["x" * 1_000_000, "\ud800 lone surrogate"])
def test_any_message_can_be_sent(message: str) -> None:
    outcome = failed(LEASE, _raise(ValueError(message)), 1.0, 2.0)
    assert outcome.error is not None
    assert len(outcome.error.encode()) < 10_000
    assert outcome.traceback is not None
    assert len(outcome.traceback.encode()) < 40_000


def test_a_pickled_result_comes_as_json_too_if_a_callback_wants_it() -> None:
    allow_pickle()
    try:
        lease = Lease("a", 5, 1, "add", 2, 1, wants_json=True)
        assert returned(lease, (1, 2), 1.0, 2.0, 1000).json_result == b"[1,2]"
        assert returned(lease, 1j, 1.0, 2.0, 1000).json_result == b"null"
    finally:
        allow_pickle(False)
