"""Own what may be at the path of a Unix socket before somebody listens there.

Used by all that listen: the control plane's listener and the NNG patterns.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

__all__ = ["SOCKET_MODE", "remove_dead_socket"]

SOCKET_MODE = 0o600
"""Who may connect: its owner alone. To be set before `listen`, so that nobody else ever can."""


def remove_dead_socket(path: str) -> None:
    """Remove the socket that a process left behind when it was killed, if that is what is there.

    Raises:
        OSError: somebody listens there, or it is no socket: what is there stays.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "what is there is no socket, and stays")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, with a full backlog
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
