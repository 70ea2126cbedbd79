"""Own who is let in, and to do what: hello, challenge, proof, role. The server calls it.

Until a peer is admitted it costs no more than a bounded frame at a time, and nothing that it says
reaches the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastqueue._version import __version__
from fastqueue.errors import ProtocolError
from fastqueue.protocol import greetings
from fastqueue.protocol.handshake import control_plane_proof, is_proof, new_nonce, peer_proof

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Admission", "Admitted"]

_ROLES = (
    greetings.ROLE_CLIENT,
    greetings.ROLE_SUBWORKER,
    greetings.ROLE_HEARTBEAT,
    greetings.ROLE_SUPERVISOR,
)


class Admitted:
    """Say that a peer is let in.

    Attributes:
        may_inspect: whether it may ask the control plane about itself.
    """

    __slots__ = ("_hello_body", "_nonce", "_token", "may_inspect")

    def __init__(
        self, hello_body: bytes, nonce: bytes, token: str | None, *, may_inspect: bool
    ) -> None:
        self._hello_body = hello_body
        self._nonce = nonce
        self._token = token
        self.may_inspect = may_inspect

    def prove(self, welcome: greetings.Welcome) -> bytes:
        """Return our own proof, for a welcome with this content; empty without tokens."""
        if self._token is None:
            return b""
        return control_plane_proof(self._token, self._hello_body, self._nonce, welcome)


class Admission:
    """Decide about one peer.

    Args:
        tokens: by the name of the setting, those that are in force; with none, all are let in.

    Attributes:
        hello: who the peer says it is, once it has.
        is_challenged: whether a proof is still to come.
    """

    __slots__ = ("_hello_body", "_nonce", "_tokens", "hello", "is_challenged")

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens
        self._hello_body = b""
        self._nonce = b""
        self.hello: greetings.Hello | None = None
        self.is_challenged = False

    def take(self, body: bytes) -> greetings.Challenge | greetings.Refusal | Admitted:
        """Take a frame of a peer that isn't admitted yet.

        Returns:
            A challenge to send, after which another frame comes; or how it ended.

        Raises:
            ProtocolError: the peer speaks something else.
        """
        if self.hello is not None:
            return self._on_proof(self.hello, body)
        hello = self.hello = greetings.decode_hello(body)
        if hello.protocol != greetings.PROTOCOL_VERSION:
            return greetings.Refusal(
                code="protocol",
                message=f"this control plane (fastqueue {__version__}) speaks protocol "
                f"{greetings.PROTOCOL_VERSION}, you (fastqueue {hello.version or 'unknown'}) speak "
                f"{hello.protocol}: install the same version on both sides",
            )
        if hello.role not in _ROLES:
            return greetings.Refusal(code="role", message=f"there is no role {hello.role!r}")
        if not self._tokens:
            return Admitted(body, b"", None, may_inspect=True)
        if len(hello.nonce) != greetings.NONCE_BYTES:
            return greetings.Refusal(
                code="nonce", message=f"a hello needs a nonce of {greetings.NONCE_BYTES} bytes here"
            )
        self._hello_body, self._nonce = body, new_nonce()
        self.is_challenged = True
        return greetings.Challenge(nonce=self._nonce)

    def _on_proof(self, hello: greetings.Hello, body: bytes) -> greetings.Refusal | Admitted:
        if not self.is_challenged:
            raise ProtocolError("it said hello and wasn't admitted")
        self.is_challenged = False
        mac = greetings.decode_proof(body).mac
        # All are tried, so that the time says nothing of which it was.
        fits = [
            name
            for name, token in self._tokens.items()
            if is_proof(mac, peer_proof(token, self._hello_body, self._nonce))
        ]
        if not fits:
            return greetings.Refusal(
                code="token",
                message="your token is not one of this control plane's: give both the same, for "
                "example with FASTQUEUE_TOKEN",
            )
        [name] = fits
        wanted = "token_submit" if hello.role == greetings.ROLE_CLIENT else "token_worker"
        if name not in ("token", "token_admin", wanted):
            return greetings.Refusal(
                code="role",
                message=f"the token you have is this control plane's {name}, which is not for a "
                f"{hello.role}: that needs {wanted}, token or token_admin",
            )
        return Admitted(
            self._hello_body,
            self._nonce,
            self._tokens[name],
            may_inspect=name != "token_submit",
        )
