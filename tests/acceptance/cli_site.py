"""Own what the tests of the command line share: a project with tasks, and commands run in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from dataclasses import dataclass

from harness import bounded, eventually

TASKS = '''
"""The tasks of the tests."""

import os
import signal
import sys
import time
from pathlib import Path

from fastqueue import task


@task
async def add(x, y):
    """Add two numbers.

    There is more to say, which a list leaves out.
    """
    return x + y


@task
def echo(*args, **kwargs):
    return [args, kwargs]


@task
def boom():
    raise ValueError("boom")


@task
def whoami():
    return os.getpid()


@task
def session():
    return os.getsid(0)


@task
def ask():
    return sys.stdin.read()


@task
def die_once():
    try:
        Path("died").touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os.kill(os.getpid(), signal.SIGKILL)


@task
def hold(name):
    """Run until the file `name`.go is there, but no longer than any test."""
    Path(f"{name}.pid").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not Path(f"{name}.go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return name
'''

READY = re.compile(
    r"control plane ready: data (\S+), discovery (\S+), data directory (.+), durability (\w+), "
    r"(\d+) local subworker"
)


# A thread for which the interpreter would wait for ever.
LINGERING = """
import atexit, threading
atexit.register(lambda: Path("cleaned").touch())
threading.Thread(target=threading.Event().wait).start()
"""


@dataclass
class Said:
    """Be what a command that has ended wrote, and its exit code."""

    code: int
    out: str
    err: str


async def say(site, *arguments, environment=None, until=None):
    """Run a command to its end; if `until` is given, send it Ctrl-C once that is true."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fastqueue",
        *arguments,
        cwd=site.folder,
        env={**os.environ, "COLUMNS": "200", **site.environment, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        if until is not None:
            await eventually(until)
            process.send_signal(signal.SIGINT)
        out, err = await bounded(process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(process.returncode, out.decode(), err.decode())


async def serve(site, *options, name="control-plane"):
    """Start a control plane that runs the project's tasks itself; return once it is ready."""
    if not (site.folder / "tasks.py").exists():
        site.write("tasks.py", TASKS)
    defaults = ["--task-modules=tasks", "--base-address", site.base_address, "--processes=1"]
    process = site.command(name, "control-plane", *defaults, "--grace=20", *options)
    await process.says("control plane ready")
    return process


async def says(process, text, count):
    """Wait until a process has said something so many times."""

    def is_there():
        return process.log.count(text) >= count

    await eventually(is_there, lambda: f"{count} times {text!r} in: {process.log}")


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        # A process whose parent hasn't asked for its end yet is over all the same.
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


async def gone(*pids):
    """Wait until these processes have ended."""
    await eventually(lambda: not any(map(is_alive, pids)), f"the end of {pids}")


async def held_by(site, name):
    """Wait until a `hold` task runs; return the process it runs in."""
    path = site.folder / f"{name}.pid"
    return int(await eventually(lambda: path.exists() and path.read_text()))
