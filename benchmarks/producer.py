"""Be one of several producers: wait for a line on standard input, submit, collect, say the time."""

from __future__ import annotations

import sys
import time

import uvloop

from benchmarks.load import collect, submit_one_by_one
from fastqueue import Client


async def main(address: str, count: int) -> None:
    async with Client(control_plane_address=address, timeout=60) as client:
        await client.submit_task("noop")
        print("ready", flush=True)
        sys.stdin.readline()
        ids = await submit_one_by_one(client, "noop", count)
        await collect(client, ids)
        print(time.time(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
