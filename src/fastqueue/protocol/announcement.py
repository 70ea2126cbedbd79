"""Own what a control plane says of itself on the discovery bus: who it is, where, which protocol.

JSON, so that a program in any language can read it. Sent by `control_plane.discovery`, read by
`link.discovery`.
"""

from __future__ import annotations

import msgspec

__all__ = ["ANNOUNCEMENT_BYTES_MAX", "Announcement"]

ANNOUNCEMENT_BYTES_MAX = 4096

_MARK = "fastqueue"


class _Wire(msgspec.Struct, frozen=True, omit_defaults=False):
    service: str
    control_plane_id: str
    address: str
    epoch: int
    protocol: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Wire)


class Announcement(msgspec.Struct, frozen=True):
    """Tell of one control plane.

    Attributes:
        control_plane_id: who it is; stays when it restarts or moves.
        address: where clients and subworkers connect.
        epoch: how often it has started; of two announcements the higher one is the newer.
        protocol: the version of the wire protocol it speaks.
    """

    control_plane_id: str
    address: str
    epoch: int
    protocol: int

    def encode(self) -> bytes:
        """Return the announcement as JSON.

        Raises:
            ValueError: it is longer than an announcement may be.
        """
        data = _encoder.encode(
            _Wire(_MARK, self.control_plane_id, self.address, self.epoch, self.protocol)
        )
        if len(data) > ANNOUNCEMENT_BYTES_MAX:
            raise ValueError(
                f"the announcement of {self.address[:100]} is {len(data)} bytes, over the limit of "
                f"{ANNOUNCEMENT_BYTES_MAX}: shorten its id or address"
            )
        return data

    @classmethod
    def decode(cls, data: bytes) -> Announcement | None:
        """Return the announcement in `data`, or None if it isn't one; never raises.

        Fields it doesn't know are ignored: a newer control plane may say more.
        """
        if len(data) > ANNOUNCEMENT_BYTES_MAX:
            return None
        try:
            wire = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if wire.service != _MARK or not wire.control_plane_id or not wire.address:
            return None
        if not (wire.control_plane_id.isprintable() and wire.address.isprintable()):
            return None
        return cls(wire.control_plane_id, wire.address, wire.epoch, wire.protocol)
