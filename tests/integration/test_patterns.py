"""The patterns over real sockets: what arrives, what closing does, what a stopped peer can't do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pynng
import pytest
import uvloop

from fastqueue.errors import PatternClosed, PatternError, PatternTimeout
from fastqueue.patterns.nng_patterns import (
    BusPattern,
    PairPattern,
    PubSubPattern,
    PushPullPattern,
    ReqRepPattern,
    SurveyorRespondentPattern,
)

ANYWHERE = "tcp://127.0.0.1:0"
LONG_S = 20.0
"""A bound for what should take milliseconds; never waited for when all is well."""


@contextlib.contextmanager
def process(code: str, *arguments: str):
    """Run `code` in a Python of its own, killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@contextlib.asynccontextmanager
async def connected_pair(**options):
    async with (
        PairPattern(ANYWHERE, is_server=True) as server,
        PairPattern(server.address, **options) as client,
    ):
        await client.wait_connected(LONG_S)
        await server.wait_connected(LONG_S)
        yield server, client


async def receive_all(pattern, count):
    async with asyncio.timeout(LONG_S):
        return [await pattern.recv() for _ in range(count)]


async def test_a_pair_talks_both_ways_in_order():
    async with connected_pair() as (server, client):
        for number in range(100):
            await client.send(b"to server %d" % number)
            await server.send(b"to client %d" % number)
        assert await receive_all(server, 100) == [b"to server %d" % n for n in range(100)]
        assert await receive_all(client, 100) == [b"to client %d" % n for n in range(100)]


@pytest.mark.parametrize("data", [b"", b"x", bytearray(b"xy"), memoryview(b"xyz")])
async def test_what_is_like_bytes_arrives_as_bytes(data):
    async with connected_pair() as (server, client):
        await client.send(data)
        assert await receive_all(server, 1) == [bytes(data)]


async def test_sixteen_mebibytes_arrive():
    data = os.urandom(16 * 1024 * 1024)
    async with connected_pair() as (server, client):
        await client.send(data)
        assert await receive_all(server, 1) == [data]


async def test_a_client_may_start_before_its_server():
    async with PairPattern(ANYWHERE, is_server=True) as server:
        address = server.address
    async with PairPattern(address) as client:
        sending = asyncio.create_task(client.send(b"early"))
        async with PairPattern(address, is_server=True) as server:
            assert await receive_all(server, 1) == [b"early"]
            await sending


async def test_a_pair_knows_when_its_peer_comes_and_goes():
    async with PairPattern(ANYWHERE, is_server=True) as server:
        assert not server.is_connected
        with pytest.raises(PatternTimeout, match=server.address):
            await server.wait_connected(0.01)
        async with PairPattern(server.address):
            await server.wait_connected(LONG_S)
            assert server.is_connected
        assert await server.wait_disconnected(0, LONG_S)
        assert not server.is_connected


async def test_a_second_client_of_a_pair_is_dropped():
    async with connected_pair() as (server, client), PairPattern(server.address) as second:
        assert await second.wait_disconnected(0, LONG_S)
        await client.send(b"still here")
        assert await receive_all(server, 1) == [b"still here"]


async def test_a_receive_that_is_given_up_never_loses_a_message():
    """`wait_for` gives up again and again, most often just as something arrives."""
    count = 1000
    given_up = 0
    async with connected_pair() as (server, client):

        async def send():
            for number in range(count):
                await client.send(b"%d" % number)
                await asyncio.sleep(0.0005)

        sending = asyncio.create_task(send())
        received = []
        async with asyncio.timeout(60):
            while len(received) < count:
                try:
                    received.append(await asyncio.wait_for(server.recv(), 0.0006))
                except TimeoutError:
                    given_up += 1
        await sending
    assert received == [b"%d" % number for number in range(count)]
    assert given_up > 50


async def test_cancelling_a_receive_at_any_moment_never_loses_a_message():
    count = 300
    async with connected_pair() as (server, client):
        received = []
        for number in range(count):
            receiving = asyncio.create_task(server.recv())
            await client.send(b"%d" % number)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                received.append(await receiving)
        async with asyncio.timeout(LONG_S):
            while len(received) < count:
                received.append(await server.recv())
    assert received == [b"%d" % number for number in range(count)]


