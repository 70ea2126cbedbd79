"""Own what tasks tell of themselves while they run, and who follows them.

It is in memory alone, and for those tasks alone that tell something or are followed: the last
progress and the last lines of an attempt, so that whoever comes late sees them. An attempt's news
end with it. What happens to a task in one turn is told its followers at once, at the turn's end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from fastqueue.core.effects import AnswerFollow, TellFollowers
from fastqueue.core.records import Happening, ProgressRecord
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastqueue.core.commands import Follow, Tell
    from fastqueue.core.decision import Decision
    from fastqueue.core.lanes import Task
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.records import News
    from fastqueue.core.state import State

__all__ = ["Followed", "follow", "tell", "tell_followers"]


class _Told:
    """Hold what one attempt has told last."""

    __slots__ = ("dropped", "lines", "lines_bytes", "next_line", "progress", "token")

    def __init__(self, token: int) -> None:
        self.token = token
        self.progress: ProgressRecord | None = None
        self.lines: deque[str] = deque()
        self.lines_bytes = 0
        self.next_line = 0
        self.dropped = 0

    @property
    def first_line(self) -> int:
        return self.next_line - len(self.lines)


class _Fresh:
    """Gather what is new about a followed task in one turn."""

    __slots__ = ("attempt", "news", "progress", "status", "token")

    def __init__(self, attempt: int, token: int) -> None:
        self.attempt = attempt
        self.token = token
        self.status: TaskStatus | None = None
        self.progress: ProgressRecord | None = None
        self.news: list[News] = []


class Followed:
    """Hold the followers of tasks and what tasks have told; every bound is in `limits`.

    Attributes:
        followers: by task id the sessions that follow it.
        told: by task id what its attempt has told, the one that told last at the end.
    """

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self.followers: dict[str, dict[int, None]] = {}
        self.by_session: dict[int, dict[str, None]] = {}
        self.told: OrderedDict[str, _Told] = OrderedDict()
        self.lines_bytes = 0
        self._fresh: dict[str, list[_Fresh]] = {}
        # What is still to be told of tasks that have ended.
        self._last: list[TellFollowers] = []

    # -- followers

    def has_room(self, session: int) -> bool:
        """Say whether a session may follow one more task."""
        return len(self.by_session.get(session, ())) < self._limits.followed_max

    def add(self, session: int, task_id: str) -> None:
        """Have a session told what happens to a task."""
        self.followers.setdefault(task_id, {})[session] = None
        self.by_session.setdefault(session, {})[task_id] = None

    def remove(self, session: int, task_id: str) -> None:
        """Tell a session no more of a task; one that doesn't follow it changes nothing."""
        sessions = self.followers.get(task_id)
        if sessions is None or session not in sessions:
            return
        del sessions[session], self.by_session[session][task_id]
        if not sessions:
            del self.followers[task_id]
            self._fresh.pop(task_id, None)
        if not self.by_session[session]:
            del self.by_session[session]

    def disconnect(self, session: int) -> None:
        """Forget a session that has ended."""
        for task_id in list(self.by_session.get(session, ())):
            self.remove(session, task_id)

    # -- what happens

    def note_status(self, task_id: str, status: TaskStatus, attempt: int, token: int = 0) -> None:
        """Note that a task's status is another now; called for those that are followed."""
        if task_id in self.followers:
            fresh = _Fresh(attempt, token)
            fresh.status = status
            self._fresh.setdefault(task_id, []).append(fresh)

    def note_news(self, news: News, attempt: int) -> None:
        """Keep what a valid attempt tells, and note it for the followers."""
        told = self.told.get(news.task_id)
        if told is None or told.token != news.token:
            self.forget(news.task_id)
            told = self.told[news.task_id] = _Told(news.token)
        self.told.move_to_end(news.task_id)
        if news.progress is not None:
            told.progress = news.progress
        told.dropped = max(told.dropped, news.dropped)
        self._keep_lines(told, news)
        while len(self.told) > self._limits.told_max or (
            self.lines_bytes > self._limits.told_bytes_max and len(self.told) > 1
        ):
            self.forget(next(iter(self.told)))
        if news.task_id in self.followers:
            waiting = self._fresh.setdefault(news.task_id, [])
            if not waiting or waiting[-1].token != news.token:
                waiting.append(_Fresh(attempt, news.token))
            fresh = waiting[-1]
            fresh.progress = news.progress or fresh.progress
            if news.lines or news.dropped:
                fresh.news.append(news)

    def _keep_lines(self, told: _Told, news: News) -> None:
        if news.first_line > told.next_line:
            # Some were told while nobody listened: a control plane that stopped, say.
            self._drop_lines(told, len(told.lines))
            told.next_line = news.first_line
        for line in news.lines[max(0, told.next_line - news.first_line) :]:
            told.lines.append(line)
            told.next_line += 1
            size = len(line) + 1
            told.lines_bytes += size
            self.lines_bytes += size
        over = len(told.lines) - self._limits.told_lines_max
        if over > 0:
            self._drop_lines(told, over)

    def _drop_lines(self, told: _Told, count: int) -> None:
        for _ in range(count):
            size = len(told.lines.popleft()) + 1
            told.lines_bytes -= size
            self.lines_bytes -= size

    def forget(self, task_id: str) -> None:
        """Forget what a task's attempt has told: it is over."""
        told = self.told.pop(task_id, None)
        if told is not None:
            self.lines_bytes -= told.lines_bytes

    def end(self, task_id: str) -> None:
        """Forget the followers of a task that is over; that they are told by its result."""
        sessions = tuple(self.followers.get(task_id, ()))
        if sessions:
            self._last += self._tellings(task_id, sessions, self._fresh.pop(task_id, ()))
            for session in sessions:
                self.remove(session, task_id)

    # -- telling

    @property
    def has_fresh(self) -> bool:
        """Say whether there is anything to tell."""
        return bool(self._fresh or self._last)

    def progress_of(self, task_id: str) -> ProgressRecord | None:
        """Return the last progress of a task, if its attempt has told any."""
        told = self.told.get(task_id) if self.told else None
        return None if told is None else told.progress

    def standing(self, task: Task) -> Happening:
        """Return how things stand with a task."""
        told = self.told.get(task.task_id)
        if told is None:
            return Happening(task.task_id, task.attempt, task.status, token=task.token)
        return Happening(
            task.task_id,
            task.attempt,
            task.status,
            told.progress,
            told.first_line,
            list(told.lines),
            told.dropped,
            task.token,
        )

    def take_fresh(self) -> list[TellFollowers]:
        """Return what is to be told of this turn."""
        fresh, self._fresh = self._fresh, {}
        told, self._last = self._last, []
        for task_id, entries in fresh.items():
            told += self._tellings(task_id, tuple(self.followers[task_id]), entries)
        return told

    @staticmethod
    def _tellings(
        task_id: str, sessions: Sequence[int], entries: Iterable[_Fresh]
    ) -> list[TellFollowers]:
        return [
            TellFollowers(sessions, happening)
            for entry in entries
            for happening in _happenings(task_id, entry)
        ]


