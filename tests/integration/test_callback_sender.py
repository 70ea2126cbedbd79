"""Delivering callbacks to real listeners in processes of their own, well-behaved or not."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import pytest

from fastqueue.control_plane.callback_sender import CallbackSender
from fastqueue.errors import ClientStateError
from fastqueue.patterns.nng_patterns import PairPattern

ANYWHERE = "tcp://127.0.0.1:0"
LONG_S = 30.0

LOOPING = """
import sys, pynng
with pynng.Pair0(listen=sys.argv[1]) as socket:
    print("ready", socket.listeners[0].local_address, flush=True)
    while True:
        print(socket.recv().decode(), flush=True)
"""

ONE_SHOT = """
import asyncio, sys
from fastqueue.patterns.nng_patterns import PairPattern
async def main():
    listener = PairPattern(sys.argv[1], is_server=True)
    await listener.start()
    print("ready", listener.address.removeprefix("tcp://"), flush=True)
    try:
        data = await listener.recv()
    finally:
        listener.close()
    print(data.decode(), flush=True)
asyncio.run(main())
"""

NEVER_READING = """
import sys, pynng
with pynng.Pair0(listen=sys.argv[1], recv_buffer_size=1) as socket:
    print("ready", socket.listeners[0].local_address, flush=True)
    sys.stdin.read()
"""

TALKATIVE = """
import sys, pynng
with pynng.Pair0(listen=sys.argv[1]) as socket:
    print("ready", socket.listeners[0].local_address, flush=True)
    while True:
        body = socket.recv().decode()
        for _ in range(50):
            socket.send(b"thank you " * 100)
        print(body, flush=True)
