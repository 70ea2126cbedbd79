"""Own the greetings: how a connection begins, before any message of `messages` is sent.

`Hello` comes from the side that dialled, `Welcome` or `Refusal` from the control plane; where
tokens are set, `Challenge` and `Proof` come between (see `handshake`). They are maps with names, so
that any version can read any other's.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from fastqueue.core.records import ShortText
from fastqueue.errors import ProtocolError
from fastqueue.protocol.decoding import DECODE_ERRORS, cited
from fastqueue.protocol.printable import check_printable

__all__ = [
    "NONCE_BYTES",
    "PROTOCOL_VERSION",
    "ROLE_CLIENT",
    "ROLE_HEARTBEAT",
    "ROLE_SUBWORKER",
    "ROLE_SUPERVISOR",
    "Challenge",
    "Hello",
    "Proof",
    "Refusal",
    "Welcome",
    "decode_greeting",
    "decode_hello",
    "decode_proof",
]

PROTOCOL_VERSION = 1

NONCE_BYTES = 32
_MAC_BYTES = 32

ROLE_CLIENT = "client"
ROLE_SUBWORKER = "subworker"
# A subworker's other connection, under the same instance.
ROLE_HEARTBEAT = "heartbeat"
ROLE_SUPERVISOR = "supervisor"


class Hello(Struct, tag="hello", kw_only=True, frozen=True):
    """Open a connection: who dials, and which protocol version it speaks.

    `instance` is new for each process life; `name` is for people; `nonce` is new for each hello.
    """

    protocol: int
    role: ShortText
    instance: ShortText
    name: ShortText = ""
    version: ShortText = ""
    nonce: Annotated[bytes, Meta(max_length=NONCE_BYTES)] = b""

    def __post_init__(self) -> None:
        check_printable(self.role, self.instance, self.name, self.version)


class Challenge(Struct, tag="challenge", kw_only=True, frozen=True):
    """Ask a peer to prove that it has a token."""

    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Proof(Struct, tag="proof", kw_only=True, frozen=True):
    """Prove that the peer has a token."""

    mac: Annotated[bytes, Meta(min_length=_MAC_BYTES, max_length=_MAC_BYTES)]


class Welcome(Struct, tag="welcome", kw_only=True, frozen=True):
    """Accept a connection, and tell the limits that hold on it.

    `proof` is empty where no tokens are set. With `offers` a client may send `WatchOffers`, which
    older control planes don't know.
    """

    protocol: int
    control_plane_id: str
    epoch: int
    frame_bytes_max: int
    payload_bytes_max: int
    proof: bytes = b""
    offers: bool = False

    def __post_init__(self) -> None:
        check_printable(self.control_plane_id)


class Refusal(Struct, tag="refusal", kw_only=True, frozen=True):
    """Turn a connection down; `retry` says whether trying again may help."""

    code: str
    message: str
    retry: bool = False

    def __post_init__(self) -> None:
        check_printable(self.code, self.message)


_decode_hello = msgspec.msgpack.Decoder(Hello).decode
_decode_proof = msgspec.msgpack.Decoder(Proof).decode
_greetings: msgspec.msgpack.Decoder[Welcome | Refusal | Challenge] = msgspec.msgpack.Decoder(
    Welcome | Refusal | Challenge
)


def decode_hello(body: bytes | memoryview) -> Hello:
    """Return the hello that a dialling peer sent.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _decode_hello(body)
    except DECODE_ERRORS as error:
        raise ProtocolError(
            f"the first frame isn't a hello of fastqueue: {cited(error)}"
        ) from error


def decode_proof(body: bytes | memoryview) -> Proof:
    """Return the proof that a peer sent.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _decode_proof(body)
    except DECODE_ERRORS as error:
        raise ProtocolError(
            f"it was asked for a proof and sent something else: {cited(error)}"
        ) from error


def decode_greeting(body: bytes | memoryview) -> Welcome | Refusal | Challenge:
    """Return what the control plane answered to a hello, or to a proof.

    Raises:
        ProtocolError: it is none of these.
    """
    try:
        return _greetings.decode(body)
    except DECODE_ERRORS as error:
        raise ProtocolError(
            f"the peer didn't answer like a control plane: {cited(error)}"
        ) from error
