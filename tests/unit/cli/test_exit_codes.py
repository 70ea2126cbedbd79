"""Which error leads to which exit code."""

from __future__ import annotations

import pytest

from fastqueue import errors
from fastqueue.cli.exit_codes import exit_code_of, exiting


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), 2),
        (errors.TaskImportError("x"), 2),
        (errors.TaskNameConflict("x"), 2),
        (errors.SerializationError("x"), 2),
        (errors.PayloadTooLarge("x"), 2),
        (errors.StoreLocked("x"), 2),
        (errors.ControlPlaneUnavailable("x"), 3),
        (errors.TaskTimeout("x", task_id="t"), 1),
        (errors.SubmissionRefused("x"), 1),
        (errors.StoreCorrupt("x"), 1),
        (errors.FastQueueError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_code_of(error) == code


def test_an_error_of_ours_ends_in_one_line_and_no_traceback(capsys):
    with pytest.raises(SystemExit) as end, exiting():
        raise errors.ControlPlaneUnavailable("nobody is there")
    assert end.value.code == 3
    assert capsys.readouterr() == ("", "fastqueue: nobody is there\n")


def test_ctrl_c_is_quiet(capsys):
    with pytest.raises(SystemExit) as end, exiting():
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_a_defect_of_ours_isnt_hidden():
    with pytest.raises(ZeroDivisionError), exiting():
        raise ZeroDivisionError
