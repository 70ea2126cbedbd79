"""Own the tasks that tests run in processes of their own, and import there."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from fastqueue import SoftTimeLimit, task
from fastqueue.tasks.loading import load_task_modules
from fastqueue.tasks.registry import TaskRegistry

_variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
_calls = 0


def registry():
    """Return a registry of these tasks alone."""
    return load_task_modules([__name__], TaskRegistry())


@task("p.add", executor="process")
def add(x, y):
    return x + y


@task("p.pid", executor="process")
def pid():
    return os.getpid()


@task("p.pid_of_coroutine", executor="process")
async def pid_of_coroutine():
    await asyncio.sleep(0)
    return os.getpid()


@task("p.once", executor="process", max_tasks_per_child=1)
def once():
    return os.getpid()


@task("p.thrice", executor="process", max_tasks_per_child=3)
def thrice():
    return os.getpid()


@task("p.boom", executor="process")
def boom():
    raise ValueError("no good")


@task("p.boom_in_coroutine", executor="process")
async def boom_in_coroutine():
    await asyncio.sleep(0)
    raise ValueError("no good")


@task("p.exits", executor="process")
def exits():
    sys.exit(4)


@task("p.flaky", executor="process", retries=3, backoff=0, jitter=False)
def flaky(file):
    with Path(file).open("a") as tries:
        tries.write("x")
    if len(Path(file).read_text()) < 3:
        raise ConnectionError("not yet")
    return "at last"


@task("p.segfaults", executor="process")
def segfaults():
    ctypes.string_at(0)


@task("p.leaves", executor="process")
def leaves(code):
    os._exit(code)


@task("p.leaves_once", executor="process", delivery="at_most_once")
def leaves_once():
    os._exit(7)


@task("p.closes_all_files", executor="process")
def closes_all_files():
    os.closerange(3, 1_000)


@task("p.writes_to_all_files", executor="process")
def writes_to_all_files():
    for descriptor in range(3, 50):
        try:
            os.write(descriptor, b"garbage" * 100)
        except OSError:
            continue
    time.sleep(60)


@task("p.shouts", executor="process")
def shouts():
    print("\x00\xff garbage \n" * 1_000)
    sys.stderr.write("more of it\n" * 1_000)
    sys.stdout.buffer.write(bytes(range(256)) * 100)
    return "done"


@task("p.hogs", executor="process", memory_limit=100_000_000)
def hogs(megabytes):
    kept = []
    for _ in range(megabytes):
        kept.append(bytearray(b"x" * 1_000_000))
        time.sleep(0.001)
    return len(kept)


@task("p.leaks", executor="process")
def leaks(megabytes):
    sys.leaked = bytearray(b"x" * 1_000_000 * megabytes)
    return os.getpid()


@task("p.holds", executor="process")
def holds(begun, release):
    """Say in the file `begun` which process this is, and wait until `release` is there."""
    Path(f"{begun}.part").write_text(str(os.getpid()))
    Path(f"{begun}.part").rename(begun)
    while not Path(release).exists():
        time.sleep(0.01)
    return os.getpid()


@task("p.large", executor="process")
def large(size):
    return "x" * size


@task("p.echo", executor="process")
def echo(value):
    return value


@task("p.unsendable", executor="process")
def unsendable():
    return object()


@task("p.sees_context", executor="process")
def sees_context():
    seen = _variable.get()
    _variable.set(7)
    return seen


@task("p.logs", executor="process")
def logs():
    logging.getLogger("tests.process_tasks").warning("a line of the task's")


@task("p.forks_and_dies", executor="process")
def forks_and_dies(release):
    """Die, and leave a process behind that has a copy of everything that was open here."""
    if os.fork() == 0:
        while not Path(release).exists():
            time.sleep(0.01)
        os._exit(0)
    os._exit(5)


@task("p.runs_a_program", executor="process")
def runs_a_program():
    return subprocess.check_output(["echo", "said"], text=True)


@task("p.holds_with_a_program", executor="process")
def holds_with_a_program(begun):
    """Say in the file `begun` which programs were started, and wait for them."""
    program = subprocess.Popen(["sleep", "600"])
    Path(f"{begun}.part").write_text(str(program.pid))
    Path(f"{begun}.part").rename(begun)
    program.wait()


@task("p.sleeps", executor="process", time_limit=0.2)
def sleeps():
    time.sleep(600)


@task("p.notices", executor="process", soft_time_limit=0.1)
def notices():
    try:
        time.sleep(600)
    except SoftTimeLimit as limit:
        return f"cleaned up: {limit}"


@task("p.notices_in_coroutine", executor="process", soft_time_limit=0.1)
async def notices_in_coroutine():
    try:
        await asyncio.sleep(600)
    except SoftTimeLimit as limit:
        return f"cleaned up: {limit}"


@task("p.ends_a_pool", executor="process")
def ends_a_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:  # which terminates it at the end
        return pool.map(abs, [-1, -2])
