"""When there is too little room for new tasks, and when there is enough again."""

from __future__ import annotations

import logging

import pytest

from fastqueue.control_plane.disk_space import DiskWatch
from fastqueue.store.base import Room
from fastqueue.store.memory import MemoryStore

WATERMARK = 1_000


class RoomyStore(MemoryStore):
    """Have the room that a test gives it, and count how often it is asked."""

    def __init__(self, free_bytes: int, reusable_bytes: int = 0) -> None:
        super().__init__()
        self.free_bytes = free_bytes
        self.reusable_bytes = reusable_bytes
        self.looks = 0

    def room(self) -> Room:
        self.looks += 1
        return Room(self.free_bytes, self.reusable_bytes, "/data")


def is_short(watch: DiskWatch, now: float) -> bool:
    space = watch.look(now)
    assert space is not None
    return space.is_short


def test_below_the_watermark_it_is_short_until_a_quarter_more_is_free() -> None:
    store = RoomyStore(WATERMARK)
    watch = DiskWatch(store, WATERMARK)
    seen = []
    for second, store.free_bytes in enumerate((1_000, 999, 1_000, 1_249, 1_250, 1_000, 999)):
        seen.append(is_short(watch, float(second)))
    assert seen == [False, True, True, True, False, False, True]


def test_it_looks_a_few_times_a_second_or_when_much_is_submitted() -> None:
    store = RoomyStore(WATERMARK)
    watch = DiskWatch(store, WATERMARK)
    for turn in range(1_000):
        watch.look(turn / 1_000)
    assert store.looks == 4
    watch.note_submitted(3 * 1024**2)
    assert watch.look(0.999) is None
    watch.note_submitted(1024**2)
    assert watch.look(0.999) is not None
    assert watch.look(0.999) is None


def test_pages_that_the_store_can_use_again_count_while_its_log_has_room() -> None:
    store = RoomyStore(250, reusable_bytes=750)
    watch = DiskWatch(store, WATERMARK)
    assert not is_short(watch, 0.0)
    store.free_bytes, store.reusable_bytes = 249, 1_000_000
    assert is_short(watch, 1.0)


def test_a_watermark_of_0_is_none() -> None:
    assert not is_short(DiskWatch(RoomyStore(0), 0), 0.0)


def test_each_change_is_one_log_line_with_the_place_and_the_bytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = RoomyStore(WATERMARK)
    watch = DiskWatch(store, WATERMARK)
    with caplog.at_level(logging.INFO):
        for second, store.free_bytes in enumerate((5_000, 700, 600, 5_000, 5_000)):
            watch.look(float(second))
    short, enough = (record.getMessage() for record in caplog.records)
    assert all(word in short for word in ("700", "/data", "1,000", "--disk-free-min"))
    assert all(word in enough for word in ("5,000", "/data"))


def test_it_asks_to_look_again_by_itself_only_while_short() -> None:
    store = RoomyStore(WATERMARK)
    watch = DiskWatch(store, WATERMARK)
    watch.look(0.0)
    assert watch.next_due() is None
    store.free_bytes = 0
    watch.look(1.0)
    assert watch.next_due() == 1.25
