"""Own the command line of a process that tasks run in, which a subworker alone starts."""

from __future__ import annotations

import sys

from fastqueue.cli.logs import configure_logs
from fastqueue.subworker.process_child import serve

__all__ = ["main"]


def main() -> None:
    """Run tasks for the subworker at the other end of the socket that is named."""
    serve(int(sys.argv[2]), configure_logs)
