"""Own every error that fastqueue raises to its users: one tree, one root.

    FastQueueError
    ├── ConfigurationError (ValueError)     a setting, an address or an option is wrong
    ├── SerializationError (TypeError)      a value can't be encoded or decoded
    ├── InvalidArguments (TypeError)        no subworker's task function takes these arguments
    ├── PayloadTooLarge (ValueError)        the arguments or the result are over the limit
    ├── TaskImportError                     a task module doesn't import
    ├── TaskNameConflict (ValueError)       two functions claim one task name
    ├── ClientStateError (RuntimeError)     the client isn't started, or has another loop
    ├── ControlPlaneUnavailable (ConnectionError)   no control plane answered in time
    ├── TaskTimeout (TimeoutError)          the task wasn't finished in time; it goes on
    ├── ResultExpired (LookupError)         the control plane doesn't have the result any more
    ├── ScheduleNotFound (LookupError)      there is no schedule with this id
    ├── SubmissionRefused                   the control plane said no, and why
    │   ├── TaskNotOffered                  ... because no subworker offers a task that requires one
    │   └── Overloaded                      ... because a bound is reached: try again later
    │       └── DiskFull                    ... the control plane's disk has too little room
    ├── ProtocolError                       a peer spoke something else, or another version
    ├── PatternError                        an NNG socket couldn't do what was asked
    │   ├── PatternClosed                   ... because it is closed
    │   └── PatternTimeout (TimeoutError)   ... in the time it was given
    ├── TaskRequest                         raised by a task: what shall become of it
    │   ├── Retry                           ... it is to be tried again
    │   └── Cancel                          ... it is to end as cancelled
    ├── SoftTimeLimit (TimeoutError)        raised in a task that has run for its soft limit
    ├── NotInTask (RuntimeError)            the running task was asked for where none runs
    ├── LeaseLost                           raised in an attempt that doesn't count any more
    └── StoreError                          the store can't be used
        ├── StoreLocked                     another control plane holds it
        ├── StoreCorrupt                    it is damaged: refused, never recreated
        ├── StoreTooNew                     a newer fastqueue wrote it
        └── StoreFull                       there is no room left

A failure of a *task* is never an exception here: it is a `TaskResult` whose status is `failure`.
"""

from __future__ import annotations

import math
from datetime import timedelta

__all__ = [
    "Cancel",
    "ClientStateError",
    "ConfigurationError",
    "ControlPlaneUnavailable",
    "DiskFull",
    "FastQueueError",
    "InvalidArguments",
    "LeaseLost",
    "NotInTask",
    "Overloaded",
    "PatternClosed",
    "PatternError",
    "PatternTimeout",
    "PayloadTooLarge",
    "ProtocolError",
    "ResultExpired",
    "Retry",
    "ScheduleNotFound",
    "SerializationError",
    "SoftTimeLimit",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StoreTooNew",
    "SubmissionRefused",
    "TaskImportError",
    "TaskNameConflict",
    "TaskNotOffered",
    "TaskRequest",
    "TaskTimeout",
]


_RETRY_AFTER_MAX_S = 365 * 24 * 3600.0


class FastQueueError(Exception):
    """Be the root of every error fastqueue raises."""


class ConfigurationError(FastQueueError, ValueError):
    """Say which setting is wrong, what it was, and what it may be."""


class SerializationError(FastQueueError, TypeError):
    """Name the argument, or the place in the result, that can't be encoded or decoded."""


class InvalidArguments(FastQueueError, TypeError):  # noqa: N818 - reads as what it is
    """Say which argument of a call no connected subworker's function takes, and why.

    Attributes:
        task_name: the task's name.
        argument: which argument: its name in quotes, or `argument 3`.
        signature: what the function takes; of several versions each.
    """

    def __init__(self, message: str, *, task_name: str, argument: str, signature: str) -> None:
        super().__init__(message)
        self.task_name = task_name
        self.argument = argument
        self.signature = signature


class PayloadTooLarge(FastQueueError, ValueError):  # noqa: N818 - reads as what happened
    """Say how large the arguments or the result were, and what the limit is."""


class TaskImportError(FastQueueError):
    """Name the task module that couldn't be imported; the cause is chained."""


