"""What people are told of a name that nobody offers."""

from __future__ import annotations

from fastqueue.tasks.naming import describe_unoffered


def test_what_is_registered_and_what_may_be_meant_are_named() -> None:
    assert describe_unoffered("addd", ["add", "echo"]) == (
        "no connected subworker offers a task named 'addd'; registered are: add, echo; "
        "did you mean 'add'?"
    )
    assert describe_unoffered("x", []).endswith("; none offers any")
    assert describe_unoffered("zzz", ["add"]).endswith("registered are: add")


def test_of_very_many_names_those_near_it_are_shown() -> None:
    names = sorted(f"task_{n:05}" for n in range(10_000))
    said = describe_unoffered("task_0500", names)
    assert "task_05000" in said
    assert "did you mean" in said
    assert "and 9,980 more" in said
    assert len(said) < 600
