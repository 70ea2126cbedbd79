"""Own the handshake: hello, challenge, proof, welcome; a token is proven without being sent.

A control plane with tokens answers a hello with a challenge, a nonce that it uses once. The peer
proves that it has a token, and then the control plane proves that it has the same one, so that
neither can be played by a stranger. Both proofs cover the exact bytes of the hello, with its role
and its own nonce in it (docs/adr/0012-handshake.md).

There is no I/O here. `Handshake` is the side that dials, for `link.dialer` and for whoever has a
blocking socket; the control plane's side is `control_plane.admission`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from fastqueue._version import __version__
from fastqueue.core.records import SHORT_TEXT_LENGTH_MAX
from fastqueue.errors import ProtocolError
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.printable import printable

__all__ = [
    "Handshake",
    "HandshakeRefused",
    "control_plane_proof",
    "is_proof",
    "new_nonce",
    "peer_proof",
]

# The labels keep one side's proof from being sent back to it as the other's.
_PEER_LABEL = b"fastqueue peer\0"
_CONTROL_PLANE_LABEL = b"fastqueue control plane\0"


class HandshakeRefused(ProtocolError):  # noqa: N818 - reads as what happened
    """Say why the side that dialled won't talk to this control plane; asking often is of no use."""


class Handshake:
    """Be the side that dials, for one connection: send `hello`, then do what `on_greeting` says.

    Args:
        role: what the connection is for, one of the roles of `messages`.
        instance: new for each process life.
        name: for people; of one that a peer may not have, what it may have.
        token: the secret shared with the control plane, or None if there is none.

    Attributes:
        hello: the body of the first frame.
    """

    def __init__(self, *, role: str, instance: str, name: str, token: str | None) -> None:
        self._token = token
        self._nonce: bytes | None = None
        self.hello = msg.encode(
            greetings.Hello(
                protocol=greetings.PROTOCOL_VERSION,
                role=role,
                instance=instance,
                name=printable(name)[:SHORT_TEXT_LENGTH_MAX],
                version=__version__,
                nonce=new_nonce(),
            )
        )

    def on_greeting(self, body: bytes) -> bytes | greetings.Welcome | greetings.Refusal:
        """Take the body of a frame from the control plane.

        Returns:
            The body of a frame to send, after which another one comes; or how it ended.

        Raises:
            HandshakeRefused: one of the two has no token, or the control plane's isn't ours.
            ProtocolError: the peer doesn't answer like a control plane.
        """
        greeting = greetings.decode_greeting(body)
        match greeting:
            case greetings.Refusal():
                return greeting
            case greetings.Challenge():
                return self._answer(greeting)
            case greetings.Welcome():
                self._check(greeting)
                return greeting

    def _answer(self, challenge: greetings.Challenge) -> bytes:
        if self._nonce is not None:
            raise ProtocolError("the control plane asked for a proof twice")
        if self._token is None:
            raise HandshakeRefused(
                "the control plane wants a token and there is none: set FASTQUEUE_TOKEN, or name "
                "the file that holds it with --token-file"
            )
        self._nonce = challenge.nonce
        return msg.encode(greetings.Proof(mac=peer_proof(self._token, self.hello, challenge.nonce)))

    def _check(self, welcome: greetings.Welcome) -> None:
        if self._token is None:
            return
        if self._nonce is None:
            raise HandshakeRefused(
                "a token is set here and the control plane didn't ask for it: it is another one, "
                "or it was started without its token; nothing is sent to it"
            )
        expected = control_plane_proof(self._token, self.hello, self._nonce, welcome)
        if not is_proof(welcome.proof, expected):
            raise HandshakeRefused(
                "the control plane couldn't prove that it has the token: it is not the one it "
                "claims to be; nothing is sent to it"
            )


def new_nonce() -> bytes:
    """Return bytes that were never used before."""
    return secrets.token_bytes(greetings.NONCE_BYTES)


def peer_proof(token: str, hello: bytes, nonce: bytes) -> bytes:
    """Return what proves that the peer who sent this hello has the token."""
    return _mac(token, _PEER_LABEL, hello, nonce)


def control_plane_proof(
    token: str, hello: bytes, nonce: bytes, welcome: greetings.Welcome
) -> bytes:
    """Return what proves that the control plane who sent this nonce and welcome has the token."""
    content = msg.encode(
        [
            welcome.protocol,
            welcome.control_plane_id,
            welcome.epoch,
            welcome.frame_bytes_max,
            welcome.payload_bytes_max,
        ]
    )
    return _mac(token, _CONTROL_PLANE_LABEL, hello, nonce, content)


def is_proof(given: bytes, expected: bytes) -> bool:
    """Compare two proofs in a time that says nothing of where they differ."""
    return hmac.compare_digest(given, expected)


def _mac(token: str, label: bytes, hello: bytes, nonce: bytes, rest: bytes = b"") -> bytes:
    # With the hello's length in front, no two different inputs have the same bytes.
    covered = label + len(hello).to_bytes(4, "big") + hello + nonce + rest
    return hmac.new(token.encode(), covered, hashlib.sha256).digest()
