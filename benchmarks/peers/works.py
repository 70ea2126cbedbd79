"""Own what the tasks of the comparison do, and with how many of them that is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Be one kind of task.

    Attributes:
        name: what it is called on the command line and in the peers' modules.
        label: what it is called in the report.
        tasks_max: with how many tasks it is measured at most.
        share: how long it is measured, as a share of what no-ops are.
    """

    name: str
    label: str
    tasks_max: int
    share: float


ECHO = Work("echo", "no-ops", 20_000, 1.0)
SLEEP = Work("sleep", "sleep 10 ms, 100 at a time", 5_000, 0.4)
CPU = Work("cpu", "1 ms of CPU", 1_000, 0.4)
PAYLOAD = Work("payload", "64 KiB there and back", 1_000, 0.4)

WORKS = (ECHO, SLEEP, CPU, PAYLOAD)
