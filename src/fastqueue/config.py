"""Own the settings: which there are, where each may come from, and what it may be.

A setting comes from the first of: an argument, a `FASTQUEUE_*` environment variable,
`fastqueue.toml` (or `[tool.fastqueue]` of `pyproject.toml`) in the current directory, its default.
The client, the control plane and the subworker each resolve theirs once, when they are made.
"""

from __future__ import annotations

import enum
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network

__all__ = [
    "Address",
    "SerializationFormat",
    "parse_address",
]

DISCOVERY_ADDRESS = "tcp://127.0.0.1:5550"
BASE_ADDRESS = "tcp://127.0.0.1:5555"
# `sun_path` holds 104 bytes on macOS and 108 on Linux, its closing zero included.
IPC_PATH_BYTES_MAX = 100

_ENVIRONMENT_PREFIX = "FASTQUEUE_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class SerializationFormat(enum.StrEnum):
    """Choose how arguments and results are encoded.

    JSON is read by any process. PICKLE takes nearly any Python value, but unpickling runs whatever
    code the sender chose: only a process that opted in takes it.
    """

    JSON = "json"
    PICKLE = "pickle"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @property
    def code(self) -> int:
        """Return the number that stands for this format on the wire and in the store."""
        return 0 if self is SerializationFormat.JSON else 1

    @classmethod
    def of_code(cls, code: int) -> SerializationFormat:
        """Return the format with this number.

        Raises:
            ConfigurationError: no format has it.
        """
        if code == 0:
            return cls.JSON
        if code == 1:
            return cls.PICKLE
        raise ConfigurationError(
            f"serialization format number {code!r} is unknown here: 0 is json, 1 is pickle; "
            "was it written by a newer fastqueue?"
        )

    @classmethod
    def parse(cls, value: SerializationFormat | str) -> SerializationFormat:
        """Return the format that `value` is or names, in any letter case.

        Raises:
            ConfigurationError: it is neither; the message lists them.
        """
        if type(value) is cls:
            return value
        if isinstance(value, str):
            try:
                return cls(value.strip().lower())
            except ValueError:
                pass
        raise ConfigurationError(
            f"serialization_format {value!r} is neither 'json' nor 'pickle' "
            "(nor a SerializationFormat)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Hold one address, taken apart; `str()` puts it together again.

    Attributes:
        scheme: `tcp` or `ipc`.
        host: a host name or IP address without brackets; empty for `ipc`.
        port: 0 for `ipc`, and for `tcp` where the system is to choose one.
        path: the Unix socket's path; empty for `tcp`.
    """

    scheme: Literal["tcp", "ipc"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        if self.scheme == "ipc" or self.host.lower() == "localhost":
            return True
        import ipaddress  # here, because `import fastqueue` needn't pay for it

        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse_address(text: str, *, setting: str, allow_port_zero: bool = False) -> Address:
    """Take an address apart: `tcp://host:port`, `tcp://[::1]:port` or `ipc:///path`.

    Args:
        text: the address as written.
        setting: what to call it in an error.
        allow_port_zero: whether port 0 (let the system choose) may be asked for.

    Raises:
        ConfigurationError: it is none of these.
    """

    def wrong(why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{setting} {text!r} is not an address: {why}; "
            f"write it like {DISCOVERY_ADDRESS} or ipc:///run/fastqueue.sock"
        )

    if not isinstance(text, str):
        raise wrong("it is not text")
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme not in ("tcp", "ipc"):
        raise wrong("it starts with neither tcp:// nor ipc://")
    if any(character.isspace() or not character.isprintable() for character in rest):
        raise wrong("it has a space or an unprintable character in it")
    if scheme == "ipc":
        if not rest:
            raise wrong("the path is missing")
        size_bytes = len(os.fsencode(rest))
        if size_bytes > IPC_PATH_BYTES_MAX:
            raise wrong(
                f"the path has {size_bytes} bytes, and a Unix socket's may have "
                f"{IPC_PATH_BYTES_MAX}"
            )
        return Address(scheme="ipc", path=rest)
    host, separator, port_text = rest.rpartition(":")
    if not separator or not host:
        raise wrong("the host or the port is missing")
    return Address(
        scheme="tcp",
        host=_parse_host(host, wrong),
        port=_parse_port(port_text, wrong, allow_zero=allow_port_zero),
    )


def _parse_host(host: str, wrong: Callable[[str], ConfigurationError]) -> str:
    if not host.startswith("["):
        if ":" in host:
            raise wrong("an IPv6 address needs brackets, as in tcp://[::1]:5550")
        if any(character in host for character in "/?#@[]*"):
            raise wrong(f"{host!r} is not a host")
        return host
    import ipaddress  # here, because `import fastqueue` needn't pay for it

    bare = host[1:-1]
    try:
        if not host.endswith("]"):
            raise ValueError
        ipaddress.IPv6Address(bare)
    except ValueError:
        raise wrong(f"{host!r} is not an IPv6 address in brackets") from None
    return bare


def _parse_port(text: str, wrong: Callable[[str], ConfigurationError], *, allow_zero: bool) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise wrong(f"the port {text!r} is not a number from 1 to 65535")
    port = int(text)
    if port == 0 and not allow_zero:
        raise wrong("port 0 can't be dialled")
    return port


def _integer(minimum: int) -> Callable[[object, str], int]:
    def parse(value: object, setting: str) -> int:
        number: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str):
            try:
                number = int(value)
            except ValueError:
                number = None
        if number is None or number < minimum:
            raise ConfigurationError(
                f"{setting} is {value!r}: it must be a whole number, {minimum} or more"
            )
        return number

    return parse


def _seconds(*, zero_allowed: bool) -> Callable[[object, str], float]:
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


def _flag(value: object, setting: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in _TRUE:
            return True
        if lowered in _FALSE:
            return False
    raise ConfigurationError(f"{setting} is {value!r}: it must be true or false")


def _text(value: object, setting: str) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value.strip()
    raise ConfigurationError(f"{setting} is {value!r}: it must be a text, and not an empty one")


def _address(*, allow_port_zero: bool = False) -> Callable[[object, str], str]:
    def parse(value: object, setting: str) -> str:
        if isinstance(value, Address):
            return str(value)
        # parse_address refuses what is not text.
        return str(parse_address(value, setting=setting, allow_port_zero=allow_port_zero))  # type: ignore[arg-type]

    return parse
