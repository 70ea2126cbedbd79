"""What the comparison with other task queues says of what it saw."""

from xml.etree import ElementTree as ET

from benchmarks.peers import chart, report
from benchmarks.peers.catalog import Peer, Variant
from benchmarks.peers.rows import Row


def row(name: str, rounds: list[dict[str, float]], failures: tuple[str, ...] = ()) -> Row:
    variant = Variant("a file", label="SQLite & no fsync")
    peer = Peer(name, (f"{name}==1",), ("-m", name), (variant,), note="one thread")
    return Row(peer, variant, 200, rounds, list(failures))


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
        if bar.attrib["height"] == str(chart.BAR - 1) and bar.attrib["y"] != "58"
    ]
    assert bars == [2 * bars[1], bars[1]]
    names = [t.text for t in page.iter(f"{space}text") if t.attrib.get("text-anchor") == "end"]
    assert names == ["fast, SQLite & no fsync", "slow, SQLite & no fsync"]
