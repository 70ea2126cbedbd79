"""Own how tests run a control plane, subworkers and clients: in process, and as real processes.

`Cluster` runs everything on the test's own event loop, which is quick and easy to look into.
`Site` is a folder with task modules in it from which real processes are started through the
command line, killed and started again. Both come as fixtures (see `conftest.py`), which end what
the test left running and show the processes' logs if it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.ports import free_address

from fastqueue import Client
from fastqueue.config import ControlPlaneSettings, SubworkerSettings
from fastqueue.control_plane.app import ControlPlane
from fastqueue.subworker.app import Subworker
from fastqueue.tasks.registry import TaskDefinition, TaskRegistry

LONG_S = 30.0
"""The bound of everything that is waited for: long past what any machine needs."""

# By this variable a site finds what its processes started, and ended without.
_MARK = "FASTQUEUE_TEST_SITE_FOLDER"


async def eventually(probe, what="what was waited for", *, timeout_s=LONG_S):
    """Poll `probe` (a function, or one that returns an awaitable) until it is truthy; return that.

    Between two looks the loop gets its turn; after a bounded time the test fails, naming `what`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        found = probe()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if loop.time() > deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        await asyncio.sleep(0.005)


async def bounded(awaitable, timeout_s=LONG_S):
    """Await something that must come; a test never hangs."""
    async with asyncio.timeout(timeout_s):
        return await awaitable


def registry_of(*functions, **named):
    """Return a registry of these functions, under their own names or the given ones."""
    registry = TaskRegistry()
    for name, function in [*((f.__name__, f) for f in functions), *named.items()]:
        is_coroutine = asyncio.iscoroutinefunction(function)
        registry.register(
            TaskDefinition(
                name=name,
                function=function,
                executor="coroutine" if is_coroutine else "thread",
                module=function.__module__,
            )
        )
    return registry


