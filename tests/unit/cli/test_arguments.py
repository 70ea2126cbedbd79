"""What is rewritten before the parser sees it, and how values are read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fastqueue.cli.arguments import (
    expand,
    parse_kwargs,
    parse_moment,
    parse_span,
    parse_value,
    split_modules,
)
from fastqueue.errors import ConfigurationError


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("submit --task-name add", ["submit", "--task-name", "add"]),
        ("submit --args 5 3", ["submit", "--args=5", "--args=3"]),
        ("--args 5 3 --json", ["--args=5", "--args=3", "--json"]),
        ("--args 5 --args 3", ["--args=5", "--args=3"]),
        ("--args=5 3", ["--args=5", "--args=3"]),
        ("--args=--x", ["--args=--x"]),
        ("--args -1 -.5 -1e3 -", ["--args=-1", "--args=-.5", "--args=-1e3", "--args=-"]),
        ("--args 1 -x", ["--args=1", "-x"]),
        ("--args a=b", ["--args=a=b"]),
        ("--args", []),
        ("--args --json", ["--json"]),
        ("--args 1 -- --a -b", ["--args=1", "--args=--a", "--args=-b"]),
        ("--args 1 --json -- --a --", ["--args=1", "--json", "--args=--a", "--args=--"]),
        ("--priority high 3", ["--priority", "high", "3"]),
        (
            "--task-modules a b,c --grace 1",
            ["--task-modules=a", "--task-modules=b,c", "--grace", "1"],
        ),
        ("--task-modules a -- -b", ["--task-modules=a", "--task-modules=-b"]),
        ("requeue --task-id a b --json", ["requeue", "--task-id=a", "--task-id=b", "--json"]),
        ("requeue --task-id", ["requeue", "--task-id"]),
        ("status --task-id a b", ["status", "--task-id", "a", "b"]),
        ("--task-modules", ["--task-modules"]),
        ("--task-modules --grace 1", ["--task-modules"]),
    ],
)
def test_an_option_with_several_values_becomes_one_for_each(typed, seen):
    assert expand(typed.split()) == seen


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ('[1, {"a": 2}]', [1, {"a": 2}]),
        ("plain", "plain"),
        ("two words", "two words"),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("01", "01"),
        ("{", "{"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_value_is_json_or_else_a_text(text, value):
    assert parse_value(text) == value


def test_keyword_arguments_are_a_json_object():
    assert parse_kwargs('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("text", ["[1]", "1", "{", "", '{"a": NaN}'])
def test_what_is_no_json_object_is_refused_as_keyword_arguments(text):
    with pytest.raises(ConfigurationError, match="--kwargs"):
        parse_kwargs(text)


def test_modules_are_split_at_commas_and_spaces_and_named_once():
    assert split_modules(["a,b c", " d , a", ""]) == ("a", "b", "c", "d")


def test_a_file_with_a_space_in_its_name_stays_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my tasks.py").touch()
    assert split_modules(["my tasks.py,other"]) == ("my tasks.py", "other")


@pytest.mark.parametrize(
    "text",
    [
        "2030-06-01T09:30:00Z",
        "2030-06-01T11:30:00+02:00",
        "2030-06-01 09:30+00:00",
        "20300601T093000Z",
        "2030-06-01T04:00:00-05:30",
    ],
)
def test_a_time_with_an_offset_is_one_moment(text):
    assert parse_moment(text, "--eta") == datetime(2030, 6, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2030-06-01T09:30:00", "2030-06-01"])
def test_a_time_without_an_offset_is_refused_with_what_to_write(text):
    for or_seconds in (False, True):
        with pytest.raises(ConfigurationError, match=f"--eta '{text}'.*offset.*Z for UTC"):
            parse_moment(text, "--eta", or_seconds=or_seconds)


def test_seconds_are_taken_where_they_are_allowed():
    assert parse_moment("90", "--expires", or_seconds=True) == 90
    assert parse_moment("0.5", "--expires", or_seconds=True) == 0.5
    with pytest.raises(ConfigurationError, match="not a time in ISO 8601, such as"):
        parse_moment("90", "--eta")
    with pytest.raises(ConfigurationError, match="neither a number of seconds nor a time"):
        parse_moment("soon", "--expires", or_seconds=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("1.5m", 90), ("2h", 7_200), ("1d", 86_400)],
)
def test_a_span_is_seconds_or_has_a_unit(text, seconds):
    assert parse_span(text, "--every") == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "5 minutes", "1h30m", "h2"])
def test_what_is_no_span_is_refused_with_what_to_write(text):
    with pytest.raises(ConfigurationError, match=f"--every {text!r}.*90s, 5m, 2h, 1d"):
        parse_span(text, "--every")
