"""Own one NNG socket on one event loop; the patterns in `nng_patterns` are its only users.

No receive and no send is ever left outstanding inside NNG here. Each is a non-blocking call on
the loop's thread, repeated when the descriptor NNG offers for it (`recv_fd`, `send_fd`) says so.
That one choice removes what goes wrong with the binding's own coroutines, each of which was seen:
a cancelled `arecv` takes a message with it, a failed `asend` leaks its message, and a loop that
ends with either pending hangs the interpreter. What isn't taken yet waits in NNG's own bounded
buffer, and past that in TCP's: the sender waits.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pynng

from fastqueue.errors import ConfigurationError, PatternClosed, PatternError, PatternTimeout
from fastqueue.patterns._closing import close_when_idle, finish
from fastqueue.patterns._listening import listen
from fastqueue.patterns._readiness import Readiness, expire, is_readable
from fastqueue.patterns._stats import sent_count

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NngSocket", "SocketOptions", "explain"]

BUFFER_COUNT_LIMIT = 8192
"""NNG refuses a longer buffer."""

RECONNECT_MIN_S = 0.1

_BURST_COUNT = 64
"""How many messages are taken or given without once letting the loop's other tasks run."""

_QUIET_S = 0.01
"""How long nothing may leave a broadcasting socket before it counts as drained."""

_open_sockets: weakref.WeakSet[NngSocket] = weakref.WeakSet()

_AGAIN = (pynng.TryAgain, pynng.Timeout)


