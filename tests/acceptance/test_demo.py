"""The demo succeeds over real processes, and wouldn't if a total were wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from examples.demo.__main__ import Work, problems_of
from examples.demo.totals import Outcome, Totals, differences

from fastqueue import TaskResult, TaskStatus
from harness import bounded

ROOT = Path(__file__).resolve().parents[2]
DEMO_S = 120.0

GOOD = {"sha256": "ab", "bytes": 10, "lines": 2, "tokens": 5, "functions": 1, "classes": 1}


@pytest.fixture
def source_folder(tmp_path):
    """Give a folder of sixty Python files, of which two don't parse."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for n in range(58):
        (folder / f"good{n:02}.py").write_text(f"class C{n}:\n    def f(self): return {n}\n" * 20)
    (folder / "bad_syntax.py").write_text("def f(:\n")
    (folder / "bad_encoding.py").write_bytes(b"# coding: utf-8\nx = '\xff'\n")
    return folder


async def start_demo(tmp_path, *options):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "examples.demo",
        *options,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def processes_of(tmp_path):
    """Return the processes that a demo whose temporary folder is here has started."""
    mark = f"DEMO_FOLDER={tmp_path}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_the_demo_comes_through_its_crash_with_the_right_totals(tmp_path, source_folder):
    demo = await start_demo(tmp_path, "--files", "60", "--folder", str(source_folder))
    try:
        output, _ = await bounded(demo.communicate(), DEMO_S)
    finally:
        if demo.returncode is None:
            demo.kill()
    text = output.decode()
    assert demo.returncode == 0, text
    assert "of which failed       2" in text
    assert "bad_syntax.py" in text
    assert "SIGKILL" in text
    assert "60 tasks acknowledged, 60 results, one each" in text
    assert "all totals equal those of the plain loop" in text
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_an_interrupted_demo_leaves_nothing_behind(tmp_path):
    demo = await start_demo(tmp_path)
    try:
        while b"ready after" not in (line := await bounded(demo.stdout.readline())):
            assert line, "the demo ended early"
        demo.send_signal(signal.SIGINT)
        output, _ = await bounded(demo.communicate(), DEMO_S)
    finally:
        if demo.returncode is None:
            demo.kill()
    assert demo.returncode == 130, output.decode()
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_equal_totals_have_no_differences():
    outcomes = [good("a.py"), bad("b.py")]
    assert differences(Totals.of(outcomes), Totals.of(reversed(outcomes))) == []


@pytest.mark.parametrize("name", ["bytes", "lines", "tokens", "functions", "classes"])
def test_a_sum_that_is_off_by_one_is_a_difference(name):
    wrong = good("a.py", **{name: GOOD[name] + 1})
    lines = differences(Totals.of([wrong]), Totals.of([good("a.py")]))
    assert lines == [f"{name}: {GOOD[name] + 1} instead of {GOOD[name]}"]


def test_other_contents_are_a_difference():
    lines = differences(Totals.of([good("a.py", sha256="cd")]), Totals.of([good("a.py")]))
    assert len(lines) == 1
    assert lines[0].startswith("fingerprint")


def test_a_missing_file_is_a_difference():
    found, expected = Totals.of([good("a.py")]), Totals.of([good("a.py"), good("b.py")])
    assert "files: 1 instead of 2" in differences(found, expected)


def test_another_error_is_a_difference():
    lines = differences(
        Totals.of([bad("b.py", "OSError: gone")]), Totals.of([bad("b.py", "SyntaxError: no")])
    )
    assert lines == ["b.py: OSError: gone instead of SyntaxError: no"]


def test_a_failure_that_should_be_none_is_a_difference():
    lines = differences(Totals.of([bad("a.py")]), Totals.of([good("a.py")]))
    assert "a.py: SyntaxError: no instead of no failure" in lines


def test_right_work_has_no_problems():
    assert problems_of(work(), [good("a.py")]) == []


def test_a_lost_result_is_a_problem():
    lost = dataclasses.replace(work(), results={"1": result("1")})
    assert "second batch: files: 0 instead of 1" in problems_of(lost, [good("a.py")])


def test_a_result_that_was_recorded_twice_is_a_problem():
    assert problems_of(dataclasses.replace(work(), recorded=3), [good("a.py")]) == [
        "3 results are recorded for 2 tasks"
    ]


def test_a_result_that_changed_after_it_was_delivered_is_a_problem():
    changed = dataclasses.replace(result("2"), completed_at=datetime(2030, 1, 1, tzinfo=UTC))
    altered = dataclasses.replace(work(), stored={"1": result("1"), "2": changed})
    [problem] = problems_of(altered, [good("a.py")])
    assert "task 2 (a.py) has another result now" in problem


def good(path, **changes):
    return Outcome(path=path, survey={**GOOD, **changes}, error=None)


def bad(path, error="SyntaxError: no"):
    return Outcome(path=path, survey=None, error=error)


def result(task_id):
    return TaskResult(task_id=task_id, status=TaskStatus.SUCCESS, result=GOOD)


def work():
    results = {one: result(one) for one in ("1", "2")}
    return Work(
        first={"1": "a.py"}, second={"2": "a.py"}, results=results, recorded=2, stored=results
    )
