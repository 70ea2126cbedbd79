"""What is rewritten before the parser sees it, and how values are read."""

from __future__ import annotations

import pytest

from fastqueue.cli.arguments import expand, parse_kwargs, parse_value, split_modules
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
