"""Be told when tasks are over, instead of asking.

In this folder, in one terminal each:

    fastqueue control-plane --task-modules tasks
    python callbacks.py

A callback is sent once the result is stored, and again until somebody takes it: a listener that
is restarted, or a control plane that is, loses none. Any NNG Pair0 socket in any language will do.
"""

import asyncio

from fastqueue import Client
from fastqueue.patterns.nng_patterns import PairPattern
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer


async def main() -> None:
    """Submit some reports, one of them impossible, and print what becomes of them."""
    # Port 0 lets the system choose a free one; `listener.address` then says which.
    async with PairPattern("tcp://127.0.0.1:0", is_server=True) as listener, Client() as client:
        for days in (7, 0, 30):
            submitted = await client.delay_with_callback(
                "reports.build",
                listener.address,
                "ada",
                days=days,
                callback_data={"days": days},
            )
            print(f"submitted {submitted.task_id}")

        # The same callback may arrive twice, if the connection broke at the wrong moment.
        told: set[str] = set()
        while len(told) < 3:
            callback = TaskSerializer.deserialize(await listener.recv(), SerializationFormat.JSON)
            if callback["task_id"] in told:
                continue
            told.add(callback["task_id"])
            outcome = callback["result"] or callback["error"]
            print(f"{callback['callback_data']['days']} days: {callback['status']}: {outcome}")


asyncio.run(main())
