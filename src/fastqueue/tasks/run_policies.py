"""Own how limits of what runs are written: on `@task`, for `client.limits` and on the command line.

A rate is "10/s", "100/m", "5/h" or "1/d", or a number of tasks a second. Tasks begin evenly at that
rate; " burst N" after it lets N of them begin at once after a pause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NO_RUN_POLICY", "Rate", "RunPolicy", "check_concurrency", "parse_rate", "run_policy_of"]

CONCURRENCY_MAX = 1_000_000
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_RATE = re.compile(r"(?P<count>\d+(\.\d+)?)\s*/\s*(?P<unit>[smhd])(\s+burst\s+(?P<burst>\d+))?")
_PER_SECOND_MIN, _PER_SECOND_MAX = 1e-6, 1e6


class Rate(NamedTuple):
    """Say how many tasks may begin a second, and how many of them at once after a pause."""

    per_second: float
    burst: int = 1


def parse_rate(value: Any, setting: str = "rate") -> Rate:
    """Return a rate from its text, or from a number of tasks a second.

    Raises:
        ConfigurationError: it is neither, or out of bounds.
    """
    rate = None
    if isinstance(value, Rate):
        rate = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        rate = Rate(float(value))
    elif isinstance(value, str) and (found := _RATE.fullmatch(value.strip())):
        per_second = float(found["count"]) / _UNITS_S[found["unit"]]
        rate = Rate(per_second, int(found["burst"] or 1))
    if (
        rate is not None
        and _PER_SECOND_MIN <= rate.per_second <= _PER_SECOND_MAX
        and 1 <= rate.burst <= CONCURRENCY_MAX
    ):
        return rate
    raise ConfigurationError(
        f'{setting}={value!r:.100}: it is a number of tasks a second, or a text like "10/s", '
        '"100/m", "5/h", "1/d" or "100/m burst 10", from one in eleven days to a million a second'
    )


def check_concurrency(value: Any, setting: str = "concurrency") -> int:
    """Return how many tasks may run at once.

    Raises:
        ConfigurationError: it is no such number.
    """
    if type(value) is int and 1 <= value <= CONCURRENCY_MAX:
        return value
    raise ConfigurationError(
        f"{setting}={value!r:.100}: it is a whole number from 1 to {CONCURRENCY_MAX:,}; to have "
        "nothing run, pause the queue"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """Limit how many tasks of one definition run at once, and begin in a time.

    Attributes:
        concurrency: how many at once, over all subworkers; None is any number.
        rate: how many may begin; None is any number.
        concurrency_per_key: the first, of each fair key apart.
        rate_per_key: the second, of each fair key apart.
    """

    concurrency: int | None = None
    rate: Rate | None = None
    concurrency_per_key: int | None = None
    rate_per_key: Rate | None = None


NO_RUN_POLICY = RunPolicy()


def run_policy_of(options: Mapping[str, Any]) -> RunPolicy:
    """Return what the options of a definition say about how many may run.

    Raises:
        ConfigurationError: one can't be what it is.
    """

    def count(name: str) -> int | None:
        value = options.get(name)
        return None if value is None else check_concurrency(value, name)

    def rate(name: str) -> Rate | None:
        value = options.get(name)
        return None if value is None else parse_rate(value, name)

    return RunPolicy(
        concurrency=count("concurrency"),
        rate=rate("rate"),
        concurrency_per_key=count("concurrency_per_key"),
        rate_per_key=rate("rate_per_key"),
    )
