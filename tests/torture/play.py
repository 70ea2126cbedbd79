"""Own a whole torture: several sites side by side, killed and judged; `make torture` runs it.

`python -m tests.torture.play --kills 1000 --seed 7` makes the same choices again: who is killed,
stopped or cut off, and when. What the processes are doing at that moment is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.torture.client import look_at
from tests.torture.ledger import now, read_lines
from tests.torture.plan import CONTROL_PLANE, LISTENER, NETWORK_FAULTS, ROLES, SUBWORKER, make_plan
from tests.torture.site import TortureSite
from tests.torture.verdict import TERMINAL, Verdict, judge, percentile

from fastqueue.errors import FastQueueError

RECOVERY_P99_S = 5.0
_FINISHED_WITHIN_S = 60.0
_QUERIES_AT_ONCE = 1_000


async def torture(folder, seed, kills, sites):
    """Torture sites side by side; return the verdict on all and what was done to them."""
    shares = [kills // sites + (n < kills % sites) for n in range(sites)]
    # Every second one with TLS and tokens, so that cuts hit handshakes as well.
    running = [
        TortureSite(folder / f"site-{n}", f"{seed}:{n}", is_secure=n % 2 == 1) for n in range(sites)
    ]
    total, done, troubles = Verdict(), Counter(), []
    try:
        async with asyncio.TaskGroup() as group:
            verdicts = [
                group.create_task(_torture_one(site, make_plan(seed, n, share)))
                for n, (site, share) in enumerate(zip(running, shares, strict=True))
            ]
    finally:
        for site in running:
            await site.close()
    for site, verdict in zip(running, verdicts, strict=True):
        total.add(verdict.result())
        done += site.done
        done["connections cut as they began"] += site.early_cuts
        done["given up for silence"] += site.given_up
        troubles += [f"{site.folder.name}: {trouble}" for trouble in site.troubles]
    return total, done, troubles


async def _torture_one(site, plan):
    await site.start()
    await site.suffer(plan)
    await site.restart()
    lines = read_lines(site.folder, "client-*.jsonl")
    acknowledged = {line[1]: line for line in lines if line[0] == "acknowledged"}
    looks = [await _look(site, acknowledged)]
    await site.restart_control_plane()
    await site.called_back(task_id for task_id, line in acknowledged.items() if line[4])
    looks.append(await _look(site, acknowledged))
    return judge(site.folder, site.kills, looks, site.long_stops)


async def _look(site, task_ids):
    """Ask for all tasks, as a client that knows nothing, until each is finished or unknown."""
    looks = {}
    missing = list(task_ids)
    deadline = now() + _FINISHED_WITHIN_S
    async with site.client() as client:
        while missing and now() < deadline:
            with contextlib.suppress(FastQueueError):
                for start in range(0, len(missing), _QUERIES_AT_ONCE):
                    some = missing[start : start + _QUERIES_AT_ONCE]
                    results = await asyncio.gather(*map(client.get_task_result, some))
                    looks |= {i: r and look_at(r) for i, r in zip(some, results, strict=True)}
            missing = [
                task_id
                for task_id in missing
                if task_id not in looks
                or (looks[task_id] is not None and looks[task_id]["status"] not in TERMINAL)
            ]
            await asyncio.sleep(0.1 if missing else 0)
    return looks


def report(verdict, done, took_s):
    """Return what is printed in the end."""
    kills = {role: done[f"kill {role}"] for role in ROLES}
    stops = {role: done[f"stop {role}"] for role in (*ROLES, LISTENER)}
    faults = {what: done[what] for what in NETWORK_FAULTS}
    long_stops = {role: done[f"long stop {role}"] for role in (SUBWORKER, CONTROL_PLANE)}
    lines = [
        f"done to them in {took_s:.0f} s:",
        *(f"  {_counted(what, counts)}" for what, counts in (("kills", kills), ("stops", stops))),
        f"  {_counted('network faults', faults)}; "
        f"{done['connections cut as they began']} connections cut as they began",
        f"  {_counted('long stops', long_stops)}; {done['given up for silence']} subworkers given "
        "up for their silence",
        f"acknowledged {verdict.acknowledged:,}: lost {len(verdict.lost)}, recorded twice "
        f"{len(verdict.changed)} ({verdict.looks:,} looks at results), unfinished "
        f"{len(verdict.unfinished)}, quarantined {verdict.quarantined}",
        f"runs {verdict.runs:,}: {verdict.run_again} tasks more than once, "
        f"{verdict.run_after_result} of them after their result was known",
        f"to be run at most once {verdict.at_most_once:,}: begun twice {len(verdict.begun_twice)}, "
        f"failed because their lease was lost {verdict.not_repeated}",
        f"with a callback {verdict.with_callback:,}: never called back {len(verdict.uncalled)}, "
        f"with something else than their result {len(verdict.miscalled)}; "
        f"{verdict.callbacks - verdict.with_callback + len(verdict.uncalled)} callbacks came again",
    ]
    if verdict.late_runs:
        lines.append(
            f"runs that subworkers went on with after a long stop {verdict.late_runs}: recorded "
            f"{len(verdict.unfenced)}, refused {verdict.late_runs - len(verdict.unfenced)}; begun "
            f"elsewhere {len(verdict.takeover_s)}, after p50 "
            f"{percentile(verdict.takeover_s, 0.5):.1f} s, max "
            f"{percentile(verdict.takeover_s, 1.0):.1f} s"
        )
    if verdict.refused:
        lines.append(f"submissions that were told no: {dict(verdict.refused)}")
    lines.append(
        "recovery, from the kill (or from the next kill of the control plane, or the end of its "
        "next long stop, if nothing was completed before) to the result of a task submitted after "
        "it:"
    )
    everything = [s for times in verdict.recovery_s.values() for s in times]
    for name, times in (("all", everything), *verdict.recovery_s.items()):
        p50, p99, most = (percentile(times, share) for share in (0.5, 0.99, 1.0))
        lines.append(f"  {name:14} p50 {p50:5.2f} s   p99 {p99:5.2f} s   max {most:5.2f} s")
    return "\n".join(lines)


def _counted(what, counts):
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{sum(counts.values())} {what}: {parts}"


def broken_promises(verdict, troubles):
    """Return what doesn't hold, a line each."""
    broken = [*verdict.broken, *troubles]
    everything = [s for times in verdict.recovery_s.values() for s in times]
    p99 = percentile(everything, 0.99)
    if everything and not p99 < RECOVERY_P99_S:
        broken.append(f"recovery p99 {p99:.2f} s isn't under {RECOVERY_P99_S:g} s")
    return broken


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sites", type=int, default=2, help="how many are tortured side by side")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    again = f"make torture KILLS={options.kills} SEED={seed}"
    # The site's own waits are long; Ctrl-C and SIGTERM end them, and `close` ends the processes.
    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)
    logging.getLogger("fastqueue").setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="fastqueue-torture-"))
    print(f"torture: seed {seed}, {options.kills} kills at {options.sites} sites", flush=True)
    begun = now()
    try:
        verdict, done, troubles = await torture(folder, seed, options.kills, options.sites)
    except asyncio.CancelledError:
        print(f"interrupted; {again}", file=sys.stderr)
        shutil.rmtree(folder)
        return 130
    except BaseException:
        print(f"failed; what was left is in {folder}; {again}", file=sys.stderr)
        raise
    print(report(verdict, done, now() - begun))
    if broken := broken_promises(verdict, troubles):
        print("\n".join(["BROKEN:", *broken, f"ledger and logs are in {folder}", again]))
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
