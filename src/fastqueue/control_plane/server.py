"""Own the connections of clients and subworkers: hello, decoding, holding back, sending.

What a session sends goes as commands into the engine's inbox; what the engine releases is sent from
here. Whoever sends anything else is dropped with one log line, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from fastqueue.control_plane.drop_log import DropLog
from fastqueue.control_plane.large_frames import LargeFrames
from fastqueue.control_plane.listener import Listener
from fastqueue.control_plane.open_files import SESSIONS_MAX
from fastqueue.control_plane.session import Session
from fastqueue.core import commands as cmd
from fastqueue.errors import ProtocolError
from fastqueue.link.connection import Connection
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import frame_bytes_max

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from fastqueue.config import Address
    from fastqueue.control_plane.admission import Admitted
    from fastqueue.control_plane.engine import Engine

__all__ = ["Server"]

logger = logging.getLogger(__name__)

# All of the handshake must be over by then.
_HELLO_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0


_FOR_ADMINS = (
    msg.Inspect,
    msg.ListDead,
    msg.Requeue,
    msg.PutSchedule,
    msg.ChangeSchedule,
    msg.RunSchedule,
    msg.ListSchedules,
    msg.ChangeQueue,
    msg.Purge,
    msg.SetRunLimit,
    msg.RemoveRunLimit,
    msg.ListBatches,
)
_MAY_NOT_INSPECT = (
    "the token you have is this control plane's token_submit, which is not for inspecting it: that "
    "needs token or token_admin"
)


class Server:
    """Accept connections and turn them into sessions of the engine.

    Args:
        engine: where commands go.
        control_plane_id: told to everyone who connects.
        check_callback: raises ConfigurationError for a callback address that may not be dialled.
        tokens: what peers must prove to have one of, by the name of the setting.
        sessions_max: how many connections may be open at one time.
    """

    def __init__(
        self,
        engine: Engine,
        control_plane_id: str,
        check_callback: Callable[[str], None],
        tokens: Mapping[str, str],
        sessions_max: int = SESSIONS_MAX,
    ) -> None:
        self._tokens = tokens
        self._engine = engine
        self._control_plane_id = control_plane_id
        self._check_callback = check_callback
        self._listeners: list[Listener] = []
        self._by_connection: dict[Connection, Session] = {}
        self._by_number: dict[int, Session] = {}
        # In the order in which they came to be held back.
        self._held_back: dict[Connection, None] = {}
        # Those that aren't admitted yet, the oldest first.
        self._strangers: dict[Connection, None] = {}
        self._sessions_max = sessions_max
        self._drops = DropLog(logger)
        self._large = LargeFrames(self._is_held_back, self._read)
        self._last_number = 0

    # -- listening

    async def start(self, address: Address, tls: ssl.SSLContext | None = None) -> Address:
        """Listen at an address, or at one more; return it with the port that is used.

        Args:
            address: where; with port 0 the system chooses one.
            tls: what peers must show at a `tls://` address.

        Raises:
            ConfigurationError: the address can't be listened at.
        """
        listener = Listener(self._make_connection, tls)
        started = await listener.start(address)
        self._listeners.append(listener)
        return started

    async def stop(self) -> None:
        """Stop listening and end every connection, once what is sent is written."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self._large.stop()
        self._drops.flush()
        connections = list(self._by_connection)
        for connection in connections:
            connection.close()
        if connections:
            waits = [asyncio.ensure_future(c.closed.wait()) for c in connections]
            _, late = await asyncio.wait(waits, timeout=_CLOSE_TIMEOUT_S)
            for wait in late:
                wait.cancel()
            for connection in list(self._by_connection):
                connection.abort()

    def _make_connection(self) -> Connection:
        return Connection(
            self._on_frames, self._on_closed, self._on_opened, self._on_writable, self._large.note
        )

    # -- what the engine calls

    def send(self, session: int, bodies: Sequence[bytes]) -> None:
        """Send frames to a session, if it is still there."""
        found = self._by_number.get(session)
        if found is not None:
            found.connection.send_all(bodies)

    def close(self, session: int, reason: str) -> None:
        """End a session."""
        found = self._by_number.get(session)
        if found is not None:
            found.connection.close(ProtocolError(reason))

    def close_all(self, reason: str) -> None:
        """End every session; the core is about to forget them all."""
        for session in list(self._by_number.values()):
            del self._by_number[session.number]
            session.number = 0
            session.connection.abort(ProtocolError(reason))

    def is_writable(self, session: int) -> bool | None:
        """Say whether a session keeps up with what it is sent; None if it has ended."""
        found = self._by_number.get(session)
        return None if found is None else found.connection.is_writable

    def hold_back(self, session: int) -> None:
        """Read nothing from a session until `read_again`."""
        found = self._by_number.get(session)
        if found is not None and not found.is_behind:
            found.is_behind = True
            found.connection.pause_reading()

    def read_again(self, session: int) -> None:
        """Read again from a session."""
        found = self._by_number.get(session)
        if found is not None and found.is_behind:
            found.is_behind = False
            self._read(found.connection)

    def resume(self) -> None:
        """Read again from the peers that were held back because the engine was behind."""
        held_back, self._held_back = self._held_back, {}
        for connection in held_back:
            self._read(connection)

    def _is_held_back(self, connection: Connection) -> bool:
        return connection in self._held_back or self._by_connection[connection].is_behind

    def _read(self, connection: Connection) -> None:
        """Read again from a connection, unless there is another reason not to."""
        if not self._is_held_back(connection) and not self._large.waits(connection):
            connection.resume_reading()

    # -- what connections call

    def _on_opened(self, connection: Connection) -> None:
        session = self._by_connection[connection] = Session(
            connection, self._tokens, self._engine.wall, self._check_callback
        )
        if len(self._by_connection) > self._sessions_max and not self._make_way():
            message = f"{self._sessions_max:,} connections are open already"
            self._refuse(session, _refusal("too_many", message))
            return
        self._strangers[connection] = None
        session.hello_timer = asyncio.get_running_loop().call_later(
            _HELLO_TIMEOUT_S, self._on_hello_timeout, session
        )

    def _make_way(self) -> bool:
        """End the oldest connection that isn't admitted: those that say nothing keep nobody out."""
        for connection in self._strangers:
            del self._strangers[connection]
            connection.abort(ProtocolError("it said no hello, and others want to connect"))
            return True
        return False

    def _on_hello_timeout(self, session: Session) -> None:
        what = "hello" if session.hello is None else "proof of a token"
        session.connection.abort(ProtocolError(f"no {what} within {_HELLO_TIMEOUT_S:g} s"))

    def _on_frames(self, connection: Connection, bodies: list[bytes]) -> None:
        session = self._by_connection[connection]
        for body in bodies:
            if session.number:
                self._receive(session, body)
            elif not session.is_over:
                self._greet(session, body)
        if self._engine.is_behind:
            connection.pause_reading()
            self._held_back[connection] = None

    def _on_writable(self, connection: Connection) -> None:
        session = self._by_connection.get(connection)
        if session is not None and session.number:
            self._engine.wake()

    def _on_closed(self, connection: Connection, reason: Exception | None) -> None:
        session = self._by_connection.pop(connection)
        self._held_back.pop(connection, None)
        self._strangers.pop(connection, None)
        self._large.forget(connection)
        if session.hello_timer is not None:
            session.hello_timer.cancel()
        if isinstance(reason, ProtocolError):
            self._drops.note(session.who, reason)
        elif session.admission.is_challenged:
            logger.warning("%s went away when it was asked for a token", session.who)
        if session.number:
            del self._by_number[session.number]
            if session.hello is not None and session.hello.role == greetings.ROLE_HEARTBEAT:
                self._engine.put(cmd.HeartbeatLost(session.number, session.hello.instance))
            elif session.is_ready:
                self._engine.put(cmd.SessionLost(session.number))

    # -- hello

    def _greet(self, session: Session, body: bytes) -> None:
        answer = session.admission.take(body)
        if isinstance(answer, greetings.Challenge):
            session.connection.send(msg.encode(answer))
            return
        if session.hello_timer is not None:
            session.hello_timer.cancel()
        self._strangers.pop(session.connection, None)
        if isinstance(answer, greetings.Refusal):
            self._refuse(session, answer)
        elif self._engine.is_full:
            self._refuse(session, _refusal("full", "the control plane's disk is full"))
        else:
            self._accept(session, answer)

    def _refuse(self, session: Session, refusal: greetings.Refusal) -> None:
        session.is_over = True
        session.connection.send(msg.encode(refusal))
        session.connection.close(ProtocolError(f"refused: {refusal.message}"))

    def _accept(self, session: Session, admitted: Admitted) -> None:
        hello = session.hello
        assert hello is not None
        session.may_inspect = admitted.may_inspect
        self._last_number += 1
        session.number = self._last_number
        self._by_number[session.number] = session
        limit = frame_bytes_max(self._engine.limits.payload_bytes_max)
        session.connection.decoder.frame_bytes_max = limit
        welcome = greetings.Welcome(
            protocol=greetings.PROTOCOL_VERSION,
            control_plane_id=self._control_plane_id,
            epoch=self._engine.epoch,
            frame_bytes_max=limit,
            payload_bytes_max=self._engine.limits.payload_bytes_max,
            offers=hello.role == greetings.ROLE_CLIENT,
        )
        welcome = msgspec.structs.replace(welcome, proof=admitted.prove(welcome))
        session.connection.send(msg.encode(welcome))
        level = logging.DEBUG if hello.role == greetings.ROLE_HEARTBEAT else logging.INFO
        logger.log(level, "%s connected", session.who)
        if hello.role == greetings.ROLE_CLIENT:
            session.is_ready = True
            self._engine.put(cmd.ClientReady(session.number, hello.instance))

    # -- everything else

    def _receive(self, session: Session, body: bytes) -> None:
        message = msg.decode_to_control_plane(body)
        if isinstance(message, _FOR_ADMINS) and not session.may_inspect:
            failed = msg.Failed(message.request, "role", _MAY_NOT_INSPECT)
            session.connection.send(msg.encode(failed))
            return
        self._engine.put(session.command(message), len(body))


def _refusal(code: str, message: str) -> greetings.Refusal:
    """Return a refusal of what may be had later."""
    return greetings.Refusal(code=code, message=message, retry=True)
