"""Finding a control plane over a real discovery bus, whoever starts first, moves or dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pynng
import pytest

from fastqueue.control_plane import discovery as announcing_side
from fastqueue.control_plane.discovery import Announcer
from fastqueue.errors import ConfigurationError, PatternClosed, PatternError
from fastqueue.link import discovery
from fastqueue.link.discovery import KNOWN_MAX, DiscoveryListener
from fastqueue.patterns.nng_patterns import BusPattern
from fastqueue.protocol.announcement import Announcement

ANYWHERE = "tcp://127.0.0.1:0"
LONG_S = 20.0


def announcement(id_="cp-1", address="tcp://127.0.0.1:5555", epoch=1):
    return Announcement(control_plane_id=id_, address=address, epoch=epoch, protocol=1)


class Heard:
    """Collect announcements and wait for one."""

    def __init__(self):
        self.all = []
        self._came = asyncio.Event()

    def __call__(self, one):
        self.all.append(one)
        self._came.set()

    async def until(self, wanted):
        async with asyncio.timeout(LONG_S):
            while wanted not in self.all:
                self._came.clear()
                await self._came.wait()


@contextlib.asynccontextmanager
async def announcing(address, said):
    announcer = Announcer(address, said)
    await announcer.start()
    try:
        yield announcer
    finally:
        await announcer.stop()


@contextlib.asynccontextmanager
async def listening(address, heard=None):
    heard = heard or Heard()
    listener = DiscoveryListener(address, heard)
    await listener.start()
    try:
        yield listener, heard
    finally:
        listener.close()


async def free_address():
    async with BusPattern(ANYWHERE, listen=True) as bus:
        return bus.address


@pytest.fixture
def never_repeated(monkeypatch):
    """Make an announcement that isn't made at once come too late for any test."""
    monkeypatch.setattr(announcing_side, "ANNOUNCE_INTERVAL_S", 3600.0)


async def test_a_control_plane_already_there_is_found_at_once(never_repeated):
    async with announcing(ANYWHERE, announcement()) as announcer:
        for _ in range(10):
            async with listening(announcer.discovery_address) as (listener, heard):
                assert listener.current() is None
                await heard.until(announcement())
                assert listener.current() == announcement()


async def test_a_control_plane_that_comes_later_is_found_at_the_next_attempt(never_repeated):
    attempts = asyncio.Semaphore(0)

    def turn_away(_, writer):
        attempts.release()
        writer.close()

    server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with listening(address) as (listener, heard):
        async with asyncio.timeout(LONG_S):
            for _ in range(8):  # the pauses between attempts have grown to their longest
                await attempts.acquire()
        server.close()
        await server.wait_closed()
        assert listener.current() is None
        async with announcing(address, announcement()):
            await heard.until(announcement())


def test_the_pause_between_two_attempts_leaves_half_a_second_unbroken():
    assert discovery.RECONNECT_MAX_S <= 0.25


async def test_a_control_plane_that_restarts_elsewhere_is_found_again_under_its_id():
    moved = announcement(address="tcp://127.0.0.1:7777", epoch=2)
    async with announcing(ANYWHERE, announcement()) as announcer:
        address = announcer.discovery_address
        async with listening(address) as (listener, heard):
            await heard.until(announcement())
            await announcer.stop()
            async with announcing(address, moved):
                await heard.until(moved)
                assert listener.known == {"cp-1": moved}
                assert listener.current() == moved


async def test_a_killed_control_plane_that_comes_back_is_found_again():
    code = (
        "import asyncio, sys\n"
        "from fastqueue.control_plane.discovery import Announcer\n"
        "from fastqueue.protocol.announcement import Announcement\n"
        "async def main():\n"
        "    await Announcer(sys.argv[1], Announcement('cp', sys.argv[2], 1, 1)).start()\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    address = await free_address()
    async with listening(address) as (listener, heard):
        for data_address in ("tcp://127.0.0.1:1111", "tcp://127.0.0.1:2222"):
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, address, data_address
            )
            try:
                await heard.until(Announcement("cp", data_address, 1, 1))
            finally:
                child.kill()
                await child.wait()
        assert list(listener.known) == ["cp"]


async def test_a_silent_control_plane_is_forgotten(monkeypatch):
    async with (
        announcing(ANYWHERE, announcement()) as announcer,
        listening(announcer.discovery_address) as (listener, heard),
    ):
        await heard.until(announcement())
        await announcer.stop()
        assert listener.current() == announcement()
        monkeypatch.setattr(discovery, "SILENCE_TIMEOUT_S", -1.0)
        assert listener.current() is None
        assert listener.known == {}


