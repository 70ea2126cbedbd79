"""A flood of dropped connections is no flood of log lines."""

from __future__ import annotations

import logging

import pytest

from fastqueue.control_plane.drop_log import DropLog


def test_a_flood_is_a_few_lines_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    drops = DropLog(logging.getLogger("test"), lambda: now)
    for n in range(5_000):
        drops.note(f"peer {n}", ValueError("garbage"))
    assert len(caplog.records) == 21
    now = 10.0
    drops.note("a late peer", ValueError("garbage"))
    count, late = (record.getMessage() for record in caplog.records[21:])
    assert "4,980 more" in count
    assert late == "dropped a late peer: garbage"


def test_a_few_are_logged_each_and_nothing_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    drops = DropLog(logging.getLogger("test"))
    drops.note("peer", ValueError("garbage"))
    drops.flush()
    assert [record.getMessage() for record in caplog.records] == ["dropped peer: garbage"]
