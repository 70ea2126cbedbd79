"""The process pool gives each task a process that is fit for it, and blames no task in vain."""

from __future__ import annotations

import asyncio

import pytest

from fastqueue.core.records import Lease, Outcome
from fastqueue.errors import ProtocolError
from fastqueue.subworker import process_pool
from fastqueue.subworker.process_messages import (
    CannotStart,
    Ended,
    Run,
    Setup,
    Started,
    decode_from_process,
    decode_to_process,
    encode,
)
from fastqueue.subworker.process_pool import ProcessPool
from fastqueue.tasks.policies import ProcessPolicy
from fastqueue.tasks.registry import TaskDefinition
from harness import eventually

SETUP = Setup(["tasks"], "w", "info", allow_pickle=False)


class FakeProcess:
    """Be a process that does what the test says."""

    made: list[FakeProcess]
    fails_to_start = 0

    def __init__(self, loop, folder, on_message, on_end):
        if FakeProcess.fails_to_start:
            FakeProcess.fails_to_start -= 1
            raise OSError("no process is left")
        self.say, self._on_end = on_message, on_end
        self.sent = []
        self.is_open = True
        self.is_killed = False
        self.memory = 10_000_000
        self.pid = len(self.made) + 1
        self.cause = None
        self.made.append(self)

    def fileno(self):
        return -1

    def expect(self, result_bytes_max):
        self.result_bytes_max = result_bytes_max

    def send(self, message):
        self.sent.append(decode_to_process(encode(message)))

    def hang_up(self):
        self.is_open = False

    def kill(self, cause=None):
        self.is_open, self.is_killed, self.cause = False, True, cause

    def memory_bytes(self):
        return self.memory

    def end(self, how="was killed by SIGKILL"):
        self.is_open = False
        self._on_end(self.cause or how)

    @property
    def running(self):
        """Return the task that it was last told to run."""
        return self.sent[-1].lease.task_id

    def finish(self):
        lease = self.sent[-1].lease
        self.say(Ended(Outcome(lease.task_id, lease.token, True, 0.0, 0.0)))


class Bench:
    """Hold a pool, and see what it does."""

    def __init__(self, processes_max=2):
        self.begun, self.outcomes = [], []
        self.pool = ProcessPool(
            processes_max,
            SETUP,
            None,
            lambda lease: self.begun.append(lease.token),
            self.outcomes.extend,
            lambda *_: None,
        )
        self.made = FakeProcess.made
        self.last_token = 0

    def submit(self, task_id, rank=2, **policy):
        self.last_token += 1
        lease = Lease(task_id, self.last_token, 1, "t", rank, 0, False)
        definition = TaskDefinition(
            name="t",
            function=len,
            executor="process",
            module="tasks",
            process=ProcessPolicy(**policy),
        )
        self.pool.submit(definition, lease, 1_000)
        return self.last_token

    def done(self):
        return [outcome.task_id for outcome in self.outcomes if outcome.succeeded]


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    FakeProcess.made = []
    FakeProcess.fails_to_start = 0
    monkeypatch.setattr(process_pool, "ChildProcess", FakeProcess)
    monkeypatch.setattr(process_pool, "_BACKOFF_FIRST_S", 0.0)


async def test_a_process_is_told_how_it_is_set_and_gets_its_task_once_it_has_started():
    bench = Bench()
    token = bench.submit("a")
    [process] = bench.made
    assert process.sent == [SETUP]
    assert not bench.begun
    process.say(Started())
    assert bench.begun == [token]
    assert isinstance(process.sent[1], Run)
    assert process.result_bytes_max == 1_000
    process.finish()
    assert bench.done() == ["a"]


async def test_an_idle_process_is_used_again_and_more_are_started_only_as_needed():
    bench = Bench(processes_max=2)
    for task_id in "abcd":
        bench.submit(task_id)
    assert len(bench.made) == 2
    for process in bench.made:
        process.say(Started())
    assert [process.running for process in bench.made] == ["a", "b"]
    bench.made[1].finish()
    assert bench.made[1].running == "c"
    bench.made[0].finish()
    bench.made[0].finish()
    bench.made[1].finish()
    bench.submit("e")
    assert len(bench.made) == 2
    assert bench.done() == ["b", "a", "d", "c"]


async def test_what_is_more_urgent_begins_first_and_within_one_priority_what_came_first():
    bench = Bench(processes_max=1)
    for task_id, rank in [("a", 2), ("b", 3), ("c", 2), ("d", 0)]:
        bench.submit(task_id, rank)
    [process] = bench.made
    process.say(Started())
    for _ in range(4):
        process.finish()
    assert bench.done() == ["d", "a", "c", "b"]


async def test_a_process_that_dies_is_the_crash_of_its_own_task_alone():
    bench = Bench()
    bench.submit("a")
    bench.submit("b")
    for process in bench.made:
        process.say(Started())
    bench.made[0].end("was killed by SIGSEGV")
    [outcome] = bench.outcomes
    assert (outcome.task_id, outcome.crashed) == ("a", True)
    assert outcome.error == "was killed by SIGSEGV"
    bench.made[1].finish()
    assert bench.done() == ["b"]


