"""Fail if a task costs clearly more CPU time than it did: `make bench-check`.

CPU time is compared, not time on the clock, and with the floor that the same round measures (see
`floor.py`): a slower machine moves both. Each process's ratio, the median of the rounds, may be up
to `TOLERANCE` times the one in `baseline.json`, which `--update` takes anew.

Beside other work a task costs more: processes that wait for a core deal with fewer tasks at a time.
So the rounds in which others used the machine don't count; if hardly any is left, all of them do,
and more is tolerated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.floor import measure_floor
from benchmarks.processes import machine_cpu_s, running
from benchmarks.throughput import TASKS, throughput
from fastqueue import Client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.processes import System

TOLERANCE = 1.2
TOLERANCE_BUSY = 1.6
BASELINE = Path(__file__).with_name("baseline.json")

_MODES = ("one by one", "submit_batch")
_OTHERS_MAX = 0.15
"""The share of one core up to which others don't count."""
_QUIET_ROUNDS_MIN = 3


@dataclass(frozen=True)
class Round:
    """Be what one round has found.

    Attributes:
        ratios: CPU time a task as a multiple of the floor, by way to submit and process.
        others: the cores that other processes kept busy meanwhile.
    """

    ratios: dict[str, float]
    others: float


async def measure_round(client: Client, system: System, folder: Path) -> Round:
    """Run the tasks in each way, and the floor beside them."""
    floor_us = measure_floor(folder).total_us
    ratios = {}
    used_before, begun, own_s = machine_cpu_s(), time.perf_counter(), 0.0
    for mode in _MODES:
        run = await throughput(client, system, "noop", batch=mode == "submit_batch")
        own_s += sum(run["cpu_us"].values()) * TASKS / 1e6
        for process, cpu_us in run["cpu_us"].items():
            ratios[f"{mode}, {process}"] = cpu_us / floor_us
    others_s = machine_cpu_s() - used_before - own_s
    return Round(ratios, max(0.0, others_s / (time.perf_counter() - begun)))


async def measure(folder: Path, rounds: int) -> list[Round]:
    """Return what so many rounds have found, after one that warms up."""
    with running(folder / "check") as system:
        async with Client(control_plane_address=system.address, timeout=60) as client:
            return [await measure_round(client, system, folder) for _ in range(rounds + 1)][1:]


def judge(rounds: Sequence[Round]) -> tuple[dict[str, float], float]:
    """Return the median ratios of the rounds that count, and the tolerance for them."""
    quiet = [found for found in rounds if found.others <= _OTHERS_MAX]
    is_quiet = len(quiet) >= _QUIET_ROUNDS_MIN
    counting = quiet if is_quiet else rounds
    ratios = {
        name: round(statistics.median(found.ratios[name] for found in counting), 3)
        for name in counting[0].ratios
    }
    return ratios, TOLERANCE if is_quiet else TOLERANCE_BUSY


def regressions(
    found: Mapping[str, float], baseline: Mapping[str, float], tolerance: float
) -> list[str]:
    """Say what costs more than is tolerated, one line each; nothing if all is well."""
    return [
        f"{name}: {found[name]:.2f} times the floor, {found[name] / ratio - 1:+.0%} against the "
        f"{ratio:.2f} of {BASELINE.name}; up to {tolerance - 1:+.0%} is tolerated"
        for name, ratio in baseline.items()
        if found[name] > ratio * tolerance
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--update", action="store_true", help="take the baseline anew")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastqueue-check-") as folder:
        rounds = uvloop.run(measure(Path(folder), options.rounds))
    found, tolerance = judge(rounds)
    others = statistics.median(each.others for each in rounds)
    print(f"others kept {others:.2f} cores busy; up to {tolerance - 1:+.0%} is tolerated")
    if options.update:
        if tolerance != TOLERANCE:
            sys.exit("the machine is too busy to take a baseline; nothing was changed")
        BASELINE.write_text(json.dumps(found, indent=2) + "\n")
    baseline = json.loads(BASELINE.read_text())
    for name, ratio in found.items():
        print(f"{name:30} {ratio:5.2f} times the floor; baseline {baseline[name]:5.2f}")
    slower = regressions(found, baseline, tolerance)
    for line in slower:
        print(line, file=sys.stderr)
    print(f"{len(found) - len(slower)} passed, {len(slower)} failed")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