async def test_it_announces_again_and_again(monkeypatch):
    monkeypatch.setattr(announcing_side, "ANNOUNCE_INTERVAL_S", 0.01)
    async with (
        announcing(ANYWHERE, announcement()) as announcer,
        listening(announcer.discovery_address) as (_, heard),
    ):
        for _ in range(3):
            await heard.until(announcement())
            heard.all.clear()


async def test_everyone_who_listens_hears_a_new_control_plane():
    address = await free_address()
    async with contextlib.AsyncExitStack() as stack:
        ears = [await stack.enter_async_context(listening(address)) for _ in range(20)]
        async with announcing(address, announcement()):
            for _, heard in ears:
                await heard.until(announcement())


async def test_how_many_it_knows_is_bounded_and_the_last_heard_is_the_current_one():
    count = KNOWN_MAX + 10
    last = announcement(id_=f"cp-{count - 1}")
    came = asyncio.Event()
    async with (
        BusPattern(ANYWHERE, listen=True, on_connect=came.set) as bus,
        listening(bus.address) as (listener, heard),
    ):
        async with asyncio.timeout(LONG_S):
            await came.wait()
        for number in range(count):
            await bus.send(announcement(id_=f"cp-{number}").encode())
        await heard.until(last)
        assert len(listener.known) == KNOWN_MAX
        assert "cp-0" not in listener.known
        assert listener.current() == last


async def test_a_file_at_the_discovery_address_stays_and_the_start_is_refused(tmp_path):
    path = tmp_path / "precious.txt"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match=r"is no socket.* --discovery-address"):
        await Announcer(f"ipc://{path}", announcement()).start()
    assert path.read_text() == "precious"


async def test_garbage_is_reported_once_and_disturbs_nothing(caplog):
    came = asyncio.Event()
    async with (
        BusPattern(ANYWHERE, listen=True, on_connect=came.set) as bus,
        listening(bus.address) as (listener, heard),
    ):
        async with asyncio.timeout(LONG_S):
            await came.wait()
        for data in (b"", b"\xff\x00", b"{}", b"hello") * 5:
            await bus.send(data)
        await bus.send(announcement().encode())
        await heard.until(announcement())
        assert list(listener.known) == ["cp-1"]
    assert len(caplog.records) == 1
    assert bus.address in caplog.text


async def test_strangers_at_the_discovery_port_do_not_silence_it():
    async with announcing(ANYWHERE, announcement()) as announcer:
        address = announcer.discovery_address
        host, port = address.removeprefix("tcp://").split(":")
        writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(5)]
        for writer in writers:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with pynng.Pair0() as stranger, pynng.Bus0() as flooder:
            stranger.dial(address, block=False)
            flooder.dial(address, block=True)
            for _ in range(100):
                flooder.send(b"x" * 1000)
            async with listening(address) as (_, heard):
                await heard.until(announcement())
        for writer in writers:
            writer.close()


async def test_another_language_can_listen():
    async with announcing(ANYWHERE, announcement()) as announcer:
        with pynng.Bus0(recv_timeout=20_000) as other:
            other.dial(announcer.discovery_address, block=True)
            data = await asyncio.to_thread(other.recv)
    assert b'"address":"tcp://127.0.0.1:5555"' in data


async def test_a_discovery_address_in_use_is_named_with_the_way_out():
    async with announcing(ANYWHERE, announcement()) as announcer:
        second = Announcer(announcer.discovery_address, announcement("cp-2"))
        with pytest.raises(ConfigurationError, match="--discovery-address") as caught:
            await second.start()
        assert announcer.discovery_address in str(caught.value)
        await second.stop()


async def test_an_announcer_starts_twice_stops_twice_and_frees_its_address():
    announcer = Announcer(ANYWHERE, announcement())
    await announcer.stop()
    await announcer.start()
    await announcer.start()
    address = announcer.discovery_address
    await announcer.stop()
    await announcer.stop()
    async with announcing(address, announcement()):
        pass


async def test_a_listener_starts_twice_closes_twice_and_does_not_start_again():
    listener = DiscoveryListener(await free_address(), lambda _: None)
    await listener.start()
    await listener.start()
    listener.close()
    listener.close()
    with pytest.raises(PatternClosed):
        await listener.start()


async def test_a_bad_discovery_address_is_named():
    with pytest.raises(PatternError, match="nonsense"):
        await DiscoveryListener("nonsense", lambda _: None).start()
