"""Floods, crowds, peers that stand still: the others are served, and memory stays where it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest

from fastqueue.core.records import NewTask
from fastqueue.errors import Overloaded, PayloadTooLarge
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import frame
from harness import bounded, eventually

TASKS = """
import os, time
from fastqueue import task

@task
async def add(x, y):
    return x + y

@task
async def large(n):
    return "x" * n

@task
def hold():
    while not os.path.exists("gate"):
        time.sleep(0.01)
"""

GREEDY_CLIENT = """
import asyncio, sys
from fastqueue import Client

async def main():
    async with Client(control_plane_address=sys.argv[1], timeout=60) as client:
        task_ids = await client.submit_batch([("large", (1_000_000,)) for _ in range(60)])
        print("submitted", flush=True)
        results = [r async for r in client.as_completed(task_ids, timeout=60)]
        assert all(len(r.result) == 1_000_000 for r in results)
        print("received", len(results), flush=True)

asyncio.run(main())
"""

# The command has no option for this bound, which nobody should need.
SMALL_CONTROL_PLANE = """
import asyncio, sys
from fastqueue.config import ControlPlaneSettings
from fastqueue.control_plane.app import ControlPlane
from fastqueue.core.limits import CoreLimits

async def main():
    settings = ControlPlaneSettings.resolve(base_address=sys.argv[1])
    control_plane = ControlPlane(settings, CoreLimits(live_tasks_max=200))
    await control_plane.start()
    print("listens at", control_plane.address, flush=True)
    await control_plane.wait()

asyncio.run(main())
"""

MIB = 1024**2
GROWTH_MAX_BYTES = 50 * MIB
FILES_NEEDED = 4_000


@pytest.fixture(autouse=True)
def enough_files():
    """Let this process open as many connections as the tests need."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[0] < FILES_NEEDED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_NEEDED, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Service:
    """Be a control plane with a subworker and a proper client, warmed up.

    Attributes:
        process: the control plane.
        client: the proper client, which is to be served whatever others do.
        baseline_bytes: what the control plane's memory was before anything happened.
    """

    def __init__(self, site):
        self.site = site
        self._connections = []

    async def start(self, process):
        self.process = process
        self.site.write("tasks.py", TASKS)
        self.site.subworker("worker", "--concurrency", "8")
        self.client = await self.site.client(timeout=30)
        await self.client.submit_task("add", (1, 2))
        # Whatever is used later on was used once; the store's cache of pages is full.
        for _ in range(3):
            await self.client.submit_batch([("add", (n, n)) for n in range(1_000)])
        for _ in range(8):
            await self.client.submit_task("large", (4_000_000,))
        await self.latencies()
        self.baseline_bytes = self.rss_bytes()
        self.forget_peak()
        return self

    async def close(self):
        for _, writer in self._connections:
            writer.transport.abort()

    # -- what it costs

    def rss_bytes(self, name="VmRSS"):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def latencies(self, count=40):
        """Return how long one task after the other takes, in seconds."""
        taken = []
        for n in range(count):
            before = time.monotonic()
            result = await bounded(self.client.submit_task("add", (n, 1)))
            taken.append(time.monotonic() - before)
            assert result.result == n + 1
        return taken

    async def is_as_before(self):
        """Assert that a proper client is served, a new one too, and that memory is back."""
        await self.latencies(10)
        stranger = await self.site.client(timeout=30)
        assert (await bounded(stranger.submit_task("add", (20, 22)))).result == 42
        await stranger.aclose()
        assert self.process.is_running
        grown = self.rss_bytes() - self.baseline_bytes
        peak = self.rss_bytes("VmHWM") - self.baseline_bytes
        print(f"memory grew by {grown / MIB:.1f} MiB, at its peak by {peak / MIB:.1f} MiB")
        await eventually(
            lambda: self.rss_bytes() - self.baseline_bytes < GROWTH_MAX_BYTES,
            lambda: f"{(self.rss_bytes() - self.baseline_bytes) / MIB:.0f} MiB to be given back",
            timeout_s=5,
        )

    def grows_within_bounds(self):
        grown = self.rss_bytes("VmHWM") - self.baseline_bytes
        assert grown < GROWTH_MAX_BYTES, f"{grown / MIB:.0f} MiB at the peak"

    # -- its peers, byte by byte

    async def open(self):
        host, port = self.site.base_address.removeprefix("tcp://").rsplit(":", 1)
        reader, writer = await bounded(asyncio.open_connection(host, int(port)))
        self._connections.append((reader, writer))
        return reader, writer

    async def greet(self, role=greetings.ROLE_CLIENT):
        """Connect and say a proper hello; return the streams and the answer."""
        reader, writer = await self.open()
        hello = greetings.Hello(
            protocol=greetings.PROTOCOL_VERSION,
            role=role,
            instance=f"i{len(self._connections)}",
            name="test",
        )
        writer.write(frame(msg.encode(hello)))
        return reader, writer, greetings.decode_greeting(await read_frame(reader))


