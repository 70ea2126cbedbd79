"""What is known of a function's arguments, and that a call it would take is never refused."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, Optional, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.tasks.signatures import (
    SIGNATURE_BYTES_MAX,
    Signature,
    decode_signature,
    encode_signature,
)

if TYPE_CHECKING:
    pass  # type: ignore[import-not-found]


def signature_of(function: Any) -> Signature:
    found = decode_signature(encode_signature(function))
    assert found is not None
    return found


def problem(function: Any, *args: Any, **kwargs: Any) -> str | None:
    found = signature_of(function).problem(args, kwargs)
    return None if found is None else found.message


def plain(a, b=2): ...  # type: ignore[no-untyped-def]


def strict(a: int, /, b: str, *, c: list[int], d: Optional[dict[str, int]] = None): ...  # type: ignore[no-untyped-def]  # noqa: UP045


def greedy(first: int, *rest: int, **others: str): ...  # type: ignore[no-untyped-def]


def test_arguments_that_are_too_many_missing_unknown_or_given_twice_are_named() -> None:
    assert problem(plain) == "'a' is missing"
    assert problem(strict) == "'a', 'b', 'c' are missing"
    assert problem(plain, 1, 2, 3) == "3 positional arguments given, and it takes at most 2"
    assert problem(plain, 1, a=2) == "'a' is given twice, also by its position"
    assert problem(plain, 1, z=2) == "it has no argument 'z'"
    assert problem(lambda: None, 1) == "1 positional argument given, and it takes none"
    assert problem(strict, b="x", c=[], a=1) == "it has no argument 'a'"


def test_a_plain_type_that_the_annotation_does_not_name_is_refused() -> None:
    assert problem(strict, "1", "x", c=[]) == "argument 1, 'a', is of type str and should be int"
    assert problem(strict, 1, None, c=[]) == "argument 2, 'b', is None and should be str"
    assert problem(strict, 1, "x", c={}) == "'c' is of type dict and should be list"
    assert problem(strict, 1, "x", c=[], d=[1]) == "'d' is of type list and should be None | dict"
    assert problem(greedy, 1, 2, "3") == "argument 3, 'rest', is of type str and should be int"
    assert problem(greedy, 1, x=1) == "'x' is of type int and should be str"


def test_what_may_become_what_is_asked_for_passes() -> None:
    class Level(enum.IntEnum):
        HIGH = 1

    assert problem(strict, 1.0, "x", c=(1,)) is None
    assert problem(strict, True, "x", c=[], d=None) is None
    assert problem(strict, Level.HIGH, "x", c={1}) is None
    assert problem(strict, dt.date(2026, 1, 1), b"x", c=[]) is None
    assert problem(greedy, 1, 2, 3, x="y") is None


@pytest.mark.parametrize(
    "annotation",
    [
        dt.datetime,
        object,
        Any,
        "Missing",
        "list[Missing]",
        "not python",
        Union[int, dt.date],  # noqa: UP007
        "Sequence[int]",
        bytes,
        enum.Enum,
        ...,
    ],
)
def test_what_an_annotation_leaves_open_stays_open(annotation: Any) -> None:
    def function(a): ...  # type: ignore[no-untyped-def]

    function.__annotations__["a"] = annotation
    for value in ("x", 1, None, [1], {"k": 1}):
        assert problem(function, value) is None


def test_a_default_is_among_the_types_and_an_annotated_type_is_what_it_wraps() -> None:
    def function(a: str = None, b: Annotated[int, "metres"] = 1, c: int | None = 3): ...  # type: ignore[no-untyped-def, assignment]  # noqa: RUF013

    assert problem(function, None) is None
    assert problem(function, 1) is not None
    assert problem(function, b="1") is not None
    assert problem(function, c=None) is None
    assert signature_of(function).shown("f") == (
        "f(a: str | None = ..., b: int = ..., c: int | None = ...)"
    )


def test_a_signature_is_shown_as_python_writes_it() -> None:
    assert signature_of(plain).shown("plain") == "plain(a, b=...)"
    shown = "strict(a: int, /, b: str, *, c: list, d: None | dict = ...)"
    assert signature_of(strict).shown("strict") == shown
    assert signature_of(greedy).shown("greedy") == "greedy(first: int, *rest: int, **others: str)"


def test_of_a_wrapped_function_it_is_the_wrapper_that_is_called() -> None:
    @functools.wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    assert problem(wrapper, 1, 2, 3, z=4) is None
    assert problem(functools.partial(plain, 1)) is None
    assert problem(functools.partial(plain, 1), 2, 3) is not None


def test_what_has_no_honest_or_no_small_signature_is_unknown() -> None:
    def claimed(*args: Any) -> None: ...

    claimed.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    names = ", ".join(f"parameter_number_{n}" for n in range(200))
    large = eval(f"lambda {names}: None")
    for function in (claimed, large, max, 5):
        assert decode_signature(encode_signature(function)) is None  # type: ignore[arg-type]


def test_another_version_of_the_encoding_and_garbage_are_unknown() -> None:
    for encoded in (b"", b"\xc1", msgspec.msgpack.encode([2, []]), msgspec.msgpack.encode(7)):
        assert decode_signature(encoded) is None
    assert decode_signature(msgspec.msgpack.encode([1, [["a\n", 1, True]]])) is None


_FUNCTIONS = [plain, strict, greedy, lambda: None, lambda a, /, **k: (a, k), lambda *, a: a]


@given(
    function=st.sampled_from(_FUNCTIONS),
    args=st.lists(st.just(1), max_size=4),
    kwargs=st.dictionaries(st.sampled_from("abcdz"), st.just(1), max_size=4),
)
def test_what_python_would_call_passes_and_nothing_else(
    function: Any, args: list[int], kwargs: dict[str, int]
) -> None:
    untyped = msgspec.msgpack.decode(encode_signature(function))
    for parameter in untyped[1]:
        del parameter[3:]
    signature = decode_signature(msgspec.msgpack.encode(untyped))
    assert signature is not None
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        assert signature.problem(args, kwargs) is not None
    else:
        assert signature.problem(args, kwargs) is None


def test_signatures_are_small() -> None:
    assert len(encode_signature(strict)) < 60 < SIGNATURE_BYTES_MAX
