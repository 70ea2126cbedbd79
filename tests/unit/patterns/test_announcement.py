"""What a control plane says of itself, and what passes for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.protocol.announcement import ANNOUNCEMENT_BYTES_MAX, Announcement

ONE = Announcement(control_plane_id="cp-1", address="tcp://127.0.0.1:5555", epoch=3, protocol=1)


def test_an_announcement_survives_the_wire():
    assert Announcement.decode(ONE.encode()) == ONE


def test_an_announcement_is_json_for_other_languages():
    said = json.loads(ONE.encode())
    assert said["service"] == "fastqueue"
    assert said["address"] == "tcp://127.0.0.1:5555"


def test_what_a_newer_control_plane_adds_is_ignored():
    said = json.loads(ONE.encode()) | {"colour": ["blue"]}
    assert Announcement.decode(json.dumps(said).encode()) == ONE


def test_an_announcement_cannot_be_changed():
    with pytest.raises(AttributeError):
        ONE.address = "tcp://elsewhere:1"


@given(st.binary(max_size=200))
def test_garbage_is_no_announcement(data):
    assert Announcement.decode(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"null",
        b"[" * 4000,
        b"\xff\xfe",
        json.dumps({"hello": "world"}).encode(),
        ONE.encode().replace(b"fastqueue", b"otherness"),
        ONE.encode().replace(b'"epoch":3', b'"epoch":"3"'),
        ONE.encode().replace(b'"cp-1"', b'""'),
        ONE.encode().replace(b"cp-1", b"cp\\n1"),
        ONE.encode().replace(b"127.0.0.1", b"\\u001b[2J"),
        ONE.encode() + b" " * ANNOUNCEMENT_BYTES_MAX,
    ],
)
def test_foreign_text_is_no_announcement(data):
    assert Announcement.decode(data) is None


def test_an_announcement_too_long_for_its_readers_is_not_made():
    with pytest.raises(ValueError, match="limit"):
        Announcement("cp", "ipc:///" + "x" * ANNOUNCEMENT_BYTES_MAX, 1, 1).encode()