async def test_the_death_of_an_idle_process_is_nobodys_crash():
    bench = Bench(processes_max=1)
    bench.submit("a")
    [process] = bench.made
    process.say(Started())
    process.finish()
    process.is_open = False  # its end is seen, and not yet how it ended
    bench.submit("b")
    assert bench.begun == [1]
    process.end()
    assert [outcome.crashed for outcome in bench.outcomes] == [False]
    bench.made[1].say(Started())
    assert bench.made[1].running == "b"


async def test_a_killed_task_is_not_heard_of_again_and_one_that_waits_just_goes():
    bench = Bench(processes_max=1)
    running, waiting = bench.submit("a"), bench.submit("b")
    [process] = bench.made
    process.say(Started())
    assert bench.pool.kill(waiting)
    assert not process.is_killed
    assert bench.pool.kill(running)
    assert process.is_killed
    process.finish()
    process.end()
    assert not bench.outcomes
    assert not bench.pool.kill(running)
    assert not bench.pool.pids


async def test_what_waits_can_be_had_back():
    bench = Bench(processes_max=1)
    bench.submit("a")
    bench.made[0].say(Started())
    second, _ = bench.submit("b"), bench.submit("c")
    assert bench.pool.withdraw(second)
    assert not bench.pool.withdraw(second)
    assert [lease.task_id for lease in bench.pool.withdraw_all()] == ["c"]
    bench.made[0].finish()
    assert bench.begun == [1]


async def test_a_process_is_replaced_after_its_number_of_tasks():
    bench = Bench(processes_max=1)
    bench.submit("a", tasks_max=1)
    bench.submit("b")
    bench.made[0].say(Started())
    bench.made[0].finish()
    assert not bench.made[0].is_open
    assert len(bench.made) == 1, "it has its place until it has ended"
    bench.made[0].end("ended with exit code 0")
    bench.made[1].say(Started())
    assert bench.made[1].running == "b"
    bench.made[1].finish()
    bench.submit("c", tasks_max=1)
    assert not bench.made[1].is_open, "something ran in it before"


async def test_a_process_that_uses_too_much_memory_is_killed_for_it(monkeypatch):
    monkeypatch.setattr(process_pool, "_LOOK_S", 0.001)
    bench = Bench()
    bench.submit("a", memory_bytes_max=50_000_000)
    bench.submit("b")
    for process in bench.made:
        process.say(Started())
        process.memory = 60_000_000
    await eventually(lambda: bench.made[0].is_killed)
    bench.made[0].end()
    assert bench.outcomes[0].error == (
        "was killed as it used 60 MB of memory, and its task's memory_limit is 50 MB"
    )
    assert not bench.made[1].is_killed, "its task has no limit"


async def test_a_process_in_which_much_memory_was_left_behind_is_none_for_a_task_with_a_limit():
    bench = Bench(processes_max=1)
    bench.submit("a")
    [process] = bench.made
    process.say(Started())
    process.finish()
    process.memory = 60_000_000
    bench.submit("b", memory_bytes_max=100_000_000)
    assert bench.begun == [1]
    assert not process.is_open


async def test_task_modules_that_do_not_import_in_a_process_fail_what_waits_with_the_reason():
    bench = Bench()
    bench.submit("a")
    bench.made[0].say(CannotStart("TaskImportError: no such module"))
    bench.made[0].end("ended with exit code 0")
    [outcome] = bench.outcomes
    assert (outcome.error, outcome.crashed) == ("TaskImportError: no such module", False)
    assert not bench.begun


async def test_processes_that_die_before_they_have_started_are_tried_three_times():
    bench = Bench()
    bench.submit("a")
    for tries in (1, 2, 3):
        await eventually(lambda tries=tries: len(bench.made) == tries)
        assert not bench.outcomes
        bench.made[-1].end("was killed by SIGSEGV")
    [outcome] = bench.outcomes
    assert not outcome.crashed
    assert outcome.error.startswith("TaskImportError: 3 processes for this task died before")


async def test_a_process_that_cannot_be_started_is_tried_again_and_nothing_fails():
    FakeProcess.fails_to_start = 5
    bench = Bench()
    bench.submit("a")
    await eventually(lambda: bench.made)
    assert not bench.outcomes
    bench.made[0].say(Started())
    assert bench.begun == [1]


async def test_a_stop_ends_every_process_and_tells_of_no_task():
    bench = Bench(processes_max=3)
    for task_id in "abc":
        bench.submit(task_id)
    idle, busy, _ = bench.made
    for process in (idle, busy):
        process.say(Started())
    idle.finish()
    bench.pool.withdraw_all()
    idle.finish()
    bench.outcomes.clear()
    stopping = asyncio.create_task(bench.pool.stop())
    await asyncio.sleep(0)
    assert [process.is_killed for process in bench.made] == [False, True, True]
    assert not idle.is_open
    for process in bench.made:
        process.end()
    await stopping
    assert not bench.outcomes


def test_what_a_process_says_is_understood_or_refused():
    outcome = Outcome("a", 1, False, 1.0, 2.0, error="ValueError", retry_in_s=3.0)
    for message in (Started(), CannotStart("why"), Ended(outcome)):
        assert decode_from_process(encode(message)) == message
    for garbage in (b"", b"\xff", encode(SETUP), encode([13, ["a"]])):
        with pytest.raises(ProtocolError):
            decode_from_process(garbage)
