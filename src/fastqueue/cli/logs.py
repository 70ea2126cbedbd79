"""Own where the log lines of a command go, and how they look: stderr, one format."""

from __future__ import annotations

import enum
import logging
import sys

__all__ = ["LogLevel", "configure_logs", "flush"]


class LogLevel(enum.StrEnum):
    """Name the least severe log lines that are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logs(level: str, worker_id: str | None = None) -> None:
    """Send log lines to stderr.

    Args:
        level: the least severe lines to show.
        worker_id: the server that writes, for several share a terminal; None for a client.
    """
    if worker_id is None:
        line = "fastqueue: %(message)s"
    else:
        line = f"%(asctime)s %(levelname)s [{worker_id.replace('%', '%%')}] %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(line))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # It says at every start which selector it uses.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))


def flush() -> None:
    """Write what is buffered, before the process ends without the usual care."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            continue
