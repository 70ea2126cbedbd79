"""Own the process executor: tasks with `executor="process"` run here, each alone in its process.

Processes are started when they are needed, used again, replaced as the definitions of their tasks
say, and ended when they are idle for long. A task whose process dies is reported as crashed; no
other task notices. What waits for a process hasn't begun, and can be had back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from bisect import insort
from functools import partial
from typing import TYPE_CHECKING

from fastqueue.subworker.child_process import ChildProcess
from fastqueue.subworker.outcomes import crashed, unstartable
from fastqueue.subworker.process_messages import (
    CannotStart,
    CheckpointAnswered,
    Checkpointing,
    Ended,
    Noted,
    Run,
    Setup,
    Started,
)
from fastqueue.tasks.policies import ProcessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastqueue.core.records import Lease, Outcome
    from fastqueue.subworker.process_messages import FromProcess
    from fastqueue.tasks.registry import TaskDefinition

__all__ = ["ProcessPool"]

logger = logging.getLogger(__name__)

IDLE_S = 60.0
"""How long a process is kept that nothing runs in, in seconds."""

# A process that was told to end and doesn't is killed after this.
_END_S = 5.0
# Memory is looked at so often: 12 us a look. In this time a process can fill some 100 MB.
_LOOK_S = 0.05
# Processes that die in a row before any has imported the task modules die of them.
_TRIES_MAX = 3
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 5.0
_MB = 1e6
_NO_BOUNDS = ProcessPolicy()


class _Call:
    """Hold one task that waits for a process or runs in one."""

    __slots__ = ("is_killed", "lease", "policy", "result_bytes_max", "started_at")

    def __init__(self, lease: Lease, policy: ProcessPolicy, result_bytes_max: int) -> None:
        self.lease = lease
        self.policy = policy
        self.result_bytes_max = result_bytes_max
        self.started_at = 0.0
        self.is_killed = False


class _Worker:
    """Hold one process, and what runs in it."""

    __slots__ = ("call", "cannot_start", "is_started", "process", "tasks_max", "tasks_run", "timer")

    def __init__(self) -> None:
        self.process: ChildProcess
        self.call: _Call | None = None
        self.is_started = False
        self.cannot_start = False
        self.tasks_run = 0
        self.tasks_max = math.inf
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        return self.is_started and self.call is None and self.process.is_open

    def set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer

    def may_run(self, policy: ProcessPolicy) -> bool:
        """Say whether this idle process is as good as a new one for a task with this policy."""
        if policy.tasks_max is not None and self.tasks_run >= policy.tasks_max:
            return False
        if policy.memory_bytes_max is None:
            return True
        # What others left behind is nothing that the task should be killed for.
        return (self.process.memory_bytes() or 0) <= policy.memory_bytes_max / 2


class ProcessPool:
    """Run tasks in at most `processes_max` processes; made on the event loop.

    Args:
        processes_max: how many there are at one time.
        setup: what each is told first.
        folder: their current directory; None is ours.
        on_begun: called with a lease when a process is about to get its task.
        on_outcomes: called with what has come of some tasks.
        on_told: called with a lease, with what its task says while it runs, and with what takes
            the answer, from any thread.
    """

    def __init__(
        self,
        processes_max: int,
        setup: Setup,
        folder: str | None,
        on_begun: Callable[[Lease], None],
        on_outcomes: Callable[[Iterable[Outcome]], None],
        on_told: Callable[
            [Lease, Noted | Checkpointing, Callable[[CheckpointAnswered], None]], None
        ],
    ) -> None:
        self._on_told = on_told
        self._loop = asyncio.get_running_loop()
        self._processes_max = processes_max
        self._setup = setup
        self._folder = folder
        self._on_begun = on_begun
        self._on_outcomes = on_outcomes
        # In the order in which they are to begin.
        self._waiting: list[_Call] = []
        # The one that was idle last is first: what isn't needed gets old.
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._pause: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes."""
        return [worker.process.pid for worker in self._workers]

    def descriptors(self) -> list[int]:
        """Return the descriptors of the sockets to the processes."""
        return [n for worker in self._workers if (n := worker.process.fileno()) >= 0]

    # -- what the runtime calls

    def submit(self, definition: TaskDefinition, lease: Lease, result_bytes_max: int) -> None:
        """Run a task as soon as there is a process for it; more urgent ones come first."""
        call = _Call(lease, definition.process or _NO_BOUNDS, result_bytes_max)
        insort(self._waiting, call, key=lambda one: one.lease.rank)
        self._dispatch()

    def kill(self, token: int) -> float | None:
        """End a task, with its process if it has begun; nothing more is heard of it.

        Returns:
            When it began, in seconds since the Unix epoch, or now if it hasn't; None if it isn't
            here.
        """
        if self.withdraw(token):
            return time.time()
        for worker in self._workers:
            if worker.call is not None and worker.call.lease.token == token:
                worker.call.is_killed = True
                worker.process.kill()
                return worker.call.started_at
        return None

    def withdraw(self, token: int) -> bool:
        """Take a task back that waits for a process; say whether it did."""
        for index, call in enumerate(self._waiting):
            if call.lease.token == token:
                del self._waiting[index]
                return True
        return False

    def withdraw_all(self) -> list[Lease]:
        """Take back all tasks that wait for a process."""
        waiting, self._waiting = self._waiting, []
        return [call.lease for call in waiting]

    async def stop(self) -> None:
        """End the processes: idle ones at once, others are killed, and nothing is heard of them."""
        self._is_stopped = True
        self._waiting.clear()
        for timer in (self._pause, self._look):
            if timer is not None:
                timer.cancel()
        for worker in list(self._workers):
            if worker.call is not None:
                worker.call.is_killed = True
            if worker.is_idle:
                self._retire(worker)
            elif worker.process.is_open:
                worker.process.kill()
        await self._is_empty.wait()

    # -- matching tasks and processes

    def _dispatch(self) -> None:
        """Begin what can be begun; start processes for the rest, as far as there may be more."""
        if self._is_stopped:
            return
        idle = [worker for worker in self._workers if worker.is_idle]
        for call in list(self._waiting) if idle else ():
            worker = next((one for one in idle if one.may_run(call.policy)), None)
            if worker is not None:
                idle.remove(worker)
                self._waiting.remove(call)
                self._begin(worker, call)
        coming = sum(not worker.is_started for worker in self._workers)
        missing = len(self._waiting) - coming
        while missing > 0 and self._pause is None and len(self._workers) < self._processes_max:
            self._start()
            missing -= 1
        missing -= sum(not worker.process.is_open for worker in self._workers)
        # No task that waits may run in these, and they take the places of some that might.
        for worker in idle[: -missing - 1 : -1] if missing > 0 else ():
            self._retire(worker)

    def _start(self) -> None:
        worker = _Worker()
        try:
            worker.process = ChildProcess(
                self._loop,
                self._folder,
                lambda message: self._on_message(worker, message),
                lambda how: self._on_end(worker, how),
            )
        except OSError as error:
            logger.error("no process for a task can be started, trying again: %s", error)
            self._failed_starts += 1
            self._try_later()
            return
        worker.process.send(self._setup)
        self._workers.append(worker)
        self._is_empty.clear()

    def _try_later(self) -> None:
        pause_s = min(_BACKOFF_FIRST_S * 2.0 ** min(self._failed_starts, 10), _BACKOFF_MAX_S)
        self._pause = self._loop.call_later(pause_s, self._try_again)

    def _try_again(self) -> None:
        self._pause = None
        self._dispatch()

    def _begin(self, worker: _Worker, call: _Call) -> None:
        worker.set_timer(None)
        worker.call = call
        worker.tasks_run += 1
        if call.policy.tasks_max is not None:
            worker.tasks_max = min(worker.tasks_max, call.policy.tasks_max)
        call.started_at = time.time()
        self._on_begun(call.lease)
        worker.process.expect(call.result_bytes_max)
        worker.process.send(Run(call.lease, call.result_bytes_max))
        if call.policy.memory_bytes_max is not None and self._look is None:
            self._look = self._loop.call_later(_LOOK_S, self._look_at_memory)

    def _rest(self, worker: _Worker, policy: ProcessPolicy) -> None:
        """Keep a process whose task has ended, or replace it."""
        is_worn = worker.tasks_run >= worker.tasks_max or not worker.may_run(
            ProcessPolicy(memory_bytes_max=policy.memory_bytes_max)
        )
        if is_worn:
            self._retire(worker)
        else:
            worker.set_timer(self._loop.call_later(IDLE_S, self._retire, worker))
            self._workers.remove(worker)
            self._workers.insert(0, worker)

    def _retire(self, worker: _Worker) -> None:
        worker.process.hang_up()
        worker.set_timer(self._loop.call_later(_END_S, worker.process.kill))

    # -- what processes tell

    def _on_message(self, worker: _Worker, message: FromProcess) -> None:
        match message:
            case Started():
                worker.is_started = True
                self._failed_starts = 0
                worker.set_timer(self._loop.call_later(IDLE_S, self._retire, worker))
            case CannotStart():
                worker.cannot_start = True
                self._give_up_waiting(message.error)
            case Noted() | Checkpointing():
                if worker.call is not None and not worker.call.is_killed:
                    self._on_told(worker.call.lease, message, partial(self._answer, worker))
                return
            case Ended():
                call = worker.call
                if call is None or call.lease.token != message.outcome.token or call.is_killed:
                    return
                worker.call = None
                if worker.process.is_open:
                    self._rest(worker, call.policy)
                self._on_outcomes((message.outcome,))
        self._dispatch()

    def _answer(self, worker: _Worker, answer: CheckpointAnswered) -> None:
        if worker.process.is_open:
            worker.process.send(answer)

    def _on_end(self, worker: _Worker, how: str) -> None:
        self._workers.remove(worker)
        worker.set_timer(None)
        if not self._workers:
            self._is_empty.set()
        call = worker.call
        if call is not None and not call.is_killed:
            lease = call.lease
            logger.warning(
                "the process %d of task %s (%s) %s; no other task ran in it",
                worker.process.pid,
                lease.name,
                lease.task_id,
                how,
            )
            self._on_outcomes((crashed(lease, how, call.started_at, time.time()),))
        if not (worker.is_started or worker.cannot_start or self._is_stopped):
            self._note_failed_start(how)
        self._dispatch()

    def _note_failed_start(self, how: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _TRIES_MAX:
            self._failed_starts = 0
            self._give_up_waiting(
                f"TaskImportError: {_TRIES_MAX} processes for this task died before they had "
                f"imported the task modules; the last one {how}"
            )
        elif self._pause is None:
            self._try_later()

    def _give_up_waiting(self, why: str) -> None:
        """Fail what waits: no process can be started for it."""
        leases = self.withdraw_all()
        if leases:
            logger.error(
                "%d tasks fail, as no process can be started for them: %s", len(leases), why
            )
            at = time.time()
            self._on_outcomes([unstartable(lease, why, at) for lease in leases])

    # -- memory

    def _look_at_memory(self) -> None:
        """Kill each process that uses more memory than its task may."""
        self._look = None
        for worker in self._workers:
            call = worker.call
            if call is None or (most := call.policy.memory_bytes_max) is None:
                continue
            used = worker.process.memory_bytes()
            if used is not None and used > most:
                worker.process.kill(
                    f"was killed as it used {used / _MB:,.0f} MB of memory, and its task's "
                    f"memory_limit is {most / _MB:,.0f} MB"
                )
            if self._look is None:
                self._look = self._loop.call_later(_LOOK_S, self._look_at_memory)
