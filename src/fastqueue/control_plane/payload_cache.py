"""Own the payloads that are likely to be leased soon, to spare reading the store for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PayloadCache"]


class PayloadCache:
    """Hold payloads by key up to a number of bytes; what doesn't fit is read from the store.

    Args:
        bytes_max: the bound, in bytes of payload.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._payloads: dict[int, bytes] = {}

    def put(self, key: int, payload: bytes) -> None:
        """Keep a payload if there is room for it."""
        size = self._bytes + len(payload) + _ENTRY_BYTES
        if size <= self._bytes_max:
            self._bytes = size
            self._payloads[key] = payload

    def take(self, key: int) -> bytes | None:
        """Return and drop a payload, or None if it isn't here."""
        payload = self._payloads.pop(key, None)
        if payload is not None:
            self._bytes -= len(payload) + _ENTRY_BYTES
        return payload

    def discard(self, keys: Iterable[int]) -> None:
        """Drop the payloads of tasks that are over; most were taken when they were leased."""
        if self._payloads:
            for key in keys:
                self.take(key)

    def clear(self) -> None:
        """Drop everything."""
        self._payloads.clear()
        self._bytes = 0


# What an entry costs beside its payload: dict slot, key, bytes header.
_ENTRY_BYTES = 150
