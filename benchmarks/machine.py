"""Own what is said of the machine that measured, and what its disk takes to keep something."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
import time
from pathlib import Path

import apsw
import uvloop

import fastqueue


def describe_machine() -> dict[str, str]:
    """Return machine, versions and date, as one text each."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release().split('-')[0]}",
        "versions": (
            f"fastqueue {fastqueue.__version__}, Python {platform.python_version()}, "
            f"SQLite {apsw.sqlite_lib_version()}, uvloop {uvloop.__version__}"
        ),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def fdatasync_p50_ms(folder: Path) -> float:
    """Return how long this disk takes to keep 4 KiB, in ms: the floor of every acknowledgement."""
    path = folder / "fdatasync-probe"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(file, bytes(64 * 1024))
        os.fsync(file)
        times = []
        for n in range(300):
            os.pwrite(file, os.urandom(4096), 4096 * (n % 16))
            begun = time.perf_counter()
            os.fdatasync(file)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(times) * 1e3
