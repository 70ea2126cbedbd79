"""A process that used the patterns ends: promptly, with its own exit code, without a word."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMON = """
import asyncio, gc
from fastqueue.control_plane.callback_sender import CallbackSender
from fastqueue.control_plane.discovery import Announcer
from fastqueue.link.discovery import DiscoveryListener
from fastqueue.patterns.nng_patterns import *
from fastqueue.protocol.announcement import Announcement

async def open_all():
    kept = []
    for pattern in (ReqRepPattern, PairPattern, BusPattern, PubSubPattern, PushPullPattern,
                    SurveyorRespondentPattern):
        server = pattern("tcp://127.0.0.1:0", True)
        await server.start()
        client = pattern(server.address)
        await client.start()
        kept += [server, client]
    server, client = kept[2:4]
    await client.send(b"x")
    return kept

async def receiving(patterns):
    # All but those that only send, and those that would have to ask first.
    able = [one for one in (*patterns[:1], *patterns[2:10], patterns[11]) if one._can_recv]
    tasks = [asyncio.create_task(one.recv()) for one in able]
    await asyncio.sleep(0.01)
    return tasks
"""

ENDINGS = {
    "all_closed": """
async def main():
    for one in await open_all():
        one.close()
asyncio.run(main())
""",
    "nothing_closed": """
kept = asyncio.run(open_all())
""",
    "nothing_closed_and_receives_pending": """
async def main():
    kept = await open_all()
    return kept, await receiving(kept)
kept = asyncio.run(main())
""",
    "loop_stopped_with_receives_pending_and_never_closed": """
loop = asyncio.new_event_loop()
kept = loop.run_until_complete(open_all())
reply = loop.create_task(kept[0].recv())
loop.run_until_complete(kept[1].send(b"question"))
loop.run_until_complete(asyncio.sleep(0.05))
loop.set_exception_handler(lambda *_: None)
""",
    "closed_after_the_loop": """
kept = asyncio.run(open_all())
for one in kept:
    one.close()
""",
    "closed_with_receives_pending": """
async def main():
    kept = await open_all()
    tasks = await receiving(kept)
    for one in kept:
        one.close()
    await asyncio.wait(tasks)
    for task in tasks:
        task.exception()
asyncio.run(main())
""",
    "forgotten_and_collected": """
async def main():
    await open_all()
    gc.collect()
asyncio.run(main())
gc.collect()
""",
    "discovery_and_callbacks_left_running": """
async def main():
    announcer = Announcer("tcp://127.0.0.1:0", Announcement("cp", "tcp://127.0.0.1:1", 1, 1))
    await announcer.start()
    found = asyncio.Event()
    listener = DiscoveryListener(announcer.discovery_address, lambda _: found.set())
    await listener.start()
    await found.wait()
    async with PairPattern("tcp://127.0.0.1:0", is_server=True) as pair:
        sender = CallbackSender()
        assert await sender.deliver(pair.address, [b"x"]) == 1
        kept.extend([announcer, listener, sender])
kept = []
asyncio.run(main())
""",
    "an_error_in_the_program": """
async def main():
    kept.extend(await open_all())
    kept.extend(await receiving(kept))
    raise SystemExit(7)
kept = []
asyncio.run(main())
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_process_ends_promptly_and_silently(ending):
    done = subprocess.run(
        [sys.executable, "-c", COMMON + ENDINGS[ending]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    expected = 7 if ending == "an_error_in_the_program" else 0
    assert (done.returncode, done.stderr) == (expected, "")
