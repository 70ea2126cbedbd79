"""Own one process of tasks as its subworker sees it: started, talked to, ended.

It is a fresh interpreter with a socket to us, never a copy of this process, which has threads. Its
end is noticed by a thread that waits for it: the socket may be kept open by what a task has forked.
It leads a process group of its own: what its task started is killed with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from fastqueue.errors import ProtocolError
from fastqueue.protocol.framing import FrameDecoder, frame, frame_bytes_max
from fastqueue.subworker.endings import how_it_ended
from fastqueue.subworker.process_messages import decode_from_process, encode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fastqueue.subworker.process_messages import FromProcess, ToProcess

__all__ = ["ChildProcess"]

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024


class ChildProcess:
    """Run one process, from here until `on_end` is called.

    Args:
        loop: the event loop, on whose thread everything is called.
        folder: the process's current directory; None is ours.
        on_message: called with each message of the process.
        on_end: called once, when the process has ended and all that it said is told, with how it
            ended, to be read after "the process".

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: str | None,
        on_message: Callable[[FromProcess], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._on_message = on_message
        self._on_end = on_end
        self._decoder = FrameDecoder(frame_bytes_max(0))
        self._unsent = bytearray()
        self._cause: str | None = None
        self._is_hung_up = False
        self._is_open = True
        self._is_reaped = False
        self._socket, theirs = socket.socketpair()
        descriptor = theirs.fileno()
        try:
            with theirs:
                # As for subworkers: a project's queue.py isn't to be taken for Python's.
                self._popen = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-P", "-m", "fastqueue", "task-process", str(descriptor)],
                    stdin=subprocess.DEVNULL,
                    cwd=folder,
                    pass_fds=[descriptor],
                    process_group=0,
                )
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._read)
        name = f"fastqueue-wait-{self.pid}"
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._popen.pid

    @property
    def is_open(self) -> bool:
        """Say whether it may be given something to do: it has neither ended nor been told to."""
        return self._is_open

    def fileno(self) -> int:
        """Return the descriptor of the socket, or -1 if it is closed."""
        return self._socket.fileno()

    def expect(self, result_bytes_max: int) -> None:
        """Take messages with results of this size from now on."""
        self._decoder.frame_bytes_max = frame_bytes_max(result_bytes_max)

    def send(self, message: ToProcess) -> None:
        """Send a message; to a process that has ended, it is lost."""
        is_first = not self._unsent
        self._unsent += frame(encode(message))
        if is_first:
            self._write()

    def hang_up(self) -> None:
        """Tell the process to end once it is done; an idle one ends at once."""
        self._is_hung_up, self._is_open = True, False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self, cause: str | None = None) -> None:
        """Kill the process and its group; `cause` is then how it ended, if it ends of that."""
        if self._cause is None:
            self._cause = cause
        self._is_open = False
        self._kill_group()

    def _kill_group(self) -> None:
        # Once it is reaped the number may be another's.
        if not self._is_reaped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def memory_bytes(self) -> int | None:
        """Return how much memory of its own the process uses; None if the system doesn't say.

        That is what is in RAM and in no file: not the pages of libraries, which processes share,
        nor those of mapped files, which the system takes back when it needs them.
        """
        try:
            with open(f"/proc/{self.pid}/statm", "rb", buffering=0) as file:
                _, resident, shared, *_ = file.read().split()
        except (OSError, ValueError):
            return None
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")

    # -- the socket

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent.clear()  # it has ended, which we are about to be told
            self._loop.remove_writer(self._socket)
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
            return
        self._loop.remove_reader(self._socket)
        self._is_open = False
        if not self._is_hung_up:
            # Most often it has ended. A task that closed the socket has no way to tell its outcome.
            self.kill()

    def _take(self, data: bytes) -> None:
        try:
            for body in self._decoder.feed(data):
                self._on_message(decode_from_process(body))
        except ProtocolError as error:
            logger.error("task process %d is killed: %s", self.pid, error)
            self._loop.remove_reader(self._socket)
            self.kill("was killed as a task wrote to its socket")

    # -- the end

    def _wait(self) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._is_reaped = True
            self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended; so does this process
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        """Take what it said last, then tell of its end."""
        with contextlib.suppress(OSError):
            while self._cause is None and (data := self._socket.recv(_READ_BYTES)):
                self._take(data)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        if not self._is_hung_up:
            self._kill_group()
        self._is_reaped = True
        code = self._popen.wait()
        is_ours = self._cause is not None and code < 0
        self._on_end(self._cause if is_ours and self._cause else how_it_ended(code))
