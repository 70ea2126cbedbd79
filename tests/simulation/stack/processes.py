"""Own the processes of a simulated world: each is made of the package's own parts.

A control plane is the real engine and server on a simulated disk; a subworker is the real
`Subworker`, with its runtime and dialer; a client is the real `Client`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.invariants import check_stopped, memory_of
from tests.simulation.stack.callbacks import Peers, check_callback
from tests.simulation.stack.disk import DISK_FREE_MIN
from tests.simulation.stack.ledger import WatchedEngine
from tests.simulation.stack.loop import VirtualLoop

from fastqueue.client.client import Client
from fastqueue.config import SubworkerSettings, parse_address
from fastqueue.control_plane.server import Server
from fastqueue.core.limits import CoreLimits
from fastqueue.errors import ClientStateError, StoreError
from fastqueue.protocol import messages as msg
from fastqueue.protocol.announcement import Announcement
from fastqueue.protocol.greetings import PROTOCOL_VERSION
from fastqueue.subworker.app import Subworker
from fastqueue.tasks.policies import RetryPolicy
from fastqueue.tasks.registry import TaskDefinition, TaskRegistry

if TYPE_CHECKING:
    from tests.simulation.stack.loop import Process
    from tests.simulation.stack.world import World

    from fastqueue.client.submissions import Submissions
    from fastqueue.subworker.runtime import Runtime

__all__ = ["ClientProcess", "ControlPlaneProcess", "Member", "SubworkerProcess"]

LIMITS = CoreLimits(
    live_tasks_max=30,
    lanes_max=9,
    window_max=4,
    window_total=12,
    window_min=2,
    retained_max=40,
    retained_ttl_s=60.0,
    tombstones_max=400,
    payload_bytes_max=400,
    watched_max=10,
    disk_free_min=DISK_FREE_MIN,
)
ANNOUNCED_EVERY_S = 2.0
PORT = 5555
RETRIES = {
    "work": RetryPolicy(retries=2, backoff_s=0.5),
    "rare": RetryPolicy(),
    "once": RetryPolicy(),
    "ghost": RetryPolicy(),
}
"""How a task of each name is tried again, if its submission doesn't say."""

_REASONS_TO_DROP = (
    "no hello within",
    "the same subworker connected anew",
    "nothing was heard of it for",
    "the control plane's disk is full",
    "refused: the control plane's disk is full",
)
_REASONS_WITH_TOKENS = (
    *_REASONS_TO_DROP,
    "no proof of a token within",
    "refused: your token is not one of",
    "refused: the token you have is",
)


