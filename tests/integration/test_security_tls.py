"""Who can't show the right certificate gets nothing done by TLS, and disturbs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import stat
from pathlib import Path

import pytest

from certificates import Authority
from fastqueue import Client
from fastqueue.config import ControlPlaneSettings
from fastqueue.control_plane.discovery import Announcer
from fastqueue.errors import ConfigurationError, ControlPlaneUnavailable
from fastqueue.protocol.announcement import Announcement
from fastqueue.protocol.framing import frame
from fastqueue.protocol.handshake import Handshake
from harness import bounded, eventually, registry_of

TOKEN = "a-token-that-nobody-guesses"
TLS = "tls://127.0.0.1:0"


async def twice_as_long(text: str) -> str:
    return text + text


async def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def start(cluster, authority, *, mutual=False, **settings):
    """Start a control plane with TLS, and a subworker of its own beside it."""
    settings = {"base_address": TLS, **authority.issue("127.0.0.1"), **settings}
    if mutual:
        settings["tls_client_ca"] = authority.ca
    await cluster.start_control_plane(**settings)
    await cluster.add_subworker(
        registry_of(add),
        control_plane_address=cluster.control_plane.local_address,
        token=settings.get("token"),
    )


async def gets_nothing_done(cluster, why, **options):
    client = Client(discovery_address=cluster.discovery_address, timeout=1, **options)
    await client.start()
    with pytest.raises(ControlPlaneUnavailable, match=why):
        await client.delay("add", 1, 2)
    client.stop()


async def only_a_proper_client_created_a_task(cluster, **options) -> None:
    client = await cluster.client(**options)
    assert (await client.submit_task("add", (1, 2))).result == 3
    stats = await client.inspect("stats")
    assert (stats["queued"], stats["running"], stats["results"]) == (0, 0, 1)


async def test_tasks_and_results_go_over_tls(cluster, authority) -> None:
    await start(cluster, authority, token=TOKEN)
    assert cluster.address.startswith("tls://127.0.0.1:")
    client = await cluster.client(tls_ca=authority.ca, token=TOKEN)
    assert (await client.submit_task("add", (1, 2))).result == 3
    elsewhere = await cluster.add_subworker(
        registry_of(add, twice_as_long, twice=add), tls_ca=authority.ca, token=TOKEN
    )
    await bounded(elsewhere.connected())
    assert (await client.submit_task("twice", (2, 2))).result == 4
    large = "x" * 3_000_000
    assert (await client.submit_task("twice_as_long", (large,))).result == large + large


async def test_a_control_plane_of_a_foreign_authority_is_not_believed(
    cluster, authority, tmp_path
) -> None:
    await start(cluster, authority)
    foreign = Authority(tmp_path, "foreign")
    await gets_nothing_done(cluster, "certificate verify failed", tls_ca=foreign.ca)
    await gets_nothing_done(cluster, "certificate verify failed")  # the system's authorities
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)


async def test_a_certificate_for_another_name_is_not_believed(cluster, authority) -> None:
    await cluster.start_control_plane(base_address=TLS, **authority.issue("queue.example.org"))
    await gets_nothing_done(cluster, "IP address mismatch", tls_ca=authority.ca)


async def test_an_expired_certificate_is_not_believed(cluster, authority) -> None:
    expired = authority.issue("127.0.0.1", expired=True)
    await cluster.start_control_plane(base_address=TLS, **expired)
    await gets_nothing_done(cluster, "has expired", tls_ca=authority.ca)


async def test_a_control_plane_that_asks_for_certificates_serves_who_has_one(
    cluster, authority
) -> None:
    await start(cluster, authority, mutual=True)
    mine = authority.issue("client")
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca, **mine)


@pytest.mark.parametrize("kind", ["none", "foreign", "expired"])
async def test_a_peer_without_a_proper_certificate_creates_no_task(
    cluster, authority, tmp_path, kind, caplog
) -> None:
    await start(cluster, authority, mutual=True)
    options = {
        "none": {},
        "foreign": Authority(tmp_path, "foreign").issue("client"),
        "expired": authority.issue("client", expired=True),
    }[kind]
    await gets_nothing_done(cluster, "control plane", tls_ca=authority.ca, **options)
    assert "its handshake of TLS failed" in caplog.text
    mine = authority.issue("client")
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca, **mine)


async def test_plain_text_at_a_tls_port_is_dropped_with_one_line(
    cluster, authority, caplog
) -> None:
    await start(cluster, authority)
    _, _, port = cluster.address.rpartition(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(frame(Handshake(role="client", instance="i", name="x", token=None).hello))
    assert await is_hung_up(reader)
    writer.close()
    await eventually(lambda: "dropped 127.0.0.1" in caplog.text)
    assert caplog.text.count("dropped") == 1
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)


async def test_a_handshake_that_is_never_finished_is_dropped(
    cluster, authority, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("fastqueue.control_plane.listener.HANDSHAKE_TIMEOUT_S", 0.3)
    await start(cluster, authority)
    _, _, port = cluster.address.rpartition(":")
    silent = [await asyncio.open_connection("127.0.0.1", int(port)) for _ in range(3)]
    silent[0][1].write(b"\x16\x03\x01")
    monkeypatch.undo()
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)
    for reader, writer in silent:
        assert await is_hung_up(reader)
        writer.close()
    await eventually(lambda: caplog.text.count("no handshake of TLS within") == 3)


async def test_whoever_hangs_up_in_the_handshake_is_named_and_forgotten(
    cluster, authority, caplog
) -> None:
    await start(cluster, authority)
    _, _, port = cluster.address.rpartition(":")
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"\x16\x03\x01")
        writer.close()
    await eventually(lambda: caplog.text.count("its handshake of TLS failed") == 5)
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)


async def test_handshakes_that_go_on_for_long_make_way_for_new_ones(
    cluster, authority, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("fastqueue.control_plane.listener._HANDSHAKES_MAX", 2)
    await start(cluster, authority)
    _, _, port = cluster.address.rpartition(":")
    silent = [await asyncio.open_connection("127.0.0.1", int(port)) for _ in range(3)]
    await eventually(lambda: "others want to shake hands" in caplog.text)
    # They are still there, and keep out nobody.
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)
    for _, writer in silent:
        writer.close()


async def test_an_old_version_of_tls_is_refused(cluster, authority, caplog) -> None:
    await start(cluster, authority)
    _, _, port = cluster.address.rpartition(":")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(authority.ca)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", int(port), ssl=old)
    await eventually(lambda: "unsupported protocol" in caplog.text)


async def test_a_peer_set_up_for_tls_does_not_follow_an_announcement_without_it(
    cluster, authority, caplog
) -> None:
    caplog.set_level("INFO")
    await cluster.start()
    await gets_nothing_done(cluster, "announce", tls_ca=authority.ca)
    assert "is not encrypted" in caplog.text
    assert "connected" not in caplog.text


async def test_a_plain_address_beside_a_certificate_is_refused(authority) -> None:
    with pytest.raises(ConfigurationError, match=r"tls://127.0.0.1:5555"):
        Client(control_plane_address="tcp://127.0.0.1:5555", tls_ca=authority.ca)
    with pytest.raises(ConfigurationError, match=r"tls://127.0.0.1:5555"):
        ControlPlaneSettings(base_address="tcp://127.0.0.1:5555", **authority.issue("x"))


async def test_its_own_subworkers_have_a_socket_that_only_this_user_reaches(
    cluster, authority
) -> None:
    await start(cluster, authority, mutual=True)
    path = Path(cluster.control_plane.local_address.removeprefix("ipc://"))
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    await cluster.stop_control_plane()
    assert not exists(path)


async def test_a_data_directory_too_long_for_a_socket_has_it_elsewhere(
    cluster, authority, tmp_path
) -> None:
    await start(cluster, authority, data_dir=str(tmp_path / ("x" * 120)))
    path = Path(cluster.control_plane.local_address.removeprefix("ipc://"))
    assert mode_of(path.parent) == 0o700
    await only_a_proper_client_created_a_task(cluster, tls_ca=authority.ca)
    await cluster.stop_control_plane()
    assert not exists(path.parent)


async def test_files_of_tls_that_cannot_be_used_are_named(cluster, authority, tmp_path) -> None:
    mine, other = authority.issue("127.0.0.1"), authority.issue("localhost")
    (tmp_path / "garbage").write_text("garbage")
    garbage = str(tmp_path / "garbage")
    os.mkfifo(tmp_path / "pipe")
    for change, why in [
        ({"tls_cert": str(tmp_path / "none")}, "tls_cert .*can't be read: No such file"),
        ({"tls_key": str(tmp_path / "none")}, "tls_key .*can't be read: No such file"),
        ({"tls_key": str(tmp_path / "pipe")}, "tls_key .*can't be read: .* not a regular file"),
        ({"tls_key": other["tls_key"]}, "isn't that of the certificate"),
        ({"tls_key": garbage}, "isn't in PEM"),
        ({"tls_client_ca": garbage}, "holds no certificates"),
    ]:
        with pytest.raises(ConfigurationError, match=why):
            await cluster.start_control_plane(base_address=TLS, **{**mine, **change})
    client = Client(tls_ca=garbage)
    with pytest.raises(ConfigurationError, match=r"tls_ca .*holds no certificates"):
        await client.start()
    with pytest.raises(ConfigurationError, match="tls_key isn't"):
        Client(tls_cert=mine["tls_cert"])
    with pytest.raises(ConfigurationError, match="needs a certificate"):
        ControlPlaneSettings(base_address=TLS)


async def test_beyond_this_machine_tls_and_a_token_or_certificates_are_asked_for(
    authority,
) -> None:
    mine = authority.issue("127.0.0.1")
    everywhere = {"base_address": "tls://0.0.0.0:0", "discovery_address": "tcp://0.0.0.0:0"}
    for settings, why in [
        ({"base_address": "tcp://0.0.0.0:0"}, "tls_cert and tls_key, and a token"),
        ({"base_address": "tcp://0.0.0.0:0", "token": TOKEN}, "tls_cert and tls_key"),
        ({**everywhere, **mine}, "a token .FASTQUEUE_TOKEN. or tls_client_ca"),
    ]:
        with pytest.raises(ConfigurationError, match=why) as caught:
            ControlPlaneSettings(**settings)
        assert TOKEN not in str(caught.value)
        if "tls" not in settings["base_address"]:
            assert ControlPlaneSettings(**settings, insecure=True)
    assert ControlPlaneSettings(**everywhere, **mine, token=TOKEN)
    assert ControlPlaneSettings(**everywhere, **mine, tls_client_ca=authority.ca)


async def test_an_announcement_of_a_stranger_is_worth_nothing_to_him(
    cluster, authority, tmp_path
) -> None:
    await start(cluster, authority)
    foreign = Authority(tmp_path, "foreign").issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(foreign["tls_cert"], foreign["tls_key"])
    heard = []

    async def listen(reader, writer):
        heard.append(await reader.read())

    stranger = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = stranger.sockets[0].getsockname()[1]
    await cluster.stop_control_plane()
    announcer = Announcer(
        cluster.discovery_address,
        Announcement(control_plane_id="x", address=f"tls://127.0.0.1:{port}", epoch=99, protocol=1),
    )
    await announcer.start()
    await gets_nothing_done(cluster, "certificate verify failed", tls_ca=authority.ca)
    await announcer.stop()
    stranger.close()
    assert heard == []


def exists(path) -> bool:
    return os.path.lexists(path)


def mode_of(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def is_hung_up(reader) -> bool:
    with contextlib.suppress(ConnectionResetError):
        # An alert of TLS may come before the end.
        await bounded(reader.read())
    return reader.at_eof() or reader.exception() is not None
