"""Own what must be true of a whole history, whoever lived through it: tasks, runs, results.

The engine that keeps the books here is the real one; it is looked at before and after each turn.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tests.simulation.invariants import check, check_new_leases, true_due
from tests.simulation.stack.callbacks import FORBIDDEN

from fastqueue.control_plane.engine import Engine
from fastqueue.core import commands as cmd
from fastqueue.core.limits import CoreLimits
from fastqueue.tasks.models import TaskStatus
from fastqueue.tasks.serializer import decode_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastqueue.control_plane.engine import Peers
    from fastqueue.control_plane.server import Server
    from fastqueue.core import changes as ch
    from fastqueue.core.records import Result
    from fastqueue.store.memory import MemoryStore

__all__ = ["Ledger", "WatchedEngine"]

_CRASHES_MAX = CoreLimits().crashes_max


class Ledger:
    """Know what was promised and what has happened, and compare.

    Every call that submits a task passes a key of its own as the task's first argument, so that one
    submission is told from another whatever its id.
    """

    def __init__(self, broke: Callable[[Exception], None]) -> None:
        self._broke = broke
        self.key_of: dict[str, int] = {}
        self.id_of: dict[int, str] = {}
        self.acknowledged: set[str] = set()
        self.recorded: dict[str, Result] = {}
        self.cancelled: set[str] = set()
        # Whether or not anything has come of it.
        self.asked_to_cancel: set[str] = set()
        # How often a task may be sent, by key, and how often it arrived.
        self.sends_max: dict[int, int] = {}
        self.sent: Counter[int] = Counter()
        # Every run's value: the lease it was made under; and the newest lease of each task.
        self.token_of: dict[str, int] = {}
        self.granted: dict[str, int] = {}
        self.lost_tokens: set[int] = set()
        self.runs: dict[int, list[str]] = defaultdict(list)
        # By key: how it is to end, and those that may run no second time.
        self.fates: dict[int, str] = {}
        self.once: set[int] = set()
        # By key: how often it may be tried again, and its times by the wall clock.
        self.retries: dict[int, int] = {}
        self.due: dict[int, float] = {}
        self.expires: dict[int, float] = {}
        self.attempts = 0
        self.expired = 0
        # Tasks with a greater key run where only connections are lost: none needs a second run.
        self.last_risky_key: int | None = None
        self.called_back: dict[str, int] = {}
        self.strangers: set[str] = set()
        self.stale = 0
        self.turns = 0
        self.full = 0

    def claim(self, holds: object, what: str) -> None:
        """Note that something must hold."""
        if not holds:
            self._broke(AssertionError(what))

    # -- what is told

    def on_command(self, command: cmd.Command) -> None:
        if isinstance(command, cmd.Submit):
            for new in command.tasks:
                key = decode_arguments(new.payload)[0][0]
                self.sent[key] += 1
                self.claim(self.sent[key] <= self.sends_max[key], f"{key} is sent too often")

    def on_let_in(self, name: str) -> None:
        self.claim(name not in self.strangers, f"{name} is let in")

    def on_durable(self, change: ch.TasksAdded | ch.TasksDelayed) -> None:
        for new in change.tasks:
            if new.callback is not None:
                self.called_back[new.task_id] = 0
                self.claim(new.callback.address != FORBIDDEN, f"{new.task_id} is forbidden")
            key = decode_arguments(new.payload)[0][0]
            self.claim(new.task_id not in self.key_of, f"{new.task_id} is stored a second time")
            known = self.id_of.setdefault(key, new.task_id)
            self.claim(known == new.task_id, f"{key} is stored as {known} and as {new.task_id}")
            self.key_of[new.task_id] = key

    def on_acknowledged(self, key: int, task_id: str) -> None:
        self.claim(self.id_of.get(key) == task_id, f"{task_id} is acknowledged and isn't stored")
        self.acknowledged.add(task_id)

    def on_run(self, key: int, token: int, padding: str, latest_wall: float) -> str:
        before = self.runs[key]
        self.claim(self.due.get(key, 0.0) <= latest_wall, f"{key} runs before its time")
        self.claim(
            key not in self.once or not before, f"{key} is to run at most once and ran twice"
        )
        was_safe = self.last_risky_key is not None and key > self.last_risky_key
        self.claim(not was_safe or not before, f"{key} ran twice, and only connections were lost")
        self.claim(token not in self.token_of.values(), f"the lease {token} of {key} ran twice")
        value = f"{key}/{len(before) + 1}{padding}"
        before.append(value)
        self.token_of[value] = token
        return value

    def on_expired(self, task_id: str, *, was_stored: bool, store: MemoryStore) -> None:
        """Compare with the truth that somebody was told that there is no result any more."""
        is_over = task_id in self.recorded and task_id not in store._tables.results
        self.claim(is_over or not was_stored, f"{task_id} is said to have expired")

    def on_results(self, results: Iterable[Result], where: str) -> None:
        """Compare results that somebody was told with what is recorded."""
        for result in results:
            known = self.recorded.get(result.task_id)
            self.claim(
                known == result, f"{result.task_id}: {where} has {result}, recorded: {known}"
            )

    def on_called_back(self, body: dict[str, Any]) -> None:
        task_id, known = body["task_id"], self.recorded.get(body["task_id"])
        told = (body["status"], body["result"], body["error"], body["callback_data"])
        expected = None
        if known is not None:
            # A listener knows two ends only.
            status = "success" if known.status is TaskStatus.SUCCESS else "failure"
            value = json.loads(known.result) if known.result is not None else None
            expected = (status, value, known.error, self.key_of[task_id])
        self.claim(told == expected, f"a listener was told {body}, recorded is {known}")
        self.called_back[task_id] += 1

    # -- turns

    def on_begun(self, store: MemoryStore) -> None:
        """Forget the leases that a control plane which begins anew can't know of.

        Whoever holds an older one of the task may be adopted, for all it knows.
        """
        tables = store._tables
        self.granted = {tables.tasks[k].new.task_id: row[0] for k, row in tables.leases.items()}

    def on_stored(self, store: MemoryStore) -> None:
        """Note what is recorded, once it is durable."""
        for task_id, (_, _, result) in store._tables.results.items():
            known = self.recorded.get(task_id)
            if known is None:
                self.recorded[task_id] = result
                self._check_new(task_id, result)
                self._check_attempts(task_id, result, store)
            elif known is not result:
                self.claim(known == result, f"the result of {task_id} has changed")

    def _check_new(self, task_id: str, result: Result) -> None:
        self.claim(result.status.is_terminal, f"{task_id} is recorded and not over")
        key = self.key_of.get(task_id)
        self.claim(key is not None, f"{task_id} is recorded and was never stored")
        error = result.error or ""
        fate = self.fates[key or 0]
        if result.result is not None:
            value = result.result.decode().strip('"')
            self.claim(fate != "fail", f"{task_id} is to fail, and hasn't")
        elif error.startswith("ValueError: "):
            value = error.removeprefix("ValueError: ")
            self.claim(fate in ("fail", "flaky"), f"{task_id} has failed, and isn't to")
        else:
            self._check_unreported(key or 0, result)
            return
        self.claim(value in self.runs[key or 0], f"{task_id} has a result of another: {value}")
        token = self.token_of.get(value, -1)
        self.claim(token not in self.lost_tokens, f"{task_id}: a lost lease's outcome is recorded")
        granted = self.granted.get(task_id, token)
        self.claim(token >= granted, f"{task_id}: the outcome of an older lease is recorded")
        self.claim(task_id not in self.cancelled, f"{task_id} is cancelled and has run")

    def _check_attempts(self, task_id: str, result: Result, store: MemoryStore) -> None:
        """Compare how often a task was tried with how often it may be."""
        key = self.key_of.get(task_id, 0)
        allowed = self.retries.get(key, 0)
        attempts = store.find_attempts(task_id)
        self.attempts += len(attempts)
        self.claim(len(attempts) <= allowed, f"{task_id} was tried again {len(attempts)} times")
        if result.status is TaskStatus.FAILURE and str(result.error).startswith("ValueError"):
            self.claim(len(attempts) == allowed, f"{task_id} may be tried again, and isn't")
        for attempt in attempts:
            value = attempt.error.removeprefix("ValueError: ")
            token = self.token_of.get(value, -1)
            is_own = value in self.runs[key] and token not in self.lost_tokens
            self.claim(is_own, f"{task_id} has an attempt of another: {value}")

    def _check_unreported(self, key: int, result: Result) -> None:
        """Check an end that no task function has made."""
        error = result.error or ""
        self.expired += error.startswith("Expired")
        may_be = {
            "Expired": key in self.expires and result.status is TaskStatus.CANCELLED,
            "Cancelled": result.status is TaskStatus.CANCELLED,
            "LeaseLost": key in self.once,
            "TaskQuarantined": self.fates[key] == "kill" or result.attempt >= _CRASHES_MAX,
        }
        self.claim(may_be.get(error.split(":")[0]), f"{key} may not end so: {error}")

    def check_end(self) -> None:
        for task_id, count in self.called_back.items():
            self.claim(count, f"{task_id} is owed a callback")
        for task_id in self.acknowledged:
            self.claim(task_id in self.recorded, f"{task_id} was acknowledged and is lost")
        for task_id in self.key_of:
            self.claim(task_id in self.recorded, f"{task_id} was stored and never ended")


class WatchedEngine(Engine):
    """Be the real engine, looked at before and after each turn."""

    ledger: Ledger
    server: Server

    def put(self, command: cmd.Command, size_bytes: int = 0) -> None:
        if isinstance(command, cmd.ClientReady | cmd.WorkerReady):
            hello = self.server._by_number[command.session].hello
            assert hello is not None
            self.ledger.on_let_in(hello.name)
        self.ledger.on_command(command)
        super().put(command, size_bytes)

    async def turn(self, peers: Peers) -> None:
        core, ledger, store = self.core, self.ledger, self.store
        now = self._clock()
        tables = store._tables  # type: ignore[attr-defined]
        crashes = {task.new.task_id: task.crashes for task in tables.tasks.values()}
        tokens = {task.task_id: task.token for task in core.state.tasks.values() if task.token}
        stale = core.state.stale_outcomes
        await super().turn(peers)
        ledger.turns += 1
        ledger.stale += core.state.stale_outcomes - stale
        try:
            if self.core is not core or self.is_full:
                ledger.full += 1
                ledger.on_begun(store)  # type: ignore[arg-type]
                return
            for task in store._tables.tasks.values():  # type: ignore[attr-defined]
                task_id = task.new.task_id
                if task.crashes > crashes.get(task_id, 0) and task_id in tokens:
                    ledger.lost_tokens.add(tokens[task_id])
            ledger.on_stored(store)  # type: ignore[arg-type]
            for task in core.state.tasks.values():
                if task.token:
                    ledger.granted[task.task_id] = max(
                        task.token, ledger.granted.get(task.task_id, 0)
                    )
            check(core, store)  # type: ignore[arg-type]
            self._check_sessions()
            quiet_until = core.state.leases_begin_at
            check_new_leases(core, set(tokens.values()), now, quiet_until)
            due = min((d for d in (core.next_due(), self._book.next_due()) if d), default=None)
            true = true_due(core, self._book, store)  # type: ignore[arg-type]
            ledger.claim(true is None or (due is not None and due <= true), "a timer is lost")
        except AssertionError as error:
            ledger._broke(error)

    def _check_sessions(self) -> None:
        """Assert that each session that the core knows is there, or its end is on its way."""
        state = self.core.state
        beats = (worker.heartbeat_session for worker in state.workers)
        known = {*state.clients_by_session, *state.workers.by_session, *filter(None, beats)}
        gone = known.difference(self.server._by_number)
        if gone:
            ends = (cmd.SessionLost, cmd.HeartbeatLost)
            gone -= {c.session for c, _ in self._inbox if isinstance(c, ends)}
        assert not gone, f"sessions {gone} are over, and the core isn't told"
