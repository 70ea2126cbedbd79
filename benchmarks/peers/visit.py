"""Measure one peer once: start what it needs, ask its producer for each measure, end all of it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any

from benchmarks.peers import catalog, servers
from benchmarks.peers.environments import python_of
from benchmarks.peers.family import Family
from benchmarks.peers.works import ECHO, SLEEP
from benchmarks.processes import ROOT, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.peers.catalog import Command
    from benchmarks.peers.rows import Row

FOREIGN = ROOT / "benchmarks" / "peers" / "foreign"
TRIAL = 200
TRIAL_S = 0.5
"""How many tasks, and how long, tell how fast a peer is, so how many it is measured with."""

START_S = 40.0
MEASURE_S = 60.0
VISIT_S = 150.0
"""How long starting a peer, one measure, and all of a visit may take before it is given up."""

LOOK_S = 0.5
"""How often it is looked whether a process that an answer depends on has ended."""

PORTS = 5
"""How many ports from that of its address on a peer may take for itself."""

WORDS_MAX = 200
"""How much of the last line of a log a failure says."""

SETTLE_S = 1.0
"""How long a peer is left alone before its idle memory is read."""


class VisitError(RuntimeError):
    """The peer didn't do what was asked of it; the message says what, and what its log says."""


class Visit:
    """Own the processes of one peer from start to end, and the figures taken so far."""

    def __init__(self, row: Row, folder: Path) -> None:
        self.peer, self.variant, self.work = row.peer, row.variant, row.work
        self.folder = folder
        self.figures: dict[str, float] = {}
        self._families: list[Family] = []
        self._server: Family | None = None
        self._stack = contextlib.ExitStack()

    def measure(self, tasks: int | None, tasks_max: int, measure_s: float) -> int:
        """Take all figures of a work; of one that isn't no-ops, what goes through end to end.

        If it isn't known yet with how many tasks, then with as many as fit `measure_s`.

        Returns:
            The number of tasks.

        Raises:
            VisitError: a step failed or took too long. What was measured before is in `figures`.
        """
        self._until = time.monotonic() + VISIT_S
        with self._stack:
            self._start()
            if self.work is ECHO:
                self._idle()
            if tasks is None:
                tasks = _rounded(min(self._tried_per_s(tasks_max) * measure_s, tasks_max))
            if self.work is not ECHO:
                self._end_to_end(tasks, bulk=False)
                return tasks
            self._latency()
            for bulk in (False, True)[: 2 if self.bulk else 1]:
                self._end_to_end(tasks, bulk)
                if self.peer.backlog:
                    self._backlog(tasks, bulk)
        return tasks

    def _tried_per_s(self, tasks_max: int) -> float:
        """Return how fast it is end to end, from as many tasks as it takes to tell."""
        tasks = TRIAL
        while True:
            elapsed_s = self._ask("end_to_end", count=tasks, bulk=False)["elapsed_s"]
            if elapsed_s > TRIAL_S or tasks * 4 > tasks_max:
                return tasks / elapsed_s
            tasks *= 4

    # -- start

    def _start(self) -> None:
        store = self._store()
        python = python_of(self.peer)
        given = {
            "store": store,
            "choice": self.variant.choice,
            "discovery": f"tcp://127.0.0.1:{free_port()}",
            "port": str(free_port()),
        }
        self._env = {
            "PYTHONPATH": str(FOREIGN),
            "PEER_WORK": self.work.name,
            **dict(self.peer.env),
            **{f"PEER_{name.upper()}": value for name, value in given.items()},
        }

        def command(arguments: Command) -> list[str]:
            return [str(python), *(a.format(**given) for a in arguments)]

        if self.peer.prepare:
            self._prepare(command(self.peer.prepare))
        self._producer = self._family("producer", command(("-m", "drive", self.peer.name)))
        self._ask("hello", timeout_s=START_S)
        begun = time.perf_counter()
        if self.peer.service:
            self._family("service", command(self.peer.service))
        sleeping = self.work is SLEEP and self.peer.worker_sleeping
        self._worker = self._family("worker", command(sleeping or self.peer.worker))
        self.bulk = self._ask("start", timeout_s=START_S)["bulk"]
        self._await_first(begun)

    def _await_first(self, begun: float) -> None:
        """Submit one task until one is done: the first may be lost in a worker that starts."""
        while True:
            first = self._ask("end_to_end", count=1, bulk=False, timeout_s=START_S)
            self._count_faults(first)
            took_s = time.perf_counter() - begun
            if not first["missing"]:
                self.figures["start_s"] = took_s
                return
            if took_s > START_S:
                raise VisitError(f"no result of a first task: {self._last_words()}")

    def _store(self) -> str:
        match self.variant.store:
            case catalog.REDIS | catalog.REDIS_FSYNC as kind:
                running = servers.redis(self.folder, fsync=kind == catalog.REDIS_FSYNC)
            case catalog.POSTGRESQL:
                running = servers.postgresql(self.folder)
            case catalog.ADDRESS:
                return f"tcp://127.0.0.1:{servers.free_ports(PORTS)}"
            case _:
                return str(self.folder / "peer.db")
        store, server = self._stack.enter_context(running)
        self._server = server
        self._families.append(server)
        return store

    def _prepare(self, command: list[str]) -> None:
        log = self.folder / "prepare.log"
        with log.open("wb") as output:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, **self._env},
                stdout=output,
                stderr=output,
                timeout=START_S,
            )
        if done.returncode:
            raise VisitError(f"prepare exited with {done.returncode}: {log.read_text()[-200:]}")

    def _family(self, name: str, command: list[str]) -> Family:
        family = Family(command, folder=self.folder, name=name, env=self._env)
        self._stack.callback(family.end)
        self._families.append(family)
        return family

    # -- measures

    def _idle(self) -> None:
        self._ask("end_to_end", count=20, bulk=False)
        time.sleep(SETTLE_S)
        needed = [family for family in self._families if family is not self._producer]
        self.figures["idle_mb"] = sum(family.pss_mb() for family in needed)

    def _latency(self) -> None:
        times = sorted(self._ask("latency")["times_s"])
        self.figures["p50_ms"] = statistics.median(times) * 1e3
        self.figures["p99_ms"] = times[len(times) * 99 // 100] * 1e3

    def _end_to_end(self, tasks: int, bulk: bool) -> None:
        before = sum(family.cpu_s() for family in self._families)
        answer = self._ask("end_to_end", count=tasks, bulk=bulk)
        used = sum(family.cpu_s() for family in self._families) - before
        kind = "bulk_" if bulk else ""
        self.figures[f"{kind}end_to_end_per_s"] = tasks / answer["elapsed_s"]
        self.figures[f"{kind}cpu_us"] = used / tasks * 1e6
        self._count_faults(answer)

    def _backlog(self, tasks: int, bulk: bool) -> None:
        """Submit while the worker is stopped; then let it go on, and see how long it takes."""
        self._worker.send(signal.SIGSTOP)
        submitted = self._ask("submit", count=tasks, bulk=bulk)
        kind = "bulk_" if bulk else ""
        self.figures[f"{kind}submit_per_s"] = tasks / submitted["elapsed_s"]
        begun = time.perf_counter()
        self._worker.send(signal.SIGCONT)
        self._ask("drain")
        self.figures[f"{kind}drain_per_s"] = tasks / (time.perf_counter() - begun)
        self._count_faults(self._ask("check"))

    def _count_faults(self, answer: dict[str, Any]) -> None:
        for fault in ("missing", "wrong"):
            self.figures[fault] = self.figures.get(fault, 0) + answer[fault]

    def _ask(self, do: str, *, timeout_s: float = MEASURE_S, **arguments: Any) -> dict[str, Any]:
        pipes = self._producer.process
        try:
            pipes.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            pipes.stdin.flush()
        except OSError:
            raise VisitError(f"{do}: the producer ended: {self._last_words()}") from None
        begun = time.monotonic()
        until = min(begun + timeout_s, self._until)
        while not select.select([pipes.stdout], [], [], LOOK_S)[0]:
            if time.monotonic() > until:
                raise VisitError(f"{do}: no answer in {until - begun:.0f} s: {self._last_words()}")
            for family in self._families:
                if family.process.poll() is not None:
                    raise VisitError(f"{do}: the {family.name} ended: {self._last_words()}")
        line = pipes.stdout.readline()
        if not line:
            raise VisitError(f"{do}: the producer ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        own = (family for family in self._families if family is not self._server)
        words = (f"{family.name}: {family.last_words()[:WORDS_MAX]}" for family in own)
        return "; ".join(line for line in words if not line.endswith(": "))


def _rounded(count: float) -> int:
    """Return the greatest of 1, 2, 5, 10, 20, ... that isn't above `count`, at least `TRIAL`."""
    magnitude = 10 ** (len(str(int(count))) - 1)
    digit = max(d for d in (1, 2, 5) if d * magnitude <= max(count, 1))
    return max(TRIAL, digit * magnitude)
