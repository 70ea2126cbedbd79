"""Own addresses: how one is written, taken apart and checked.

Used by the settings, and for the addresses that come at run time: a callback's, an announced one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fastqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IPC_PATH_BYTES_MAX", "Address", "parse_address"]

# `sun_path` holds 104 bytes on macOS and 108 on Linux, its closing zero included.
IPC_PATH_BYTES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Hold one address, taken apart; `str()` puts it together again.

    Attributes:
        scheme: `tcp`, `tls` or `ipc`.
        host: a host name or IP address without brackets; empty for `ipc`.
        port: 0 for `ipc`, and otherwise where the system is to choose one.
        path: the Unix socket's path; empty for `tcp` and `tls`.
    """

    scheme: Literal["tcp", "tls", "ipc"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Say whether only this machine can reach it."""
        if self.scheme == "ipc" or self.host.lower() == "localhost":
            return True
        import ipaddress  # here, because `import fastqueue` needn't pay for it

        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(
    text: str, *, setting: str, allow_port_zero: bool = False, allow_tls: bool = False
) -> Address:
    """Take an address apart: `tcp://host:port`, `tcp://[::1]:port` or `ipc:///path`.

    Args:
        text: the address as written.
        setting: what to call it in an error.
        allow_port_zero: whether port 0 (let the system choose) may be asked for.
        allow_tls: whether `tls://host:port` is one as well: where NNG listens it isn't.

    Raises:
        ConfigurationError: it is none of these.
    """

    def wrong(why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{setting} {text!r} is not an address: {why}; "
            f"write it like tcp://127.0.0.1:5550 or ipc:///run/fastqueue.sock"
        )

    if not isinstance(text, str):
        raise wrong("it is not text")
    scheme, separator, rest = text.strip().partition("://")
    if scheme == "tls" and separator and not allow_tls:
        raise wrong("TLS is only for the control plane's own address")
    if not separator or scheme not in ("tcp", "tls", "ipc"):
        schemes = "tcp://, tls:// nor ipc://" if allow_tls else "tcp:// nor ipc://"
        raise wrong(f"it starts with neither {schemes}")
    if not rest.isprintable():
        raise wrong("it has an unprintable character in it")
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
        scheme="tls" if scheme == "tls" else "tcp",
        host=_parse_host(host, wrong),
        port=_parse_port(port_text, wrong, allow_zero=allow_port_zero),
    )


def _parse_host(host: str, wrong: Callable[[str], ConfigurationError]) -> str:
    if not host.startswith("["):
        if ":" in host:
            raise wrong("an IPv6 address needs brackets, as in tcp://[::1]:5550")
        if any(character in host for character in " /?#@[]*"):
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
