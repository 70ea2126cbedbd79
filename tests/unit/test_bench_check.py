"""What `make bench-check` makes of what it has measured."""

from __future__ import annotations

import pytest
from benchmarks import check, report
from benchmarks.stages import stage_of


def rounds(*found: tuple[float, float]) -> list[check.Round]:
    return [check.Round({"one by one, client": ratio}, others) for ratio, others in found]


def test_rounds_in_which_others_were_busy_do_not_count() -> None:
    ratios, tolerance = check.judge(rounds((2.0, 0.0), (2.2, 0.1), (9.0, 0.9), (2.1, 0.0)))
    assert ratios == {"one by one, client": 2.1}
    assert tolerance == check.TOLERANCE


def test_more_is_tolerated_where_hardly_any_round_was_quiet() -> None:
    ratios, tolerance = check.judge(rounds((2.0, 0.0), (3.0, 0.9), (2.5, 0.9), (2.6, 0.0)))
    assert ratios == {"one by one, client": 2.55}
    assert tolerance == check.TOLERANCE_BUSY


@pytest.mark.parametrize(
    ("found", "fails"), [(2.0, False), (2.3, False), (2.5, True), (1.0, False)]
)
def test_a_regression_of_a_quarter_fails(found: float, fails: bool) -> None:
    lines = check.regressions({"client": found}, {"client": 2.0}, check.TOLERANCE)
    assert bool(lines) == fails
    if fails:
        assert "client: 2.50 times the floor, +25%" in lines[0]


def test_a_look_counts_for_the_innermost_stage_that_is_ours() -> None:
    frames = "run (uvloop/loop.pyx);turn (src/fastqueue/control_plane/engine.py:9)"
    assert stage_of(frames) == "turns"
    assert (
        stage_of(f"{frames};write (src/fastqueue/store/sqlite/writer.py:5)") == "rows into SQLite"
    )
    assert stage_of("run (uvloop/loop.pyx)") == "event loop, sockets"


def test_a_part_of_a_document_is_replaced_and_the_rest_stays(tmp_path) -> None:
    document = tmp_path / "RESULTS.md"
    document.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    report.put(document, "bench", "new \\1 figures")
    assert document.read_text() == (
        "before\n<!-- bench -->\nnew \\1 figures\n<!-- /bench -->\nafter\n"
    )
    with pytest.raises(ValueError, match="has no part 'floor'"):
        report.put(document, "floor", "")
