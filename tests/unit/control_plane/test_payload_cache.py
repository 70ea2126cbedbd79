"""The payload cache keeps what fits and forgets what is over."""

from __future__ import annotations

from fastqueue.control_plane.payload_cache import PayloadCache


def test_a_payload_is_taken_once() -> None:
    cache = PayloadCache(10_000)
    cache.put(1, b"abc")
    assert cache.take(1) == b"abc"
    assert cache.take(1) is None


def test_what_does_not_fit_is_not_kept() -> None:
    cache = PayloadCache(1_000)
    cache.put(1, b"x" * 800)
    cache.put(2, b"x" * 800)
    assert cache.take(2) is None
    assert cache.take(1) is not None
    cache.put(2, b"x" * 800)
    assert cache.take(2) is not None


def test_payloads_of_tasks_that_are_over_make_room() -> None:
    cache = PayloadCache(1_000)
    cache.put(1, b"x" * 800)
    cache.discard([1, 7])
    cache.put(2, b"x" * 800)
    assert cache.take(2) is not None
