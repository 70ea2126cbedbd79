from __future__ import annotations

import enum
import math
import pickle
import socket
import subprocess
import sys
import uuid
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.errors import ConfigurationError, SerializationError
from fastqueue.tasks.serializer import (
    SerializationFormat,
    TaskSerializer,
    allow_pickle,
    decode_arguments,
    decode_result,
    encode_arguments,
    encode_result,
    pickle_allowed,
)

JSON = SerializationFormat.JSON
PICKLE = SerializationFormat.PICKLE


@pytest.fixture
def pickle_opted_in():
    allow_pickle()
    yield
    allow_pickle(False)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Box:
    inside: Any


class Row(NamedTuple):
    left: int
    right: str


class Frame(msgspec.Struct):
    inside: Any


class User(pydantic.BaseModel):
    name: str
    born: date
    raw: bytes = b"x"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "a lie"


class Number(float):
    pass


class Count(int):
    pass


class Octets(bytes):
    pass


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # The encoder makes UTF-8, which has no surrogates.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
    ),
    max_leaves=20,
)


class TestFormat:
    @pytest.mark.parametrize("name", ["json", "JSON", " Json ", JSON])
    def test_a_format_is_parsed_from_its_name_in_any_letter_case(self, name):
        assert SerializationFormat.parse(name) is JSON

    @pytest.mark.parametrize("wrong", ["xml", "", None, 1])
    def test_what_is_no_format_is_an_error_that_lists_both(self, wrong):
        with pytest.raises(ConfigurationError, match="'json' nor 'pickle'"):
            SerializationFormat.parse(wrong)

    @pytest.mark.parametrize(("one", "code"), [(JSON, 0), (PICKLE, 1)])
    def test_a_format_and_its_number_are_turned_into_each_other(self, one, code):
        assert one.code == code
        assert SerializationFormat.of_code(code) is one

    def test_an_unknown_number_is_an_error(self):
        with pytest.raises(ConfigurationError, match="number 2 is unknown"):
            SerializationFormat.of_code(2)

    def test_a_format_equals_its_name(self):
        assert JSON == "json"
        assert f"{PICKLE}" == "pickle"
        assert repr(PICKLE) == "SerializationFormat.PICKLE"


class TestJsonRoundTrips:
    @given(plain)
    def test_any_plain_value_comes_back_equal(self, value):
        assert decode_result(encode_result(value)) == value
        assert TaskSerializer.deserialize(TaskSerializer.serialize(value)) == value

    @given(st.lists(plain, max_size=4), st.dictionaries(st.text("abc_", min_size=1), plain))
    def test_any_plain_arguments_come_back_equal(self, args, kwargs):
        payload = encode_arguments("add", tuple(args), kwargs, JSON)
        assert decode_arguments(payload, JSON) == (args, kwargs)

    @given(st.integers())
    def test_a_whole_number_of_any_length_comes_back_as_itself(self, number):
        found = decode_result(encode_result([number, {"n": number}]))
        assert found == [number, {"n": number}]
        assert type(found[0]) is int

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_a_float_comes_back_to_the_last_bit(self, number):
        found = decode_result(encode_result(number))
        assert math.copysign(1, found) == math.copysign(1, number)
        assert found == number

    @given(st.datetimes(timezones=st.just(UTC) | st.none()))
    def test_a_datetime_comes_back_through_its_text(self, moment):
        assert datetime.fromisoformat(decode_result(encode_result(moment))) == moment

    @given(st.decimals(allow_nan=False, allow_infinity=False))
    def test_a_decimal_comes_back_through_its_text(self, number):
        assert Decimal(decode_result(encode_result(number))).compare_total(number) == 0

    @given(st.timedeltas())
    def test_a_timedelta_comes_back_through_its_text(self, span):
        assert msgspec.convert(decode_result(encode_result(span)), timedelta) == span

    @given(st.binary())
    def test_bytes_come_back_through_base64(self, data):
        assert msgspec.convert(decode_result(encode_result(data)), bytes) == data

    def test_the_payload_is_the_arguments_and_the_keyword_arguments(self):
        assert encode_arguments("add", (5, 3), {"a": [None]}, JSON) == b'[[5,3],{"a":[null]}]'

    @pytest.mark.parametrize("args", [[1, 2], (1, 2), deque([1, 2]), range(1, 3)])
    def test_the_arguments_may_be_any_sequence(self, args):
        assert encode_arguments("add", args, {}, JSON) == b"[[1,2],{}]"

    def test_the_keyword_arguments_may_be_any_mapping(self):
        payload = encode_arguments("add", (), MappingProxyType({"a": 1}), JSON)
        assert payload == b'[[],{"a":1}]'