class TaskNameConflict(FastQueueError, ValueError):  # noqa: N818 - reads as what happened
    """Name the task name that two functions claim, and both functions."""


class ClientStateError(FastQueueError, RuntimeError):
    """Say what the client's state is, and which call brings it into the needed one."""


class ControlPlaneUnavailable(FastQueueError, ConnectionError):  # noqa: N818
    """Say which address was tried, and for how long."""


class TaskTimeout(FastQueueError, TimeoutError):  # noqa: N818 - reads as what happened
    """Name the task that wasn't finished in time; the task itself goes on.

    Attributes:
        task_id: the task; its result can still be queried under it.
    """

    def __init__(self, message: str, *, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id


class ResultExpired(FastQueueError, LookupError):  # noqa: N818 - reads as what happened
    """Name the task whose result was waited for and is unknown, evicted or past its time.

    Attributes:
        task_id: the task.
    """

    def __init__(self, message: str, *, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id


class ScheduleNotFound(FastQueueError, LookupError):  # noqa: N818 - reads as what happened
    """There is no schedule with this id.

    Attributes:
        schedule_id: that id.
    """

    def __init__(self, message: str, *, schedule_id: str = "") -> None:
        super().__init__(message)
        self.schedule_id = schedule_id


class SubmissionRefused(FastQueueError):  # noqa: N818 - reads as what happened
    """Say why the control plane didn't take a submission; it isn't stored."""


class TaskNotOffered(SubmissionRefused):
    """Say that no connected subworker offers the task, what is offered, and which may be meant."""


class Overloaded(SubmissionRefused):
    """Say which bound is reached.

    Attributes:
        retry_after_s: how many seconds to wait before trying again.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DiskFull(Overloaded):
    """Say how many bytes the control plane has free, and where room is to be made."""


class TaskRequest(FastQueueError):  # noqa: N818 - reads as what it is
    """Be raised by a task's own code to say what shall become of it."""


class Retry(TaskRequest):
    """Have the task that raises it tried again later.

    Args:
        message: why; it is the attempt's error.
        after: how long to wait, in seconds or as a timedelta; by default as its definition says.

    Attributes:
        after_s: the wait in seconds, or None.
    """

    def __init__(
        self, message: str = "the task asked for it", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        span = after.total_seconds() if isinstance(after, timedelta) else after
        wait_s = math.nan if span is None else float(span)
        # Not a number is no wait: to raise here would hide why the task asks.
        self.after_s = None if math.isnan(wait_s) else min(max(wait_s, 0.0), _RETRY_AFTER_MAX_S)


class Cancel(TaskRequest):
    """Have the task that raises it end as cancelled, and not be tried again."""


class SoftTimeLimit(FastQueueError, TimeoutError):  # noqa: N818 - reads as what happened
    """Be raised in a task that has run for its soft time limit: it may catch it and clean up."""

    def __str__(self) -> str:
        return super().__str__() or "it has run for its soft time limit"


class NotInTask(FastQueueError, RuntimeError):  # noqa: N818 - reads as what happened
    """Say that the running task was asked for where none runs."""


class LeaseLost(FastQueueError):  # noqa: N818 - reads as what happened
    """Name the task of which this attempt doesn't count any more: another may be running."""


class ProtocolError(FastQueueError):
    """Say what a peer sent that can't be understood, or which protocol version it speaks."""


class PatternError(FastQueueError):
    """Name the NNG address and what couldn't be done there."""


class PatternClosed(PatternError):  # noqa: N818 - reads as what happened
    """Name the NNG address whose socket is closed."""


class PatternTimeout(PatternError, TimeoutError):  # noqa: N818 - reads as what happened
    """Name the NNG address, what was waited for, and for how long."""


class StoreError(FastQueueError):
    """Name the store's file, what failed, and what to do."""


class StoreLocked(StoreError):  # noqa: N818 - reads as what happened
    """Name the data directory that another control plane holds."""


class StoreCorrupt(StoreError):  # noqa: N818 - reads as what happened
    """Name the damaged file; it is left as it was found."""


class StoreTooNew(StoreError):  # noqa: N818 - reads as what happened
    """Name both schema versions: the file's and the newest this program knows."""


class StoreFull(StoreError):  # noqa: N818 - reads as what happened
    """Say that nothing more can be written until there is room."""