class Member:
    """Live through one process after another under the same name."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.process: Process | None = None
        self.is_leaving = False

    @property
    def is_up(self) -> bool:
        return self.process is not None and not self.is_leaving

    @property
    def loop(self) -> VirtualLoop:
        return self.world.loop

    def boot(self) -> None:
        assert self.process is None
        self.world.note(f"{self.name} starts")
        self.process = self.loop.start_process(self.name)
        self.is_leaving = False
        self.forget()
        self.loop.spawn(self.process, self.world.guard(self.main))

    def forget(self) -> None:
        """Drop what belonged to the process before."""

    async def main(self) -> None:
        raise NotImplementedError

    async def leave(self) -> None:
        """Stop in order."""
        raise NotImplementedError

    def kill(self, *, vanishes: bool = False) -> None:
        """End without another line being run."""
        process, self.process = self.process, None
        if process is not None:
            self.world.note(f"{self.name} {'vanishes' if vanishes else 'is killed'}")
            process.is_alive = False
            self.loop.network.kill(process, vanishes=vanishes)

    def begin_to_leave(self) -> None:
        assert self.process is not None
        self.world.note(f"{self.name} is told to stop")
        self.is_leaving = True
        self.loop.spawn(self.process, self.world.guard(self._leave))

    async def _leave(self) -> None:
        process = self.process
        assert process is not None
        await self.leave()
        me = asyncio.current_task()
        for _ in range(100):
            left = [task for task in process.tasks if not task.done() and task is not me]
            if not left:
                break
            await asyncio.sleep(0.1)
        self.world.ledger.claim(not left, f"{self.name} has stopped and left {left}")
        self.world.note(f"{self.name} has stopped")
        process.is_alive = False
        self.process = None
        self.loop.network.kill(process)


class ControlPlaneProcess(Member):
    """Be the control plane."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.port = PORT
        self.engine: WatchedEngine | None = None
        self._memory: dict[str, Any] | None = None
        self.boots = 0

    def begin(self) -> None:
        """Recover what the disk has, as a process that starts does."""
        world = self.world
        world.store.restart()
        world.ledger.on_stored(world.store)
        world.ledger.on_begun(world.store)
        self.engine = WatchedEngine(
            world.store,
            LIMITS,
            clock=self.loop.time,
            wall=world.wall,
            full_retry_s=0.3,
        )
        self.engine.ledger = world.ledger
        memory, self._memory = self._memory, None
        if memory is not None:
            rebuilt = memory_of(self.engine.core)
            world.ledger.claim(rebuilt == memory, "a rebuilt core isn't what it was")

    async def main(self) -> None:
        world = self.world
        try:
            self.begin()
        except StoreError:
            world.die(self)  # no start on a full disk: whoever started it tries again
            return
        engine = self.engine
        assert engine is not None
        self.boots += 1
        self.server = Server(engine, "control-plane-1", check_callback, world.tokens)
        self._peers = Peers(world, engine, self.server)
        engine.server = self.server
        self.server._drops.note = self._on_dropped  # type: ignore[method-assign]
        self._running = asyncio.create_task(engine.run(self._peers), name="engine")
        address = parse_address(f"tcp://127.0.0.1:{self.port}", setting="address")
        await self.server.start(address)
        announcement = Announcement(
            control_plane_id="control-plane-1",
            address=str(address),
            epoch=engine.epoch,
            protocol=PROTOCOL_VERSION,
        )
        self._announcing = asyncio.create_task(self._announce(announcement), name="announcer")
        try:
            await asyncio.shield(self._running)
        except StoreError as error:
            world.note(f"the control plane ends: {error}")
            world.die(self)

    def _on_dropped(self, who: str, reason: Exception) -> None:
        """Take the line about a peer that was dropped: here are none but proper ones."""
        reasons = _REASONS_WITH_TOKENS if self.world.tokens else _REASONS_TO_DROP
        is_known = str(reason).startswith(reasons)
        self.world.ledger.claim(is_known, f"{who} was dropped: {reason}")

    async def _announce(self, announcement: Announcement) -> None:
        network = self.loop.network
        while True:
            assert self.process is not None
            for process, ear in self.loop.ears:
                if process is not None and process.is_alive:
                    cut_off = network.is_cut_off(process) or network.is_cut_off(self.process)
                    if not cut_off and (self.world.is_calm or self.world.chance.random() < 0.9):
                        self.loop.schedule(process, network.delay_s, ear.hear, announcement)
            await asyncio.sleep(ANNOUNCED_EVERY_S)

    async def leave(self) -> None:
        world, engine = self.world, self.engine
        if engine is None or not hasattr(self, "_announcing"):
            world.die(self)
            await asyncio.Event().wait()
            return
        self._announcing.cancel()
        await self.server.stop()
        await self._peers.callbacks.stop()
        engine.stop()
        await asyncio.wait([self._running])
        if self._running.exception() is None and not engine.is_full:
            check_stopped(engine.core, world.store)
            self._memory = memory_of(engine.core)
        world.store.restart()