ZURICH = timezone(timedelta(hours=1))
AN_ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class TestJsonTakesWhatPeoplePass:
    @pytest.mark.parametrize(
        ("value", "decoded"),
        [
            (datetime(2024, 5, 1, 12, 0, 0, 7), "2024-05-01T12:00:00.000007"),  # noqa: DTZ001
            (datetime(2024, 5, 1, 12, tzinfo=UTC), "2024-05-01T12:00:00Z"),
            (datetime(2024, 5, 1, 12, tzinfo=ZURICH), "2024-05-01T12:00:00+01:00"),
            (date(2024, 5, 1), "2024-05-01"),
            (time(1, 2, 3), "01:02:03"),
            (timedelta(days=1, seconds=2), "P1DT2S"),
            (AN_ID, str(AN_ID)),
            (Decimal("1.10"), "1.10"),
            (Colour.RED, "red"),
            (Level.HIGH, 3),
            (b"xyz", "eHl6"),
            (bytearray(b"xyz"), "eHl6"),
            (memoryview(b"xyz"), "eHl6"),
            ({7}, [7]),
            (frozenset({7}), [7]),
            ((1, (2,)), [1, [2]]),
            (deque([1, deque([2])]), [1, [2]]),
            (PurePosixPath("/a/b"), "/a/b"),
            (Path("a"), "a"),
            (Box(Box(1)), {"inside": {"inside": 1}}),
            (Row(1, "b"), [1, "b"]),
            (Frame([1]), {"inside": [1]}),
            (OrderedDict(a=1), {"a": 1}),
            (
                User(name="Ann", born=date(1990, 1, 2)),
                {"name": "Ann", "born": "1990-01-02", "raw": "x"},
            ),
            (Text("truth"), "truth"),
            (Number(1.5), 1.5),
            (Count(2**70), 2**70),
            (Octets(b"xyz"), "eHl6"),
            ({1: "a"}, {"1": "a"}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_it_is_decoded_as_the_plain_value_that_stands_for_it(self, value, decoded):
        assert decode_result(encode_result(value)) == decoded
        nested = decode_arguments(encode_arguments("t", (value,), {"k": {"v": [value]}}))
        assert nested == ([decoded], {"k": {"v": [decoded]}})

    def test_a_pydantic_model_is_read_back_by_the_same_model(self):
        user = User(name="Ann", born=date(1990, 1, 2), raw=b"raw")
        assert User.model_validate(decode_result(encode_result(user))) == user

    def test_the_serializer_imports_no_pydantic(self):
        code = "import sys, fastqueue.tasks.serializer; sys.exit('pydantic' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def message_of(*args: object, **kwargs: object) -> str:
    with pytest.raises(SerializationError) as caught:
        encode_arguments("resize", args, kwargs, JSON)
    return str(caught.value)


class TestJsonRefuses:
    def test_a_type_it_does_not_know_naming_the_argument(self):
        with socket.socket() as value:
            assert "argument 2 of task 'resize'" in message_of(1, value)
            assert "a value of type 'socket'" in message_of(1, value)

    def test_a_type_it_does_not_know_naming_the_keyword_argument_and_the_place_in_it(self):
        message = message_of(1, image=[{"a": Box((0, Frame(object())))}])
        assert "keyword argument 'image' of task 'resize'" in message
        assert "at [0]['a'].inside[1].inside: a value of type 'object'" in message

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, Number("nan")])
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda value: value,
            lambda value: [None, 2**70, value],
            lambda value: {"a": ("\xcb\x7f\xff", value)},
            lambda value: deque([Box(value)]),
            lambda value: Frame({"a": value}),
        ],
    )
    def test_a_number_that_json_would_turn_into_null(self, value, wrap):
        assert "is not a JSON number" in message_of("a", wrap(value))
        with pytest.raises(SerializationError, match="the result can't be encoded as JSON"):
            encode_result(wrap(value))

    def test_such_a_number_in_a_pydantic_model(self):
        class Point(pydantic.BaseModel):
            x: float

        assert "argument 1 of task 'resize'" in message_of(Point(x=math.nan))
        assert "at .x: nan" in message_of(Point(x=math.nan))

    def test_such_a_number_that_a_model_makes_only_when_it_is_dumped(self):
        class Lazy(pydantic.BaseModel):
            @pydantic.model_serializer
            def dump(self) -> list[float]:
                return [math.nan]

        assert "argument 1 of task 'resize'" in message_of(Lazy())
        assert "'Lazy' holding NaN or an infinity" in message_of(Lazy())

    def test_such_a_number_behind_an_enum(self):
        class Odd(enum.Enum):
            NAN = math.nan

        assert "'Odd' holding NaN or an infinity" in message_of([Odd.NAN])

    def test_such_a_number_as_deep_as_json_goes(self):
        deep: list[object] = [None, 2**70, math.nan]
        for _ in range(500):
            deep = [deep]
        assert "which is not a JSON number" in message_of(deep)

    @pytest.mark.parametrize("value", ["null", [None], {"null": None}, "\ufffd null \x7f\xf0"])
    def test_but_not_a_real_null_nor_the_word(self, value):
        assert decode_result(encode_result(value)) == value

    def test_a_circular_structure(self):
        loop: list[object] = []
        loop.append(loop)
        assert "argument 1" in message_of(loop)
        assert "contains itself or is nested too deep" in message_of(loop)

    def test_a_circular_structure_of_objects(self):
        box = Box(None)
        box.inside = {"back": box}
        assert "contains itself or is nested too deep" in message_of(box=box)

    def test_what_is_nested_too_deep(self):
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        assert "nested too deep" in message_of(deep)

    @pytest.mark.parametrize("value", ["\ud800", ["\udfff"], {"\ud800": 1}, Path("\udcff")])
    def test_a_lone_surrogate(self, value):
        assert "lone surrogate" in message_of(value)

    @pytest.mark.parametrize("key", [None, (1, 2), True])
    def test_a_key_that_is_neither_text_nor_a_number(self, key):
        assert "with a key that is neither text nor a number" in message_of({key: 1})

    def test_a_keyword_argument_whose_name_is_not_text(self):
        with pytest.raises(SerializationError, match="keyword argument 3 of task 'resize'"):
            encode_arguments("resize", (), {3: 1}, JSON)  # type: ignore[dict-item]

    def test_a_keyword_argument_whose_name_has_a_lone_surrogate(self):
        assert "not valid text" in message_of(**{"\ud800": 1})

    @pytest.mark.parametrize("args", ["abc", b"abc", 5, None, {1}])
    def test_positional_arguments_that_are_no_sequence_of_values(self, args):
        with pytest.raises(SerializationError, match="positional arguments of task 'resize'"):
            encode_arguments("resize", args, {}, JSON)

    @pytest.mark.parametrize("kwargs", [[("a", 1)], None, "a"])
    def test_keyword_arguments_that_are_no_mapping(self, kwargs):
        with pytest.raises(SerializationError, match="keyword arguments of task 'resize'"):
            encode_arguments("resize", (), kwargs, JSON)

    def test_a_whole_number_too_long_for_python_to_write(self):
        assert "argument 1" in message_of(10**5000)

    def test_a_model_that_fails_to_dump_itself_and_chains_the_cause(self):
        class Broken(pydantic.BaseModel):
            @pydantic.model_serializer
            def dump(self) -> dict[str, int]:
                raise RuntimeError("no disk")

        with pytest.raises(SerializationError, match="no disk") as caught:
            encode_arguments("resize", (Broken(),), {}, JSON)
        assert caught.value.__cause__ is not None

    def test_a_result_naming_the_place_in_it(self):
        with pytest.raises(SerializationError, match=r"the result .* at \['a'\]\[1\]: a value"):
            encode_result({"a": [1, object()]})

    def test_data_it_is_given_through_the_public_serializer(self):
        with pytest.raises(SerializationError, match="the data can't be encoded as JSON"):
            TaskSerializer.serialize(object(), JSON)


