"""Short tasks are fetched ahead, long ones are not."""

from __future__ import annotations

from fastqueue.subworker.prefetch import Prefetch


def test_nothing_is_prefetched_before_anything_is_known() -> None:
    assert Prefetch(8, 0.0).capacity == 8


def test_a_high_rate_is_followed_at_once_and_bounded() -> None:
    prefetch = Prefetch(8, 0.0)
    assert prefetch.note_ended(200, 0.02)
    assert prefetch.capacity == 8 + 500
    assert prefetch.note_ended(1_000_000, 0.04)
    assert prefetch.capacity == 8 + 4_000


def test_tasks_of_a_second_prefetch_nothing() -> None:
    prefetch = Prefetch(8, 0.0)
    for second in range(1, 5):
        assert not prefetch.note_ended(8, float(second))
    assert prefetch.capacity == 8


def test_a_fall_is_followed_by_halves() -> None:
    prefetch = Prefetch(8, 0.0)
    prefetch.note_ended(200, 0.02)
    prefetch.note_ended(0, 1.0)
    assert prefetch.capacity == 8 + 250


def test_dropping_says_whether_there_was_anything_to_drop() -> None:
    prefetch = Prefetch(8, 0.0)
    assert not prefetch.drop()
    prefetch.note_ended(200, 0.02)
    assert prefetch.drop()
    assert prefetch.capacity == 8
