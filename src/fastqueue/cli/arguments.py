"""Own what the command line takes that its parser doesn't: options with several values.

`--args 5 3` is rewritten to `--args=5 --args=3` before the parser sees it. No command has
positional arguments, so that a value can only belong to the option before it. Times are read here
too, since the parser knows none with an offset.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["expand", "parse_kwargs", "parse_moment", "parse_span", "parse_value", "split_modules"]

_SEVERAL_VALUES = frozenset({"--args", "--task-modules", "--callback-allow"})
# `status` and `cancel` take one.
_SEVERAL_VALUES_OF = {"requeue": frozenset({"--task-id"})}
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"-(\d|\.\d|Infinity$)")


def expand(arguments: Sequence[str]) -> list[str]:
    """Give each value of an option that takes several an option of its own.

    A value ends at the next option; a negative number is a value. What follows `--` are values
    of the open option, or of `--args` if none is open, whatever they look like.
    """
    command = arguments[0] if arguments else ""
    several = _SEVERAL_VALUES | _SEVERAL_VALUES_OF.get(command, frozenset())
    expanded: list[str] = []
    option: str | None = None
    is_open = False
    for position, argument in enumerate(arguments):
        if argument == "--":
            values = arguments[position + 1 :]
            return expanded + [f"{option or '--args'}={value}" for value in values]
        name, equals, _ = argument.partition("=")
        if name in several and (equals or argument == name):
            option, is_open = name, True
            if equals:
                expanded.append(argument)
            elif name != "--args" and _is_last_or_option(arguments, position + 1):
                return [*expanded, argument]  # the parser says that its value is missing
        elif is_open and not _is_option(argument):
            expanded.append(f"{option}={argument}")
        else:
            expanded.append(argument)
            is_open = is_open and not _is_option(argument)
            option = option if is_open else None
    return expanded


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != "-" and not _NUMBER.match(argument)


def _is_last_or_option(arguments: Sequence[str], position: int) -> bool:
    return position >= len(arguments) or _is_option(arguments[position])


def parse_value(text: str) -> Any:
    """Return the value that `text` is in JSON, or the text itself if it isn't JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def parse_kwargs(text: str) -> dict[str, Any]:
    """Return the keyword arguments that `text` is in JSON.

    Raises:
        ConfigurationError: it isn't a JSON object.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--kwargs {text!r:.200} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(
            f'--kwargs {text!r:.200} must be a JSON object, such as {{"name": 1}}'
        )
    return value


def parse_moment(text: str, option: str, *, or_seconds: bool = False) -> datetime | float:
    """Return the time that `text` is in ISO 8601, or a number of seconds if that is allowed.

    Raises:
        ConfigurationError: it is neither, or a time without an offset.
    """
    if or_seconds:
        try:
            return float(text)
        except ValueError:
            pass
    example = "2026-03-01T09:30:00+01:00, or with a Z for UTC"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        kinds = "neither a number of seconds nor" if or_seconds else "not"
        raise ConfigurationError(
            f"{option} {text!r:.100} is {kinds} a time in ISO 8601, such as {example}"
        ) from None
    if moment.utcoffset() is None:
        raise ConfigurationError(
            f"{option} {text!r:.100} doesn't say in which time zone: give it an offset from UTC, "
            f"such as {example}"
        )
    return moment


def parse_span(text: str, option: str) -> float:
    """Return the seconds that `text` is: a number of them, or one of s, m, h or d after a number.

    Raises:
        ConfigurationError: it is neither.
    """
    number, unit_s = (text[:-1], _UNITS_S[text[-1]]) if text[-1:] in _UNITS_S else (text, 1.0)
    try:
        return float(number) * unit_s
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r:.100} is no span of time: give a number of seconds, or as in 90s, "
            "5m, 2h, 1d"
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def split_modules(values: Iterable[str]) -> tuple[str, ...]:
    """Return the task modules named in `values`, between commas or spaces.

    A value that is an existing file stays whole, for its name may have spaces.
    """
    modules: list[str] = []
    for value in values:
        for part in value.split(","):
            if Path(part).is_file():
                modules.append(part)
            else:
                modules += part.split()
    return tuple(dict.fromkeys(modules))
