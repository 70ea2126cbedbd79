"""What may wait does, and what has ended before is never written."""

from __future__ import annotations

from fastqueue.control_plane.lease_book import LeaseBook
from fastqueue.core import changes as ch


def test_a_lease_is_written_once_it_has_lasted() -> None:
    book = LeaseBook(0.05)
    assert book.sift([ch.LeasesAdded([(1, 9, "w", False)])], 0.0) == []
    assert book.next_due() == 0.05
    assert book.take(0.04, committing=True) == []
    assert book.take(0.05, committing=False) == [ch.LeasesAdded([(1, 9, "w", False)])]
    assert book.next_due() is None


def test_a_lease_that_ends_before_is_never_written() -> None:
    book = LeaseBook(0.05)
    book.sift(
        [
            ch.LeasesAdded(
                [(1, 9, "w", False), (2, 10, "w", False), (3, 11, "w", False), (4, 12, "w", False)]
            )
        ],
        0.0,
    )
    finished = ch.TasksFinished([1], [], 1, 0.0)
    lost = ch.LeasesLost([(1, 1, 2)])
    ended = ch.LeasesEnded([3])
    assert book.sift([finished, lost, ended], 0.01) == [finished, lost]
    assert book.take(1.0, committing=False) == [ended, ch.LeasesAdded([(4, 12, "w", False)])]


def test_lazy_changes_go_with_the_next_commit_or_when_they_are_due() -> None:
    book = LeaseBook(0.05)
    accessed = ch.ResultsAccessed([(1, "a")])
    book.sift([accessed], 0.0)
    assert book.take(0.01, committing=False) == []
    assert book.take(0.01, committing=True) == [accessed]
    book.sift([accessed], 1.0)
    assert book.take(1.05, committing=False) == [accessed]


def test_at_the_end_everything_is_written() -> None:
    book = LeaseBook(0.05)
    accessed = ch.ResultsAccessed([(1, "a")])
    book.sift([ch.LeasesAdded([(1, 9, "w", False)]), accessed], 0.0)
    assert book.take_all() == [accessed, ch.LeasesAdded([(1, 9, "w", False)])]