"""


class Listener:
    """Be a callback listener in a process of its own."""

    def __init__(self, process, address):
        self.process = process
        self.address = address

    async def line(self):
        async with asyncio.timeout(LONG_S):
            return (await self.process.stdout.readline()).decode().strip()

    async def lines(self, count):
        return [await self.line() for _ in range(count)]

    async def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def listening(code, address=ANYWHERE):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    listener = Listener(process, address)
    try:
        ready, where = (await listener.line()).split()
        assert ready == "ready"
        if address.startswith("tcp://"):
            listener.address = f"tcp://{where}"
        yield listener
    finally:
        await listener.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def sending(**options):
    sender = CallbackSender(**options)
    try:
        yield sender
    finally:
        await sender.aclose()


async def free_address():
    async with PairPattern(ANYWHERE, is_server=True) as pair:
        return pair.address


async def delivered(sender, address, bodies):
    """Deliver as the outbox does: try again with what is left."""
    done = 0
    async with asyncio.timeout(LONG_S):
        while done < len(bodies):
            done += await sender.deliver(address, bodies[done:])


async def eventually(holds):
    for _ in range(int(LONG_S / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_a_plain_listener_gets_each_callback_once_and_in_order():
    bodies = [b"%d" % number for number in range(50)]
    async with sending() as sender, listening(LOOPING) as listener:
        assert await sender.deliver(listener.address, bodies[:1]) == 1
        assert await sender.deliver(listener.address, bodies[1:]) == 49
        assert await listener.lines(50) == [body.decode() for body in bodies]


async def test_a_unix_socket_listener_gets_its_callback(tmp_path):
    async with sending() as sender, listening(LOOPING, f"ipc://{tmp_path}/callback") as listener:
        assert await sender.deliver(listener.address, [b"hello"]) == 1
        assert await listener.line() == "hello"


async def test_a_pair_pattern_in_the_same_process_gets_its_callback():
    async with sending() as sender, PairPattern(ANYWHERE, is_server=True) as listener:
        assert await sender.deliver(listener.address, [b"hello"]) == 1
        assert await asyncio.wait_for(listener.recv(), LONG_S) == b"hello"


async def test_the_listener_of_the_guide_receives_one_and_closes_and_that_one_counts():
    async with sending() as sender:
        address = await free_address()
        for number in range(5):
            async with listening(ONE_SHOT, address) as listener:
                assert await sender.deliver(address, [b"%d" % number]) == 1
                assert await listener.line() == str(number)
                assert await listener.process.wait() == 0


async def test_a_listener_that_takes_one_of_several_leaves_the_others_to_its_successors():
    bodies = [b"%d" % number for number in range(4)]
    async with sending(confirm_s=LONG_S) as sender:  # the listener's end cuts it short
        address = await free_address()
        done = 0
        received = []
        while done < len(bodies):
            async with listening(ONE_SHOT, address) as listener:
                count = await sender.deliver(address, bodies[done:])
                assert count == 1
                done += count
                received.append(await listener.line())
        assert received == ["0", "1", "2", "3"]


async def test_a_listener_that_starts_late_gets_its_callback():
    address = await free_address()
    async with sending(connect_timeout_s=0.1) as sender:
        assert await sender.deliver(address, [b"hello"]) == 0
        async with listening(LOOPING, address) as listener:
            await delivered(sender, address, [b"hello"])
            assert await listener.line() == "hello"


async def test_a_listener_that_starts_while_we_wait_gets_its_callback():
    address = await free_address()
    async with sending(connect_timeout_s=LONG_S) as sender:
        delivering = asyncio.create_task(sender.deliver(address, [b"hello"]))
        await asyncio.sleep(0)
        async with listening(LOOPING, address) as listener:
            assert await delivering == 1
            assert await listener.line() == "hello"


async def test_a_listener_that_never_exists_gets_nothing_and_holds_up_no_one():
    nowhere = await free_address()
    async with sending(connect_timeout_s=0.2) as sender, listening(LOOPING) as listener:
        to_nowhere = asyncio.create_task(sender.deliver(nowhere, [b"lost"]))
        assert await sender.deliver(listener.address, [b"hello"]) == 1
        assert await listener.line() == "hello"
        assert await to_nowhere == 0


async def test_a_killed_listener_misses_nothing_that_comes_after_its_restart():
    address = await free_address()
    async with sending(connect_timeout_s=0.2) as sender:
        for round_ in range(3):
            async with listening(LOOPING, address) as listener:
                await delivered(sender, address, [b"%d a" % round_, b"%d b" % round_])
                assert await listener.lines(2) == [f"{round_} a", f"{round_} b"]
                await listener.kill()
            assert await sender.deliver(address, [b"nobody there"]) == 0


async def test_what_a_killed_listener_was_not_sure_to_have_goes_to_its_successor():
    address = await free_address()
    async with sending(connect_timeout_s=0.2) as sender:
        done = 0

        async def stream():
            nonlocal done
            count = 200
            while count == 200:
                count = await sender.deliver(
                    address, [b"%d" % number for number in range(done, done + 200)]
                )
                done += count

        async with listening(LOOPING, address) as first:
            streaming = asyncio.create_task(stream())
            assert await first.lines(1000) == [str(number) for number in range(1000)]
            await first.kill()
            async with asyncio.timeout(LONG_S):
                await streaming
            rest = (await first.process.stdout.read()).decode().splitlines()
        async with listening(LOOPING, address) as second:
            await delivered(sender, address, [b"%d" % number for number in range(done, done + 50)])
            assert await second.lines(50) == [str(number) for number in range(done, done + 50)]
        # It kept pace, so between the two nothing is missing.
        assert done <= 1000 + len(rest)


async def test_a_delivery_given_up_leaves_the_sender_usable():
    address = await free_address()
    async with sending(connect_timeout_s=LONG_S) as sender:
        delivering = asyncio.create_task(sender.deliver(address, [b"given up"]))
        await asyncio.sleep(0)
        delivering.cancel()
        await asyncio.wait([delivering])
        async with listening(LOOPING, address) as listener:
            await delivered(sender, address, [b"hello"])
            assert await listener.line() == "hello"


async def test_a_listener_that_has_a_peer_gets_ours_only_when_that_one_is_gone():
    # Being dropped cuts the settling short.
    async with sending(settle_s=1.0) as sender, listening(LOOPING) as listener:
        async with PairPattern(listener.address) as other:
            await other.send(b"from the other")
            assert await listener.line() == "from the other"
            for _ in range(5):
                assert await sender.deliver(listener.address, [b"ours"]) == 0
        await delivered(sender, listener.address, [b"ours"])
        assert await listener.line() == "ours"


async def test_a_listener_that_never_reads_costs_a_bounded_wait_and_its_callbacks_are_kept():
    body = b"x" * 1_000_000
    async with sending(send_timeout_s=0.2) as sender, listening(NEVER_READING) as listener:
        done = await sender.deliver(listener.address, [body] * 40)
        assert done < 40
        async with listening(LOOPING) as other:
            assert await sender.deliver(other.address, [b"hello"]) == 1


async def test_a_large_callback_arrives_whole():
    async with sending() as sender, listening(ONE_SHOT) as listener:
        assert await sender.deliver(listener.address, [b"x" * 60_000]) == 1
        assert len(await listener.line()) == 60_000


async def test_a_listener_that_answers_loses_nothing_by_it():
    bodies = [b"%d" % number for number in range(20)]
    async with sending(idle_timeout_s=0.05) as sender, listening(TALKATIVE) as listener:
        for body in bodies:
            await delivered(sender, listener.address, [body])
        assert await listener.lines(20) == [body.decode() for body in bodies]


async def test_a_stream_of_thousands_arrives_in_order_and_quickly():
    bodies = [b"%d" % number for number in range(5000)]
    async with sending() as sender, listening(LOOPING) as listener:
        reading = asyncio.create_task(listener.lines(len(bodies)))
        started = time.perf_counter()
        for first in range(0, len(bodies), 500):
            assert await sender.deliver(listener.address, bodies[first : first + 500]) == 500
        taken_s = time.perf_counter() - started
        assert await reading == [body.decode() for body in bodies]
        print(f"{len(bodies) / taken_s:.0f} callbacks/s in batches of 500")


async def test_deliveries_to_one_address_at_the_same_time_share_its_connection():
    async with sending() as sender, listening(LOOPING) as listener:
        results = await asyncio.gather(
            *(sender.deliver(listener.address, [b"%d" % number]) for number in range(200))
        )
        assert results == [1] * 200
        assert await listener.lines(200) == [str(number) for number in range(200)]
        assert sender.connection_count == 1


async def test_an_idle_connection_is_closed_so_that_others_may_connect():
    async with sending(idle_timeout_s=0.05) as sender, listening(LOOPING) as listener:
        assert await sender.deliver(listener.address, [b"ours"]) == 1
        async with PairPattern(listener.address, send_timeout_s=LONG_S) as other:
            await eventually(lambda: sender.connection_count == 0)
            await other.send(b"from the other")
        assert await listener.lines(2) == ["ours", "from the other"]


async def test_the_number_of_connections_is_bounded_and_idle_ones_give_way():
    async with contextlib.AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(PairPattern(ANYWHERE, is_server=True)) for _ in range(6)
        ]
        sender = await stack.enter_async_context(sending(connections_max=3))
        for listener in listeners:
            assert await sender.deliver(listener.address, [b"hello"]) == 1
            assert sender.connection_count <= 3
            assert await asyncio.wait_for(listener.recv(), LONG_S) == b"hello"


async def test_when_every_connection_is_busy_the_callback_stays_with_the_caller():
    nowhere, elsewhere = await free_address(), await free_address()
    async with sending(connections_max=1, connect_timeout_s=LONG_S) as sender:
        waiting = asyncio.create_task(sender.deliver(nowhere, [b"x"]))
        await asyncio.sleep(0)
        assert await sender.deliver(elsewhere, [b"x"]) == 0
        sender.close()
        assert await waiting == 0


async def test_no_bodies_need_no_listener():
    async with sending() as sender:
        assert await sender.deliver(await free_address(), []) == 0
        assert sender.connection_count == 0


async def test_an_address_that_cannot_be_dialled_is_reported_and_not_delivered(caplog):
    async with sending() as sender:
        assert await sender.deliver("nonsense", [b"x"]) == 0
    assert "nonsense" in caplog.text


async def test_a_closed_sender_says_so():
    sender = CallbackSender()
    sender.close()
    sender.close()
    await sender.aclose()
    with pytest.raises(ClientStateError, match="closed"):
        await sender.deliver("tcp://127.0.0.1:1", [b"x"])