def _happenings(task_id: str, fresh: _Fresh) -> list[Happening]:
    """Return what is new as it is told: the lines of one subworker's frame together."""
    attempt, token = fresh.attempt, fresh.token
    told = [
        Happening(task_id, attempt, None, None, n.first_line, n.lines, n.dropped, token)
        for n in fresh.news
    ]
    if fresh.status is not None:
        told.insert(0, Happening(task_id, attempt, fresh.status, token=token))
    if fresh.progress is not None:
        told.append(Happening(task_id, attempt, None, fresh.progress, token=token))
    return told


def tell(state: State, command: Tell, now: float, decision: Decision) -> None:
    """Take what running tasks tell; of a lease that is void nothing is taken."""
    worker = state.workers.by_session.get(command.session)
    if worker is None:
        return
    worker.heard_at = now
    for news in command.news:
        task = state.tasks.get(news.task_id)
        if task is not None and task.worker is worker and task.token == news.token:
            state.followed.note_news(news, task.attempt)


def follow(state: State, command: Follow, now: float, decision: Decision) -> None:
    """Begin, or end, to tell a client what happens to a task; it is told how things stand."""
    session, request, task_id = command.session, command.request, command.task_id
    followed = state.followed
    happening, refused = None, ""
    if command.ends:
        followed.remove(session, task_id)
    else:
        task, stored = state.tasks.get(task_id), command.stored
        if task is not None:
            happening = followed.standing(task)
        elif stored is not None:
            happening = Happening(task_id, stored.attempt, stored.status)
        if happening is not None and session not in followed.followers.get(task_id, ()):
            if followed.has_room(session):
                followed.add(session, task_id)
            else:
                most = state.limits.followed_max
                refused = f"a client may watch what happens to {most:,} tasks at one time"
    decision.effects.append(AnswerFollow(session, request, happening, refused))


def tell_followers(state: State, decision: Decision) -> None:
    """Tell followers what has happened in this turn."""
    if state.followed.has_fresh:
        decision.effects += state.followed.take_fresh()
