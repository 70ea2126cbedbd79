"""The client for code without an event loop does what the other does."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastqueue import SyncClient
from fastqueue.errors import ClientStateError, ControlPlaneUnavailable
from harness import LONG_S, free_address, registry_of


async def add(x: int, y: int) -> int:
    return x + y


async def fail() -> None:
    raise ValueError("boom")


async def test_it_submits_awaits_queries_and_cancels(cluster) -> None:
    await cluster.start(registry_of(add, fail))

    def use() -> None:
        with SyncClient(discovery_address=cluster.discovery_address, timeout=LONG_S) as client:
            assert client.submit_task("add", (1, 2)).result == 3
            assert client.submit_task("fail").error == "ValueError: boom"
            task_id = client.delay("add", 3, y=4, priority="high")
            (result,) = client.as_completed([task_id], timeout=LONG_S)
            assert result.result == 7
            assert client.get_result(task_id).result == 7
            assert client.get_status(task_id) == "success"
            assert client.get_task_result(task_id).result == 7
            assert client.get_task_result("unknown") is None
            ids = client.submit_batch([("add", (n, n)) for n in range(50)])
            assert len(list(client.as_completed(ids, timeout=LONG_S))) == 50
            assert not client.cancel(task_id)
            assert client.inspect()["queued"] == 0
        client.stop()

    await asyncio.to_thread(use)


async def test_any_number_of_threads_share_one(cluster) -> None:
    await cluster.start(registry_of(add))
    client = SyncClient(discovery_address=cluster.discovery_address, timeout=LONG_S)

    def use() -> list[int]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda n: client.submit_task("add", (n, n)).result, range(200)))

    assert await asyncio.to_thread(use) == [2 * n for n in range(200)]
    threads = [t for t in threading.enumerate() if t.name == "fastqueue-client"]
    assert len(threads) == 1
    await asyncio.to_thread(client.stop)
    assert not threads[0].is_alive()


async def test_on_an_event_loop_it_says_which_client_to_use() -> None:
    client = SyncClient(discovery_address=free_address())
    with pytest.raises(ClientStateError, match=r"fastqueue\.Client"):
        client.delay("add", 1, 2)


def test_with_nobody_there_a_call_ends_after_its_time() -> None:
    client = SyncClient(discovery_address=free_address(), timeout=0.3)
    with pytest.raises(ControlPlaneUnavailable):
        client.delay("add", 1, 2)
    client.stop()


async def test_a_forked_process_starts_its_own(cluster, tmp_path) -> None:
    await cluster.start(registry_of(add))
    program = tmp_path / "forks.py"
    program.write_text(
        textwrap.dedent(
            """
            import os, sys
            from fastqueue import SyncClient

            client = SyncClient(control_plane_address=sys.argv[1], timeout=30)
            assert client.submit_task("add", (1, 2)).result == 3
            pid = os.fork()
            if pid == 0:
                assert client.submit_task("add", (3, 4)).result == 7
                client.stop()
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
            assert client.submit_task("add", (5, 6)).result == 11
            """
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), cluster.address, env={**os.environ}
    )
    assert await asyncio.wait_for(process.wait(), LONG_S) == 0
