"""Whatever code a returned value or a raised error brings along, it becomes an outcome."""

from __future__ import annotations

import logging

import pytest

from fastqueue.core.records import Lease
from fastqueue.protocol import messages as msg
from fastqueue.protocol.messages import encode
from fastqueue.subworker.outcomes import failed, returned
from fastqueue.tasks.serializer import allow_pickle
from hostile import ERRORS, VALUES, ExitingReduce, UnshowableWhenEncoded

LEASE = Lease("a", 5, 1, "make", 2, 0, wants_json=False)
PICKLED = Lease("a", 5, 1, "make", 2, 1, wants_json=True)


@pytest.fixture
def pickle_opted_in():
    allow_pickle()
    yield
    allow_pickle(False)


def is_a_failure_that_can_be_sent(outcome):
    assert encode(msg.Report(1, [outcome]))
    assert (outcome.task_id, outcome.token) == ("a", 5)
    return not outcome.succeeded and outcome.result is None and bool(outcome.error)


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_whose_own_code_fails_is_a_failure(kind):
    outcome = returned(LEASE, VALUES[kind](), 1.0, 2.0, 1000)
    assert is_a_failure_that_can_be_sent(outcome)
    assert outcome.error.startswith("SerializationError: the result")


@pytest.mark.parametrize("make", [ExitingReduce, UnshowableWhenEncoded])
def test_a_value_whose_pickling_fails_badly_is_a_failure(pickle_opted_in, make):
    outcome = returned(PICKLED, make(), 1.0, 2.0, 1000)
    assert is_a_failure_that_can_be_sent(outcome)
    assert outcome.error.startswith("SerializationError: the result")


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_whose_own_code_fails_is_reported_all_the_same(kind):
    try:
        raise ERRORS[kind]
    except Exception as error:  # noqa: BLE001
        outcome = failed(LEASE, error, 1.0, 2.0)
    assert is_a_failure_that_can_be_sent(outcome)
    if kind != "no name":
        assert outcome.error.startswith(ERRORS[kind].__name__)


def test_a_callback_goes_without_a_result_whose_json_is_over_the_limit(pickle_opted_in, caplog):
    value = "\x00" * 500  # six bytes each as JSON
    with caplog.at_level(logging.WARNING):
        outcome = returned(PICKLED, value, 1.0, 2.0, 1000)
    assert outcome.succeeded
    assert len(outcome.result) < 1000
    assert outcome.json_result == b"null"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("the callback of task a will carry no result")
    assert "1,000" in warning
