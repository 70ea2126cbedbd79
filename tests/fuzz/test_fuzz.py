"""Garbage, and what is nearly right: the promised errors come of it, and nothing grows."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.service import answers, hello, valid_messages
from tests.fuzz.targets import EXIT_CODES, TARGETS, run_command_line

from fastqueue.protocol.framing import frame

played = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
few = settings(played, max_examples=100)

ANSWERS = answers()
BODIES = [*valid_messages(1), *ANSWERS, hello("client"), hello("subworker")]


@st.composite
def nearly_right(draw, bodies=BODIES):
    """Draw one of these with some bytes replaced, left out or put in."""
    body = bytearray(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=9))
    return bytes(body)


ADDRESSES = st.text(max_size=20).map(lambda s: f"tcp://{s}") | st.from_regex(
    r"(tcp|ipc)://\[?[a-z0-9:.%/@\x00]{0,12}\]?(:[0-9]{0,6})?", fullmatch=True
)
ANNOUNCED = [
    json.dumps(
        {"service": "fastqueue", "control_plane_id": "c", "address": "a", "epoch": 1, "protocol": 1}
    ).encode()
]
FILES = [
    b'discovery-address = "tcp://127.0.0.1:1"\ntimeout = 3\n[control-plane]\nprocesses = 2\n',
    b"[subworker]\nconcurrency = 1e3\ntask-modules = ['a', 'b']\ngrace = inf\n",
    b"[client]\nretries = -1\ntimeout = nan\nresult-cache-size = 99999999999999999999999\n",
    b'callback-allow = ["10.0.0.0/8"]\nresult-cache-ttl = 1979-05-27T07:32:00Z\ninsecure = 1\n',
]
VALUES = [b'[[1,"a",{"$type":"set","value":[1]}],{"k":null}]', b'{"a":1e999,"b":"\\ud800"}']


@played
@given(st.lists(st.binary(max_size=40).map(frame) | st.binary(max_size=20)).map(b"".join))
def test_any_bytes_are_frames_or_a_protocol_error_however_they_are_cut(data):
    TARGETS["frames"](data)


@played
@given(st.binary(max_size=200) | nearly_right())
def test_any_body_is_a_message_or_a_protocol_error(data):
    TARGETS["messages"](data)


@played
@given(st.binary(max_size=200) | nearly_right(ANSWERS))
def test_whatever_a_control_plane_answers_it_isnt_believed_without_the_token(data):
    TARGETS["handshake"](data)


@played
@given(st.binary(max_size=200) | nearly_right(ANNOUNCED))
def test_any_announcement_is_one_or_is_ignored(data):
    TARGETS["announcement"](data)


@played
@given(ADDRESSES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40))
def test_any_address_is_one_or_a_configuration_error(data):
    TARGETS["address"](data)


@played
@given(nearly_right(FILES) | st.binary(max_size=100))
def test_any_settings_file_is_read_or_named_in_a_configuration_error(
    tmp_path_factory, monkeypatch, data
):
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    try:
        TARGETS["settings_file"](data)
    finally:
        (tmp_path_factory.getbasetemp() / "fastqueue.toml").unlink()


@played
@given(nearly_right(VALUES) | st.binary(max_size=100))
def test_any_payload_is_a_value_or_a_serialization_error(data):
    TARGETS["values"](data)


@played
@given(st.binary(max_size=64))
def test_whatever_a_peer_sends_the_control_plane_serves_the_others(fed, data):
    fed.feed(data)


WORDS = """
    control-plane subworker submit status cancel stats list --help --version --args --kwargs --
    --task-name --task-id --task-modules --processes --concurrency --json --timeout --priority
    --base-address --discovery-address --control-plane-address --data-dir --durability --grace
    --result-cache-size --result-cache-ttl --payload-bytes-max --max-crashes --callback-allow
    --worker-id --callback-give-up --log-level --non-blocking --allow-pickle --insecure --no-gui
    --gui-port -1 0 1e999 nan [1] {} high add os.path tcp://127.0.0.1:1 10.0.0.0/8 full
"""
ARGUMENTS = st.lists(
    st.sampled_from(WORDS.split()) | st.text(max_size=8).filter(lambda word: "\0" not in word),
    max_size=7,
)


@few
@given(ARGUMENTS)
def test_any_command_line_ends_in_a_documented_exit_code(tmp_path_factory, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    run_command_line(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "--task-name", "\udcff", "--args", "\udcff"],
        ["submit", "--task-name", "", "--kwargs", '{"a":' + "[" * 5_000],
        ["status", "--task-id", "\udcff", "--control-plane-address", "tcp://127.0.0.1:1"],
        ["list", "--task-modules", "\udcff"],
        ["control-plane", "--processes", "0", "--data-dir", "\udcff/" + "x" * 300],
        ["subworker", "--task-modules", "/dev/null", "--concurrency", "99999999999999999999"],
    ],
)
def test_a_command_line_no_shell_would_make_ends_in_a_documented_exit_code(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "fastqueue", *arguments],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "FASTQUEUE_TIMEOUT": "0.1"},
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode in EXIT_CODES - {0}
    assert b"Traceback" not in done.stderr


GARBAGE = [body[:n] + bytes([n]) * 5 + body[n:] for body in BODIES for n in range(0, 40, 3)]


@pytest.mark.parametrize("target", ["frames", "messages", "handshake", "announcement", "address"])
def test_garbage_leaves_nothing_behind(target):
    def play():
        for data in GARBAGE:
            TARGETS[target](data)

    assert growth_bytes(play, 10) < 100_000


def test_garbage_leaves_nothing_behind_in_the_control_plane(fed):
    def play():
        for data in GARBAGE[:40]:
            fed.feed(data)

    # What garbage submitted is live and kept; it is far less than what was sent.
    assert growth_bytes(play, 5) < 500_000


def growth_bytes(play, rounds):
    """Return by how much the memory in use grows in so many rounds, once warm."""
    play()
    gc.collect()
    tracemalloc.start()
    try:
        play()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(rounds):
            play()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
