"""Own how what a task function returned or raised becomes an outcome to report."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from fastqueue.config import SerializationFormat
from fastqueue.core.records import Outcome
from fastqueue.errors import FastQueueError, SerializationError
from fastqueue.tasks.serializer import encode_result

if TYPE_CHECKING:
    from fastqueue.core.records import Lease

__all__ = ["failed", "returned"]

logger = logging.getLogger(__name__)

_ERROR_CHARACTERS_MAX = 8_000
_TRACEBACK_CHARACTERS_MAX = 32_000


def returned(
    lease: Lease, value: Any, started_at: float, completed_at: float, result_bytes_max: int
) -> Outcome:
    """Return the outcome of a task that returned; a value that can't be sent is a failure."""
    task_format = SerializationFormat.of_code(lease.format)
    try:
        result = encode_result(value, task_format)
    except FastQueueError as error:
        return failed(lease, error, started_at, completed_at)
    if len(result) > result_bytes_max:
        text = (
            f"PayloadTooLarge: the result of task {lease.name!r} is {len(result):,} bytes encoded; "
            f"at most {result_bytes_max:,} are kept: store it elsewhere and return a reference"
        )
        return Outcome(lease.task_id, lease.token, False, started_at, completed_at, None, text)
    json_result = None
    if lease.wants_json and task_format is not SerializationFormat.JSON:
        json_result = _as_json(lease, value)
    return Outcome(
        lease.task_id,
        lease.token,
        True,
        started_at,
        completed_at,
        result,
        json_result=json_result,
    )


def _as_json(lease: Lease, value: Any) -> bytes:
    try:
        return encode_result(value, SerializationFormat.JSON)
    except SerializationError as error:
        logger.warning(
            "the callback of task %s will carry no result, for it isn't JSON: %s",
            lease.task_id,
            error,
        )
        return b"null"


def failed(lease: Lease, error: BaseException, started_at: float, completed_at: float) -> Outcome:
    """Return the outcome of a task that raised `error`."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - the task's own __str__ is user code
        message = f"(its message can't be shown: {type(broken).__name__})"
    name = type(error).__name__
    text = f"{name}: {message}" if message else name
    return Outcome(
        lease.task_id,
        lease.token,
        False,
        started_at,
        completed_at,
        None,
        _sendable(text, _ERROR_CHARACTERS_MAX),
        _sendable(_traceback_of(error), _TRACEBACK_CHARACTERS_MAX),
    )


def _traceback_of(error: BaseException) -> str:
    # The first frame is ours, the one that called the task's function.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - formatting calls the task's own code
        return "".join(traceback.format_tb(frames))


def _sendable(text: str, characters_max: int) -> str:
    """Return text that UTF-8 can carry, its middle cut out if it is too long."""
    if len(text) > characters_max:
        half = characters_max // 2
        left_out = len(text) - characters_max
        text = f"{text[:half]}\n... ({left_out:,} characters left out) ...\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()
