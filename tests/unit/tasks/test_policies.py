"""When a task that failed is tried again, and which options there can't be."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.core.records import Lease, TaskOptions
from fastqueue.errors import Cancel, ConfigurationError, Retry
from fastqueue.subworker.outcomes import failed
from fastqueue.tasks.policies import RetryPolicy, check_queue, retry_policy_of, seconds
from fastqueue.tasks.registry import default_registry, task

YEAR_S = 365 * 24 * 3600.0
ALWAYS = RetryPolicy(retries=1_000, backoff_s=0.0, jitter=False)
waits = st.floats(0.0, YEAR_S)
chances = st.floats(0.0, 1.0)


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_registry, "_definitions", {})


def wait(error: BaseException, policy: RetryPolicy = ALWAYS, failures: int = 0) -> float | None:
    return policy.wait_s(error, failures, 0.5)


# -- how long


@given(waits, waits, chances, st.integers(0, 999), st.booleans())
def test_a_wait_is_within_its_bounds_however_often_a_task_has_failed(
    backoff_s: float, backoff_max_s: float, chance: float, failures: int, jitter: bool
) -> None:
    policy = RetryPolicy(
        retries=1_000, backoff_s=backoff_s, backoff_max_s=backoff_max_s, jitter=jitter
    )
    waited = policy.wait_s(ValueError(), failures, chance)
    assert waited is not None
    assert 0.0 <= waited <= backoff_max_s
    whole = min(backoff_s * 2.0 ** min(failures, 40), backoff_max_s)
    assert (whole / 2 if jitter else whole) <= waited <= whole


def test_each_wait_is_twice_the_one_before_up_to_the_longest() -> None:
    policy = RetryPolicy(retries=9, backoff_s=2.0, backoff_max_s=10.0, jitter=False)
    assert [wait(ValueError(), policy, n) for n in range(5)] == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_takes_off_half_at_most() -> None:
    policy = RetryPolicy(retries=1, backoff_s=8.0)
    assert [policy.wait_s(ValueError(), 0, chance) for chance in (0.0, 0.5, 1.0)] == [8.0, 6.0, 4.0]


def test_what_a_submission_asks_for_comes_before_the_definition() -> None:
    policy = RetryPolicy(retries=1, backoff_s=2.0, backoff_max_s=3.0, retry_on=(OSError,))
    assert policy.overridden(None, None, None) == policy
    asked = policy.overridden(5, 0.0, 0.5)
    assert (asked.retries, asked.backoff_s, asked.backoff_max_s) == (5, 0.0, 0.5)
    assert asked.retry_on == (OSError,)
    assert policy.overridden(0, None, None).wait_s(OSError(), 0, 0.5) is None


# -- whether


def test_without_retries_nothing_is_tried_again() -> None:
    assert wait(ValueError(), RetryPolicy()) is None


def test_the_last_failure_allowed_is_the_last() -> None:
    policy = RetryPolicy(retries=2)
    assert [wait(ValueError(), policy, n) is not None for n in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_only_the_errors_that_are_named_are_tried_again() -> None:
    policy = RetryPolicy(retries=9, retry_on=(OSError, KeyError), no_retry_on=(TimeoutError,))
    assert wait(ConnectionError(), policy) is not None, "a kind of OSError"
    assert wait(KeyError("x"), policy) is not None
    assert wait(ValueError(), policy) is None
    assert wait(TimeoutError(), policy) is None, "a kind of OSError, and left out"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_exception_of_a_program_isnt_tried_again(error: BaseException) -> None:
    assert wait(error) is None


def test_a_task_that_cancels_itself_isnt_tried_again() -> None:
    assert wait(Cancel("no"), RetryPolicy(retries=9, retry_on=(BaseException,))) is None


@pytest.mark.parametrize(
    ("after", "after_s"),
    [
        (2.5, 2.5),
        (0, 0.0),
        (timedelta(minutes=1), 60.0),
        (-5.0, 0.0),
        (math.inf, YEAR_S),
        (timedelta.max, YEAR_S),
    ],
)
def test_a_task_that_asks_says_how_long_to_wait(after: Any, after_s: float) -> None:
    policy = RetryPolicy(retries=3, backoff_max_s=1.0, no_retry_on=(Exception,))
    assert wait(Retry("later", after=after), policy) == after_s


def test_a_task_that_asks_without_a_time_waits_as_its_definition_says() -> None:
    policy = RetryPolicy(retries=3, backoff_s=2.0, jitter=False, no_retry_on=(Retry,))
    assert wait(Retry(), policy, 1) == 4.0


def test_a_task_that_asks_without_a_number_of_retries_has_ten() -> None:
    assert wait(Retry(), RetryPolicy(), 9) is not None
    assert wait(Retry(), RetryPolicy(), 10) is None
    assert wait(Retry(), RetryPolicy(retries=2), 2) is None


def test_a_wait_that_is_no_number_is_no_wait() -> None:
    assert Retry(after=math.nan).after_s is None
    policy = RetryPolicy(retries=3, backoff_s=2.0, jitter=False)
    assert wait(Retry(after=math.nan), policy) == 2.0


class _Bare(Retry):
    """Never calls what it inherits."""

    def __init__(self) -> None:
        pass


class _Changed(Retry):
    def __init__(self, after_s: Any) -> None:
        super().__init__()
        self.after_s = after_s


class _Property(Retry):
    def __init__(self) -> None:
        pass

    @property
    def after_s(self) -> float:  # type: ignore[override]
        raise SystemExit


@pytest.mark.parametrize(
    "error", [_Bare(), _Property(), *map(_Changed, ("soon", math.nan, [], 10**400))]
)
def test_a_request_that_is_broken_waits_as_the_definition_says(error: Retry) -> None:
    policy = RetryPolicy(retries=3, backoff_s=2.0, jitter=False)
    assert wait(error, policy) == 2.0


@pytest.mark.parametrize(("after_s", "waited"), [(-1.0, 0.0), (math.inf, 2.0), (1e300, YEAR_S)])
def test_a_request_changed_by_hand_is_kept_within_bounds(after_s: float, waited: float) -> None:
    policy = RetryPolicy(retries=3, backoff_s=2.0, jitter=False)
    assert wait(_Changed(after_s), policy) == waited


# -- what an error says of itself


class Hinting(Exception):  # noqa: N818 - it hints
    def __init__(self, **attributes: Any) -> None:
        super().__init__("429")
        vars(self).update(attributes)


class Response:
    def __init__(self, **headers: Any) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("hint", "waited"),
    [
        (30, 30.0),
        ("30", 30.0),
        (" 1.5 ", 1.5),
        (timedelta(seconds=90), 90.0),
        (-30, 0.0),
        (1e12, YEAR_S),
    ],
)
def test_an_error_may_say_how_long_to_wait(hint: Any, waited: float) -> None:
    assert wait(Hinting(retry_after=hint)) == waited
    assert wait(Hinting(response=Response(Retry_After=hint))) == waited


def test_a_hint_may_be_a_date_of_http() -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    shown = format_datetime(at, usegmt=True)
    waited = wait(Hinting(response=Response(Retry_After=shown)))
    assert waited is not None
    left_s = at.timestamp() - time.time()
    assert left_s - 2.0 <= waited <= left_s + 60.0
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    assert wait(Hinting(retry_after=past)) == 0.0


def test_a_hint_never_shortens_the_wait_nor_permits_a_retry() -> None:
    policy = RetryPolicy(retries=1, backoff_s=60.0, jitter=False)
    assert wait(Hinting(retry_after=5), policy) == 60.0
    assert wait(Hinting(retry_after=90), policy) == 90.0
    assert wait(Hinting(retry_after=5), policy, 1) is None
    assert wait(Hinting(retry_after=5), RetryPolicy(retries=1, retry_on=(OSError,))) is None


def test_a_header_is_looked_at_if_the_attribute_is_of_no_use() -> None:
    assert wait(Hinting(retry_after=None, response=Response(Retry_After="7"))) == 7.0


class _Raising:
    """Raises whatever it is asked."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    @property
    def headers(self) -> Any:
        raise self.kind("headers")

    def __getitem__(self, name: str) -> Any:
        raise self.kind(name)

    def __float__(self) -> float:
        raise self.kind("float")


