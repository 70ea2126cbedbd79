"""Own the delivery of callbacks to NNG Pair0 listeners; the callback outbox is its only caller.

What NNG tells us, measured with NNG 1.11 on two cores:

- A completed send proves nothing: it may sit in a buffer that the close throws away. With no send
  buffer NNG holds one body at most, and is writable again once that body is whole in the
  kernel's hands. The kernel delivers it even if we close at once.
- A Pair0 listener that has a peer accepts ours, shakes hands, and drops it. We then see a
  connection that ends by itself: 0.1 to 0.3 ms after it began, 24 ms at the worst with six busy
  processes on the two cores. So a connection counts only when it has lasted `settle_s`.
- A body that reached the kernel is lost if the listener closes without having read it, as one
  does that receives one callback and closes. Nothing tells that from having read it but that
  the connection ends right after. So a body counts as delivered when the connection outlived it
  by `confirm_s`; except the first of a connection, which counts when it is out: a listener that
  closes right then has done so because it received it.

There is no acknowledgement in Pair0, and a plain listener sends none. What remains is therefore
this: bodies that a listener leaves unread for longer than `confirm_s` and then dies with are lost,
and a listener that dies within `confirm_s` of reading a body which wasn't its first gets it again.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import ipaddress
import logging
import re
from typing import TYPE_CHECKING

from fastqueue.errors import (
    ClientStateError,
    ConfigurationError,
    PatternClosed,
    PatternError,
    PatternTimeout,
)
from fastqueue.patterns.nng_patterns import PairPattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["CallbackSender", "validate_callback_address"]

logger = logging.getLogger(__name__)

WRITTEN_AT_ONCE_BYTES_MAX = 128 * 1024
"""What a fresh connection's kernel buffer has room for, so that NNG writes it before `send` ends.

Measured: 3.9 MB over loopback TCP, 219 KB over a Unix socket.
"""

IPC_PATH_BYTES_MAX = 107
"""What fits in a Unix socket's address, with its closing zero byte, on Linux."""

_TCP_ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@;%\s]+):([0-9]{1,5})", re.ASCII)

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def validate_callback_address(address: str, allowed_networks: Iterable[IpNetwork | str]) -> None:
    """Refuse a callback address that the control plane must not dial.

    A client names the address and the control plane dials it, from where it stands in the
    network: so only loopback, what the operator allowed, and Unix sockets of this host.

    Args:
        address: `tcp://IP:PORT`, `tcp://localhost:PORT` or `ipc:///absolute/path`.
        allowed_networks: networks besides loopback, such as `10.0.0.0/8`.

    Raises:
        ConfigurationError: the address isn't one of those; the message says what it may be.
    """
    if address.startswith("ipc://"):
        _validate_ipc_path(address)
        return
    match = _TCP_ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigurationError(
            f"callback address {address!r}: use tcp://IP:PORT, tcp://localhost:PORT or "
            "ipc:///absolute/path"
        )
    host, port = match[1], int(match[2])
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"callback address {address!r}: use a port from 1 to 65535")
    if host == "localhost":
        return
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise ConfigurationError(
            f"callback address {address!r}: use an IP address or localhost; a host name could "
            "resolve to another address after this check"
        ) from error
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return
    networks = [ipaddress.ip_network(network) for network in allowed_networks]
    if not any(ip in network for network in networks):
        allowed = ", ".join(["loopback", *map(str, networks)])
        raise ConfigurationError(
            f"callback address {address!r} is outside of what may be dialled ({allowed}); "
            "allow its network with --callback-allow"
        )


def _validate_ipc_path(address: str) -> None:
    path = address.removeprefix("ipc://")
    if not path.isprintable():
        raise ConfigurationError(f"callback address {address!r}: it has an unprintable character")
    if not path.startswith("/"):
        raise ConfigurationError(
            f"callback address {address!r}: use an absolute path, ipc:///path; a relative one "
            "would mean another file to the control plane than to you"
        )
    if len(path.encode()) > IPC_PATH_BYTES_MAX:
        raise ConfigurationError(
            f"callback address {address!r}: the path is longer than {IPC_PATH_BYTES_MAX} bytes"
        )