async def test_many_receivers_share_what_arrives():
    async with connected_pair() as (server, client):
        receivers = [asyncio.create_task(receive_all(server, 10)) for _ in range(10)]
        for number in range(100):
            await client.send(b"%d" % number)
        received = [data for share in await asyncio.gather(*receivers) for data in share]
    assert sorted(received, key=int) == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_what_was_sent_just_before_a_close_arrives(count):
    for _ in range(10):
        async with PairPattern(ANYWHERE, is_server=True) as server:
            client = PairPattern(server.address)
            await client.start()
            for number in range(count):
                await client.send(b"%d" % number + b"x" * 10_000)
            client.close()
            received = await receive_all(server, count)
            assert [int(data.rstrip(b"x")) for data in received] == list(range(count))


async def test_a_large_message_sent_just_before_a_close_arrives():
    data = b"x" * 16_000_000
    async with PairPattern(ANYWHERE, is_server=True) as server:
        client = PairPattern(server.address, linger_s=LONG_S)
        await client.start()
        receiving = asyncio.create_task(server.recv())
        await client.send(data)
        client.close()
        async with asyncio.timeout(LONG_S):
            assert await receiving == data


@pytest.mark.parametrize(
    ("pattern", "count"),
    [(PubSubPattern, 500), (PushPullPattern, 500), (BusPattern, 500)],
)
async def test_a_burst_sent_just_before_a_close_arrives(pattern, count):
    async with pattern(ANYWHERE, True) as server, pattern(server.address) as client:
        await _wait_until_heard(server, client)
        for number in range(count):
            await server.send(b"%d" % number)
        server.close()
        numbers = [b"%d" % number for number in range(count)]
        assert await _until(client, numbers[-1]) == numbers


async def _wait_until_heard(server, client):
    """Send until the client hears it: nothing else tells that a subscription has arrived."""
    async with asyncio.timeout(LONG_S):
        while True:
            await server.send(b"hello")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.05)
                return


@pytest.mark.parametrize(
    ("pattern", "listens"),
    [
        (ReqRepPattern, True),
        (PairPattern, True),
        (PairPattern, False),
        (BusPattern, True),
        (PubSubPattern, False),
        (PushPullPattern, False),
        (SurveyorRespondentPattern, False),
    ],
)
async def test_closing_ends_the_receives_that_wait(pattern, listens):
    one = pattern(ANYWHERE if listens else "tcp://127.0.0.1:1", listens)
    await one.start()
    receiving = [asyncio.create_task(one.recv()) for _ in range(3)]
    await asyncio.sleep(0)
    one.close()
    results = await asyncio.wait_for(asyncio.gather(*receiving, return_exceptions=True), LONG_S)
    assert [type(result) for result in results] == [PatternClosed] * 3


async def test_closing_ends_a_send_that_waits():
    one = PairPattern(ANYWHERE, is_server=True, send_timeout_s=None)
    await one.start()
    sending = asyncio.create_task(one.send(b"x"))
    await asyncio.sleep(0)
    one.close()
    with pytest.raises(PatternClosed):
        await asyncio.wait_for(sending, LONG_S)


async def test_a_send_with_nobody_there_gives_up_and_says_where():
    async with PairPattern(ANYWHERE, is_server=True, send_timeout_s=0.05) as pair:
        with pytest.raises(PatternTimeout, match=pair.address):
            await pair.send(b"x")


async def test_a_receive_with_nothing_there_gives_up_and_says_where():
    async with PairPattern(ANYWHERE, is_server=True, recv_timeout_s=0.05) as pair:
        with pytest.raises(PatternTimeout, match=pair.address):
            await pair.recv()


async def test_a_message_over_the_limit_costs_its_sender_the_connection_and_nobody_memory():
    async with PairPattern(ANYWHERE, is_server=True, recv_bytes_max=1000) as server:
        async with PairPattern(server.address) as rude:
            await rude.send(b"x" * 1001)
            assert await rude.wait_disconnected(0, LONG_S)
        async with PairPattern(server.address) as polite:
            await polite.send(b"x" * 1000)
            assert await receive_all(server, 1) == [b"x" * 1000]


