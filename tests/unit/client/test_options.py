"""What a submission may ask for, and what it can't."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.client.client import Client
from fastqueue.client.options import NO_OPTIONS, Options, parse_options
from fastqueue.core.records import TaskOptions
from fastqueue.errors import ConfigurationError

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
YEAR_S = 365 * 24 * 3600.0


def parsed(**options: Any) -> TaskOptions:
    found = parse_options(options).task  # type: ignore[arg-type]
    assert found is not None
    return found


def test_nothing_asked_for_is_nothing_sent() -> None:
    assert parse_options({}) == NO_OPTIONS
    assert parse_options({"eta": None, "queue": None}) == NO_OPTIONS
    assert parse_options({"queue": "mail"}) == Options("mail")
    assert parse_options({"require_worker": True}) == Options(require_worker=True)


def test_an_eta_is_a_time_whatever_its_zone() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-7)))
    assert parsed(eta=NOON).due_at == parsed(eta=elsewhere).due_at == NOON.timestamp()


@pytest.mark.parametrize("option", ["countdown", "expires"])
@pytest.mark.parametrize("span", [60, 60.0, timedelta(minutes=1)])
def test_a_span_counts_from_now(option: str, span: Any) -> None:
    before = time.time()
    options = parsed(**{option: span})
    moment = options.due_at if option == "countdown" else options.expires_at
    assert moment is not None
    assert before + 60.0 <= moment <= time.time() + 60.0


def test_an_expiry_may_be_a_time() -> None:
    assert parsed(expires=NOON).expires_at == NOON.timestamp()


def test_what_is_asked_of_retries_travels_with_the_task() -> None:
    options = parsed(retries=0, backoff=0.5, backoff_max=timedelta(hours=1))
    assert options == TaskOptions(retries=0, backoff_s=0.5, backoff_max_s=3_600.0)


@pytest.mark.parametrize("option", ["eta", "expires"])
def test_a_naive_time_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{option}=.* is naive"):
        parse_options({option: datetime(2030, 1, 1)})  # type: ignore[misc] # noqa: DTZ001


def test_an_eta_and_a_countdown_are_one_too_many() -> None:
    with pytest.raises(ConfigurationError, match="eta and countdown"):
        parse_options({"eta": NOON, "countdown": 5})


@pytest.mark.parametrize("value", [5, None])
def test_an_unknown_option_is_a_type_error_that_lists_those_there_are(value: Any) -> None:
    with pytest.raises(TypeError, match=r"'etta'.*eta, countdown, expires"):
        parse_options({"etta": value})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("eta", 5),
        ("eta", "2030-01-01"),
        ("eta", timedelta(1)),
        ("countdown", -1),
        ("countdown", math.nan),
        ("countdown", YEAR_S * 1.001),
        ("countdown", "5"),
        ("countdown", NOON),
        ("expires", -1),
        ("expires", True),
        ("expires", "tomorrow"),
        ("retries", -1),
        ("retries", 1_001),
        ("retries", True),
        ("retries", 2.0),
        ("backoff", -1),
        ("backoff", NOON),
        ("backoff_max", math.inf),
        ("queue", ""),
        ("queue", "a\tb"),
        ("queue", 5),
    ],
)
def test_an_option_that_cant_be_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{option}="):
        parse_options({option: value})  # type: ignore[misc]


_zones = st.timezones() | st.integers(-1_439, 1_439).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)


_WEST, _EAST = timezone(timedelta(hours=-12)), timezone(timedelta(hours=12))


@given(
    st.datetimes(timezones=_zones)
    | st.sampled_from((datetime.max.replace(tzinfo=_WEST), datetime.min.replace(tzinfo=_EAST))),
    st.floats(0.0, YEAR_S),
    st.integers(0, 1_000),
)
def test_whatever_is_taken_the_control_plane_takes_too(
    moment: datetime, span: float, retries: int
) -> None:
    options = parsed(eta=moment, expires=span, retries=retries, backoff=span, backoff_max=span)
    packed = msgspec.msgpack.encode(options)
    assert msgspec.msgpack.decode(packed, type=TaskOptions) == options


def test_options_are_checked_where_they_are_given() -> None:
    client = Client(control_plane_address="tcp://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="naive"):
        client.options(eta=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(TypeError, match="no option"):
        client.options(etta=5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="urgent"):
        client.options(priority="urgent")
