"""Run the command line as `python -m fastqueue`, which is also how a supervisor starts children."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1:3] == ["subworker", "--exit-with-parent"]:
        from fastqueue.cli.child import main
    else:
        from fastqueue.cli.app import main
    main()
