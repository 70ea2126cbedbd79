"""The thread executor runs everything, at most so many at a time, each in its own context."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from fastqueue.core.records import Outcome
from fastqueue.subworker.threads import ThreadExecutor
from harness import eventually

_variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


def _outcome(name: str) -> Outcome:
    return Outcome(name, 1, True, 0.0, 0.0)


async def _run(executor: ThreadExecutor, done: list[Outcome], count: int) -> None:
    await eventually(lambda: len(done) >= count)
    executor.stop()


async def test_every_call_is_run_once() -> None:
    done: list[Outcome] = []
    executor = ThreadExecutor(asyncio.get_running_loop(), 4, done.extend)
    for n in range(500):
        executor.submit(lambda n=n: _outcome(str(n)))
    await _run(executor, done, 500)
    assert sorted(int(outcome.task_id) for outcome in done) == list(range(500))


async def test_no_more_run_at_a_time_than_there_are_threads() -> None:
    done: list[Outcome] = []
    lock = threading.Lock()
    running = most = 0
    gate = threading.Event()

    def call() -> Outcome:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                gate.set()
        gate.wait(10)
        with lock:
            running -= 1
        return _outcome("a")

    executor = ThreadExecutor(asyncio.get_running_loop(), 3, done.extend)
    for _ in range(12):
        executor.submit(call)
    await _run(executor, done, 12)
    assert most == 3


async def test_what_a_task_sets_in_its_context_is_not_seen_by_the_next() -> None:
    done: list[Outcome] = []
    seen: list[int] = []

    def call() -> Outcome:
        seen.append(_variable.get())
        _variable.set(7)
        return _outcome("a")

    executor = ThreadExecutor(asyncio.get_running_loop(), 1, done.extend)
    for _ in range(5):
        executor.submit(call)
    await _run(executor, done, 5)
    assert seen == [0] * 5


async def test_a_call_that_raises_ends_neither_its_thread_nor_the_others(caplog):
    done: list[Outcome] = []
    executor = ThreadExecutor(asyncio.get_running_loop(), 1, done.extend)

    def fails() -> Outcome:
        raise SystemExit(3)

    for n in range(3):
        executor.submit(fails)
        executor.submit(lambda n=n: _outcome(str(n)))
    await _run(executor, done, 3)
    assert [outcome.task_id for outcome in done] == ["0", "1", "2"]
    assert caplog.text.count("SystemExit: 3") == 3
