"""What `make bench CHECK=1` says of its figures, and what its chart shows."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from benchmarks import chart, targets, verdict
from benchmarks.verdict import Verdict


def part(p50: float, fdatasync: float) -> dict[str, Any]:
    run = {
        "submit_per_s": 70_000.0,
        "end_to_end_per_s": 30_000.0,
        "cpu_us": {"client": 9.0, "control plane": 11.0, "subworker": 4.0},
    }
    return {
        **dict.fromkeys(("one by one", "one by one, threads", "submit_batch"), run),
        "idle_rss_mb": 40.0,
        "fdatasync_ms": fdatasync,
        "latency_ms": {"p50": p50, "p99": 2.0},
        "half_of_peak": {"p50": 3.0, "p99": 20.0, "per_s": 15_000.0},
        "many_clients_per_s": 20_000.0,
    }


def depth(tasks: int) -> dict[str, Any]:
    rates = {"one by one": 100.0, "submit_batch": 100.0}
    return {
        "tasks": tasks,
        "empty": rates,
        "deep": {"one by one": 80.0, "submit_batch": 120.0},
        "rss_mb": 66.0,
        "restart_to_first_lease_s": 0.2,
    }


def figures(**changes: Any) -> dict[str, Any]:
    return {
        "full": part(p50=0.8, fdatasync=0.1),
        "normal": part(p50=0.3, fdatasync=0.1),
        "work": {"1 ms of CPU": {"end_to_end_per_s": 900.0}},
        "import_ms": 60.0,
        "start_s": 0.3,
        "depths": [depth(1_000_000), depth(10_000_000)],
        "delayed": {
            "due_at_once": 100_000,
            "all_started_s": 10.0,
            "before_their_time": 0,
            "out_of_priority_share": 0.01,
            "scheduled": 1_000_000,
            "scheduled_rss_mb": 99.9,
        },
        **changes,
    }


def unmet(found: dict[str, Any]) -> list[str]:
    return [each.figure for each in targets.judge(found) if not each.is_met]


def test_figures_at_their_bounds_meet_what_is_asked() -> None:
    assert unmet(figures()) == []
    assert unmet(figures(import_ms=250.0, start_s=1.2)) == []


def test_the_latency_that_is_asked_for_follows_the_disk() -> None:
    assert len(unmet(figures(full=part(p50=0.9, fdatasync=0.1)))) == 1
    assert unmet(figures(full=part(p50=0.9, fdatasync=0.2))) == []


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"import_ms": 251.0}, "import fastqueue, ms"),
        ({"start_s": 1.3}, "start to first task, s"),
        ({"normal": part(p50=0.91, fdatasync=0.1)}, "p50 ms, one at a time, normal"),
    ],
)
def test_a_figure_past_its_bound_is_the_one_that_is_not_met(
    changes: dict[str, Any], figure: str
) -> None:
    assert unmet(figures(**changes)) == [figure]


def test_a_bound_that_is_to_be_undercut_is_not_met_by_itself() -> None:
    full = part(p50=0.8, fdatasync=0.1)
    full["half_of_peak"] = {**full["half_of_peak"], "p99": 25.0}
    assert unmet(figures(full=full)) == ["p99 ms, at half of peak, full"]


def test_what_was_not_measured_is_not_met() -> None:
    assert unmet(figures(depths=[depth(1_000_000)])) == ["control plane MB, 10,000,000 queued"]
    assert len(unmet(figures(depths=[]))) == 5


def test_a_table_says_of_each_figure_how_it_stands() -> None:
    verdicts = [
        Verdict("rate/s", "≥", 25_000, 60_000.4, 50_000),
        Verdict("MB", "≤", 60, 50, 45),
        Verdict("ms", "<", 25, 27.31),
        Verdict("s", "<", 2, None),
    ]
    assert verdict.to_table(verdicts).splitlines()[2:] == [
        "| rate/s | ≥ 25,000 | ≥ 50,000 | 60,000 | yes, the aim too |",
        "| MB | ≤ 60 | ≤ 45 | 50 | yes |",
        "| ms | < 25 |  | 27.3 | **no** |",
        "| s | < 2 |  |  | **not measured** |",
    ]
    assert verdict.conclusion(verdicts) == "2 met, 2 not met or not measured"


def test_the_chart_has_a_bar_for_every_rate_latency_and_length_of_queue() -> None:
    page = ET.fromstring(chart.draw(figures()))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in page.iter(f"{space}text")]
    for label in ("no-ops, submit_batch", "1 ms of CPU", "normal: at half of peak", "idle"):
        assert label in texts
    assert "10,000,000 queued" in texts
    values = [t.text for t in page.iter(f"{space}text") if t.attrib.get("class") == "value"]
    assert len(values) == 3 * 2 + 1 + 4 * 2 + 3