class _Span(timedelta):
    def total_seconds(self) -> Any:  # type: ignore[override]
        return "an hour"


@pytest.mark.parametrize(
    "hint",
    ["soon", "", None, [], math.nan, math.inf, b"\xff", 10**400, object(), _Span(1)]
    + [_Raising(kind) for kind in (ValueError, SystemExit, KeyboardInterrupt, RecursionError)],
)
def test_a_hint_that_is_none_is_ignored(hint: Any) -> None:
    policy = RetryPolicy(retries=1, backoff_s=2.0, jitter=False)
    for error in (
        Hinting(retry_after=hint),
        Hinting(response=hint),
        Hinting(response=Response(Retry_After=hint)),
    ):
        assert wait(error, policy) == 2.0


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["retry_after", "response", "__class__", "__getattribute__"])
def test_an_error_whose_attributes_raise_is_tried_again_like_any_other(
    kind: type[BaseException], name: str
) -> None:
    def hostile(self: object, *_: object) -> object:
        raise kind

    made = hostile if name == "__getattribute__" else property(hostile)
    error = type("Hostile", (Exception,), {name: made})()
    assert wait(error, RetryPolicy(retries=1, backoff_s=2.0, jitter=False)) == 2.0
    lease = Lease("a", 1, 1, "add", 2, 0, False)
    outcome = failed(lease, error, 0.0, 0.0, RetryPolicy(retries=1))
    assert outcome.retry_in_s is not None
    assert not outcome.succeeded


