"""The client for code without an event loop does what the other does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from tests.ports import free_address

from fastqueue import SyncClient, task
from fastqueue.errors import ClientStateError, ConfigurationError, ControlPlaneUnavailable
from harness import LONG_S, eventually, registry_of


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


def threads_of_clients():
    return [thread for thread in threading.enumerate() if thread.name == "fastqueue-client"]


def interrupt_once_started() -> None:
    """Have the main thread get a Ctrl-C as soon as a client's thread runs."""
    ended = threading.Event()

    def watch() -> None:
        while not threads_of_clients():
            ended.wait(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def test_a_ctrl_c_in_the_first_call_ends_that_call_alone() -> None:
    # Long enough for the signal to come before the end of the call, on a busy machine too.
    client = SyncClient(control_plane_address=free_address(), timeout=3.0)
    interrupt_once_started()
    with pytest.raises(KeyboardInterrupt):
        client.delay("add", 1, 2)
    assert len(threads_of_clients()) == 1
    with pytest.raises(ControlPlaneUnavailable):
        client.delay("add", 1, 2)
    assert len(threads_of_clients()) == 1
    client.stop()
    assert threads_of_clients() == []


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path) -> None:
    client = SyncClient(
        control_plane_address="tls://127.0.0.1:1", tls_ca=str(tmp_path / "missing.pem")
    )

    def fail_once() -> None:
        with pytest.raises(ConfigurationError, match=r"missing\.pem"):
            client.delay("add", 1, 2)

    await asyncio.to_thread(fail_once)
    await eventually(lambda: not threads_of_clients(), "the end of the first thread")
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        await asyncio.to_thread(fail_once)
    await eventually(lambda: not threads_of_clients(), "the end of the threads")
    assert len(os.listdir("/proc/self/fd")) == len(before)
    client.stop()


async def test_a_stop_beside_calls_lets_each_of_them_end_by_an_answer_or_say_so(cluster) -> None:
    await cluster.start(registry_of(add))
    client = SyncClient(control_plane_address=cluster.address, timeout=LONG_S)
    errors: list[str] = []
    stopped = threading.Event()

    def submit() -> None:
        while not stopped.is_set():
            try:
                assert client.delay("add", 1, 2)
            except ClientStateError as error:
                errors.append(str(error))

    def stop() -> None:
        for _ in range(20):
            client.delay("add", 1, 2)
            client.stop()

    with ThreadPoolExecutor(4) as pool:
        submitting = [asyncio.wrap_future(pool.submit(submit)) for _ in range(4)]
        try:
            async with asyncio.timeout(LONG_S):
                await asyncio.to_thread(stop)
        finally:
            stopped.set()
        await asyncio.wait_for(asyncio.gather(*submitting), LONG_S)
    await asyncio.to_thread(client.stop)
    assert set(errors) <= {"the client was stopped while this call waited"}
    assert threads_of_clients() == []


async def test_results_that_are_iterated_over_end_with_a_stop(cluster) -> None:
    never = asyncio.Event()

    async def wait() -> None:
        await never.wait()

    await cluster.start(registry_of(add, wait))
    client = SyncClient(control_plane_address=cluster.address, timeout=LONG_S)

    def iterate() -> None:
        ids = client.submit_batch([("add", (1, 2)), ("wait", ())])
        results = client.as_completed(ids, timeout=LONG_S)
        assert next(results).result == 3
        client.stop()
        with pytest.raises(ClientStateError, match="was stopped while this call waited"):
            next(results)

    await asyncio.to_thread(iterate)
    never.set()
    assert threads_of_clients() == []


async def test_a_fork_while_another_thread_starts_the_client_does_not_hang(
    cluster, tmp_path
) -> None:
    await cluster.start(registry_of(add))
    program = tmp_path / "forks.py"
    program.write_text(
        textwrap.dedent(
            """
            import os, signal, sys, threading
            from fastqueue import SyncClient

            client = SyncClient(control_plane_address=sys.argv[1], timeout=30)
            begun = threading.Event()
            may_go_on = threading.Event()

            class Thread(threading.Thread):
                def start(self):
                    begun.set()
                    may_go_on.wait()
                    super().start()

            # Another thread is held up in the middle of the first call, whatever it holds there.
            from fastqueue.client import client_thread
            client_thread.threading.Thread, usual = Thread, threading.Thread
            first = usual(target=client.delay, args=("add", 1, 2))
            first.start()
            begun.wait()
            client_thread.threading.Thread = usual
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)  # one that hangs ends all the same
                assert client.submit_task("add", (3, 4)).result == 7
                client.stop()
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
            may_go_on.set()
            first.join()
            assert client.submit_task("add", (5, 6)).result == 11
            client.stop()
            """
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), cluster.address, env={**os.environ}
    )
    try:
        assert await asyncio.wait_for(process.wait(), LONG_S) == 0
    finally:
        if process.returncode is None:
            process.kill()


@task("notify", queue="mail")
async def notify(to: str) -> str:
    if to not in repaired:
        raise ConnectionError(f"no way to {to}")
    return f"told {to}"


repaired: set[str] = set()


async def test_it_submits_with_options_lists_attempts_and_queues_dead_letters_again(
    cluster,
) -> None:
    await cluster.start(registry_of(add, fail, notify=notify))

    def use() -> None:
        with SyncClient(discovery_address=cluster.discovery_address, timeout=LONG_S) as client:
            again = client.options(retries=2, backoff=0)
            failed = again.submit_task("fail")
            assert (failed.status, failed.attempt) == ("failure", 3)
            attempts = client.attempts(failed.task_id)
            assert [(one.attempt, one.error) for one in attempts] == [
                (1, "ValueError: boom"),
                (2, "ValueError: boom"),
            ]
            assert client.attempts("unknown") == []
            told = client.submit_task(notify, ("ada",))
            letters = client.dead_letters()
            assert [letter.task_id for letter in letters] == [failed.task_id, told.task_id]
            # The function knows its queue; a name alone would not.
            assert client.dead_letters(queue="mail") == client.dead_letters(name="notify")
            assert client.dead_letters(queue="mail") == letters[1:]

            repaired.add("ada")
            made = client.requeue([told.task_id, failed.task_id, "unknown"])
            assert list(made) == [told.task_id, failed.task_id]
            results = {r.task_id: r for r in client.as_completed(made.values(), timeout=LONG_S)}
            assert results[made[told.task_id]].result == "told ada"
            # It has the options that it had, too.
            assert results[made[failed.task_id]].attempt == 3
            assert [one.task_id for one in client.dead_letters()] == [made[failed.task_id]]

            later = client.options(countdown=3600, priority="high")
            waiting = [
                later.delay("add", 1, y=2),
                *later.submit_batch([("add", (n, n)) for n in range(2)]),
            ]
            assert client.get_task_result(waiting[0]).status == "scheduled"
            assert client.inspect()["delayed"] == 3
            assert all(client.cancel(task_id) for task_id in waiting)
            now = datetime.now(UTC)
            assert client.options(eta=now).submit_task("add", (1, 2)).result == 3
            with pytest.raises(ConfigurationError, match="naive"):
                client.options(eta=now.replace(tzinfo=None))
            with pytest.raises(TypeError, match="no option 'delay'"):
                client.options(delay=1)

    await asyncio.to_thread(use)
