"""Frames survive any cutting of the stream, and none is larger than was agreed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastqueue.errors import ProtocolError
from fastqueue.protocol.framing import FrameDecoder, frame


@given(bodies=st.lists(st.binary(max_size=300), max_size=12), data=st.data())
def test_any_cutting_of_the_stream_gives_the_same_frames(
    bodies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame, bodies))
    decoder = FrameDecoder(300)
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == bodies


def test_a_frame_at_the_limit_is_taken() -> None:
    assert FrameDecoder(5).feed(frame(b"12345")) == [b"12345"]


def test_a_frame_over_the_limit_is_refused_before_its_body_arrives() -> None:
    decoder = FrameDecoder(5)
    with pytest.raises(ProtocolError, match="6 bytes"):
        decoder.feed(frame(b"123456")[:4])


def test_a_header_of_garbage_is_refused() -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder(32 * 1024**2).feed(b"GET / HTTP/1.1\r\n")