class CallbackSender:
    """Deliver callbacks, in order per address, over one connection per address.

    A connection is kept while callbacks keep coming and closed when idle, because a Pair0
    listener talks to one peer at a time.

    Args:
        connect_timeout_s: how long to wait for a listener to be there.
        send_timeout_s: how long to wait for a listener that doesn't read.
        settle_s: how long a connection must last before the first body; it delays that one.
        confirm_s: how long a connection must last after a body; it delays no body, only the
            answer of `deliver`.
        idle_timeout_s: how long an unused connection is kept.
        connections_max: how many listeners to be connected to at once.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 1.0,
        send_timeout_s: float = 5.0,
        settle_s: float = 0.05,
        confirm_s: float = 0.1,
        idle_timeout_s: float = 1.0,
        connections_max: int = 64,
    ) -> None:
        self.connect_timeout_s = connect_timeout_s
        self.send_timeout_s = send_timeout_s
        self.settle_s = settle_s
        self.confirm_s = confirm_s
        self.idle_timeout_s = idle_timeout_s
        self.connections_max = connections_max
        self._links: dict[str, _Link] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Future[None]] = set()
        self._is_closed = False

    @property
    def connection_count(self) -> int:
        """Return how many listeners have a connection, or are being dialled."""
        return len(self._links)

    async def deliver(self, address: str, bodies: Sequence[bytes]) -> int:
        """Send `bodies` to the listener at `address`.

        Give many at once where there are many: unless they are the first of a connection, they
        take `confirm_s` to be sure of, however many they are.

        Args:
            address: the listener's; `validate_callback_address` has accepted it.
            bodies: what to send, in order.

        Returns:
            How many of the leading bodies were delivered; the caller keeps the rest for later.

        Raises:
            ClientStateError: the sender is closed.
        """
        if self._is_closed:
            raise ClientStateError("the callback sender is closed; make a new one")
        if not bodies:
            return 0
        link = self._link(address)
        if link is None:
            return 0
        ended = asyncio.get_running_loop().create_future()
        self._deliveries.add(ended)
        link.users += 1
        try:
            return await link.deliver(bodies)
        finally:
            link.users -= 1
            self._release(link)
            self._deliveries.discard(ended)
            ended.set_result(None)

    def close(self) -> None:
        """Close every connection; a delivery going on returns what is sure by now."""
        self._is_closed = True
        for link in list(self._links.values()):
            self.drop(link)

    async def aclose(self) -> None:
        """Close, after giving the deliveries going on the time to be sure of what they sent."""
        self._is_closed = True
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=2 * (self.settle_s + self.confirm_s))
        self.close()
        if self._readers:
            await asyncio.wait(self._readers)

    def read_and_forget(self, pair: PairPattern) -> None:
        """Read what a listener says until the connection closes: nobody asked, nobody cares.

        A TCP connection closed with something unread is reset, and a reset takes with it what the
        listener itself hasn't read yet.
        """
        reader = asyncio.create_task(_read_and_forget(pair))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    def drop(self, link: _Link) -> None:
        """Close a link and forget it."""
        if self._links.get(link.address) is link:
            del self._links[link.address]
        link.close()

    def _link(self, address: str) -> _Link | None:
        link = self._links.get(address)
        if link is not None and not link.users and not link.is_usable:
            self.drop(link)
            link = None
        if link is None:
            if len(self._links) >= self.connections_max:
                # Insertion order is order of last use: `_release` puts a used link last.
                idle = next((one for one in self._links.values() if not one.users), None)
                if idle is None:
                    logger.debug("no connection free for the callback listener at %s", address)
                    return None
                self.drop(idle)
            link = self._links[address] = _Link(address, self)
        if link.idle_timer is not None:
            link.idle_timer.cancel()
            link.idle_timer = None
        return link

    def _release(self, link: _Link) -> None:
        if link.users or self._links.get(link.address) is not link:
            return
        if not link.is_usable:
            self.drop(link)
            return
        self._links[link.address] = self._links.pop(link.address)
        loop = asyncio.get_running_loop()
        link.idle_timer = loop.call_later(self.idle_timeout_s, self.drop, link)


async def _read_and_forget(pair: PairPattern) -> None:
    with contextlib.suppress(PatternError):
        while True:
            await pair.recv()


class _Link:
    """Be the connection to one listener; it serves until that connection ends, then is dropped."""

    def __init__(self, address: str, sender: CallbackSender) -> None:
        self.address = address
        self.users = 0
        self.idle_timer: asyncio.TimerHandle | None = None
        self._sender = sender
        self._pair: PairPattern | None = None
        self._turn = asyncio.Lock()
        self._has_failed = False
        self._has_sent = False

    @property
    def is_usable(self) -> bool:
        """Say whether the one connection this link is about still stands."""
        return not self._has_failed and self._pair is not None

    async def deliver(self, bodies: Sequence[bytes]) -> int:
        """Return how many of the leading `bodies` the listener was given."""
        async with self._turn:
            pair = await self._connect()
            if pair is None:
                return 0
            is_first = not self._has_sent
            out_at = await self._send(pair, bodies)
        # The next delivery may send while this one makes sure.
        if not out_at:
            return 0
        if is_first and len(out_at) == 1:
            return 1
        if await self._outlived(pair):
            return len(out_at)
        now = asyncio.get_running_loop().time()
        sure = bisect.bisect_right(out_at, now - self._sender.confirm_s)
        return max(sure, 1 if is_first else 0)

    async def _connect(self) -> PairPattern | None:
        if self._pair is not None:
            return self._pair if self.is_usable else None
        sender = self._sender
        self._has_failed = True  # until it hasn't
        self._pair = pair = PairPattern(
            self.address,
            send_timeout_s=sender.send_timeout_s,
            buffer_max=1,
            linger_s=0,
            # NNG would connect again by itself, and so take the place of our own next attempt.
            on_disconnect=lambda: sender.drop(self),
        )
        try:
            await pair.start()
            await pair.wait_connected(sender.connect_timeout_s)
            if await pair.wait_disconnected(0, sender.settle_s):
                return None
        except (PatternTimeout, PatternClosed):
            return None
        except PatternError as error:
            logger.warning("callbacks to %s can't be sent: %s", self.address, error)
            return None
        sender.read_and_forget(pair)
        self._has_failed = False
        return pair

    async def _send(self, pair: PairPattern, bodies: Sequence[bytes]) -> list[float]:
        """Return when each of the leading bodies was known to be in the kernel's hands."""
        loop = asyncio.get_running_loop()
        out_at: list[float] = []
        accepted = 0
        is_first, self._has_sent = not self._has_sent, True
        try:
            for body in bodies:
                await pair.send(body)
                accepted += 1
                # NNG holds one body: that it took this one means that those before it are out.
                if accepted > 1:
                    out_at.append(loop.time())
            if await pair.wait_drained(self._sender.send_timeout_s):
                out_at.append(loop.time())
        except PatternError:
            logger.debug("the callback listener at %s is gone or doesn't read", self.address)
        if (
            # A listener that receives one and closes may be gone before we see that it is out.
            is_first
            and accepted == 1
            and not out_at
            and pair.disconnect_count
            and len(bodies[0]) <= WRITTEN_AT_ONCE_BYTES_MAX
        ):
            out_at.append(loop.time())
        if len(out_at) < len(bodies):
            self._has_failed = True
        return out_at

    async def _outlived(self, pair: PairPattern) -> bool:
        try:
            return not await pair.wait_disconnected(0, self._sender.confirm_s)
        except PatternClosed:
            return False

    def close(self) -> None:
        """Close the connection; what is written is delivered, what isn't was not counted."""
        self._has_failed = True
        if self.idle_timer is not None:
            self.idle_timer.cancel()
            self.idle_timer = None
        if self._pair is not None:
            self._pair.close()
