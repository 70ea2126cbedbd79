"""Own what the value of a setting may be, wherever it came from: text, number or list.

Each function takes the value and what to call it, and returns it checked. Used by the settings.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastqueue.config.address import Address, parse_address
from fastqueue.config.serialization_format import SerializationFormat
from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Network, IPv6Network

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
WORKER_ID_LENGTH_MAX = 200
# As `tasks.policies` has it, which is above this layer.
QUEUE_NAME_LENGTH_MAX = 100


def integer(minimum: int, maximum: int | None = None) -> Callable[[object, str], int]:
    """Take a whole number from `minimum` to `maximum`, if there is one."""

    def parse(value: object, setting: str) -> int:
        number: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str):
            try:
                number = int(value)
            except ValueError:
                number = None
        if number is None or number < minimum or (maximum is not None and number > maximum):
            bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
            raise ConfigurationError(f"{setting} is {value!r}: it must be a whole number, {bounds}")
        return number

    return parse


def seconds(*, zero_allowed: bool) -> Callable[[object, str], float]:
    """Take a time in seconds."""

    def parse(value: object, setting: str) -> float:
        number = math.nan
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
        if not math.isfinite(number) or number < 0 or (number == 0 and not zero_allowed):
            least = "0 or more" if zero_allowed else "more than 0"
            raise ConfigurationError(
                f"{setting} is {value!r}: it must be a finite number of seconds, {least}"
            )
        return number

    return parse


def flag(value: object, setting: str) -> bool:
    """Take a yes or a no."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in _TRUE:
            return True
        if lowered in _FALSE:
            return False
    raise ConfigurationError(f"{setting} is {value!r}: it must be true or false")


def text(value: object, setting: str) -> str:
    """Take a text or a path, not an empty one."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{setting} is {value!r}: it must be a text, and not an empty one")
    if not value.isprintable():
        raise ConfigurationError(f"{setting} is {value!r}: it has an unprintable character in it")
    return value.strip()


def address(
    *, allow_port_zero: bool = False, allow_tls: bool = False
) -> Callable[[object, str], str]:
    """Take an address; with `allow_port_zero` one to listen at."""

    def parse(value: object, setting: str) -> str:
        if isinstance(value, Address):
            return str(value)
        if not isinstance(value, str):
            raise ConfigurationError(f"{setting} is {value!r}: an address must be text")
        parsed = parse_address(
            value, setting=setting, allow_port_zero=allow_port_zero, allow_tls=allow_tls
        )
        return str(parsed)

    return parse


def serialization_format(value: object, setting: str) -> SerializationFormat:
    """Take a serialization format or its name."""
    if isinstance(value, str):
        return SerializationFormat.parse(value, setting=setting)
    raise ConfigurationError(f"{setting} is {value!r}: it must be 'json' or 'pickle'")


def worker_id(value: object, setting: str) -> str:
    """Take the name of a control plane or a subworker."""
    name = text(value, setting)
    if " " in name or len(name) > WORKER_ID_LENGTH_MAX:
        raise ConfigurationError(
            f"{setting} is {name!r:.250}: it may have no spaces and at most "
            f"{WORKER_ID_LENGTH_MAX} characters"
        )
    return name


def one_of(*allowed: str) -> Callable[[object, str], str]:
    """Take one of these words, in any letter case."""

    def parse(value: object, setting: str) -> str:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in allowed:
            listed = ", ".join(repr(one) for one in allowed)
            raise ConfigurationError(f"{setting} is {value!r}: it must be one of {listed}")
        return str(word)

    return parse


def texts(value: object, setting: str) -> tuple[str, ...]:
    """Take several texts: a list, or one text with commas between."""
    items: list[object]
    if isinstance(value, str):
        items = list(value.split(","))
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, dict)):
        items = list(value)
    else:
        raise ConfigurationError(f"{setting} is {value!r}: it must be a list of texts")
    return tuple(text(item, setting) for item in items if item != "")


def queue_names(value: object, setting: str) -> tuple[str, ...]:
    """Take names of queues: a list, or one text with commas between; a name has no comma."""
    names = [name.strip() for item in texts(value, setting) for name in item.split(",")]
    for name in names:
        if not 0 < len(name) <= QUEUE_NAME_LENGTH_MAX:
            raise ConfigurationError(
                f"{setting} has {name!r:.150} in it: a queue's name has 1 to "
                f"{QUEUE_NAME_LENGTH_MAX} characters"
            )
    return tuple(dict.fromkeys(names))


def networks(value: object, setting: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Take networks in CIDR form, and add the loopback ones."""
    import ipaddress  # here, because `import fastqueue` needn't pay for it

    found = list(loopback_networks())
    for item in texts(value, setting):
        try:
            found.append(ipaddress.ip_network(item))
        except ValueError as error:
            raise ConfigurationError(
                f"{setting} has {item!r} in it, which is not a network: {error}; write it like "
                "10.0.0.0/8 or 192.168.1.5/32"
            ) from None
    return tuple(dict.fromkeys(found))


def loopback_networks() -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the networks that never leave this machine."""
    import ipaddress  # here, because `import fastqueue` needn't pay for it

    return (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