async def read_frame(reader):
    length = int.from_bytes(await bounded(reader.readexactly(4)), "big")
    return await bounded(reader.readexactly(length))


async def is_hung_up(reader):
    with contextlib.suppress(ConnectionError):
        while await bounded(reader.read(65_536)):
            pass
    return True


@pytest.fixture
async def service(site):
    service = await Service(site).start(await site.control_plane())
    yield service
    await service.close()


async def test_1000_idle_connections_and_1000_silent_ones_slow_nobody_down(service):
    floor = statistics.median(await service.latencies())
    for _ in range(20):
        greeted = await asyncio.gather(*(service.greet() for _ in range(50)))
        assert all(isinstance(answer, greetings.Welcome) for _, _, answer in greeted)
        await asyncio.gather(*(service.open() for _ in range(50)))
    crowded = statistics.median(await service.latencies())
    print(f"median {1e3 * floor:.1f} ms alone, {1e3 * crowded:.1f} ms in the crowd")
    assert crowded < 5 * floor + 0.05
    await service.is_as_before()
    service.grows_within_bounds()


async def test_a_flood_of_connections_disturbs_nobody_and_writes_few_log_lines(service):
    is_over = asyncio.Event()
    host, port = service.site.base_address.removeprefix("tcp://").rsplit(":", 1)
    opened = 0

    async def flood(says):
        nonlocal opened
        while not is_over.is_set():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(says)
                writer.transport.abort() if not says else writer.close()
                opened += 1

    floods = [asyncio.ensure_future(flood(says)) for says in (b"", b"", b"GET / HTTP/1.1\r\n\r\n")]
    for _ in range(10):
        await service.latencies(10)
    is_over.set()
    await bounded(asyncio.gather(*floods))
    print(f"{opened:,} connections")
    assert opened > 300
    assert service.process.log.count("dropped") < 100
    await service.is_as_before()
    service.grows_within_bounds()


async def test_past_the_limit_of_open_files_connections_are_refused_and_nothing_spins(site):
    limited = 'ulimit -n 300 && exec "$0" "$@"'
    process = site.run(
        *("control-plane", "sh", "-c", limited, sys.executable, "-m", "fastqueue"),
        *("control-plane", "--processes", "0", "--base-address", site.base_address),
    )
    await process.says("listens at")
    assert "may open 300 files" in process.log
    service = await Service(site).start(process)
    answers = [(await service.greet())[2] for _ in range(400)]
    accepted = [a for a in answers if isinstance(a, greetings.Welcome)]
    refused = [a for a in answers if isinstance(a, greetings.Refusal)]
    assert len(accepted) > 100
    assert len(accepted) + len(refused) == 400
    assert {(a.code, a.retry) for a in refused} == {("too_many", True)}
    await service.latencies()
    cpu_s, at = service.cpu_s(), time.monotonic()
    await asyncio.sleep(0.5)  # what is measured is that nothing happens meanwhile
    assert service.cpu_s() - cpu_s < 0.5 * (time.monotonic() - at)
    assert "Too many open files" not in process.log
    await service.close()
    await service.is_as_before()
    service.grows_within_bounds()


async def test_clients_that_are_stopped_while_large_results_are_owed_to_them_hurt_nobody(service):
    service.site.write("greedy.py", GREEDY_CLIENT)
    address = service.site.base_address
    greedy = [
        service.site.run(f"greedy-{n}", sys.executable, "greedy.py", address) for n in range(3)
    ]
    for process in greedy:
        await process.says("submitted")
        process.signal(signal.SIGSTOP)

    async def all_done():
        stats = await service.client.inspect()
        return stats["queued"] == stats["running"] == 0

    await eventually(all_done, "180 large results")
    await service.is_as_before()
    service.grows_within_bounds()
    for process in greedy:
        process.signal(signal.SIGCONT)
    for process in greedy:
        await process.says("received 60")


