"""Own a control plane that is fed: whatever a peer sends, the others are served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

from tests.ports import free_address

from fastqueue.config import ControlPlaneSettings
from fastqueue.control_plane.app import ControlPlane
from fastqueue.core.records import Callback, HeldLease, NewTask, Outcome
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import FrameDecoder, frame

_TIMEOUT_S = 10.0
_ANSWER_BYTES_MAX = 64 * 1024**2
# As msgpack has them: the largest and the smallest integer, a text and an array that claim to be
# huge, not a number, minus infinity, nothing.
_EXTREMES = (
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xdb\x7f\xff\xff\xff",
    b"\xdd\x7f\xff\xff\xff",
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xcb\xff\xf0" + bytes(6),
    b"\xc0",
)


def hello(role, instance="fuzz"):
    return msg.encode(
        greetings.Hello(protocol=greetings.PROTOCOL_VERSION, role=role, instance=instance)
    )


def valid_messages(serial):
    """Return one message of each kind that a peer may send, as bodies; ids are of this serial."""
    task_id = f"id-{serial}"
    callback = Callback("tcp://127.0.0.1:9", b"{}")
    new = [
        NewTask(task_id, "add", 2, 0, b"[[1],{}]"),
        NewTask(f"{task_id}-c", "add", 1, 0, b"x", callback),
    ]
    outcome = Outcome(task_id, 1 << 40 | serial, True, 1.0, 2.0, b"1")
    held = [HeldLease(task_id, 1 << 40 | serial, 1)]
    messages = [
        msg.Submit(serial, new),
        msg.Cancel(serial, [task_id]),
        msg.Query(serial, [task_id, "unknown"]),
        msg.Watch(serial, [task_id, "unknown"]),
        msg.Inspect(serial, "stats"),
        msg.Inspect(serial, "tasks", [task_id]),
        msg.Ready(["add", "sub"], 3, held),
        msg.Report(serial, [outcome]),
        msg.GiveBack(held),
        msg.Capacity(5),
    ]
    return [msg.encode(message) for message in messages]


def answers():
    """Return what a control plane may answer to a hello, as bodies."""
    limits = {"protocol": 1, "epoch": 1, "frame_bytes_max": 1, "payload_bytes_max": 1}
    proven = greetings.Welcome(control_plane_id="c", proof=bytes(32), **limits)
    messages = [
        proven,
        greetings.Refusal(code="full", message="no", retry=True),
        greetings.Challenge(nonce=bytes(greetings.NONCE_BYTES)),
    ]
    return [msg.encode(message) for message in messages]


def conversation_of(data, serial):
    """Return the frames of one peer that `data` describes: valid ones, cut up and put together."""
    chance = random.Random(data)
    bodies = [hello(chance.choice((greetings.ROLE_CLIENT, greetings.ROLE_SUBWORKER)))]
    if chance.random() < 0.5:
        bodies.append(msg.encode(msg.Ready(["add"], 2, [])))
    for _ in range(chance.randint(1, 5)):
        bodies.append(_mutated(chance.choice(valid_messages(serial)), data, chance))
    if chance.random() < 0.1:
        bodies[0] = _mutated(bodies[0], data, chance)
    return b"".join(map(frame, bodies)) + (data if chance.random() < 0.2 else b"")


def _mutated(body, data, chance):
    body = bytearray(body)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0 if body:
                body[at % len(body)] ^= 1 << chance.randrange(8)
            case 1:
                del body[at : at + chance.randint(1, 4)]
            case 2:
                body[at:at] = data[: chance.randint(0, 16)]
            case _:
                body[at:at] = chance.choice(_EXTREMES)
    return bytes(body)


class FedControlPlane:
    """Run a control plane on an event loop of its own, and feed it byte by byte.

    Args:
        folder: its data directory.
    """

    def __init__(self, folder):
        # A line for each stranger is as it should be, and not what is looked for here.
        self._logger = logging.getLogger("fastqueue")
        self._log_level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)
        self._loop = asyncio.new_event_loop()
        self._serial = 0
        self._failures = []
        self._loop.set_exception_handler(lambda _, context: self._failures.append(context))
        settings = ControlPlaneSettings(
            base_address="tcp://127.0.0.1:0",
            discovery_address=free_address(),
            data_dir=str(folder),
            durability="memory",
        )
        self._control_plane = ControlPlane(settings)
        self._do(self._control_plane.start())
        host, _, port = self._control_plane.address.removeprefix("tcp://").rpartition(":")
        self._where = host, int(port)

    def close(self):
        self._do(self._control_plane.stop())
        self._loop.close()
        self._logger.setLevel(self._log_level)

    def feed(self, data):
        """Be a peer that says this; then see that the control plane still answers another."""
        self._serial += 1
        self._do(self._feed(data))
        assert not self._failures, self._failures

    def _do(self, awaitable):
        async def bounded():
            async with asyncio.timeout(_TIMEOUT_S):
                return await awaitable

        return self._loop.run_until_complete(bounded())

    async def _feed(self, data):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*self._where)
            try:
                writer.write(conversation_of(data, self._serial))
                writer.write_eof()
                await reader.read(_ANSWER_BYTES_MAX)
            finally:
                writer.transport.abort()
        await self._ask()

    async def _ask(self):
        """Submit and look at a task as somebody who has nothing to do with it."""
        reader, writer = await asyncio.open_connection(*self._where)
        try:
            task_id = f"good-{self._serial}"
            submit = msg.Submit(1, [NewTask(task_id, "nobody's", 2, 0, b"")])
            cancel = msg.Cancel(2, [task_id])
            for body in (
                hello(greetings.ROLE_CLIENT, "good"),
                msg.encode(submit),
                msg.encode(cancel),
            ):
                writer.write(frame(body))
            decoder, bodies = FrameDecoder(_ANSWER_BYTES_MAX), []
            while len(bodies) < 3:
                received = await reader.read(65_536)
                assert received, "the control plane hung up on a peer that did nothing wrong"
                bodies += [b for b in decoder.feed(received) if not _is_push(b)]
            assert msg.decode_to_client(bodies[1]) == msg.Submitted(1, [])
            assert msg.decode_to_client(bodies[2]).answers[0][0] is True
        finally:
            writer.transport.abort()


def _is_push(body):
    with contextlib.suppress(msg.ProtocolError):
        return isinstance(msg.decode_to_client(body), msg.Push)
    return False
