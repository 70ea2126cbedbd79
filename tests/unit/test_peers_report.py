"""What the comparison with other task queues says of what it saw."""

from xml.etree import ElementTree as ET

import pytest
from benchmarks import svg
from benchmarks.peers import chart, report, standing
from benchmarks.peers.catalog import FASTQUEUE, PEERS, Peer, Variant
from benchmarks.peers.rows import Row, rows_of
from benchmarks.peers.works import CPU, ECHO, PAYLOAD, SLEEP, WORKS


def row(name: str, rounds: list[dict[str, float]], failures: tuple[str, ...] = ()) -> Row:
    variant = Variant("a file", label="SQLite & no fsync")
    peer = Peer(name, (f"{name}==1",), ("-m", name), (variant,), note="one thread")
    return Row(peer, variant, tasks=200, rounds=rounds, failures=list(failures))


def test_a_cell_is_the_median_and_the_range_of_the_rounds():
    assert report.cell([1234.4, 90.0, 5.0]) == "**90.0** (5.00 to 1,234)"
    assert report.cell([7.0]) == "7.00"
    assert report.cell([]) == ""


def test_wrong_and_missing_results_are_said():
    rounds = [{"end_to_end_per_s": 10.0, "wrong": 3, "missing": 0}, {"wrong": 4, "missing": 1}]
    assert row("one", rounds).faults() == "1 missing, 7 wrong"
    assert row("one", [{"wrong": 0, "missing": 0}]).faults() == "none"


def test_a_peer_that_failed_has_a_row_and_says_why():
    head = {"machine": "m", "versions": "v", "date": "d", "load": "l", "command": "c"}
    failed = row("two", [{}], ("hello: the producer ended",))
    text = report.text([row("one", [{"submit_per_s": 5.0}]), failed], head, 3.0, 100)
    assert "| two | SQLite & no fsync | 200 |" in text
    assert "- two, SQLite & no fsync: hello: the producer ended" in text
    assert "nothing measured" in chart.draw([failed])


def test_the_report_replaces_its_own_part_and_leaves_the_others(tmp_path):
    path = tmp_path / "RESULTS.md"
    report.write(path, "first")
    path.write_text(path.read_text().replace("# Results\n", "# Results\n\nabove\n") + "below\n")
    report.write(path, "second")
    text = path.read_text()
    assert "first" not in text
    assert text.index("above") < text.index("second") < text.index("below")


def test_the_chart_is_drawn_to_one_scale_with_the_fastest_row_first():
    slow = row("slow", [{"end_to_end_per_s": 50.0}])
    fast = row("fast", [{"end_to_end_per_s": 100.0}])
    page = ET.fromstring(chart.draw([slow, fast]))
    space = "{http://www.w3.org/2000/svg}"
    bars = [
        float(bar.attrib["width"])
        for bar in page.iter(f"{space}rect")
        if bar.attrib["height"] == str(svg.BAR - 1) and bar.attrib["y"] != "58"
    ]
    assert bars == [2 * bars[1], bars[1]]
    names = [t.text for t in page.iter(f"{space}text") if t.attrib.get("text-anchor") == "end"]
    assert names == ["fast, SQLite & no fsync", "slow, SQLite & no fsync"]


def own(durability: str, **figures: float) -> Row:
    [variant] = (v for v in FASTQUEUE.variants if v.choice == durability)
    return Row(FASTQUEUE, variant, rounds=[dict(figures)])


def ours(per_s: float = 500.0, bulk: float = 900.0, p50: float = 0.3) -> list[Row]:
    full = own("full", end_to_end_per_s=per_s, bulk_submit_per_s=bulk, p50_ms=9.0)
    return [full, own("normal", end_to_end_per_s=9_999.0, p50_ms=p50)]


THEIRS = (
    row("one", [{"end_to_end_per_s": 100.0, "p50_ms": 0.4}]),
    row("two", [{"end_to_end_per_s": 50.0, "bulk_submit_per_s": 800.0, "p50_ms": 0.9}]),
)


def test_fastqueue_stands_beside_the_best_peer_of_each_figure():
    verdicts = standing.judge([*ours(), *THEIRS])
    assert [each.is_met for each in verdicts] == [True, True, True]
    assert [each.seen for each in verdicts] == [5.0, 900.0, 0.3]
    assert "one" in verdicts[0].figure
    assert "two" in verdicts[1].figure
    assert "one" in verdicts[2].figure


@pytest.mark.parametrize(
    ("figures", "which"), [({"per_s": 499.0}, 0), ({"bulk": 800.0}, 1), ({"p50": 0.4}, 2)]
)
def test_what_is_not_clearly_better_than_a_peer_is_not_met(figures, which):
    verdicts = standing.judge([*ours(**figures), *THEIRS])
    assert [each.is_met for each in verdicts] == [n != which for n in range(3)]


def test_without_peers_or_without_fastqueue_nothing_is_met():
    for rows in (ours(), list(THEIRS), []):
        assert not any(each.is_met for each in standing.judge(rows))
        assert {each.told for each in standing.judge(rows)} == {"**not measured**"}


def test_tasks_that_do_something_have_a_line_a_store_and_a_column_a_work():
    rows = rows_of([FASTQUEUE, *(peer for peer in PEERS if peer.name in ("rq", "pgqueuer"))], WORKS)
    busy = [each for each in rows if each.work is not ECHO]
    for each in busy:
        if not each.cannot:
            each.rounds.append({"end_to_end_per_s": 500.0, "missing": 0, "wrong": 0})
    head, _, *lines = report.works(busy).splitlines()
    assert head.count("/s |") == 3
    assert all(line.count("|") == head.count("|") for line in lines)
    [rq] = (line for line in lines if line.startswith("| rq |"))
    assert "one at a time a process | 500 | 500 |" in rq
    [pgqueuer] = (line for line in lines if line.startswith("| pgqueuer |"))
    assert pgqueuer.endswith("| 500 | 500 | 500 (only there) |")


def test_no_ops_go_to_every_store_and_other_works_to_the_fastest_of_each_peer():
    rows = rows_of(PEERS, [ECHO, SLEEP, CPU, PAYLOAD])
    assert len([r for r in rows if r.work is ECHO]) == sum(len(p.variants) for p in PEERS)
    for work in (SLEEP, CPU, PAYLOAD):
        peers = [r.peer.name for r in rows if r.work is work]
        assert set(peers) == {peer.name for peer in PEERS}
        assert len(peers) == len(PEERS) + 1  # fastqueue with both of its durabilities


def test_a_report_of_some_works_has_no_table_or_chart_of_others():
    head = {"machine": "m", "versions": "v", "date": "d", "load": "l", "command": "c"}
    [only] = rows_of([Peer("one", (), (), (Variant("a file"),))], [CPU])
    text = report.text([only], head, 3.0, 100)
    assert "1 ms of CPU: /s" in text
    assert "peers.svg" not in text
    assert "p50 ms" not in text
