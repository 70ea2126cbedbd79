"""Tell a peer's module what the runner has set up for it: the one thing that all of them import."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

H = TypeVar("H")
T = TypeVar("T")
R = TypeVar("R")

# Some write lines for each task, by default or with no way to stop it.
logging.disable(logging.INFO)

STORE = os.environ["PEER_STORE"]
"""Where the peer keeps its tasks: the URL of a server, the path of a file, or an address."""

CHOICE = os.environ["PEER_CHOICE"]
"""Which of its ways the peer is to be run in, where it is in several: such as `fsync`."""

DISCOVERY = os.environ["PEER_DISCOVERY"]
"""An address that the peer may announce itself at."""

WORK = os.environ["PEER_WORK"]
"""What a task does before it returns its argument: `echo` nothing, `sleep`, `cpu`; `payload`
nothing, with a large argument."""

AT_ONCE = 100
"""How many tasks run at one time, where the peer's module says so rather than its command."""

SLEEP_S = 0.01
CPU_S = 0.001
PAYLOAD_CHARACTERS = 64 * 1024

WAIT_S = 30
"""How long one result is waited for before it counts as missing."""


def value(n: int) -> Any:
    """Return the argument of the task of a number, which is also what it is to return."""
    return f"{n:08}".ljust(PAYLOAD_CHARACTERS, "x") if WORK == "payload" else n


def work(argument: Any) -> Any:
    """Be a task that is a plain function."""
    if WORK == "sleep":
        time.sleep(SLEEP_S)
    elif WORK == "cpu":
        _compute()
    return argument


async def work_async(argument: Any) -> Any:
    """Be a task that is a coroutine."""
    if WORK == "sleep":
        await asyncio.sleep(SLEEP_S)
    elif WORK == "cpu":
        _compute()
    return argument


def _compute() -> None:
    end = time.thread_time() + CPU_S
    while time.thread_time() < end:
        pass


async def in_flight(call: Callable[[T], Awaitable[R]], items: Sequence[T], at_once: int) -> list[R]:
    """Call an asynchronous client for each item, so many at once; return what came of each."""
    answers: list[Any] = [None] * len(items)
    remaining = iter(enumerate(items))

    async def some() -> None:
        for index, item in remaining:
            answers[index] = await call(item)

    await asyncio.gather(*(some() for _ in range(min(at_once, len(items)))))
    return answers


async def looked_for(
    look: Callable[[list[H]], Awaitable[dict[H, Any]]],
    handles: Sequence[H],
    *,
    at_once: int,
    interval_s: float,
) -> list[Any]:
    """Look again and again which of some tasks are done; return their values, `None` if too late.

    Args:
        look: returns the values of those of the given tasks that are done.
        handles: the tasks, in the order in which they were submitted.
        at_once: how many are asked for: few where it costs much, many where a query does.
        interval_s: how long to wait before looking again.
    """
    values: dict[H, Any] = {}
    until = time.monotonic() + WAIT_S
    for begin in range(0, len(handles), at_once):
        missing = list(handles[begin : begin + at_once])
        while missing and time.monotonic() < until:
            values.update(await look(missing))
            if missing := [handle for handle in missing if handle not in values]:
                await asyncio.sleep(interval_s)
    return [values.get(handle) for handle in handles]
