"""Own reading a file whose path a person gave: a regular one, of a bounded size.

Anything else that a path can lead to may have no end (`/dev/zero`) or wait for somebody to write
(a named pipe). Used for settings, tokens and certificates.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["read_regular_file"]


def read_regular_file(path: str, bytes_max: int) -> tuple[bytes, int]:
    """Return what is in a file, and its mode.

    Raises:
        OSError: it can't be read, isn't a regular file, or is larger than `bytes_max`.
        ValueError: no file can have this path.
    """
    # Without O_NONBLOCK the open itself would wait for a named pipe's writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        # One byte more than fits, so that a longer file is refused and not cut.
        content = file.read(bytes_max + 1)
        if len(content) > bytes_max:
            raise OSError(errno.EFBIG, f"it is larger than {bytes_max:,} bytes")
        return content, mode
