"""Run the command line as `python -m fastqueue`."""

from __future__ import annotations

from fastqueue.cli.app import main

if __name__ == "__main__":
    main()
