"""A judge that sees nothing proves nothing: each broken promise, planted in a ledger, is found."""

from __future__ import annotations

import math

import pytest
from tests.torture.ledger import Ledger
from tests.torture.plan import CONTROL_PLANE, SUBWORKER, LongStop, make_plan
from tests.torture.verdict import judge, percentile

KILLS = [(10.0, "control plane")]


def look(run="run-1", status="success", key="a:0", error=None):
    return {"status": status, "value": run and [key, run], "error": error}


NOT_REPEATED = look(None, "failure", error="LeaseLost: the subworker was killed")


def ran(folder, run, began, ended=None, *, name="work", key="a:0", pid=1):
    """Note a run, by default a short one; `ended` of infinity is one that never ended."""
    ended = began + 0.05 if ended is None else ended
    ledger = Ledger(folder / f"runs-{pid}.jsonl")
    ledger.note("start", key, name, run, began)
    if ended < math.inf:
        ledger.note("end", key, run, ended)


def acknowledged(folder, *, name="work", has_callback=False):
    client = Ledger(folder / "client-a.jsonl")
    client.note("acknowledged", "id", "a:0", name, has_callback, 12.0, 12.1)
    return client


def called(folder, *, status="success", result=("a:0", "run-1"), error=None, key="a:0"):
    body = {"status": status, "result": result, "error": error, "callback_data": {"key": key}}
    Ledger(folder / "listener-0.jsonl").note("called", "id", body, 12.6)


@pytest.fixture
def ledger(tmp_path):
    """Note one task that was submitted, run and seen after a kill, as it should be."""
    ran(tmp_path, "run-1", 12.2)
    client = acknowledged(tmp_path)
    client.note("result", "id", look(), 12.0, 12.5)
    return client


def test_a_task_with_one_result_breaks_nothing(tmp_path, ledger):
    verdict = judge(tmp_path, KILLS, [{"id": look()}, {"id": look()}])
    assert verdict.broken == []
    assert (verdict.acknowledged, verdict.looks, verdict.runs, verdict.run_again) == (1, 3, 1, 0)
    assert verdict.recovery_s["control plane"] == [2.5]


def test_an_acknowledged_task_that_is_unknown_at_the_end_is_found(tmp_path, ledger):
    assert judge(tmp_path, KILLS, [{"id": None}]).lost == [("id", "at the end")]
    assert judge(tmp_path, KILLS, [{}]).lost == [("id", "at the end")]


def test_a_client_that_was_told_of_no_such_task_is_found(tmp_path, ledger):
    ledger.note("gone", "id", "ResultExpired()", 13.0)
    assert judge(tmp_path, KILLS, [{"id": look()}]).lost == [("id", "a client was told so")]


def test_a_result_that_isnt_the_one_that_was_pushed_is_found(tmp_path, ledger):
    ran(tmp_path, "run-2", 13.0)
    verdict = judge(tmp_path, KILLS, [{"id": look("run-2")}])
    assert verdict.changed == ["id"]
    assert (verdict.run_again, verdict.run_after_result) == (1, 1)


def test_a_result_that_changes_over_a_restart_is_found(tmp_path, ledger):
    ran(tmp_path, "run-2", 12.3)
    assert judge(tmp_path, KILLS, [{"id": look()}, {"id": look("run-2")}]).changed == ["id"]


def test_a_task_that_never_ends_is_found(tmp_path, ledger):
    verdict = judge(tmp_path, KILLS, [{"id": look(None, "running")}])
    assert verdict.unfinished == [("id", "running")]


@pytest.mark.parametrize("wrong", [look("run-9"), look("run-1", key="a:1")])
def test_a_result_that_no_run_returned_is_found(tmp_path, wrong):
    ran(tmp_path, "run-1", 12.2)
    client = acknowledged(tmp_path)
    client.note("result", "id", wrong, 12.0, 12.5)
    assert len(judge(tmp_path, KILLS, [{"id": wrong}]).foreign) == 1


def test_the_result_of_a_run_that_never_ended_is_found(tmp_path):
    acknowledged(tmp_path)
    ran(tmp_path, "run-1", 12.2, math.inf)
    assert judge(tmp_path, KILLS, [{"id": look()}]).foreign == [("id", ["a:0", "run-1"])]


def test_a_failure_is_found_and_a_quarantine_counted(tmp_path):
    acknowledged(tmp_path)
    failure = look(None, "failure", error="ValueError: boom")
    assert len(judge(tmp_path, [], [{"id": failure}]).failed) == 1
    verdict = judge(tmp_path, [], [{"id": look(None, "failure", error="TaskQuarantined: 3")}])
    assert (verdict.broken, verdict.quarantined) == ([], 1)


def test_a_second_run_of_a_task_to_be_run_at_most_once_is_found(tmp_path):
    acknowledged(tmp_path, name="work_once")
    ran(tmp_path, "run-1", 12.2, name="work_once")
    assert judge(tmp_path, [], [{"id": look()}]).broken == []
    # Also if nobody was told of the first one.
    ran(tmp_path, "run-2", 12.3, name="work_once", pid=2)
    assert judge(tmp_path, [], [{"id": look()}]).begun_twice == [("a:0", ["run-1", "run-2"])]
    assert judge(tmp_path, [], [{"id": NOT_REPEATED}]).begun_twice


