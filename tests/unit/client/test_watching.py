"""What a watcher that is slow, late or connected anew is told."""

from __future__ import annotations

from fastqueue.client.watching import Feed
from fastqueue.core.records import Happening, ProgressRecord
from fastqueue.tasks.events import LogLine, Missed, Progress, StatusChanged, WatchEvent
from fastqueue.tasks.models import TaskStatus


def drained(feed: Feed) -> list[WatchEvent]:
    events = []
    while (event := feed.next_event()) is not None:
        events.append(event)
    return events


def lines(first: int, *texts: str, token: int = 7, dropped: int = 0) -> Happening:
    return Happening("a", 1, None, None, first, list(texts), dropped, token)


def test_the_same_standing_again_says_nothing_new() -> None:
    feed = Feed("a")
    standing = Happening("a", 1, TaskStatus.RUNNING, ProgressRecord(1.0), 0, ["x"], 0, 7)
    feed.take(standing)
    assert [type(event) for event in drained(feed)] == [StatusChanged, LogLine, Progress]
    feed.take(standing)
    assert drained(feed) == []


def test_lines_that_were_lost_with_a_connection_are_counted() -> None:
    feed = Feed("a")
    feed.take(lines(0, "0"))
    feed.take(lines(4, "4"))
    assert [type(event) for event in drained(feed)] == [LogLine, Missed, LogLine]
    feed.take(lines(3, "3", "4", "5"))
    (event,) = drained(feed)
    assert isinstance(event, LogLine)
    assert (event.number, event.text) == (5, "5")


def test_another_run_of_the_same_attempt_counts_its_lines_anew() -> None:
    feed = Feed("a")
    feed.take(lines(0, "0", "1"))
    feed.take(lines(0, "again", token=8))
    assert [event.text for event in drained(feed) if isinstance(event, LogLine)] == [
        "0",
        "1",
        "again",
    ]


def test_of_the_progress_only_the_latest_waits() -> None:
    feed = Feed("a")
    for done in range(1000):
        feed.take(Happening("a", 1, None, ProgressRecord(float(done)), token=7))
    (event,) = drained(feed)
    assert isinstance(event, Progress)
    assert event.done == 999


def test_a_slow_watcher_keeps_the_last_lines_and_learns_how_many_are_missing() -> None:
    feed = Feed("a")
    for number in range(5_000):
        feed.take(lines(number, str(number)))
    events = drained(feed)
    seen = [event for event in events if isinstance(event, LogLine)]
    missed = sum(event.lines for event in events if isinstance(event, Missed))
    assert seen[-1].number == 4_999
    assert len(events) <= 1_200
    assert len(seen) + missed == 5_000


def test_lines_that_were_too_many_are_told_once() -> None:
    feed = Feed("a")
    feed.take(lines(0, "0", dropped=3))
    feed.take(lines(0, "0", dropped=3))
    feed.take(lines(0, dropped=10))
    missed = [event.lines for event in drained(feed) if isinstance(event, Missed)]
    assert sum(missed) == 10


def test_progress_tells_its_share_if_there_is_one() -> None:
    def share(done: float, total: float | None) -> float | None:
        return Progress(task_id="a", attempt=1, done=done, total=total).fraction

    assert share(1, 4) == 0.25
    assert share(5, 4) == 1.0
    assert share(5, 0) is None
    assert share(5, None) is None
