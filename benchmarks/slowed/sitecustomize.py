"""Slow one process down, to show that `make bench-check` finds it.

    BENCH_SLOW=client:3 PYTHONPATH=benchmarks/slowed make bench-check

Python imports a module of this name at its start from the first folder of `PYTHONPATH` that has
one. `BENCH_SLOW` is the process (`client`, `control plane`, `subworker`) and the microseconds of
CPU time to spend on every task.
"""

from __future__ import annotations

import importlib
import os
import time

# What is called once a task, and where the number of tasks is if it is called for several.
_PLACES = {
    "client": ("fastqueue.client.submissions", "Submissions", "add"),
    "control plane": ("fastqueue.core.core", "Core", "apply"),
    "subworker": ("fastqueue.subworker.running", "Running", "start"),
}


def slow_down(process: str, cost_us: float) -> None:
    module, owner_name, name = _PLACES[process]
    owner = getattr(importlib.import_module(module), owner_name)
    method = getattr(owner, name)

    def slowed(self, argument, *rest):
        count = len(getattr(argument, "tasks", ())) if name == "apply" else 1
        end = time.thread_time() + count * cost_us / 1e6
        while time.thread_time() < end:
            pass
        return method(self, argument, *rest)

    setattr(owner, name, slowed)


if found := os.environ.get("BENCH_SLOW"):
    process, _, cost_us = found.partition(":")
    slow_down(process, float(cost_us))
