"""Sockets that dial are closed when NNG can stand it, and all the same don't come back."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys

import pynng
import pytest
from tests.ports import free_address

from fastqueue.patterns._closing import finish
from fastqueue.patterns.nng_patterns import BusPattern

LONG_S = 20.0

# Holds up NNG's threads where one that the system holds up brings NNG 1.11 down.
HOLD_UP = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static __thread unsigned chance;

void nni_task_dispatch(void *task)
{
    void *nng = dlopen(getenv("NNG_LIBRARY"), RTLD_NOLOAD | RTLD_NOW);
    void (*real)(void *) = (void (*)(void *)) dlsym(nng, "nni_task_dispatch");
    if (chance == 0)
        chance = (unsigned) (size_t) &chance;
    if (rand_r(&chance) % 4 == 0) {
        struct timespec pause = {0, rand_r(&chance) % 5000 * 1000L};
        nanosleep(&pause, NULL);
    }
    real(task);
}
"""

CLOSE_MANY = """
import asyncio, sys
from fastqueue.patterns.nng_patterns import BusPattern

async def main():
    for _ in range(20):
        ears = [BusPattern(sys.argv[1], reconnect_max_s=0.1) for _ in range(20)]
        for ear in ears:
            await ear.start()
        await asyncio.sleep(0.001)
        for ear in ears:
            ear.close()

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_close_during_an_attempt_to_connect_does_not_abort_the_process(tmp_path):
    (tmp_path / "hold_up.c").write_text(HOLD_UP)
    library = tmp_path / "hold_up.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, tmp_path / "hold_up.c", "-ldl"], check=True
    )
    done = subprocess.run(
        [sys.executable, "-c", CLOSE_MANY, free_address()],
        env={**os.environ, "LD_PRELOAD": str(library), "NNG_LIBRARY": pynng._nng.__file__},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_socket_closed_before_its_listener_came_does_not_connect_to_it_later():
    address = free_address()
    early = BusPattern(address, reconnect_max_s=0.1)
    await early.start()
    early.close()
    finish()
    connected = asyncio.Semaphore(0)
    async with (
        BusPattern(address, listen=True, on_connect=connected.release),
        BusPattern(address, reconnect_max_s=0.1),
        asyncio.timeout(LONG_S),
    ):
        await connected.acquire()
        assert connected.locked()


def test_a_socket_whose_peer_takes_its_connection_and_says_nothing_is_closed_too():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LONG_S)

        async def dial_and_close():
            bus = BusPattern(f"tcp://127.0.0.1:{server.getsockname()[1]}", reconnect_max_s=0.1)
            await bus.start()
            connection, _ = await asyncio.to_thread(server.accept)
            bus.close()
            return connection

        with asyncio.run(dial_and_close()) as connection:
            connection.settimeout(LONG_S)
            while connection.recv(100):
                pass
