"""Own the servers that peers need, Redis and PostgreSQL.

They are found, or installed from Debian's packages. Each is started on a free loopback port in a
temporary folder, one for each visit to a peer.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.family import Family
from benchmarks.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 30.0

PACKAGES = {"redis-server": "redis-server", "initdb": "postgresql", "postgres": "postgresql"}


def program(name: str) -> str:
    """Return the path of a server's program; as root, install it if it is missing.

    Raises:
        RuntimeError: it isn't there; the message says how to get it.
    """
    for attempt in range(2):
        # Debian keeps PostgreSQL's programs off PATH; the newest version counts.
        elsewhere = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
        if found := shutil.which(name) or next(map(str, elsewhere), None):
            return found
        if attempt == 0 and os.geteuid() == 0 and shutil.which("apt-get"):
            print(f"installing {PACKAGES[name]} with apt-get", file=sys.stderr)
            for command in (["update"], ["install", "--yes", PACKAGES[name]]):
                subprocess.run(
                    ["apt-get", "--quiet", *command],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                )
    raise RuntimeError(f"{name} isn't installed: apt-get install {PACKAGES[name]}")


def version(name: str) -> str:
    """Return what a server says of itself, as `redis-server 7.0.15`."""
    said = subprocess.run([program(name), "--version"], capture_output=True, text=True).stdout
    number = re.search(r"\d+(\.\d+)+", said)
    return f"{name} {number.group() if number else 'of unknown version'}"


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row, below those given to outgoing connections.

    Raises:
        RuntimeError: there are none.
    """
    for first in random.sample(range(10_000, 32_000, count), 100):
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError(f"no {count} free ports in a row were found at 127.0.0.1")


@contextlib.contextmanager
def redis(folder: Path, *, fsync: bool) -> Iterator[tuple[str, Family]]:
    """Run Redis, with nothing kept, or with every write in a log that is fsynced."""
    port = free_port()
    command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    command += ["--dir", str(folder), "--appendonly", "yes" if fsync else "no"]
    command += ["--appendfsync", "always", "--loglevel", "warning"]
    server = Family(command, folder=folder, name="redis")
    try:
        wait_listening(server, port)
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.end()


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[tuple[str, Family]]:
    """Run PostgreSQL as it is configured by default: every commit is fsynced."""
    port, data = free_port(), folder / "postgresql"
    data.mkdir()
    user = None
    if os.geteuid() == 0:
        # It refuses to run as root; Debian's package makes this user.
        user = "postgres"
        shutil.chown(data, user)
        # Only this run's own folder is opened: the one above it is the machine's, such as /tmp.
        folder.chmod(0o711)
    init = [program("initdb"), "--pgdata", str(data), "--auth", "trust", "--username", "peer"]
    made = subprocess.run(init, cwd="/", user=user, capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"initdb failed: {made.stderr.strip().splitlines()[-1]}")
    command = [program("postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
    server = Family([*command, "-k", str(data)], folder=folder, name="postgresql", user=user)
    try:
        wait_listening(server, port)
        yield f"postgresql://peer@127.0.0.1:{port}/postgres", server
    finally:
        server.end()


def wait_listening(server: Family, port: int) -> None:
    """Wait until a server takes connections.

    Raises:
        RuntimeError: it ended, or took longer than `START_S`.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{server.name} doesn't listen at 127.0.0.1:{port}: {server.last_words()}")
