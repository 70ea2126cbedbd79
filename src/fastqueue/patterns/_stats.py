"""Own the reading of NNG's own counters.

`_socket` asks here how much has really left, `_closing` whether a dialer is at work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynng

__all__ = ["DialerCounts", "dialer_counts", "sent_count"]

_ENDS = (
    b"connect",
    b"refused",
    b"disconnect",
    b"canceled",
    b"other",
    b"timeout",
    b"proto",
    b"auth",
    b"oom",
)
"""What NNG counts the end of an attempt to connect as."""


@dataclass(frozen=True, slots=True)
class DialerCounts:
    """Hold what NNG counts of one dialer."""

    pipes: int
    attempts_ended: int


def sent_count(raw: Any) -> int:
    """Return how many messages have left `raw` over the pipes it has, by NNG's own count."""
    socket_id = pynng.lib.nng_socket_id(raw.socket)
    found = _scopes(b"pipe")
    if found is None:
        return -1
    return sum(one.get(b"tx_msgs", 0) for one in found if one.get(b"socket") == socket_id)


def dialer_counts() -> dict[int, DialerCounts]:
    """Return the counts of every dialer of the process, by its id."""
    return {
        one[b"id"]: DialerCounts(one.get(b"pipes", 0), sum(one.get(name, 0) for name in _ENDS))
        for one in _scopes(b"dialer") or ()
    }


def _scopes(name: bytes) -> list[dict[bytes, int]] | None:
    """Return the counters of all scopes of one name; None if NNG has none to give."""
    lib, ffi = pynng.lib, pynng.ffi
    found = ffi.new("nng_stat **")
    if lib.nng_stats_get(found) != 0:
        return None
    try:
        scopes = []
        scope = lib.nng_stat_child(found[0])
        while scope != ffi.NULL:
            if ffi.string(lib.nng_stat_name(scope)) == name:
                scopes.append(_stat_values(scope))
            scope = lib.nng_stat_next(scope)
        return scopes
    finally:
        lib.nng_stats_free(found[0])


def _stat_values(scope: Any) -> dict[bytes, int]:
    lib, ffi = pynng.lib, pynng.ffi
    values: dict[bytes, int] = {}
    stat = lib.nng_stat_child(scope)
    while stat != ffi.NULL:
        values[ffi.string(lib.nng_stat_name(stat))] = lib.nng_stat_value(stat)
        stat = lib.nng_stat_next(stat)
    return values
