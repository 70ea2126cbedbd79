"""Own the heartbeats: a thread that tells the control plane that this process is alive.

The thread has a blocking connection of its own, so that it goes on while a task blocks the event
loop. It also asks the loop to answer, and if the loop doesn't, says which task blocks it and where
in its code: once in the log here, and in every heartbeat. `subworker.app` starts and stops it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from fastqueue.config import parse_address
from fastqueue.errors import FastQueueError, ProtocolError
from fastqueue.link.dialer import backoff_s
from fastqueue.link.tls import peer_context
from fastqueue.protocol import greetings
from fastqueue.protocol import messages as msg
from fastqueue.protocol.framing import HELLO_BYTES_MAX, FrameDecoder, frame
from fastqueue.protocol.handshake import Handshake

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fastqueue.config import PeerSecurity

__all__ = ["Heartbeats"]

logger = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How often a heartbeat is sent, in seconds."""

_LOOK_S = 0.25
_BLOCKED_AFTER_S = 0.5
_SOCKET_TIMEOUT_S = 2.0
_BACKOFF_FIRST_S = 0.05
_BACKOFF_MAX_S = 1.0
_NAME_CHARS_MAX = 200
_RUNNER = (os.path.join("subworker", "runtime.py"), "_run_coroutine")


class Heartbeats:
    """Send heartbeats from a thread until `stop`; made on the event loop that is watched.

    Args:
        instance: the subworker's, the same that its other connection says.
        name: for people.
        security: how the control plane is known.
        address: returns where the control plane is connected, empty if it never was.
        task_of: returns name and id of the task that an asyncio task runs, if it is one.
    """

    def __init__(
        self,
        *,
        instance: str,
        name: str,
        security: PeerSecurity,
        address: Callable[[], str],
        task_of: Callable[[asyncio.Task[object]], tuple[str, str] | None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._instance, self._name, self._security = instance, name, security
        self._address = address
        self._task_of = task_of
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._failures = 0
        self._dial_at = self._beat_at = 0.0
        # When the loop was asked to answer, and whether it has since.
        self._asked_at = 0.0
        self._answered = True
        self._blocked: msg.Heartbeat | None = None

    def start(self) -> None:
        """Begin, in a daemon thread; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="fastqueue-heartbeat", daemon=True
            )
            self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor of its connection, or -1 if none is open."""
        connection = self._socket
        return -1 if connection is None else connection.fileno()

    def stop(self) -> None:
        """Let the thread end, without waiting for it."""
        self._stopping.set()

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look(time.monotonic())
                self._beat(time.monotonic())
                waited_from = time.monotonic()
                self._stopping.wait(_LOOK_S)
                if (
                    time.monotonic() - waited_from > _LOOK_S + _BLOCKED_AFTER_S
                    and not self._blocked
                ):
                    # This thread didn't run either: the process was stopped, or something held
                    # the interpreter's lock. That says nothing of the loop; ask it anew.
                    self._answered = True
        except RuntimeError as error:
            logger.debug("the heartbeats end with the event loop: %s", error)
        finally:
            self._hang_up()

    def _look(self, now: float) -> None:
        """Ask the loop to answer, and note how long it hasn't."""
        if self._answered:
            if self._blocked is not None:
                self._blocked, self._beat_at = None, 0.0
                self._log("the event loop answers again after %.1f s", now - self._asked_at)
            self._answered, self._asked_at = False, now
            self._loop.call_soon_threadsafe(self._answer)
            return
        blocked_s = now - self._asked_at
        if blocked_s >= _BLOCKED_AFTER_S and self._blocked is None:
            self._blocked, self._beat_at = self._find_out(blocked_s), 0.0
            self._log(
                "the event loop hasn't answered for %.1f s: %s blocks it. Nothing else runs on it "
                "meanwhile; make the function a plain `def`, or `await` what it waits for:\n%s",
                blocked_s,
                f"task {self._blocked.task_name} ({self._blocked.task_id})"
                if self._blocked.task_id
                else "something that isn't a task's own coroutine",
                self._blocked.stack,
            )

    def _answer(self) -> None:
        self._answered = True

    def _find_out(self, blocked_s: float) -> msg.Heartbeat:
        current = asyncio.current_task(self._loop)
        name, task_id = (self._task_of(current) if current is not None else None) or ("", "")
        stack = _stack_of(sys._current_frames().get(self._loop_thread))  # noqa: SLF001
        return msg.Heartbeat(blocked_s, name[:_NAME_CHARS_MAX], task_id, stack)

    @staticmethod
    def _log(*what: object) -> None:
        """Log a warning in a thread of its own: what blocks the loop may be the log itself."""
        threading.Thread(target=logger.warning, args=what, daemon=True).start()

    # -- the connection

    def _beat(self, now: float) -> None:
        """Send a heartbeat if one is due; connect before, and again if that fails."""
        if self._socket is not None and self._has_ended(self._socket):
            self._hang_up()
        if self._socket is None and now >= self._dial_at and (address := self._address()):
            try:
                self._socket = self._dial(address)
            except (OSError, FastQueueError) as error:
                self._retry_later(error)
            else:
                self._failures, self._beat_at = 0, 0.0
        if self._socket is None or now < self._beat_at:
            return
        heartbeat = msg.Heartbeat()
        if (blocked := self._blocked) is not None:
            heartbeat = msg.Heartbeat(
                now - self._asked_at, blocked.task_name, blocked.task_id, blocked.stack
            )
        try:
            self._socket.sendall(frame(msg.encode(heartbeat)))
        except OSError as error:
            self._retry_later(error)
        else:
            self._beat_at = now + INTERVAL_S

    def _dial(self, address: str) -> socket.socket:
        """Connect and say who we are.

        Raises:
            OSError: there is no connection to be had.
            FastQueueError: the control plane won't have us.
        """
        where = parse_address(address, setting="control_plane_address", allow_tls=True)
        if where.scheme == "ipc":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_SOCKET_TIMEOUT_S)
        else:
            connection = socket.create_connection((where.host, where.port), _SOCKET_TIMEOUT_S)
        try:
            if where.scheme == "ipc":
                connection.connect(where.path)
            elif where.scheme == "tls":
                context = peer_context(self._security)
                connection = context.wrap_socket(connection, server_hostname=where.host)
            self._greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _greet(self, connection: socket.socket) -> None:
        handshake = Handshake(
            role=greetings.ROLE_HEARTBEAT,
            instance=self._instance,
            name=self._name,
            token=self._security.token,
        )
        decoder = FrameDecoder(HELLO_BYTES_MAX)
        answer: bytes | greetings.Welcome | greetings.Refusal = handshake.hello
        while isinstance(answer, bytes):
            connection.sendall(frame(answer))
            bodies: list[bytes] = []
            while not bodies:
                data = connection.recv(HELLO_BYTES_MAX)
                if not data:
                    raise ConnectionResetError("it hung up")
                bodies = decoder.feed(data)
            answer = handshake.on_greeting(bodies[0])
        if isinstance(answer, greetings.Refusal):
            raise ProtocolError(answer.message)

    @staticmethod
    def _has_ended(connection: socket.socket) -> bool:
        """Say whether the other side hung up; it sends nothing after its welcome, but TLS may."""
        connection.settimeout(0)
        try:
            return not connection.recv(HELLO_BYTES_MAX)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        finally:
            connection.settimeout(_SOCKET_TIMEOUT_S)

    def _retry_later(self, error: Exception) -> None:
        logger.debug("no heartbeat could be sent: %s", error)
        self._hang_up()
        pause_s = backoff_s(self._failures, _BACKOFF_FIRST_S, _BACKOFF_MAX_S)
        self._failures += 1
        self._dial_at = time.monotonic() + pause_s

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _stack_of(frame_: FrameType | None) -> str:
    """Return a thread's stack as text, from where a task's own code begins if it runs one."""
    if frame_ is None:
        return ""
    frames = traceback.extract_stack(frame_)
    begin = 0
    for index, entry in enumerate(frames):
        if entry.filename.endswith(_RUNNER[0]) and entry.name == _RUNNER[1]:
            begin = index + 1
    return "".join(traceback.format_list(frames[begin:] or frames))[-msg.STACK_CHARS_MAX :]
