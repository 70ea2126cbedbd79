"""Opening, failing and closing thousands of times costs nothing that stays.

Each measures a process of its own: after a warm-up, what grows per cycle is compared with what
one leaked message per cycle would cost.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

COMMON = """
import asyncio, gc, json, os, socket, struct
from fastqueue.control_plane.callback_sender import CallbackSender
from fastqueue.errors import PatternTimeout
from fastqueue.patterns._closing import finish
from fastqueue.patterns.nng_patterns import PairPattern, ReqRepPattern

BODY = b"x" * 100_000

def measured():
    gc.collect()
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return {
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }

async def compare(cycle, count):
    # How long a step takes depends on what else the machine does, and is nothing to warn of here.
    asyncio.get_running_loop().slow_callback_duration = 60.0
    for _ in range(count):
        await cycle()
    await asyncio.to_thread(finish)
    before = measured()
    for _ in range(2 * count):
        await cycle()
    await asyncio.to_thread(finish)
    after = measured()
    print(json.dumps({key: after[key] - before[key] for key in after} | {"cycles": 2 * count}))

def connect_without_reading(address, protocol):
    # The handshake of NNG's TCP transport, by hand: a peer that is there and never reads.
    connection = socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])))
    connection.sendall(b"\\0SP\\0" + struct.pack(">HH", protocol, 0))
    return connection
"""

NOBODY_THERE = """
async def cycle():
    for pair in (
        PairPattern("tcp://127.0.0.1:0", is_server=True, send_timeout_s=0),
        PairPattern("tcp://127.0.0.1:1", send_timeout_s=0),
    ):
        await pair.start()
        try:
            await pair.send(BODY)
        except PatternTimeout:
            pass
        pair.close()

asyncio.run(compare(cycle, 700))
"""

CONNECTED = """
async def cycle():
    async with PairPattern("tcp://127.0.0.1:0", is_server=True) as server:
        async with PairPattern(server.address) as client:
            await client.send(BODY)
            assert await server.recv() == BODY

asyncio.run(compare(cycle, 500))
"""

PEER_NEVER_READS = """
async def main():
    async with PairPattern("tcp://127.0.0.1:0", is_server=True, send_timeout_s=0.001) as pair:
        connection = connect_without_reading(pair.address, 0x10)
        await pair.wait_connected(20)

        async def cycle():
            try:
                await pair.send(BODY)
            except PatternTimeout:
                pass

        await compare(cycle, 300)
        connection.close()

asyncio.run(main())
"""

CLIENT_NEVER_TAKES_ITS_REPLIES = """
async def main():
    async with ReqRepPattern("tcp://127.0.0.1:0", is_server=True, send_timeout_s=0.01) as server:
        connection = connect_without_reading(server.address, 0x30)
        number = 0

        async def cycle():
            nonlocal number
            number += 1
            request = struct.pack(">I", 0x80000000 | number) + b"?"
            connection.sendall(struct.pack(">Q", len(request)) + request)
            assert await server.recv() == b"?"
            await server.send(BODY)

        await compare(cycle, 500)
        connection.close()

asyncio.run(main())
"""

CALLBACKS_TO_NOBODY = """
async def main():
    sender = CallbackSender(connect_timeout_s=0)

    async def cycle():
        assert await sender.deliver("tcp://127.0.0.1:1", [BODY]) == 0

    await compare(cycle, 500)
    await sender.aclose()

asyncio.run(main())
"""

BODY_BYTES = 100_000


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(NOBODY_THERE, id="nobody_there"),
        pytest.param(CONNECTED, id="connected"),
        pytest.param(PEER_NEVER_READS, id="peer_never_reads"),
        pytest.param(CLIENT_NEVER_TAKES_ITS_REPLIES, id="client_never_takes_its_replies"),
        pytest.param(CALLBACKS_TO_NOBODY, id="callbacks_to_nobody"),
    ],
)
def test_thousands_of_cycles_leave_nothing_behind(code):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", COMMON + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    growth = json.loads(done.stdout)
    print(growth)
    assert growth["rss_bytes"] / growth["cycles"] < BODY_BYTES / 50
    assert growth["descriptors"] <= 3
    assert growth["threads"] <= 1
