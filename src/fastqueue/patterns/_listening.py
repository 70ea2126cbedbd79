"""Own how an NNG socket begins to listen; `_socket` is its only user.

Of a Unix socket NNG takes whatever is in its way for one that was left behind, and deletes it; and
whom it lets connect depends on the process's umask. Neither is left to it.
"""

from __future__ import annotations

from typing import Any

import pynng

from fastqueue.config.unix_socket import SOCKET_MODE, remove_dead_socket

__all__ = ["listen"]


def listen(raw: Any, address: str) -> Any:
    """Have a socket listen at an address; return NNG's listener.

    Raises:
        OSError: the path of a Unix socket is taken.
        NNGException: the address is bad or in use.
    """
    scheme, _, path = address.partition("://")
    if scheme.lower() in ("ipc", "unix"):
        remove_dead_socket(path)
        # NNG sets it between its `bind` and its `listen`.
        code = pynng.lib.nng_socket_set_int(raw.socket, b"ipc:permissions", SOCKET_MODE)
        pynng.exceptions.check_err(code)
    return raw.listen(address)
