"""A commit is done on the spot while commits are quick, beside the event loop when they are not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fastqueue.store.sqlite.committer import Committer


class Disk:
    """Be a disk that takes as long as it is told to, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.takes_s = 0.0
        self.threads: list[threading.Thread] = []

    def commit(self) -> None:
        self.now += self.takes_s
        self.threads.append(threading.current_thread())

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def committer(disk):
    committer = Committer(disk)
    yield committer
    committer.stop()


async def test_quick_commits_are_done_on_the_spot(committer, disk) -> None:
    disk.takes_s = 0.000_1
    for _ in range(20):
        await committer.run(disk.commit)
    assert set(disk.threads) == {threading.current_thread()}


async def test_slow_commits_are_done_in_a_thread_while_the_loop_goes_on(committer, disk) -> None:
    disk.takes_s = 0.01
    await committer.run(disk.commit)
    may_end = threading.Event()

    def wait() -> None:
        assert may_end.wait(30)

    under_way = asyncio.create_task(committer.run(wait))
    await asyncio.sleep(0)
    may_end.set()
    await under_way
    await committer.run(disk.commit)
    assert disk.threads[-1] is not threading.current_thread()


async def test_commits_come_back_from_the_thread_once_the_disk_is_quick_again(
    committer, disk
) -> None:
    disk.takes_s = 0.02
    await committer.run(disk.commit)
    disk.takes_s = 0.000_1
    for _ in range(60):
        await committer.run(disk.commit)
    assert disk.threads[1] is not threading.current_thread()
    assert disk.threads[-1] is threading.current_thread()


@pytest.mark.parametrize("takes_s", [0.0, 1.0])
async def test_what_a_commit_raises_is_raised_to_its_caller(committer, disk, takes_s) -> None:
    disk.takes_s = takes_s
    await committer.run(disk.commit)

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await committer.run(fail)
    await committer.run(disk.commit)
