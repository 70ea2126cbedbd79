"""Own the framing: each frame is a 4-byte big-endian length and that many bytes of msgpack.

The length is checked against the limit before anything is allocated for the body.
"""

from __future__ import annotations

from fastqueue.errors import ProtocolError

__all__ = ["HELLO_BYTES_MAX", "FrameDecoder", "frame", "frame_bytes_max"]

_FRAME_BYTES_MIN = 32 * 1024**2
HELLO_BYTES_MAX = 4 * 1024
_HEADER_BYTES = 4


def frame_bytes_max(payload_bytes_max: int) -> int:
    """Return the limit of a frame where payloads and results have this one.

    The largest thing that must fit in one piece is a pickled result with its JSON form for a
    callback: two results, and a little for the rest.
    """
    return max(_FRAME_BYTES_MIN, 2 * payload_bytes_max + 1024**2)


def frame(body: bytes) -> bytes:
    """Return `body` with its length in front."""
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


class FrameDecoder:
    """Cut a stream of bytes into frames.

    Attributes:
        frame_bytes_max: the largest body that is accepted.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Return how much of an incomplete frame is there."""
        return len(self._buffer)

    @property
    def announced_bytes(self) -> int:
        """Return how long the incomplete frame will be; 0 if there is none."""
        return self._needed(self._buffer, 0) if self._buffer else 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the bodies that are complete.

        Raises:
            ProtocolError: a header announces more than the limit: the stream is garbage or hostile.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._needed(buffer, 0):
                return []
            data = bytes(buffer)
            buffer.clear()
        bodies: list[bytes] = []
        start, size = 0, len(data)
        while True:
            end = start + self._needed(data, start)
            if end > size:
                break
            bodies.append(data[start + _HEADER_BYTES : end])
            start = end
        if start < size:
            buffer += data[start:] if start else data
        return bodies

    def _needed(self, data: bytes | bytearray, start: int) -> int:
        """Return how many bytes the frame at `start` takes, as far as that is known."""
        if len(data) - start < _HEADER_BYTES:
            return _HEADER_BYTES
        length = int.from_bytes(data[start : start + _HEADER_BYTES], "big")
        if length > self.frame_bytes_max:
            raise ProtocolError(
                f"a frame of {length:,} bytes was announced; at most {self.frame_bytes_max:,} "
                "are accepted"
            )
        return _HEADER_BYTES + length
