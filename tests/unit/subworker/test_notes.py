"""What an attempt may tell, and how much of it."""

from __future__ import annotations

from fastqueue.core.records import Lease, ProgressRecord
from fastqueue.subworker.notes import Notes
from fastqueue.tasks.events import LINE_CHARS_MAX, LINES_BYTES_MAX, LINES_MAX

LEASE = Lease("a", 7, 1, "add", 2, 0, False)


def test_nothing_told_is_no_news() -> None:
    notes = Notes(LEASE)
    assert notes.take() is None
    notes.again()
    assert notes.take() is None


def test_the_latest_progress_wins_and_can_be_told_again() -> None:
    notes = Notes(LEASE)
    notes.progress(ProgressRecord(1.0))
    notes.progress(ProgressRecord(2.0))
    news = notes.take()
    assert news is not None
    assert news.progress == ProgressRecord(2.0)
    assert notes.take() is None
    notes.again()
    news = notes.take()
    assert news is not None
    assert news.progress == ProgressRecord(2.0)


def test_lines_are_numbered_through() -> None:
    notes = Notes(LEASE)
    notes.log(["0", "1"])
    news = notes.take()
    assert news is not None
    assert (news.first_line, news.lines) == (0, ["0", "1"])
    notes.log(["2"])
    news = notes.take()
    assert news is not None
    assert (news.first_line, news.lines) == (2, ["2"])


def test_lines_beyond_the_number_are_counted() -> None:
    notes = Notes(LEASE)
    notes.log(str(n) for n in range(LINES_MAX + 5))
    news = notes.take()
    assert news is not None
    assert (len(news.lines), news.dropped) == (LINES_MAX, 5)
    notes.log(["one more"])
    news = notes.take()
    assert news is not None
    assert (news.lines, news.dropped) == ([], 6)


def test_lines_beyond_the_bytes_are_counted() -> None:
    notes = Notes(LEASE)
    line = "é" * LINE_CHARS_MAX
    notes.log([line] * 200)
    news = notes.take()
    assert news is not None
    size = sum(len(one.encode()) + 1 for one in news.lines)
    assert LINES_BYTES_MAX - 2 * LINE_CHARS_MAX - 1 < size <= LINES_BYTES_MAX
    assert len(news.lines) + news.dropped == 200


def test_lines_dropped_elsewhere_are_counted_once() -> None:
    notes = Notes(LEASE)
    notes.log([], 3)
    notes.log([], 5)
    news = notes.take()
    assert news is not None
    assert news.dropped == 5


def test_a_line_that_utf_8_cannot_carry_is_told_with_escapes() -> None:
    notes = Notes(LEASE)
    notes.log(["\ud800"])
    news = notes.take()
    assert news is not None
    assert news.lines == ["\\ud800"]