async def test_subworkers_that_stop_reading_hurt_nobody(service):
    stuck = []
    for _ in range(3):
        _, writer, _ = await service.greet(greetings.ROLE_SUBWORKER)
        writer.transport.pause_reading()
        writer.write(frame(msg.encode(msg.Ready(["stuck"], 1_000, []))))
        stuck.append(writer)

    task_ids = await service.client.submit_batch([("stuck", ("x" * 300_000,)) for _ in range(200)])
    await service.is_as_before()
    service.grows_within_bounds()
    for writer in stuck:
        writer.transport.abort()
    await eventually(lambda: _all_queued(service.client, task_ids), "the leases to be taken back")


async def _all_queued(client, task_ids):
    results = await asyncio.gather(*map(client.get_task_result, task_ids))
    return {r.status for r in results} == {"queued"}


async def test_a_flood_of_submissions_is_overloaded_with_a_hint_that_the_client_honours(site):
    site.write("small.py", SMALL_CONTROL_PLANE)
    process = site.run("control-plane", sys.executable, "small.py", site.base_address)
    await process.says("listens at")
    service = Service(site)
    service.process = process
    site.write("tasks.py", TASKS)
    client = await site.client(retries=0)
    held = await client.submit_batch([("hold", ()) for _ in range(200)])
    service.baseline_bytes = service.rss_bytes()
    with pytest.raises(Overloaded) as caught:
        await client.delay("hold")
    assert caught.value.retry_after_s > 0
    assert "200" in str(caught.value)
    flood = await asyncio.gather(
        *(client.delay("hold") for _ in range(20_000)), return_exceptions=True
    )
    assert {type(error) for error in flood} == {Overloaded}
    patient = await site.client(retries=20, timeout=30)
    begun = time.monotonic()
    waiting = asyncio.ensure_future(patient.submit_batch([("add", (n, 1)) for n in range(50)]))
    site.touch("gate")
    site.subworker("worker", "--concurrency", "50")
    results = await bounded(waiting)
    # The first answer was a refusal, and it wasn't asked again any sooner than it was told.
    assert time.monotonic() - begun >= caught.value.retry_after_s
    assert len(results) == 50
    assert len([r async for r in client.as_completed(held, timeout=30)]) == 200
    service.client = client
    await service.is_as_before()
    service.grows_within_bounds()


async def test_frames_and_payloads_over_the_limit_and_garbage_cost_their_senders_alone(service):
    with pytest.raises(PayloadTooLarge):
        await service.client.delay("add", "x" * (17 * MIB), 1)
    # A peer that doesn't check it itself is told for each task, and stays.
    reader, writer, welcome = await service.greet()
    too_large = [NewTask(f"{n:036d}", "add", 2, 0, b"x" * (16 * MIB + 1)) for n in range(1)]
    writer.write(frame(msg.encode(msg.Submit(1, too_large))))
    answer = msg.encode(["payload_too_large"])[2:]
    assert answer in await read_frame(reader)
    del too_large
    writer.close()
    # A frame over the limit is refused by its length, whatever follows.
    for _ in range(20):
        reader, writer, welcome = await service.greet()
        writer.write((welcome.frame_bytes_max + 1).to_bytes(4, "big") + bytes(100_000))
        assert await is_hung_up(reader)
    for _ in range(20):
        reader, writer = await service.open()
        writer.write((4 * 1024 + 1).to_bytes(4, "big") + bytes(100_000))
        assert await is_hung_up(reader)
    # Many small ones: the first of each kind ends its connection.
    for body in (b"", b"\xc1", msg.encode([99]), msg.encode([1, 2]), os.urandom(50)):
        reader, writer, _ = await service.greet()
        writer.write(frame(body) * 20_000)
        assert await is_hung_up(reader)
    await service.is_as_before()


async def begin_frames(service, count):
    """Have peers begin the largest frame there is, and stop in the middle of it."""
    for _ in range(count):
        _, writer, welcome = await service.greet()
        writer.write(welcome.frame_bytes_max.to_bytes(4, "big") + bytes(16 * MIB))


async def test_large_frames_that_are_begun_and_not_ended_cost_little(service):
    await begin_frames(service, 40)
    await service.latencies()
    # What peers usually send doesn't wait for any of them.
    batch = [("add", ("x" * 100_000, "y")) for _ in range(20)]
    assert len(await bounded(service.client.submit_batch(batch))) == 20
    await service.is_as_before()
    service.grows_within_bounds()


async def test_a_large_frame_gets_through_behind_some_that_are_never_ended(service):
    await begin_frames(service, 2)
    patient = await service.site.client(timeout=60)
    result = await bounded(patient.submit_task("add", ("x" * (10 * MIB), "y")))
    assert len(result.result) == 10 * MIB + 1
    assert "and others wait" in service.process.log