@atexit.register
def _close_what_was_left_open() -> None:
    # Registered after the binding's own hook and therefore run before it. That one tears NNG down
    # under whatever is still open, and the binding then complains of each object it finds dead.
    for socket in list(_open_sockets):
        socket.close(linger_s=0)
    finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """Hold what every pattern lets its user set; `nng_patterns` documents each."""

    recv_timeout_s: float | None
    send_timeout_s: float | None
    recv_bytes_max: int
    buffer_max: int
    linger_s: float
    reconnect_max_s: float

    def __post_init__(self) -> None:
        for name in ("recv_timeout_s", "send_timeout_s"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigurationError(f"{name} is {value}; use None or at least 0")
        if self.recv_bytes_max < 1:
            # NNG reads 0 as "unlimited", and then believes any length a stranger's header claims.
            raise ConfigurationError(f"recv_bytes_max is {self.recv_bytes_max}; use at least 1")
        if not 1 <= self.buffer_max <= BUFFER_COUNT_LIMIT:
            raise ConfigurationError(
                f"buffer_max is {self.buffer_max}; use 1 to {BUFFER_COUNT_LIMIT}"
            )
        if self.linger_s < 0:
            raise ConfigurationError(f"linger_s is {self.linger_s}; use at least 0")
        if self.reconnect_max_s < RECONNECT_MIN_S:
            raise ConfigurationError(
                f"reconnect_max_s is {self.reconnect_max_s}; use at least {RECONNECT_MIN_S}"
            )


def explain(error: OSError | pynng.NNGException) -> str:
    """Return the system's or NNG's own words for `error`, for use at the end of a message."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error.args[0]) if error.args else type(error).__name__


class NngSocket:
    """Be one open NNG socket, used from the thread of the loop it was opened on.

    Args:
        raw: the socket, unconnected and with its protocol's own options set.
        address: where it listens or whom it dials.
        options: limits and timeouts.
        drains_by_fd: its `send_fd` tells when what was sent is out (it has no send buffer).
    """

    def __init__(
        self, raw: Any, address: str, options: SocketOptions, *, drains_by_fd: bool
    ) -> None:
        self.raw = raw
        self.address = address
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.on_pipe_added: Callable[[], None] | None = None
        self.on_pipe_removed: Callable[[], None] | None = None
        self.before_close: Callable[[], None] | None = None
        self.pipes_added = 0
        self.pipes_removed = 0
        self._drains_by_fd = drains_by_fd
        self.has_sent = False
        self._dialer: Any = None
        self._is_closed = False
        self._burst = 0
        self._readable: Readiness | None = None
        self._writable: Readiness | None = None
        self._pipes: set[int] = set()
        # NNG may tell of a pipe's end before its beginning: they come from different threads.
        self._pipes_gone: collections.deque[int] = collections.deque(maxlen=64)
        self._pipe_waiters: set[asyncio.Future[bool]] = set()
        _open_sockets.add(self)
        raw.recv_max_size = options.recv_bytes_max
        raw.reconnect_time_min = int(RECONNECT_MIN_S * 1000)
        raw.reconnect_time_max = int(options.reconnect_max_s * 1000)
        raw.add_post_pipe_connect_cb(self._pipe_added_in_nng_thread)
        raw.add_post_pipe_remove_cb(self._pipe_removed_in_nng_thread)

    def listen(self) -> None:
        """Listen at the address; for TCP port 0, `address` then tells the port.

        Raises:
            PatternError: the address is bad or in use; the socket is closed.
        """
        try:
            listener = listen(self.raw, self.address)
            if self.address.endswith(":0"):
                self.address = f"{self.address.split('://')[0]}://{listener.local_address}"
        except (OSError, pynng.NNGException) as error:
            self.close(linger_s=0)
            raise PatternError(f"can't listen at {self.address}: {explain(error)}") from error

    def dial(self) -> None:
        """Start dialling the address in the background, again and again.

        Raises:
            PatternError: the address can't be one; the socket is closed.
        """
        try:
            self._dialer = self.raw.dial(self.address, block=False)
        except pynng.NNGException as error:
            self.close(linger_s=0)
            raise PatternError(f"can't dial {self.address}: {explain(error)}") from error

    @property
    def is_closed(self) -> bool:
        """Say whether `close` was called."""
        return self._is_closed

    @property
    def pipe_count(self) -> int:
        """Return how many peers are connected, as far as the loop has been told."""
        return len(self._pipes)

    def take(self) -> bytes:
        """Take a message without blocking, or raise what the binding raises when there is none.

        Not by the binding's `recv`: an empty message, which any stranger can send, breaks it.
        """
        lib, ffi = pynng.lib, pynng.ffi
        found = ffi.new("nng_msg **")
        pynng.exceptions.check_err(lib.nng_recvmsg(self.raw.socket, found, lib.NNG_FLAG_NONBLOCK))
        message = found[0]
        try:
            length = lib.nng_msg_len(message)
            return bytes(ffi.buffer(lib.nng_msg_body(message), length)) if length else b""
        finally:
            lib.nng_msg_free(message)

    def take_if_readable(self) -> bytes:
        """Take a message like `take`, but ask the descriptor first.

        A surveyor's receive ignores that it is not to block: with no answer there it would hold
        up this thread until the survey is over.
        """
        if not is_readable(self._recv_ready().fd, 0):
            raise pynng.TryAgain("no answer yet", pynng.lib.NNG_EAGAIN)
        return self.take()

    async def recv(self, take: Callable[[], bytes], timeout_s: float | None) -> bytes:
        """Return the next message that `take` gets without blocking.

        Nothing is awaited after a message was taken, so cancelling this loses none.

        Raises:
            PatternTimeout: none came in time.
            PatternClosed: the socket is closed, or was while this waited.
            PatternError: NNG refused.
        """
        message: bytes = await self._until_ready(take, "receive", timeout_s)
        return message

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Hand `data` to NNG, waiting up to the send timeout for room.

        Raises:
            PatternTimeout: no peer took it in time.
            PatternClosed: the socket is closed, or was while this waited.
            PatternError: NNG refused.
        """
        payload = data if isinstance(data, bytes) else bytes(data)
        await self._until_ready(
            lambda: self.raw.send(payload, block=False), "send", self.options.send_timeout_s
        )
        self.has_sent = True

    async def wait_drained(self, timeout_s: float) -> bool:
        """Wait until what was sent has left NNG for the kernel; only where `drains_by_fd`.

        Without a send buffer NNG holds one message, and says it is writable once that one is
        written whole. False when the time has passed, or a peer went meanwhile.
        """
        self.check_open("send")
        ready = self._send_ready()
        removed = self.pipes_removed
        deadline = self.loop.time() + timeout_s
        while not is_readable(ready.fd, 0):
            if self.pipes_removed != removed or not await ready.wait(deadline):
                return False
            self.check_open("send")
        return True

    async def wait_pipes_changed(self, timeout_s: float | None) -> bool:
        """Wait until a peer comes or goes; False when the time has passed.

        Raises:
            PatternClosed: the socket was closed while this waited.
        """
        self.check_open("wait for a peer")
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._pipe_waiters.add(waiter)
        timer = None if timeout_s is None else self.loop.call_later(timeout_s, expire, waiter)
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._pipe_waiters.discard(waiter)

    def check_open(self, verb: str) -> None:
        """Raise PatternClosed if the socket is closed."""
        if self._is_closed:
            raise PatternClosed(f"can't {verb} at {self.address}: the pattern is closed")

    def close(self, linger_s: float | None = None) -> None:
        """Close; whoever waits here gets PatternClosed. Blocks up to `linger_s` to drain.

        What NNG still holds at its close is dropped, so what was sent gets a short time to leave.
        """
        if self._is_closed:
            return
        self._stop_waiters()
        limit_s = self.options.linger_s if linger_s is None else linger_s
        if limit_s > 0 and self.has_sent and self.raw.pipes:
            if self._drains_by_fd:
                is_readable(self._send_ready().fd, limit_s)
            else:
                self._block_until_quiet(limit_s)
        if self.before_close is not None:
            self.before_close()
        if self._dialer is None:
            self.raw.close()
        else:
            close_when_idle(self.raw, self._dialer, self.options.reconnect_max_s)
        self._pipes.clear()
        _open_sockets.discard(self)

    async def aclose(self) -> None:
        """Close like `close`, but drain without blocking the loop."""
        if self._is_closed:
            return
        try:
            if self.options.linger_s > 0 and self.has_sent and self.raw.pipes:
                if self._drains_by_fd:
                    await self.wait_drained(self.options.linger_s)
                else:
                    await self._wait_until_quiet(self.options.linger_s)
        except PatternClosed:
            pass
        finally:
            self.close(linger_s=0)

    async def _until_ready(
        self, attempt: Callable[[], Any], verb: str, timeout_s: float | None
    ) -> Any:
        self.check_open(verb)
        deadline = None if timeout_s is None else self.loop.time() + timeout_s
        self._burst += 1
        if self._burst >= _BURST_COUNT:
            self._burst = 0
            await asyncio.sleep(0)
            self.check_open(verb)
        while True:
            try:
                return attempt()
            except _AGAIN:
                self._burst = 0
            except pynng.Closed as error:
                raise PatternClosed(f"can't {verb} at {self.address}: it is closed") from error
            except pynng.NNGException as error:
                raise PatternError(f"can't {verb} at {self.address}: {explain(error)}") from error
            ready = self._recv_ready() if verb == "receive" else self._send_ready()
            if not await ready.wait(deadline):
                raise PatternTimeout(f"couldn't {verb} at {self.address} within {timeout_s} s")
            self.check_open(verb)

    def _recv_ready(self) -> Readiness:
        if self._readable is None:
            self._readable = Readiness(self.loop, self.raw.recv_fd)
        return self._readable

    def _send_ready(self) -> Readiness:
        if self._writable is None:
            self._writable = Readiness(self.loop, self.raw.send_fd)
        return self._writable

    def _stop_waiters(self) -> None:
        self._is_closed = True
        if self.loop.is_closed():
            return  # whoever waited is gone with it
        # The readers leave the loop before NNG closes the descriptors they watch.
        for ready in (self._readable, self._writable):
            if ready is not None:
                ready.wake_all(PatternClosed(f"the pattern at {self.address} was closed"))
        for waiter in self._pipe_waiters:
            if not waiter.done():
                waiter.set_exception(PatternClosed(f"the pattern at {self.address} was closed"))

    def _pipe_added_in_nng_thread(self, pipe: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self.loop.call_soon_threadsafe(self._pipe_added, pipe.id)

    def _pipe_removed_in_nng_thread(self, pipe: Any) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._pipe_removed, pipe.id)

    def _pipe_added(self, pipe_id: int) -> None:
        if self._is_closed:
            return
        self.pipes_added += 1
        if pipe_id not in self._pipes_gone:
            self._pipes.add(pipe_id)
        self._tell_pipe_waiters()
        if self.on_pipe_added is not None:
            self.on_pipe_added()

    def _pipe_removed(self, pipe_id: int) -> None:
        if self._is_closed:
            return
        self.pipes_removed += 1
        if pipe_id in self._pipes:
            self._pipes.remove(pipe_id)
        else:
            self._pipes_gone.append(pipe_id)
        self._tell_pipe_waiters()
        # A request whose peer is gone fails, and what wasn't written is lost with it; NNG says
        # neither on the descriptors.
        for ready in (self._readable, self._writable):
            if ready is not None:
                ready.wake_all()
        if self.on_pipe_removed is not None:
            self.on_pipe_removed()

    def _tell_pipe_waiters(self) -> None:
        for waiter in self._pipe_waiters:
            if not waiter.done():
                waiter.set_result(True)

    def _block_until_quiet(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        before = -1
        while (now := sent_count(self.raw)) != before and time.monotonic() < end:
            before = now
            time.sleep(_QUIET_S)

    async def _wait_until_quiet(self, limit_s: float) -> None:
        end = self.loop.time() + limit_s
        before = -1
        while (now := sent_count(self.raw)) != before and self.loop.time() < end:
            before = now
            await asyncio.sleep(_QUIET_S)
