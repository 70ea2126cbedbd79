"""Own the judgement: the ledger against what a client that knows nothing is told at the end."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.torture.ledger import read_lines
from tests.torture.plan import CONTROL_PLANE, ROLES

TERMINAL = ("success", "failure", "cancelled")
_QUARANTINED = "TaskQuarantined"


@dataclass
class Verdict:
    """Hold what one site's ledger shows.

    Attributes:
        lost: acknowledged ids that the control plane doesn't know.
        unfinished: acknowledged ids that reached no terminal state.
        changed: ids of which two looks differ: more than one result was recorded.
        failed: ids that ended otherwise than by their task's own result or quarantine.
        foreign: ids whose result no run can have returned.
        unrecovered: kills after which nothing was ever completed.
        recovery_s: for each role and kill, how long until something submitted after it was done;
            from the control plane's last kill, if it was killed again meanwhile.
    """

    acknowledged: int = 0
    looks: int = 0
    runs: int = 0
    run_again: int = 0
    run_after_result: int = 0
    quarantined: int = 0
    refused: Counter = field(default_factory=Counter)
    lost: list = field(default_factory=list)
    unfinished: list = field(default_factory=list)
    changed: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    unrecovered: list = field(default_factory=list)
    recovery_s: dict = field(default_factory=lambda: {role: [] for role in ROLES})

    @property
    def broken(self):
        """Return what was promised and doesn't hold, a line each."""
        return [
            f"{len(found)} {what}, such as {found[:3]}"
            for what, found in (
                ("acknowledged and lost", self.lost),
                ("acknowledged and never finished", self.unfinished),
                ("recorded twice", self.changed),
                ("failed though their task can't", self.failed),
                ("with a result that no run returned", self.foreign),
                ("kills after which nothing was completed", self.unrecovered),
            )
            if found
        ]

    def add(self, other):
        """Take in what another site's ledger shows."""
        for name, value in vars(other).items():
            if name == "recovery_s":
                for role, times in value.items():
                    self.recovery_s[role] += times
            else:
                setattr(self, name, getattr(self, name) + value)


def judge(folder, kills, final_looks):
    """Return the verdict on one site.

    Args:
        folder: where its ledger is.
        kills: (when, which role), in order.
        final_looks: what a client that knows nothing saw at the end, in several rounds; each a
            dict from id to the look, or None if the control plane doesn't know it.
    """
    verdict = Verdict()
    keys, seen, completions = {}, defaultdict(list), []
    first_seen = {}
    for word, *rest in read_lines(folder, "client-*.jsonl"):
        match word:
            case "acknowledged":
                keys[rest[0]] = rest[1]
            case "result":
                task_id, look, began, at = rest
                seen[task_id].append(look)
                first_seen[task_id] = min(at, first_seen.get(task_id, at))
                if began is not None:
                    completions.append((began, at))
            case "gone":
                verdict.lost.append((rest[0], "a client was told so"))
            case "refused":
                verdict.refused[rest[1].partition("(")[0]] += len(rest[0])
    verdict.acknowledged = len(keys)
    for looks in final_looks:
        _take_look(verdict, looks, keys, seen)
    verdict.looks = sum(map(len, seen.values()))
    verdict.changed += [task_id for task_id, looks in seen.items() if not _all_same(looks)]
    _judge_runs(verdict, folder, keys, seen, first_seen)
    _measure_recovery(verdict, kills, completions)
    return verdict


def _take_look(verdict, looks, keys, seen):
    for task_id in keys:
        look = looks.get(task_id)
        if look is None:
            verdict.lost.append((task_id, "at the end"))
        elif look["status"] not in TERMINAL:
            verdict.unfinished.append((task_id, look["status"]))
        else:
            seen[task_id].append(look)


def _all_same(looks):
    return all(look == looks[0] for look in looks)


def _judge_runs(verdict, folder, keys, seen, first_seen):
    runs = defaultdict(dict)
    for _, key, run, at in read_lines(folder, "starts*.jsonl"):
        runs[key][run] = at
    verdict.runs = sum(map(len, runs.values()))
    verdict.run_again = sum(len(of_key) > 1 for of_key in runs.values())
    for task_id, looks in seen.items():
        key, look = keys.get(task_id), looks[-1]
        if key is None:
            verdict.foreign.append((task_id, "never acknowledged"))
        elif look["status"] == "success":
            value_key, run = look["value"]
            if value_key != key or run not in runs[key]:
                verdict.foreign.append((task_id, look["value"]))
        elif (look["error"] or "").startswith(_QUARANTINED):
            verdict.quarantined += 1
        else:
            verdict.failed.append((task_id, look["status"], look["error"]))
        if key is not None and task_id in first_seen:
            late = [at for at in runs[key].values() if at > first_seen[task_id]]
            verdict.run_after_result += bool(late)


def _measure_recovery(verdict, kills, completions):
    """Find for each kill the first completion of what was submitted after it.

    If the control plane was killed again before that, the clock starts again: nobody recovers from
    a kill before the next one has happened.
    """
    completions.sort()
    begins = [began for began, _ in completions]
    earliest = [at for _, at in completions]
    for n in reversed(range(len(earliest) - 1)):
        earliest[n] = min(earliest[n], earliest[n + 1])
    stopped = [at for at, role in kills if role == CONTROL_PLANE]
    for at, role in kills:
        n = bisect.bisect_left(begins, at)
        if n == len(begins):
            verdict.unrecovered.append((role, at))
        else:
            last = bisect.bisect_left(stopped, earliest[n])
            since = max([at, *stopped[last - 1 : last]])
            verdict.recovery_s[role].append(earliest[n] - since)


def percentile(values, share):
    """Return the smallest value that at least `share` of all are not above; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")
