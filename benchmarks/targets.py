"""Own what is asked of the figures of `make bench`; `CHECK=1` fails where a must isn't met.

These are absolute figures of a quiet machine of two cores: for a person who runs them there, not
for continuous integration, which `check.py` serves.
"""

from __future__ import annotations

from typing import Any

from benchmarks.verdict import Verdict

_CPU_US = {"client": (12, 8), "control plane": (25, 14), "subworker": (20, 12)}
_QUEUED_MB: dict[int, tuple[float, float | None]] = {1_000_000: (150, 80), 10_000_000: (200, None)}
_DEEP = 1_000_000


def judge(figures: dict[str, Any]) -> list[Verdict]:
    """Return every figure of which something is asked, in the order of the report."""
    return [
        *_rates(figures),
        *_latencies(figures),
        *_start(figures),
        *_queued(figures),
        *_delayed(figures["delayed"]),
    ]


def _delayed(found: dict[str, Any]) -> list[Verdict]:
    at_once = f"{found['due_at_once']:,} due at once"
    return [
        Verdict(f"{at_once}: all have started, s", "≤", 10, found["all_started_s"]),
        Verdict(f"{at_once}: share out of priority", "≤", 0.01, found["out_of_priority_share"]),
        Verdict(
            f"control plane MB, {found['scheduled']:,} scheduled",
            "<",
            100,
            found["scheduled_rss_mb"],
        ),
    ]


def _rates(figures: dict[str, Any]) -> list[Verdict]:
    full = figures["full"]
    one, batch = full["one by one"], full["submit_batch"]
    return [
        Verdict("end to end/s, one by one", "≥", 25_000, one["end_to_end_per_s"], 50_000),
        Verdict("submit/s, submit_batch", "≥", 60_000, batch["submit_per_s"], 120_000),
        *(
            Verdict(f"CPU µs a task: {process}", "≤", must, one["cpu_us"][process], aim)
            for process, (must, aim) in _CPU_US.items()
        ),
        Verdict("100 clients, accepted/s", "≥", 6_000, full["many_clients_per_s"], 15_000),
    ]


def _latencies(figures: dict[str, Any]) -> list[Verdict]:
    full, normal = figures["full"], figures["normal"]
    synced_ms = 2 * full["fdatasync_ms"]
    p50_full, p50_normal = full["latency_ms"]["p50"], normal["latency_ms"]["p50"]
    return [
        Verdict(
            f"p50 ms, one at a time, full (fdatasync twice is {synced_ms:.2f})",
            "≤",
            synced_ms + 0.6,
            p50_full,
            synced_ms + 0.3,
        ),
        Verdict("p50 ms, one at a time, normal", "≤", 0.9, p50_normal, 0.4),
        Verdict("p99 ms, at half of peak, full", "<", 25, full["half_of_peak"]["p99"]),
    ]


def _start(figures: dict[str, Any]) -> list[Verdict]:
    return [
        Verdict("import fastqueue, ms", "≤", 250, figures["import_ms"], 120),
        Verdict("start to first task, s", "≤", 1.2, figures["start_s"], 0.5),
        Verdict("control plane MB, idle", "≤", 60, figures["full"]["idle_rss_mb"], 45),
    ]


def _queued(figures: dict[str, Any]) -> list[Verdict]:
    depths = {found["tasks"]: found for found in figures["depths"]}
    deep = depths.get(_DEEP)
    return [
        *(
            Verdict(
                f"control plane MB, {tasks:,} queued",
                "≤",
                must,
                depths[tasks]["rss_mb"] if tasks in depths else None,
                aim,
            )
            for tasks, (must, aim) in _QUEUED_MB.items()
        ),
        *(
            Verdict(
                f"submit/s behind {_DEEP:,} queued, as a share of an empty queue's, {way}",
                "≥",
                0.8,
                deep["deep"][way] / deep["empty"][way] if deep else None,
            )
            for way in ("one by one", "submit_batch")
        ),
        Verdict(
            f"restart to first lease behind {_DEEP:,} queued, s",
            "<",
            2,
            deep["restart_to_first_lease_s"] if deep else None,
        ),
    ]
