"""Own the reading of NNG's own counters; `_socket` asks here how much has really left."""

from __future__ import annotations

from typing import Any

import pynng

__all__ = ["sent_count"]


def sent_count(raw: Any) -> int:
    """Return how many messages have left `raw` over the pipes it has, by NNG's own count."""
    lib, ffi = pynng.lib, pynng.ffi
    found = ffi.new("nng_stat **")
    if lib.nng_stats_get(found) != 0:
        return -1
    try:
        socket_id = lib.nng_socket_id(raw.socket)
        total = 0
        scope = lib.nng_stat_child(found[0])
        while scope != ffi.NULL:
            if ffi.string(lib.nng_stat_name(scope)) == b"pipe":
                values = _stat_values(scope)
                if values.get(b"socket") == socket_id:
                    total += values.get(b"tx_msgs", 0)
            scope = lib.nng_stat_next(scope)
        return total
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
