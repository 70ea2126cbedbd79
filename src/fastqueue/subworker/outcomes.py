"""Own how what a task function returned or raised becomes an outcome to report.

Encoding a value and showing an error run code that they bring along, which may fail in any way: by
SystemExit too. Both functions return an outcome all the same, or the task would keep its slot.
"""

from __future__ import annotations

import logging
import random
import traceback
from typing import TYPE_CHECKING, Any

from fastqueue.config import SerializationFormat
from fastqueue.core.records import Outcome
from fastqueue.errors import Cancel, FastQueueError
from fastqueue.subworker.interruption import Cancelled, TimeLimit
from fastqueue.tasks.serializer import encode_result

if TYPE_CHECKING:
    from fastqueue.core.records import Lease
    from fastqueue.tasks.policies import RetryPolicy

__all__ = ["crashed", "failed", "interrupted", "returned", "unstartable"]

logger = logging.getLogger(__name__)

_ERROR_CHARACTERS_MAX = 8_000
_TRACEBACK_CHARACTERS_MAX = 32_000

_traceback_stored_in = vars(BaseException)["__traceback__"].__get__


def returned(
    lease: Lease, value: Any, started_at: float, completed_at: float, result_bytes_max: int
) -> Outcome:
    """Return the outcome of a task that returned; a value that can't be sent is a failure.

    Never raises.
    """
    task_format = SerializationFormat.of_code(lease.format)
    try:
        result = encode_result(value, task_format)
    except FastQueueError as error:
        return failed(lease, error, started_at, completed_at)
    except BaseException:  # noqa: BLE001 - encoding runs the value's own code
        text = (
            f"SerializationError: the result of task {lease.name!r} can't be encoded: its own "
            "code fails while it is; return plain data in its place"
        )
        return Outcome(lease.task_id, lease.token, False, started_at, completed_at, None, text)
    if len(result) > result_bytes_max:
        text = (
            f"PayloadTooLarge: the result of task {lease.name!r} is {len(result):,} bytes encoded; "
            f"at most {result_bytes_max:,} are kept: store it elsewhere and return a reference"
        )
        return Outcome(lease.task_id, lease.token, False, started_at, completed_at, None, text)
    json_result = None
    if lease.wants_json and task_format is not SerializationFormat.JSON:
        json_result = _as_json(lease, value, result_bytes_max)
    return Outcome(
        lease.task_id,
        lease.token,
        True,
        started_at,
        completed_at,
        result,
        json_result=json_result,
    )


def _as_json(lease: Lease, value: Any, result_bytes_max: int) -> bytes:
    try:
        encoded = encode_result(value, SerializationFormat.JSON)
    except FastQueueError as error:
        why = f"it isn't JSON: {error}"
    except BaseException:  # noqa: BLE001 - encoding runs the value's own code
        why = "it isn't JSON: its own code fails while it is encoded"
    else:
        if len(encoded) <= result_bytes_max:
            return encoded
        why = f"it is {len(encoded):,} bytes as JSON; at most {result_bytes_max:,} are kept"
    logger.warning("the callback of task %s will carry no result, for %s", lease.task_id, why)
    return b"null"


def failed(
    lease: Lease,
    error: BaseException,
    started_at: float,
    completed_at: float,
    policy: RetryPolicy | None = None,
) -> Outcome:
    """Return the outcome of a task that raised `error`; never raises.

    Args:
        lease: the task.
        error: what it raised.
        started_at: when it started, in seconds since the Unix epoch.
        completed_at: when it ended.
        policy: whether it is to be tried again; None is no.
    """
    try:
        text = _sendable(_text_of(error), _ERROR_CHARACTERS_MAX)
    except BaseException:  # noqa: BLE001 - showing an error runs its own code
        text = "Exception: the task raised an error that can't be shown: its own code fails"
    try:
        shown = _sendable(_traceback_of(error), _TRACEBACK_CHARACTERS_MAX)
    except BaseException:  # noqa: BLE001 - as above
        shown = None
    return Outcome(
        lease.task_id,
        lease.token,
        False,
        started_at,
        completed_at,
        None,
        text,
        shown,
        retry_in_s=None if policy is None else _retry_in_s(policy, lease, error),
        cancelled=issubclass(type(error), (Cancel, Cancelled)),
    )


def _retry_in_s(policy: RetryPolicy, lease: Lease, error: BaseException) -> float | None:
    if type(error) is Cancelled:
        return None
    if type(error) is TimeLimit:
        error = TimeoutError()  # as which a definition has it among the errors to try again
    asked = lease.options
    if asked is not None:
        policy = policy.overridden(asked.retries, asked.backoff_s, asked.backoff_max_s)
    try:
        return policy.wait_s(error, lease.failures, random.random())  # noqa: S311 - for jitter
    except BaseException:  # noqa: BLE001 - a hint is read from the error, by its own code
        return None


def interrupted(lease: Lease, at: float) -> Outcome:
    """Return the outcome of a task that may neither go on nor be run again."""
    text = (
        "LeaseLost: the subworker was stopped while this task was running in it; what the task did "
        "isn't known, and as its delivery is \"at_most_once\" it isn't run again"
    )
    return Outcome(lease.task_id, lease.token, False, at, at, None, text)


def crashed(lease: Lease, how: str, started_at: float, at: float) -> Outcome:
    """Return the outcome of a task whose own process ended, so as `how` says."""
    how = _sendable(how, _ERROR_CHARACTERS_MAX)
    return Outcome(lease.task_id, lease.token, False, started_at, at, error=how, crashed=True)


def unstartable(lease: Lease, why: str, at: float) -> Outcome:
    """Return the outcome of a task that no process can be started for."""
    text = _sendable(why, _ERROR_CHARACTERS_MAX)
    return Outcome(lease.task_id, lease.token, False, at, at, error=text)


def _text_of(error: BaseException) -> str:
    name = type(error).__name__
    try:
        message = f"{error!s}"
    except BaseException as broken:  # noqa: BLE001 - the task's own __str__ is user code
        message = f"(its message can't be shown: {type(broken).__name__})"
    return f"{name}: {message}" if message else name


def _traceback_of(error: BaseException) -> str:
    # The first frame is ours, the one that called the task's function. Asked past the error, which
    # may answer anything.
    caught = _traceback_stored_in(error)
    frames = caught.tb_next if caught else None
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except BaseException:  # noqa: BLE001 - formatting calls the task's own code
        return "".join(traceback.format_tb(frames))


def _sendable(text: str, characters_max: int) -> str:
    """Return text that UTF-8 can carry, its middle cut out if it is too long."""
    if len(text) > characters_max:
        half = characters_max // 2
        left_out = len(text) - characters_max
        text = f"{text[:half]}\n... ({left_out:,} characters left out) ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
