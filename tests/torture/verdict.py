"""Own the judgement: the ledger against what a client that knows nothing is told at the end."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.torture.ledger import read_lines
from tests.torture.plan import AT_MOST_ONCE, CONTROL_PLANE, ROLES, SUBWORKER

TERMINAL = ("success", "failure", "cancelled")
_QUARANTINED = "TaskQuarantined"
# What became of a task isn't known, and it mustn't be run again.
_NOT_REPEATED = "LeaseLost"


@dataclass
class Verdict:
    """Hold what one site's ledger shows.

    Attributes:
        lost: acknowledged ids that the control plane doesn't know.
        unfinished: acknowledged ids that reached no terminal state.
        changed: ids of which two looks differ: more than one result was recorded.
        failed: ids that ended otherwise than by their task's own result or quarantine; if they are
            to be run at most once, by the loss of their lease.
        begun_twice: keys of tasks that are to be run at most once, and were begun again.
        unfenced: ids whose result is that of a subworker which had been silent for too long.
        uncalled: ids with a callback of which no listener was told.
        miscalled: ids of which a listener was told something else than what was recorded.
        foreign: ids whose result no run can have returned.
        unrecovered: kills after which nothing was ever completed.
        recovery_s: for each role and kill, how long until something submitted after it was done;
            from the control plane's last kill or the end of its last long stop, if there was one
            meanwhile.
        takeover_s: how long after the beginning of a long stop what it interrupted began elsewhere.
    """

    acknowledged: int = 0
    looks: int = 0
    runs: int = 0
    run_again: int = 0
    run_after_result: int = 0
    quarantined: int = 0
    at_most_once: int = 0
    not_repeated: int = 0
    late_runs: int = 0
    with_callback: int = 0
    callbacks: int = 0
    refused: Counter = field(default_factory=Counter)
    lost: list = field(default_factory=list)
    unfinished: list = field(default_factory=list)
    changed: list = field(default_factory=list)
    failed: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    begun_twice: list = field(default_factory=list)
    unfenced: list = field(default_factory=list)
    takeover_s: list = field(default_factory=list)
    uncalled: list = field(default_factory=list)
    miscalled: list = field(default_factory=list)
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
                ("to be run at most once and begun again", self.begun_twice),
                ("with the result of a subworker that had been given up", self.unfenced),
                ("with a callback that never came", self.uncalled),
                ("called back with what wasn't recorded", self.miscalled),
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


def judge(folder, kills, final_looks, long_stops=()):
    """Return the verdict on one site.

    Args:
        folder: where its ledger is.
        kills: (when, which role), in order.
        final_looks: what a client that knows nothing saw at the end, in several rounds; each a
            dict from id to the look, or None if the control plane doesn't know it.
        long_stops: which processes stood still, and when.
    """
    verdict = Verdict()
    tasks, seen, completions = {}, defaultdict(list), []
    first_seen = {}
    for word, *rest in read_lines(folder, "client-*.jsonl"):
        match word:
            case "acknowledged":
                tasks[rest[0]] = _Task(*rest[1:4])
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
    verdict.acknowledged = len(tasks)
    verdict.at_most_once = sum(task.name in AT_MOST_ONCE for task in tasks.values())
    for looks in final_looks:
        _take_look(verdict, looks, tasks, seen)
    verdict.looks = sum(map(len, seen.values()))
    verdict.changed += [task_id for task_id, looks in seen.items() if not _all_same(looks)]
    runs = _read_runs(folder)
    _judge_runs(verdict, runs, tasks, seen, first_seen)
    _judge_ends(verdict, runs, tasks, seen)
    zombies = [stop for stop in long_stops if stop.whom == SUBWORKER]
    _judge_zombies(verdict, runs, tasks, seen, zombies)
    _judge_callbacks(verdict, folder, tasks, seen)
    resumed = [stop.until for stop in long_stops if stop.whom == CONTROL_PLANE]
    _measure_recovery(verdict, kills, resumed, completions)
    return verdict


@dataclass(frozen=True)
class _Task:
    """Hold what was acknowledged: the key that its runs note, and what was asked for."""

    key: str
    name: str
    has_callback: bool


@dataclass
class _Run:
    """Hold what one run noted; `name` is its task's."""

    name: str
    began: float
    ended: float | None = None


