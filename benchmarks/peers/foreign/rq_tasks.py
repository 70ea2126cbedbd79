"""Own RQ's task: its worker imports it by name, and needs nothing else of the peer's module."""

from __future__ import annotations

from typing import Any

from setting import work


def echo(n: Any) -> Any:
    return work(n)
