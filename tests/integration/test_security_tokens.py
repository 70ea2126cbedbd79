"""Who has no token, another, or one for another role gets nothing done, and disturbs nobody."""

from __future__ import annotations

import asyncio

import pytest

from fake_control_plane import FakeControlPlane
from fastqueue import Client
from fastqueue.errors import (
    ConfigurationError,
    ControlPlaneUnavailable,
    SubmissionRefused,
)
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import frame
from fastqueue.protocol.handshake import Handshake
from harness import bounded, eventually, registry_of

TOKEN = "a-token-that-nobody-guesses"
SUBMIT, WORKER, ADMIN = (f"the-token-for-{role}-of-the-tests" for role in ("sub", "work", "adm"))
ROLES = {"token_submit": SUBMIT, "token_worker": WORKER, "token_admin": ADMIN}


async def add(x: int, y: int) -> int:
    return x + y


async def start(cluster, token=TOKEN, **settings):
    await cluster.start_control_plane(**(settings or {"token": token}))
    await cluster.add_subworker(registry_of(add), token=settings.get("token_worker", token))


async def only_a_proper_client_created_a_task(cluster, token=TOKEN, admin=TOKEN) -> None:
    proper = await cluster.client(token=token)
    assert (await proper.submit_task("add", (1, 2))).result == 3
    stats = await (await cluster.client(token=admin)).inspect("stats")
    assert (stats["queued"], stats["running"], stats["results"]) == (0, 0, 1)


async def proven(reader, writer, token: str, role: str = "client", flip=lambda body: body):
    """Say hello and prove the token; return the handshake, the proof, and the last answer."""
    handshake = Handshake(role=role, instance="i", name="test", token=token)
    writer.write(frame(flip(handshake.hello)))
    proof = handshake.on_greeting(await read_frame(reader))
    assert isinstance(proof, bytes)
    writer.write(frame(proof))
    return handshake, proof, greetings.decode_greeting(await read_frame(reader))


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await bounded(reader.readexactly(4)), "big")
    return await bounded(reader.readexactly(length))


async def connect(cluster):
    host, port = cluster.address.removeprefix("tcp://").rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def test_a_client_and_a_subworker_with_the_token_are_served(cluster) -> None:
    await start(cluster)
    client = await cluster.client(token=TOKEN)
    assert (await client.submit_task("add", (1, 2))).result == 3
    assert await client.inspect("stats")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (None, "FASTQUEUE_TOKEN"),
        ("a-wrong-token-that-is-long", "not one of this control plane's"),
    ],
)
async def test_a_client_without_the_token_creates_no_task(cluster, token, why, caplog) -> None:
    await start(cluster)
    client = Client(discovery_address=cluster.discovery_address, token=token, timeout=1)
    await client.start()
    with pytest.raises(ControlPlaneUnavailable, match=why):
        await client.delay("add", 1, 2)
    client.stop()
    await only_a_proper_client_created_a_task(cluster)
    assert TOKEN not in caplog.text
    assert token is None or token not in caplog.text


async def test_a_token_for_another_role_creates_no_task_and_takes_none(cluster) -> None:
    await start(cluster, **ROLES)
    client = Client(discovery_address=cluster.discovery_address, token=WORKER, timeout=1)
    await client.start()
    with pytest.raises(ControlPlaneUnavailable, match="token_worker, which is not for a client"):
        await client.delay("add", 1, 2)
    client.stop()
    reader, writer = await connect(cluster)
    _, _, refusal = await proven(reader, writer, SUBMIT, "subworker")
    assert isinstance(refusal, greetings.Refusal)
    assert refusal.code == "role"
    writer.close()
    await only_a_proper_client_created_a_task(cluster, SUBMIT, ADMIN)


