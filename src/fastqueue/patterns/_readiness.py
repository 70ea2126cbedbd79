"""Own the waiting for a descriptor of NNG's to become readable; `_socket` is its only caller."""

from __future__ import annotations

import collections
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["Readiness", "expire", "is_readable"]


class Readiness:
    """Wake, in turn, those who wait for one descriptor to become readable.

    Level-triggered: a waiter that is cancelled after it was woken leaves the descriptor readable,
    so the next one is woken in its place and nothing is lost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self.fd = fd
        self._loop = loop
        self._waiters: collections.deque[asyncio.Future[bool]] = collections.deque()

    async def wait(self, deadline: float | None) -> bool:
        """Return True once it may be ready, False when `deadline` (loop time) has passed."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        if not self._waiters:
            self._loop.add_reader(self.fd, self._wake_one)
        self._waiters.append(waiter)
        timer = None if deadline is None else self._loop.call_at(deadline, expire, waiter)
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._stop_if_unused()

    def wake_all(self, error: Exception | None = None) -> None:
        """Let every waiter look again, or raise `error` in each."""
        waiting, self._waiters = self._waiters, collections.deque()
        if waiting:
            self._stop_if_unused()
        for waiter in waiting:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(True)
            else:
                waiter.set_exception(error)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(True)
                break
        self._stop_if_unused()

    def _stop_if_unused(self) -> None:
        if not self._waiters and not self._loop.is_closed():
            self._loop.remove_reader(self.fd)


def expire(waiter: asyncio.Future[bool]) -> None:
    """Answer False to a waiter that has no answer yet: its time has passed."""
    if not waiter.done():
        waiter.set_result(False)


def is_readable(fd: int, timeout_s: float) -> bool:
    """Say whether `fd` is, or within `timeout_s` seconds becomes, readable; blocks meanwhile."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))