async def test_a_stranger_who_does_not_speak_nng_disturbs_nobody():
    async with PairPattern(ANYWHERE, is_server=True) as server:
        host, port = server.address.removeprefix("tcp://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(1000))
        async with PairPattern(server.address) as client:
            await client.send(b"hello")
            assert await receive_all(server, 1) == [b"hello"]
        writer.close()


async def test_a_pair_over_a_unix_socket_outlives_what_a_killed_server_left(tmp_path):
    address = f"ipc://{tmp_path}/pair.ipc"
    code = (
        "import pynng, sys\n"
        "pynng.Pair0(listen=sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    )
    with process(code, address) as child:
        await asyncio.to_thread(child.stdout.readline)
    async with PairPattern(address, is_server=True) as server, PairPattern(address) as client:
        await client.send(b"hello")
        assert await receive_all(server, 1) == [b"hello"]


@pytest.mark.parametrize("scheme", ["ipc", "IPC", "unix"])
async def test_a_unix_socket_is_its_owners_alone_and_takes_no_others_place(tmp_path, scheme):
    path = tmp_path / "socket"
    address = f"{scheme}://{path}"
    umask = os.umask(0)
    try:
        async with PairPattern(address, is_server=True):
            assert path.stat().st_mode & 0o777 == 0o600
            with pytest.raises(PatternError, match="in use"):
                await BusPattern(address, listen=True).start()
            assert path.is_socket()
    finally:
        os.umask(umask)


async def test_a_file_or_link_where_a_pattern_is_to_listen_stays_as_it_is(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("precious")
    link.symlink_to(file)
    for path in (file, link, tmp_path):
        with pytest.raises(PatternError, match=f"can't listen at ipc://{path}: .* is no socket"):
            await PairPattern(f"ipc://{path}", is_server=True).start()
    assert link.is_symlink()
    assert file.read_text() == "precious"


async def test_an_empty_request_gets_an_empty_reply():
    async with (
        ReqRepPattern(ANYWHERE, is_server=True) as server,
        ReqRepPattern(server.address, recv_timeout_s=LONG_S) as client,
    ):
        await client.send(b"")
        assert await server.recv() == b""
        await server.send(b"")
        assert await client.recv() == b""


async def serve(server):
    with contextlib.suppress(PatternClosed):
        while True:
            await server.send(b"re:" + await server.recv())


async def test_every_client_gets_the_reply_to_its_own_request():
    async with ReqRepPattern(ANYWHERE, is_server=True) as server:
        serving = asyncio.create_task(serve(server))

        async def ask(name):
            async with ReqRepPattern(server.address, recv_timeout_s=LONG_S) as client:
                for number in range(50):
                    await client.send(b"%s %d" % (name, number))
                    assert await client.recv() == b"re:%s %d" % (name, number)

        await asyncio.gather(*(ask(b"client %d" % number) for number in range(8)))
        server.close()
        await serving


async def test_a_request_stays_answerable_while_the_server_looks_for_the_next():
    async with (
        ReqRepPattern(ANYWHERE, is_server=True) as server,
        ReqRepPattern(server.address, recv_timeout_s=LONG_S) as client,
    ):
        await client.send(b"question")
        assert await server.recv() == b"question"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.recv(), 0.02)
        await server.send(b"answer")
        assert await client.recv() == b"answer"
        with pytest.raises(PatternError, match="receive first"):
            await server.send(b"a second answer")


async def test_a_request_whose_server_dies_fails_at_once_and_is_not_resent():
    async with ReqRepPattern(ANYWHERE, is_server=True) as server:
        address = server.address
        client = ReqRepPattern(address)
        await client.start()
        await client.send(b"once")
        assert await server.recv() == b"once"
    with pytest.raises(PatternError, match="reset"):
        await asyncio.wait_for(client.recv(), LONG_S)
    async with ReqRepPattern(address, is_server=True) as server:
        await client.send(b"again")
        assert await asyncio.wait_for(server.recv(), LONG_S) == b"again"
        await server.send(b"answer")
        assert await asyncio.wait_for(client.recv(), LONG_S) == b"answer"
    client.close()


STOPPED_CLIENT = """
import os, signal, sys, pynng
socket = pynng.Req0(resend_time=-1)
socket.dial(sys.argv[1], block=True)
contexts = [socket.new_context() for _ in range(8)]
for context in contexts:
    context.send(b"much")
print("asked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_stopped_client_holds_up_nobody_else():
    """Its eight replies are too large for the kernel to take: each must wait, on its own."""
    async with ReqRepPattern(ANYWHERE, is_server=True, send_timeout_s=60) as server:
        with process(STOPPED_CLIENT, server.address) as child:
            await asyncio.to_thread(child.stdout.readline)
            await asyncio.to_thread(os.waitpid, child.pid, os.WUNTRACED)
            for _ in range(8):
                assert await asyncio.wait_for(server.recv(), LONG_S) == b"much"
                await asyncio.wait_for(server.send(b"x" * 8_000_000), LONG_S)
            serving = asyncio.create_task(serve(server))
            async with ReqRepPattern(server.address, recv_timeout_s=LONG_S) as client:
                for number in range(20):
                    await client.send(b"%d" % number)
                    assert await client.recv() == b"re:%d" % number
            os.kill(child.pid, signal.SIGCONT)
        server.close()
        await serving


async def test_every_subscriber_hears_what_is_published():
    async with contextlib.AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(PubSubPattern(ANYWHERE, is_server=True))
        address = publisher.address
        everything = await stack.enter_async_context(PubSubPattern(address))
        some = await stack.enter_async_context(PubSubPattern(address, topics=(b"a",)))
        await _wait_until_subscribed(publisher, [(everything, b""), (some, b"a")])
        for data in (b"a1", b"b1", b"a2"):
            await publisher.send(data)
        assert await _until(everything, b"a2") == [b"a1", b"b1", b"a2"]
        assert await _until(some, b"a2") == [b"a1", b"a2"]


async def _wait_until_subscribed(publisher, subscribers):
    for subscriber, topic in subscribers:
        async with asyncio.timeout(LONG_S):
            while True:
                await publisher.send(topic + b"hello")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(subscriber.recv(), 0.05)
                    break


async def _until(subscriber, last):
    heard = []
    async with asyncio.timeout(LONG_S):
        while not heard or heard[-1] != last:
            data = await subscriber.recv()
            if not data.endswith(b"hello"):
                heard.append(data)
    return heard


async def test_pullers_share_what_is_pushed_and_nothing_is_lost():
    async with contextlib.AsyncExitStack() as stack:
        pusher = await stack.enter_async_context(PushPullPattern(ANYWHERE, is_server=True))
        pullers = [
            await stack.enter_async_context(PushPullPattern(pusher.address)) for _ in range(3)
        ]
        received = []
        have_all = asyncio.Event()

        async def pull(puller):
            with contextlib.suppress(PatternClosed):
                while True:
                    received.append(await puller.recv())
                    if len(received) == 600:
                        have_all.set()

        pulling = [asyncio.create_task(pull(puller)) for puller in pullers]
        for number in range(600):
            await pusher.send(b"%d" % number)
        async with asyncio.timeout(LONG_S):
            await have_all.wait()
        for puller in pullers:
            puller.close()
        await asyncio.gather(*pulling)
    assert sorted(received, key=int) == [b"%d" % number for number in range(600)]


async def test_a_survey_gathers_every_answer_and_then_is_over():
    async with contextlib.AsyncExitStack() as stack:
        surveyor = await stack.enter_async_context(
            SurveyorRespondentPattern(ANYWHERE, is_surveyor=True, survey_time_s=0.5)
        )
        respondents = [
            await stack.enter_async_context(SurveyorRespondentPattern(surveyor.address))
            for _ in range(3)
        ]

        async def respond(respondent, number):
            with contextlib.suppress(PatternClosed):
                while True:
                    question = await respondent.recv()
                    await respondent.send(b"%d: %s" % (number, question))

        responding = [asyncio.create_task(respond(r, n)) for n, r in enumerate(respondents)]
        answers: list[bytes] = []
        async with asyncio.timeout(LONG_S):
            while len(answers) < 3:  # the first surveys may come before every respondent has
                answers = []
                await surveyor.send(b"who?")
                with contextlib.suppress(PatternTimeout):
                    while True:
                        answers.append(await surveyor.recv())
        assert sorted(answers) == [b"0: who?", b"1: who?", b"2: who?"]
        with pytest.raises(PatternTimeout, match="over"):
            await surveyor.recv()
        for respondent in respondents:
            respondent.close()
        await asyncio.gather(*responding)


async def test_a_bus_reaches_every_peer_directly_connected():
    seen = asyncio.Semaphore(0)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(
            BusPattern(ANYWHERE, listen=True, on_connect=seen.release)
        )
        peers = [await stack.enter_async_context(BusPattern(hub.address)) for _ in range(3)]
        async with asyncio.timeout(LONG_S):
            for _ in peers:
                await seen.acquire()
        await hub.send(b"to all")
        for peer in peers:
            assert await receive_all(peer, 1) == [b"to all"]
        await peers[0].send(b"to the hub")
        assert await receive_all(hub, 1) == [b"to the hub"]


async def test_other_nng_programs_understand_us():
    async with PairPattern(ANYWHERE, is_server=True) as server:
        with pynng.Pair0(recv_timeout=20_000) as other:
            other.dial(server.address, block=True)
            other.send(b"hello")
            assert await receive_all(server, 1) == [b"hello"]
            await server.send(b"good day")
            assert await asyncio.to_thread(other.recv) == b"good day"


def test_the_patterns_work_on_uvloop():
    async def talk():
        async with connected_pair() as (server, client):
            for number in range(1000):
                await client.send(b"%d" % number)
            return await receive_all(server, 1000)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(talk()) == [b"%d" % number for number in range(1000)]