def test_a_failure_is_reported_with_the_wait_that_was_asked_for() -> None:
    policy = RetryPolicy(retries=0)
    options = TaskOptions(retries=2, backoff_s=4.0, backoff_max_s=4.0)
    lease = Lease("a", 1, 3, "add", 2, 0, False, failures=1, options=options)
    waited = failed(lease, ValueError(), 0.0, 0.0, policy).retry_in_s
    assert waited is not None
    assert 2.0 <= waited <= 4.0
    lease.failures = 2
    assert failed(lease, ValueError(), 0.0, 0.0, policy).retry_in_s is None
    assert failed(lease, Cancel("no"), 0.0, 0.0, policy).cancelled


# -- options of a definition


def test_options_of_a_definition_become_its_policy() -> None:
    @task(
        retries=3,
        backoff=timedelta(seconds=2),
        backoff_max=60,
        jitter=False,
        retry_on=OSError,
        no_retry_on=(TimeoutError,),
        queue="mail",
    )
    def send() -> None: ...

    definition = default_registry.get("send")
    assert definition is not None
    assert definition.queue == "mail"
    assert definition.retry == RetryPolicy(
        retries=3,
        backoff_s=2.0,
        backoff_max_s=60.0,
        jitter=False,
        retry_on=(OSError,),
        no_retry_on=(TimeoutError,),
    )


def test_without_options_there_is_no_retry() -> None:
    assert retry_policy_of({}) == RetryPolicy()
    assert RetryPolicy().retries == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retries": -1}, "retries=-1"),
        ({"retries": 1_001}, "retries=1001"),
        ({"retries": 2.0}, "retries=2.0"),
        ({"retries": True}, "retries=True"),
        ({"backoff": -1}, "backoff=-1"),
        ({"backoff": "1s"}, "backoff='1s'"),
        ({"backoff_max": math.inf}, "backoff_max=inf"),
        ({"backoff_max": timedelta(days=366)}, "backoff_max="),
        ({"retry_on": "ValueError"}, "retry_on="),
        ({"retry_on": (ValueError, 3)}, "retry_on="),
        ({"no_retry_on": int}, "no_retry_on="),
        ({"queue": ""}, "queue=''"),
        ({"queue": "a\nb"}, "queue="),
        ({"queue": "q" * 101}, "queue="),
        ({"queue": 7}, "queue=7"),
        ({"delivery": "twice"}, "delivery='twice'"),
        ({"retrys": 3}, "no option 'retrys'"),
    ],
)
def test_an_option_that_cant_be_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        task("name", **options)(lambda: None)
    assert named in str(refusal.value)
    assert len(default_registry) == 0


# -- spans of time


@given(st.floats(0.0, YEAR_S))
def test_a_span_of_time_is_its_seconds(span: float) -> None:
    assert seconds(span, "x") == span


def test_a_span_of_time_may_be_a_timedelta_or_a_whole_number() -> None:
    assert seconds(timedelta(minutes=2), "x") == 120.0
    assert seconds(3, "x") == 3.0
    assert type(seconds(3, "x")) is float


@pytest.mark.parametrize(
    "span",
    [-0.1, math.nan, math.inf, YEAR_S * 1.001, True, None, "5", timedelta(-1), 10**400, [], 5j],
)
def test_what_is_no_span_of_time_is_refused_by_name(span: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^backoff="):
        seconds(span, "backoff")


def test_a_queue_has_a_printable_name() -> None:
    assert check_queue("übung 1") == "übung 1"