class SubworkerProcess(Member):
    """Be one subworker."""

    def __init__(self, world: World, name: str, names: tuple[str, ...], slots: int) -> None:
        super().__init__(world, name)
        self.token = world.token_for("token_worker")
        self.names = names
        self.slots = slots
        self.subworker: Subworker | None = None
        self.grace_s = 1.0
        self.running = 0
        # Kept here, for a subworker that is told to stop lets go of it before its tasks end.
        self._runtime: Runtime | None = None
        self._left_at = 0.0

    def forget(self) -> None:
        self.subworker = None
        self.running = 0

    async def main(self) -> None:
        registry = TaskRegistry()
        for name in self.names:
            function = partial(self._run, name)
            registry.register(
                TaskDefinition(
                    name=name,
                    function=function,
                    executor="coroutine",
                    module="world",
                    delivery="at_most_once" if name == "once" else "at_least_once",
                    retry=RETRIES[name],
                )
            )
        settings = SubworkerSettings(
            worker_id=self.name,
            control_plane_address=self.world.address_of(self),
            concurrency=self.slots,
            token=self.token,
        )
        self.subworker = Subworker(settings, registry)
        await self.subworker.start()
        self._runtime = self.subworker._runtime

    async def _run(self, name: str, key: int, fate: str, seconds: float) -> str:
        """Be the task function: take time, and end as the caller wished."""
        world, runtime, me = self.world, self._runtime, asyncio.current_task()
        assert runtime is not None
        token = next(token for token, task in runtime.running.tasks.items() if task is me)
        held = {lease.token: lease.task_id for lease in runtime.held.by_id.values()}
        world.ledger.claim(token in held, f"{self.name} runs what it doesn't hold: {key}")
        world.wall()
        padding = world.chance.choice(("", "", "." * 300))
        value = world.ledger.on_run(key, token, padding, world.latest_wall)
        world.note(f"{self.name} runs {name} {value[:9]}")
        self.running += 1
        world.ledger.claim(self.running <= self.slots, f"{self.name} runs {self.running} at once")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            has_waited = self.is_leaving and self.loop.time() >= self._left_at + self.grace_s
            if runtime.running.interruptions.error_of(token) is not None:
                has_waited = held[token] in world.ledger.asked_to_cancel
            world.ledger.claim(has_waited, f"{key} was interrupted for no reason")
            raise
        finally:
            self.running -= 1
        if fate == "fail" or (fate == "flaky" and value.startswith(f"{key}/1")):
            raise ValueError(value)
        if fate == "kill" and not self.is_leaving:
            self.world.die(self)
            await asyncio.Event().wait()
        return value

    async def leave(self) -> None:
        self._left_at = self.loop.time()
        if self.subworker is not None:
            await self.subworker.stop(self.grace_s)


class ClientProcess(Member):
    """Be one application with a client."""

    def __init__(self, world: World, name: str, timeout_s: float, retries: int) -> None:
        super().__init__(world, name)
        self.token = world.token_for("token_submit")
        self.timeout_s = timeout_s
        self.retries = retries
        self.client: Client | None = None
        self.disconnects = 0
        # It is being closed once all that was submitted is acknowledged or has failed.
        self.flushes = False

    def forget(self) -> None:
        self.client = None
        self.flushes = False

    @property
    def is_connected(self) -> bool:
        connection = self.client._connection if self.client is not None else None
        return self.is_up and connection is not None and connection.connected.is_set()

    async def main(self) -> None:
        self.client = Client(
            timeout=self.timeout_s,
            retries=self.retries,
            control_plane_address=self.world.address_of(self),
            token=self.token,
        )
        # It goes into the hello; the name of whatever runs this would make other histories of it.
        self.client._name = self.name
        started = asyncio.create_task(self.client.start())
        await asyncio.sleep(0)
        connection = self.client._connection
        assert connection is not None
        push, lost = connection.results.push, connection.on_disconnected
        self._watch_hints(connection.submissions)

        def checked_push(results: Any) -> None:
            results = list(results)
            self.world.ledger.on_results(results, f"a push to {self.name}")
            self.world.pushed += len(results)
            push(results)

        def counted_loss(reason: Exception | None) -> None:
            self.disconnects += 1
            lost(reason)

        connection.results.push = checked_push  # type: ignore[method-assign]
        connection.on_disconnected = counted_loss  # type: ignore[method-assign]
        try:
            await started
        except ClientStateError:
            self.world.ledger.claim(self.is_leaving, "nobody has stopped it")

    def _watch_hints(self, submissions: Submissions) -> None:
        """Check that what was refused for now isn't sent again sooner than the refusal says."""
        settle, wait_in_front = submissions.on_submitted, submissions._wait_in_front
        earliest: dict[str, float] = {}

        def settled(message: msg.Submitted) -> None:
            for refused in message.refused:
                self.world.refusals[refused.code] += 1
                earliest[refused.task_id] = self.loop.time() + refused.retry_after_s
            settle(message)

        def sent_again(batch: Any) -> None:
            due = max((earliest.get(task.task_id, 0.0) for task in batch.tasks), default=0.0)
            self.world.ledger.claim(self.loop.time() >= due, f"{self.name} came back too soon")
            wait_in_front(batch)

        submissions.on_submitted = settled  # type: ignore[method-assign]
        submissions._wait_in_front = sent_again  # type: ignore[method-assign]

    async def leave(self) -> None:
        client = self.client
        if client is None:
            return
        if self.world.chance.random() < 0.5:
            self.flushes = True
            await client.aclose()
        else:
            client.stop()
        client.stop()
