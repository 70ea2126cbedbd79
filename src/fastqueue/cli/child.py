"""Own the command line of a supervised subworker, which its supervisor alone writes.

It is apart from that of people because it is on the way from a start to the first task, and from a
crash to the next one: the parser for people takes longer to load than everything else a subworker
needs.
"""

from __future__ import annotations

import argparse
import sys

from fastqueue.cli.exit_codes import DONE, exiting, leave
from fastqueue.cli.subworker import run_subworker
from fastqueue.subworker.board import Board

__all__ = ["main"]


def main() -> None:
    """Run a subworker with the process's arguments until its supervisor ends it, and exit."""
    code = DONE
    try:
        with exiting():
            arguments = vars(_parser().parse_args(sys.argv[2:]))
            del arguments["exit_with_parent"]
            board = Board.attach(arguments.pop("board"))
            # What is set for the command isn't for its children.
            given = {**arguments, "processes": 1}
            code = run_subworker(given, exit_with_parent=True, board=board)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else DONE
    leave(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastqueue subworker", allow_abbrev=False)
    parser.add_argument("--exit-with-parent", action="store_true")
    parser.add_argument("--board", type=int, required=True)
    parser.add_argument("--task-modules", action="append")
    for name in ("worker-id", "control-plane-address", "discovery-address", "concurrency"):
        parser.add_argument(f"--{name}")
    for name in ("grace", "allow-pickle", "log-level", "tls-ca", "tls-cert", "tls-key"):
        parser.add_argument(f"--{name}")
    return parser
