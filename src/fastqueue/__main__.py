"""Own the way into every process of fastqueue: the command `fastqueue`, and `python -m fastqueue`.

The latter is also how a supervisor starts its children, and a subworker those of its tasks.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line that is meant, and exit."""
    try:
        if sys.argv[1:3] == ["subworker", "--exit-with-parent"]:
            from fastqueue.cli.child import main as run
        elif sys.argv[1:2] == ["task-process"]:
            from fastqueue.cli.task_process import main as run
        else:
            from fastqueue.cli.app import main as run
        run()
    except KeyboardInterrupt:
        # Most of the time it takes until a command minds it itself is spent on these imports.
        sys.exit(130)


if __name__ == "__main__":
    main()