class TestJsonDecoding:
    @pytest.mark.parametrize(
        "garbage",
        [b"", b"[1,", b"NaN", b"1e999", b"\xff\xfe", b'"\\ud800"', b"1 2", b"[" * 100_000, None, 5],
    )
    def test_garbage_is_a_serialization_error(self, garbage):
        with pytest.raises(SerializationError, match="can't be decoded as JSON"):
            decode_result(garbage)
        with pytest.raises(SerializationError):
            TaskSerializer.deserialize(garbage)

    @pytest.mark.parametrize("garbage", [b"null", b"[1]", b"[[],[]]", b'{"a":1}', b"[[],{},1]"])
    def test_a_payload_of_another_shape_is_a_serialization_error(self, garbage):
        with pytest.raises(SerializationError, match="the arguments can't be decoded"):
            decode_arguments(garbage)

    @given(st.binary(max_size=50))
    def test_random_bytes_are_decoded_or_refused_and_nothing_else(self, data):
        for decode in (decode_arguments, decode_result):
            with suppress(SerializationError):
                decode(data, JSON)


class Trap:
    """Tell when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (spring, ())


def spring() -> None:
    Trap.sprung = True


def fail_to_unpickle() -> None:
    raise RuntimeError("made elsewhere")


class UnpicklesNowhere:
    def __reduce__(self):
        return (fail_to_unpickle, ())


class TestPickleWithoutOptingIn:
    @pytest.mark.parametrize(
        "call",
        [
            lambda: encode_arguments("add", (1,), {}, PICKLE),
            lambda: encode_result(None, PICKLE),
            lambda: TaskSerializer.serialize(1, PICKLE),
            lambda: TaskSerializer.serialize(1, "pickle"),
        ],
    )
    def test_encoding_is_refused_and_says_how_to_opt_in(self, call):
        assert not pickle_allowed()
        with pytest.raises(SerializationError, match="--allow-pickle") as caught:
            call()
        assert "Client(serialization_format=SerializationFormat.PICKLE)" in str(caught.value)

    @pytest.mark.parametrize(
        "decode", [decode_arguments, decode_result, TaskSerializer.deserialize]
    )
    def test_decoding_is_refused_and_nothing_is_unpickled(self, decode):
        Trap.sprung = False
        with pytest.raises(SerializationError, match="--allow-pickle"):
            decode(pickle.dumps(Trap()), PICKLE)
        assert not Trap.sprung


@pytest.mark.usefixtures("pickle_opted_in")
class TestPickleOptedIn:
    def test_opting_in_can_be_taken_back(self):
        assert pickle_allowed()
        allow_pickle(False)
        assert not pickle_allowed()

    @pytest.mark.parametrize("value", [Box({1, 2}), Colour.RED, b"x", None, math.inf, {(1, 2): 3}])
    def test_a_value_comes_back_as_itself(self, value):
        assert decode_result(encode_result(value, PICKLE), PICKLE) == value
        assert TaskSerializer.deserialize(TaskSerializer.serialize(value, PICKLE), PICKLE) == value

    def test_arguments_come_back_as_themselves(self):
        payload = encode_arguments("add", (Box(1), (2,)), {"c": {3}}, PICKLE)
        assert pickle.loads(payload) == ((Box(1), (2,)), {"c": {3}})
        assert decode_arguments(payload, PICKLE) == ([Box(1), (2,)], {"c": {3}})

    def test_a_value_that_can_not_be_pickled_is_named(self):
        with pytest.raises(SerializationError, match="argument 2 of task 'add' can't be pickled"):
            encode_arguments("add", (1, lambda: 1), {}, PICKLE)
        with pytest.raises(SerializationError, match=r"keyword argument 'f' .* at \[0\]\.inside"):
            encode_arguments("add", (1,), {"f": [Box(lambda: 1)]}, PICKLE)
        with pytest.raises(SerializationError, match=r"the result can't be pickled at \['a'\]"):
            encode_result({"a": lambda: 1}, PICKLE)

    @pytest.mark.parametrize("garbage", [b"", b"[[1],{}]", pickle.dumps(UnpicklesNowhere())])
    def test_what_fails_to_unpickle_is_a_serialization_error(self, garbage):
        with pytest.raises(SerializationError, match="can't be unpickled"):
            decode_arguments(garbage, PICKLE)
        with pytest.raises(SerializationError, match="can't be unpickled"):
            decode_result(garbage, PICKLE)

    @pytest.mark.parametrize("value", [3, (1, 2), ([], {}, 1), ({}, [])])
    def test_a_pickle_of_something_else_is_no_payload(self, value):
        with pytest.raises(SerializationError, match="the arguments can't be decoded"):
            decode_arguments(pickle.dumps(value), PICKLE)
