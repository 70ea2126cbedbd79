"""Own RQ's task: its worker imports it by name, and needs nothing else of the peer's module."""

from __future__ import annotations


def echo(n: int) -> int:
    return n
