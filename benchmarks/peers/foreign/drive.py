"""Submit to one peer and collect its results, as told on standard input; answer in JSON lines.

The runner starts this in the peer's own environment: `python drive.py huey` drives `huey_peer.py`
of this folder. That module has

- `submit(count) -> handles`: submit `echo(value(0))` to `echo(value(count - 1))` (see
  `setting.py`), task by task;
- `collect(handles) -> values`: wait for their results, in the same order, `None` for a missing one;
- `submit_bulk(count) -> handles`, if the peer has a call that submits many;
- `start()`, if there is something to connect to.

All are coroutine functions if the peer's client is asynchronous.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from typing import Any

import setting

SAMPLES = 300
SAMPLES_S = 4.0
"""How many times one task at a time is measured, and for how long at most."""


class Driver:
    """Keep a peer's module, the event loop it runs on, and the handles of what was submitted."""

    def __init__(self, name: str) -> None:
        try:
            import uvloop

            self.loop = uvloop.new_event_loop()
        except ImportError:
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.peer = importlib.import_module(f"{name}_peer")
        self.handles: list[Any] = []

    def call(self, name: str, *args: Any) -> Any:
        answer = getattr(self.peer, name)(*args)
        return self.loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer

    def hello(self) -> dict[str, Any]:
        """Answer once the peer's module is imported."""
        return {}

    def start(self) -> dict[str, Any]:
        if hasattr(self.peer, "start"):
            self.call("start")
        return {"bulk": hasattr(self.peer, "submit_bulk")}

    def submit(self, count: int, bulk: bool) -> dict[str, Any]:
        begun = time.perf_counter()
        self.handles = self.call("submit_bulk" if bulk else "submit", count)
        return {"elapsed_s": time.perf_counter() - begun}

    def drain(self) -> dict[str, Any]:
        """Wait until the last tasks are done, and one in a hundred of the others; collect no more.

        Collecting all would take the time of this process, and on two cores the worker's, too.
        """
        self.call("collect", self.handles[::100] + self.handles[-50:])
        return {}

    def check(self) -> dict[str, Any]:
        """Return how many results are missing or wrong."""
        values = self.call("collect", self.handles)
        count = len(self.handles)
        missing = sum(value is None for value in values) + count - len(values)
        right = sum(value == setting.value(n) for n, value in enumerate(values))
        return {"missing": missing, "wrong": count - right - missing}

    def end_to_end(self, count: int, bulk: bool) -> dict[str, Any]:
        begun, cpu = time.perf_counter(), time.process_time()
        self.handles = self.call("submit_bulk" if bulk else "submit", count)
        found = self.check()
        elapsed_s = time.perf_counter() - begun
        return {"elapsed_s": elapsed_s, "cpu_s": time.process_time() - cpu, **found}

    def latency(self) -> dict[str, Any]:
        times: list[float] = []
        self.loop.run_until_complete(self._alone(times))
        return {"times_s": times}

    async def _alone(self, times: list[float]) -> None:
        until = time.perf_counter() + SAMPLES_S
        asynchronous = inspect.iscoroutinefunction(self.peer.submit)
        while len(times) < SAMPLES and time.perf_counter() < until:
            begun = time.perf_counter()
            if asynchronous:
                await self.peer.collect(await self.peer.submit(1))
            else:
                self.peer.collect(self.peer.submit(1))
            times.append(time.perf_counter() - begun)


def main() -> None:
    # What a peer prints belongs into the log, not between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    driver = Driver(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(driver, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
