"""Own the listeners: take callbacks as the client guide says, note each.

`python -m tests.torture.listener ADDRESS NAME` runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys

from tests.torture.ledger import Ledger, now

from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer


async def main():
    address, name = sys.argv[1:]
    ledger = Ledger(f"{name}.jsonl")
    listener = PairPattern(address, is_server=True)
    await listener.start()
    print("listening", flush=True)
    while True:
        body = TaskSerializer.deserialize(await listener.recv(), SerializationFormat.JSON)
        ledger.note("called", body.pop("task_id"), body, now())


if __name__ == "__main__":
    asyncio.run(main())