def test_a_lost_lease_ends_a_task_to_be_run_at_most_once_and_no_other(tmp_path):
    acknowledged(tmp_path, name="work_once")
    verdict = judge(tmp_path, [], [{"id": NOT_REPEATED}, {"id": NOT_REPEATED}])
    assert (verdict.broken, verdict.not_repeated) == ([], 1)
    assert judge(tmp_path, [], [{"id": look(None, "failure", error="TaskQuarantined: 3")}]).failed
    ran(tmp_path, "run-1", 12.2, name="work_once")
    assert judge(tmp_path, [], [{"id": NOT_REPEATED}, {"id": look()}]).changed == ["id"]
    (tmp_path / "client-a.jsonl").unlink()
    acknowledged(tmp_path, name="work")
    assert len(judge(tmp_path, [], [{"id": NOT_REPEATED}]).failed) == 1


def test_a_callback_that_never_came_is_found_and_one_that_came_twice_counted(tmp_path):
    acknowledged(tmp_path, has_callback=True)
    ran(tmp_path, "run-1", 12.2)
    assert judge(tmp_path, [], [{"id": look()}]).uncalled == ["id"]
    called(tmp_path)
    called(tmp_path)
    verdict = judge(tmp_path, [], [{"id": look()}])
    assert (verdict.broken, verdict.with_callback, verdict.callbacks) == ([], 1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "failure"},
        {"result": ("a:0", "run-2")},
        {"error": "ValueError: boom"},
        {"key": "a:1"},
    ],
)
def test_a_callback_that_tells_what_wasnt_recorded_is_found(tmp_path, wrong):
    acknowledged(tmp_path, has_callback=True)
    ran(tmp_path, "run-1", 12.2)
    called(tmp_path)
    called(tmp_path, **wrong)
    assert len(judge(tmp_path, [], [{"id": look()}]).miscalled) == 1


def test_a_kill_after_which_nothing_is_completed_is_found(tmp_path, ledger):
    verdict = judge(tmp_path, [(12.01, "client")], [{"id": look()}])
    assert verdict.unrecovered == [("client", 12.01)]


def test_recovery_counts_from_the_last_kill_of_the_control_plane_before_it(tmp_path, ledger):
    kills = [(9.0, "client"), (10.0, "control plane"), (11.5, "control plane"), (13.0, "client")]
    verdict = judge(tmp_path, kills, [{"id": look()}])
    assert verdict.recovery_s["client"] == [1.0]
    assert verdict.recovery_s["control plane"] == [1.0, 1.0]


def test_recovery_counts_from_the_end_of_a_long_stop_of_the_control_plane(tmp_path, ledger):
    kills = [(9.0, "subworker")]
    stopped = [LongStop(CONTROL_PLANE, 7, 9.5, 12.0), LongStop(SUBWORKER, 8, 9.5, 12.1)]
    verdict = judge(tmp_path, kills, [{"id": look()}], stopped)
    assert verdict.recovery_s["subworker"] == [0.5]


def test_the_result_of_a_subworker_that_was_silent_for_too_long_is_found(tmp_path):
    acknowledged(tmp_path)
    silent = [LongStop(SUBWORKER, 7, 13.0, 28.0), LongStop(CONTROL_PLANE, 8, 30.0, 41.0)]
    ran(tmp_path, "7-1", 12.9, 28.1, pid=7)
    ran(tmp_path, "8-1", 23.5, pid=8)
    verdict = judge(tmp_path, [], [{"id": look("8-1")}], silent)
    assert (verdict.broken, verdict.late_runs, verdict.takeover_s) == ([], 1, [10.5])
    assert judge(tmp_path, [], [{"id": look("7-1")}], silent).unfenced == [("id", "7-1")]


@pytest.mark.parametrize(("began", "end"), [(12.2, 12.9), (28.1, 28.2)])
def test_only_what_was_running_all_through_a_silence_must_not_be_recorded(tmp_path, began, end):
    acknowledged(tmp_path)
    ran(tmp_path, "7-1", began, end, pid=7)
    silent = [LongStop(SUBWORKER, 7, 13.0, 28.0)]
    verdict = judge(tmp_path, [], [{"id": look("7-1")}], silent)
    assert (verdict.broken, verdict.late_runs) == ([], 0)


def test_a_line_that_a_kill_tore_off_is_left_out(tmp_path, ledger):
    with (tmp_path / "client-a.jsonl").open("ab") as file:
        file.write(b'["acknowledged", "torn", "a:')
    assert judge(tmp_path, KILLS, [{"id": look()}]).acknowledged == 1


def test_a_seed_makes_the_same_choices_again():
    assert make_plan(7, 0, 100) == make_plan(7, 0, 100) != make_plan(8, 0, 100)
    assert sum(act.what == "kill" for act in make_plan(7, 0, 100)) == 100


def test_the_subworker_that_is_stopped_for_long_is_another_kind_at_the_next_site():
    plans = [make_plan(7, site, 250) for site in (0, 1)]
    stops = [[act.pick for act in plan if act.what == "long stops"] for plan in plans]
    assert stops == [[0, 1], [1, 0]]


def test_a_percentile_is_a_value_that_was_measured():
    times = [float(n) for n in range(1, 101)]
    assert [percentile(times, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