async def test_only_an_admin_inspects_where_each_role_has_a_token(cluster) -> None:
    await start(cluster, **ROLES)
    client = await cluster.client(token=SUBMIT)
    for topic in ("stats", "tasks"):
        with pytest.raises(SubmissionRefused, match="token_admin"):
            await client.inspect(topic)
    assert (await client.submit_task("add", (1, 2))).result == 3
    admin = await cluster.client(token=ADMIN)
    assert await admin.inspect("stats")
    assert (await admin.submit_task("add", (1, 2))).result == 3


async def test_a_client_for_submitting_alone_asks_for_and_cancels_a_batch_but_lists_none(
    cluster,
) -> None:
    await start(cluster, **ROLES)
    client = await cluster.client(token=SUBMIT)
    await client.options(batch="b", countdown=3600).delay("add", 1, 2)
    assert (await client.cancel_batch("b")).cancelled == 1
    batch = await client.batch("b")
    assert batch is not None
    assert batch.cancelled == 1
    with pytest.raises(SubmissionRefused, match="token_admin"):
        await anext(client.batches())
    admin = await cluster.client(token=ADMIN)
    assert [known.batch_id async for known in admin.batches()] == ["b"]


async def test_a_repeated_hello_and_proof_are_refused(cluster) -> None:
    await start(cluster)
    reader, writer = await connect(cluster)
    handshake, proof, welcome = await proven(reader, writer, TOKEN)
    assert isinstance(welcome, greetings.Welcome)
    writer.close()
    reader, writer = await connect(cluster)
    writer.write(frame(handshake.hello) + frame(proof) + frame(msg.encode(msg.Query(1, []))))
    assert isinstance(greetings.decode_greeting(await read_frame(reader)), greetings.Challenge)
    refusal = greetings.decode_greeting(await read_frame(reader))
    assert isinstance(refusal, greetings.Refusal)
    assert await bounded(reader.read()) == b""
    writer.close()
    await only_a_proper_client_created_a_task(cluster)


async def test_a_hello_changed_on_the_way_is_refused(cluster) -> None:
    await start(cluster)
    reader, writer = await connect(cluster)

    def as_a_subworker(body: bytes) -> bytes:
        assert b"client" in body
        return body.replace(b"\xa6client", b"\xa9subworker")

    _, _, refusal = await proven(reader, writer, TOKEN, flip=as_a_subworker)
    assert isinstance(refusal, greetings.Refusal)
    writer.close()
    await only_a_proper_client_created_a_task(cluster)


async def test_whoever_leaves_a_challenge_unanswered_is_dropped(
    cluster, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("fastqueue.control_plane.server._HELLO_TIMEOUT_S", 0.2)
    await start(cluster)
    reader, writer = await connect(cluster)
    writer.write(frame(Handshake(role="client", instance="i", name="x", token=None).hello))
    assert isinstance(greetings.decode_greeting(await read_frame(reader)), greetings.Challenge)
    assert await bounded(reader.read()) == b""
    writer.close()
    await eventually(lambda: "no proof of a token within" in caplog.text)
    client = await cluster.client(token=TOKEN)
    assert (await client.submit_task("add", (1, 2))).result == 3


async def test_a_large_frame_instead_of_a_proof_is_not_read(cluster) -> None:
    await start(cluster)
    reader, writer = await connect(cluster)
    writer.write(frame(Handshake(role="client", instance="i", name="x", token=None).hello))
    await read_frame(reader)
    writer.write((5_000).to_bytes(4, "big"))
    assert await bounded(reader.read()) == b""
    writer.close()


async def test_a_control_plane_that_proves_nothing_is_told_nothing(caplog) -> None:
    async with FakeControlPlane() as fake:
        client = Client(control_plane_address=fake.address, token=TOKEN, timeout=1)
        await client.start()
        with pytest.raises(ControlPlaneUnavailable, match="didn't ask for it"):
            await client.delay("add", 1, 2)
        client.stop()
        assert fake.bodies == []
        assert fake.greeted == 1  # it isn't asked again and again


async def test_a_short_token_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="token_urlsafe") as caught:
        Client(token="short-secret")
    assert "short-secret" not in str(caught.value)