def _take_look(verdict, looks, tasks, seen):
    for task_id in tasks:
        look = looks.get(task_id)
        if look is None:
            verdict.lost.append((task_id, "at the end"))
        elif look["status"] not in TERMINAL:
            verdict.unfinished.append((task_id, look["status"]))
        else:
            seen[task_id].append(look)


def _all_same(looks):
    return all(look == looks[0] for look in looks)


def _read_runs(folder):
    """Return all runs, by the key of their task and their own name."""
    runs = defaultdict(dict)
    for word, key, *rest in read_lines(folder, "runs-*.jsonl"):
        if word == "start":
            name, run, at = rest
            runs[key][run] = _Run(name, at)
        elif rest[0] in runs[key]:
            run, at = rest
            runs[key][run].ended = at
    return runs


def _judge_runs(verdict, runs, tasks, seen, first_seen):
    verdict.runs = sum(map(len, runs.values()))
    for key, of_key in runs.items():
        if len(of_key) > 1:
            verdict.run_again += 1
            if any(run.name in AT_MOST_ONCE for run in of_key.values()):
                verdict.begun_twice.append((key, sorted(of_key)))
    for task_id in seen.keys() & tasks.keys():
        began = [run.began for run in runs[tasks[task_id].key].values()]
        verdict.run_after_result += any(at > first_seen.get(task_id, at) for at in began)


def _judge_ends(verdict, runs, tasks, seen):
    """Look at how each task ended: only as it can, and with what a run of it returned."""
    for task_id, looks in seen.items():
        task, look = tasks.get(task_id), looks[-1]
        if task is None:
            verdict.foreign.append((task_id, "never acknowledged"))
            continue
        error = look["error"] or ""
        if look["status"] == "success":
            value_key, name = look["value"]
            run = runs[task.key].get(name)
            if value_key != task.key or run is None or run.ended is None:
                verdict.foreign.append((task_id, look["value"]))
        elif task.name in AT_MOST_ONCE and error.startswith(_NOT_REPEATED):
            verdict.not_repeated += 1
        elif task.name not in AT_MOST_ONCE and error.startswith(_QUARANTINED):
            verdict.quarantined += 1
        else:
            verdict.failed.append((task_id, look["status"], look["error"]))


def _judge_zombies(verdict, runs, tasks, seen, zombies):
    """Look at what was running in subworkers that were silent for too long, and ended after that.

    All of it had been taken from them, so none of it may be recorded.
    """
    for task_id, task in tasks.items():
        of_key = runs[task.key]
        for zombie in zombies:
            own = {name for name in of_key if name.startswith(f"{zombie.pid}-")}
            late = {
                name
                for name in own
                if of_key[name].began < zombie.at and (of_key[name].ended or 0.0) > zombie.until
            }
            if not late:
                continue
            verdict.late_runs += len(late)
            value = seen[task_id][-1]["value"] if seen[task_id] else None
            if value is not None and value[1] in late:
                verdict.unfenced.append((task_id, value[1]))
            began = [run.began for name, run in of_key.items() if name not in own]
            verdict.takeover_s += [at - zombie.at for at in sorted(began) if at > zombie.at][:1]


def _judge_callbacks(verdict, folder, tasks, seen):
    """Find who was never called back, or told what isn't so; once more is allowed."""
    called = defaultdict(list)
    for _, task_id, body, _ in read_lines(folder, "listener-*.jsonl"):
        called[task_id].append(body)
    for task_id, task in tasks.items():
        if not task.has_callback:
            continue
        verdict.with_callback += 1
        verdict.callbacks += len(called[task_id])
        if not called[task_id]:
            verdict.uncalled.append(task_id)
        for body in called[task_id] if seen[task_id] else ():
            look = seen[task_id][-1]
            told = (body["status"], body["result"], body["error"], body["callback_data"])
            if told != (look["status"], look["value"], look["error"], {"key": task.key}):
                verdict.miscalled.append((task_id, body))


def _measure_recovery(verdict, kills, resumed, completions):
    """Find for each kill the first completion of what was submitted after it.

    If the control plane was killed again before that, the clock starts again: nobody recovers from
    a kill before the next one has happened. So it does at the end of a long stop of the control
    plane: nothing recovers without it, and it can't be replaced while it stands still.
    """
    completions.sort()
    begins = [began for began, _ in completions]
    earliest = [at for _, at in completions]
    for n in reversed(range(len(earliest) - 1)):
        earliest[n] = min(earliest[n], earliest[n + 1])
    stopped = sorted([*resumed, *(at for at, role in kills if role == CONTROL_PLANE)])
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
