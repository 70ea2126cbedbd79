"""Own what is fuzzed: functions that take bytes, and fail if those get anything but the errors we
promise out of fastqueue.

The tests draw the bytes with hypothesis; `make fuzz` has them guided by coverage.
"""

from __future__ import annotations

import contextlib
import io
import os
from unittest import mock

import click

from fastqueue.cli import control_plane as cli_control_plane
from fastqueue.cli import subworker as cli_subworker
from fastqueue.cli.app import app
from fastqueue.cli.arguments import expand
from fastqueue.config import (
    ClientSettings,
    ControlPlaneSettings,
    SubworkerSettings,
    parse_address,
)
from fastqueue.control_plane.callback_sender import validate_callback_address
from fastqueue.errors import ConfigurationError, ProtocolError, SerializationError
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.announcement import ANNOUNCEMENT_BYTES_MAX, Announcement
from fastqueue.protocol.framing import FrameDecoder, frame
from fastqueue.protocol.handshake import Handshake
from fastqueue.tasks.serializer import SerializationFormat, TaskSerializer

EXIT_CODES = frozenset({0, 1, 2, 3, 74, 130})
_FRAME_BYTES_MAX = 4_096
_DECODERS = (
    greetings.decode_hello,
    greetings.decode_proof,
    greetings.decode_greeting,
    msg.decode_to_control_plane,
    msg.decode_to_client,
    msg.decode_to_subworker,
)


def fuzz_frames(data):
    """Whatever arrives, in whatever pieces: frames or a ProtocolError, and a bounded buffer."""
    whole = _cut(data, [len(data)])
    assert _cut(data, [1 + byte % 37 for byte in data[:64]]) == whole
    if whole is not None:
        assert FrameDecoder(_FRAME_BYTES_MAX).feed(b"".join(map(frame, whole))) == whole


def _cut(data, sizes):
    """Return the frames that pieces of these sizes make, or None if they are refused."""
    decoder = FrameDecoder(_FRAME_BYTES_MAX)
    bodies, start, n = [], 0, 0
    while start < len(data):
        size = sizes[n % len(sizes)]
        try:
            bodies += decoder.feed(data[start : start + size])
        except ProtocolError:
            return None
        assert len(decoder._buffer) <= _FRAME_BYTES_MAX + 4 + size
        start, n = start + size, n + 1
    return bodies


def fuzz_messages(data):
    """A body is a message or a ProtocolError; a message says the same when it is sent on."""
    for decode in _DECODERS:
        try:
            message = decode(data)
        except ProtocolError:
            continue
        # Not compared as such: no two NaN are equal.
        encoded = msg.encode(message)
        assert msg.encode(decode(encoded)) == encoded


def fuzz_handshake(data):
    """Whatever a control plane answers, it isn't believed if it can't prove the token."""
    for token in (None, "a token that nobody guesses"):
        handshake = Handshake(role=greetings.ROLE_CLIENT, instance="i", name="n", token=token)
        with contextlib.suppress(ProtocolError):
            for start in (0, len(data) // 2):  # the whole answer, then another one
                answer = handshake.on_greeting(data[start:])
                assert token is None or not isinstance(answer, greetings.Welcome)


def fuzz_announcement(data):
    announcement = Announcement.decode(data)
    if announcement is not None:
        assert len(data) <= ANNOUNCEMENT_BYTES_MAX
        with contextlib.suppress(ValueError):  # escapes may make it longer than it came
            assert Announcement.decode(announcement.encode()) == announcement


def fuzz_address(data):
    text = _text(data)
    for port_zero in (True, False):
        with contextlib.suppress(ConfigurationError):
            address = parse_address(text, setting="it", allow_port_zero=port_zero)
            assert parse_address(str(address), setting="it", allow_port_zero=port_zero) == address
            assert address.is_loopback in (True, False)
    with contextlib.suppress(ConfigurationError):
        validate_callback_address(text, ())


def fuzz_settings_file(data):
    """Any file is settings or a ConfigurationError. Writes into this folder."""
    with open("fastqueue.toml", "wb") as file:
        file.write(data)
    for settings in (ClientSettings, ControlPlaneSettings, SubworkerSettings):
        with contextlib.suppress(ConfigurationError):
            settings.resolve()


def fuzz_values(data):
    """Payloads are values or a SerializationError; the JSON of what was read can be read."""
    with contextlib.suppress(SerializationError):
        value = TaskSerializer.deserialize(data, SerializationFormat.JSON)
        TaskSerializer.deserialize(
            TaskSerializer.serialize(value, SerializationFormat.JSON), SerializationFormat.JSON
        )


def fuzz_command_line(data):
    """Any arguments end in a documented exit code. Servers are only asked to start, not started."""
    run_command_line(_text(part) for part in data.split(b"\0"))


def run_command_line(arguments):
    """Run a command in this process, with nobody to connect to; return its exit code."""
    arguments = list(arguments)
    environment = {
        "FASTQUEUE_CONTROL_PLANE_ADDRESS": "tcp://127.0.0.1:1",
        "FASTQUEUE_TIMEOUT": "0.001",
    }
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(cli_control_plane.uvloop, "run", _dont_serve),
        mock.patch.object(cli_subworker.uvloop, "run", _dont_serve),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        try:
            app(args=expand(arguments), prog_name="fastqueue")
        except SystemExit as end:
            code = end.code or 0
        except (click.exceptions.Exit, click.exceptions.Abort):
            code = 0
    assert code in EXIT_CODES, (arguments, code)
    assert "Traceback" not in out.getvalue(), (arguments, out.getvalue())
    return code


def _dont_serve(coroutine):
    coroutine.close()
    return 0


def _text(data):
    # As the operating system hands arguments over.
    return data.decode("utf-8", "surrogateescape")


TARGETS = {
    "frames": fuzz_frames,
    "messages": fuzz_messages,
    "handshake": fuzz_handshake,
    "announcement": fuzz_announcement,
    "address": fuzz_address,
    "settings_file": fuzz_settings_file,
    "values": fuzz_values,
    "command_line": fuzz_command_line,
}