class Cluster:
    """Run a control plane and subworkers on the test's event loop.

    Args:
        folder: where the data directory is made.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.discovery_address = free_address()
        self.control_plane = None
        self.subworkers = []
        self._stack = contextlib.AsyncExitStack()

    @property
    def address(self):
        return self.control_plane.address

    async def start(self, registry=None, *, concurrency=8, limits=None, **settings):
        """Start a control plane and, if there are tasks to run, a subworker."""
        await self.start_control_plane(limits=limits, **settings)
        if registry is not None:
            await self.add_subworker(registry, concurrency=concurrency)
        return self

    async def start_control_plane(self, *, limits=None, **settings):
        settings.setdefault("base_address", "tcp://127.0.0.1:0")
        settings.setdefault("discovery_address", self.discovery_address)
        settings.setdefault("data_dir", str(self.folder / "data"))
        control_plane = ControlPlane(ControlPlaneSettings(**settings), limits)
        await control_plane.start()
        self.control_plane = control_plane

    async def stop_control_plane(self):
        control_plane, self.control_plane = self.control_plane, None
        if control_plane is not None:
            await control_plane.stop()

    async def add_subworker(self, registry, *, concurrency=8, **settings):
        if "control_plane_address" not in settings:
            settings.setdefault("discovery_address", self.discovery_address)
        subworker = Subworker(SubworkerSettings(concurrency=concurrency, **settings), registry)
        await subworker.start()
        self.subworkers.append(subworker)
        return subworker

    async def client(self, **options):
        """Return a started client that is closed when the test ends."""
        if "control_plane_address" not in options:
            options.setdefault("discovery_address", self.discovery_address)
        client = Client(**options)
        await client.start()
        self._stack.push_async_callback(client.aclose)
        return client

    async def close(self):
        # Whatever a failed test left undone must not be waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._stack.aclose()
        for subworker in self.subworkers:
            await subworker.stop(grace_s=0.0)
        await self.stop_control_plane()


class Running:
    """Be one real process, its standard output and error in a file.

    Args:
        name: who it is, in the logs of a failed test.
        arguments: the command.
        folder: its current directory.
        environment: variables added to ours.
    """

    def __init__(self, name, arguments, *, folder, environment):
        self.name = name
        self.log_path = folder / f"{name}.log"
        # One that is started again goes on writing where the one before it stopped.
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                arguments,
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def children(self):
        """Return the processes that it has started and that haven't ended."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                    if int(parent) == self.pid and state != "Z":
                        found.append(int(entry.name))
        return sorted(found)

    @property
    def log(self):
        return self.log_path.read_bytes()[self._log_start :].decode(errors="replace")

    @property
    def is_running(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def terminate(self):
        self.signal(signal.SIGTERM)

    def kill(self):
        """End it as a crash of the machine's kernel would: at once, with no last word."""
        self.popen.kill()
        self.popen.wait()

    async def exit_code(self):
        await eventually(lambda: not self.is_running, lambda: f"the end of {self.name}")
        return self.popen.returncode

    async def says(self, text):
        """Wait until its log has `text` in it."""

        def is_there():
            if text in self.log:
                return True
            assert self.is_running, f"{self.name} ended ({self.popen.returncode}): {self.log}"
            return False

        await eventually(is_there, lambda: f"{text!r} in the log of {self.name}: {self.log}")


class RunningSubworker(Running):
    """Be a subworker and the supervisor that started it, which is the process that we started."""

    @property
    def worker_pid(self):
        """Return the process that runs the tasks."""
        [pid] = self.children
        return pid

    def kill(self):
        """End both as a crash of their host would: the supervisor can tell nobody."""
        workers = self.children
        super().kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Site:
    """Be a user's project folder, and run fastqueue in it through the command line.

    Args:
        folder: the project; it holds the task modules, the data directory and the logs.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.discovery_address = free_address()
        self.base_address = free_address()
        self.processes = []
        self._stack = contextlib.AsyncExitStack()
        self._ledger = self.folder / "ledger.txt"

    @property
    def environment(self):
        return {
            "FASTQUEUE_DISCOVERY_ADDRESS": self.discovery_address,
            "FASTQUEUE_DATA_DIR": str(self.folder / "data"),
            _MARK: str(self.folder),
        }

    # -- files

    def write(self, name, text):
        """Write a file of the project, such as a task module."""
        (self.folder / name).write_text(textwrap.dedent(text))

    def touch(self, name):
        (self.folder / name).touch()

    def ledger(self):
        """Return what tasks have appended to the ledger, a list of words a line."""
        if not self._ledger.exists():
            return []
        # A line is appended by one write, so it is there whole or not at all.
        return [line.split() for line in self._ledger.read_text().splitlines()]

    # -- processes

    def run(self, name, *arguments, environment=None, kind=Running):
        """Start any command in the project's folder."""
        process = kind(
            name,
            arguments,
            folder=self.folder,
            environment={**self.environment, **(environment or {})},
        )
        self.processes.append(process)
        return process

    def command(self, name, *arguments, **options):
        """Start a `fastqueue` command."""
        return self.run(name, sys.executable, "-m", "fastqueue", *arguments, **options)

    async def control_plane(self, *options, name="control-plane", base_address=None):
        """Start a control plane without tasks of its own; return once it listens."""
        address = base_address or self.base_address
        arguments = ["control-plane", "--base-address", address, "--processes", "0", *options]
        process = self.command(name, *arguments)
        await process.says(f"listens at {address}")
        return process

    def subworker(self, name, *options, modules="tasks", **run_options):
        """Start a subworker that finds its control plane by discovery; returns at once."""
        arguments = ["subworker", "--worker-id", name, "--task-modules", modules, *options]
        return self.command(name, *arguments, kind=RunningSubworker, **run_options)

    # -- clients

    async def client(self, **options):
        """Return a started client that is closed when the test ends."""
        options.setdefault("discovery_address", self.discovery_address)
        client = Client(**options)
        await client.start()
        self._stack.push_async_callback(client.aclose)
        return client

    async def close(self):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._stack.aclose()
        for process in self.processes:
            if process.is_running:
                process.kill()
        for pid in self._left_behind():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for log in sorted({process.log_path for process in self.processes}):
            # Shown by pytest if the test failed.
            print(f"----- {log.name}\n{log.read_text(errors='replace')[-8000:]}")

    def _left_behind(self):
        """Return the processes that those of this site started and didn't end."""
        mark = f"{_MARK}={self.folder}\0".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                    yield int(entry.name)


def monotonic():
    """Return the monotonic time, in seconds; on one machine the same in every process."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
