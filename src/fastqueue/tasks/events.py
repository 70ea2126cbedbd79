"""Own what `Client.watch` tells of a task: its events, as values, and their bounds.

Each names the task and the attempt it is of. The last event of every watch is `Finished`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastqueue.tasks.models import TaskResult, TaskStatus  # noqa: TC001 - for who renders them

__all__ = [
    "CHECKPOINT_BYTES_MAX",
    "LINES_BYTES_MAX",
    "LINES_MAX",
    "LINE_CHARS_MAX",
    "MESSAGE_CHARS_MAX",
    "NUMBER_MAX",
    "Finished",
    "LogLine",
    "Missed",
    "Progress",
    "StatusChanged",
    "WatchEvent",
]

# It is written to disk and kept until the task ends; what is larger belongs elsewhere.
CHECKPOINT_BYTES_MAX = 1024**2
MESSAGE_CHARS_MAX = 500
LINE_CHARS_MAX = 2_000
# What progress may count up to; keeps out NaN and infinity.
NUMBER_MAX = 1e300
# What one attempt may log; of what comes after that only the number is told.
LINES_MAX = 1_000
LINES_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """Tell that a task's status, or the attempt that it is in, is another.

    The first event of a watch is of this kind: it says how things stand.

    Attributes:
        task_id: the task.
        attempt: the number of the attempt; 0 means that none has begun.
        status: where the task is in its life; never one of the final statuses.
    """

    task_id: str
    attempt: int
    status: TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Tell how far an attempt has come; always the latest that is known.

    Attributes:
        task_id: the task.
        attempt: the number of the attempt.
        done: how much is done, in the task's own units.
        total: how much there is to do; None if the task doesn't say.
        message: what the task says about it.
    """

    task_id: str
    attempt: int
    done: float
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """Return the share that is done, from 0 to 1; None without a total."""
        if not self.total or self.total < 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Carry one line that a task has logged.

    Attributes:
        task_id: the task.
        attempt: the number of the attempt.
        number: the line's place among those of the attempt, from 0 on.
        text: the line, with what isn't printable as escapes.
    """

    task_id: str
    attempt: int
    number: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Tell that lines of an attempt can't be had: too many, too early, or read too slowly.

    Attributes:
        task_id: the task.
        attempt: the number of the attempt.
        lines: how many lines are missing here.
    """

    task_id: str
    attempt: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Carry the one result of a task; nothing comes after it.

    Attributes:
        task_id: the task.
        result: its result.
    """

    task_id: str
    result: TaskResult


WatchEvent = StatusChanged | Progress | LogLine | Missed | Finished
