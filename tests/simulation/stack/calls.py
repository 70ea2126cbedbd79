"""Own what applications do with their clients in a simulated world, and what they may expect.

Whatever happens, a call returns what is true, or raises an error that its documentation names, in
the time it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tests.simulation.stack.callbacks import FORBIDDEN, LISTENERS
from tests.simulation.stack.processes import RETRIES

from fastqueue.client.options import SubmitOptions
from fastqueue.errors import (
    ClientStateError,
    ControlPlaneUnavailable,
    FastQueueError,
    Overloaded,
    ResultExpired,
    SubmissionRefused,
    TaskTimeout,
)
from fastqueue.tasks.models import TaskPriority, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.simulation.stack.processes import ClientProcess
    from tests.simulation.stack.world import World

    from fastqueue.client.client import Client
    from fastqueue.tasks.models import TaskResult

__all__ = ["Calls"]

# Time that no timer accounts for: the turns of a loop that other callbacks keep busy.
_LATE_S = 0.01
_PRIORITIES = tuple(TaskPriority)


class Calls:
    """Make one call at a time on behalf of an application.

    Args:
        world: where it lives.
        member: the application.
    """

    def __init__(self, world: World, member: ClientProcess) -> None:
        self.world = world
        self.member = member
        assert member.process is not None
        self.process = member.process
        assert member.client is not None
        self.client: Client = member.client

    async def some(self) -> None:
        """Make a call that chance chooses."""
        chance = self.world.chance
        call = chance.choices(
            (
                self.delay,
                self.submit,
                self.batch,
                self.callback,
                self.query,
                self.await_others,
                self.cancel,
                self.inspect,
            ),
            (6, 4, 2, 2, 2, 2, 2, 0.5),
        )[0]
        self.process.calls_under_way += 1
        try:
            await call()
        except FastQueueError as error:
            self.world.errors[type(error).__name__] += 1
            self.world.note(f"{self.member.name} was told: {error}")
        finally:
            self.process.calls_under_way -= 1

    def _arguments(self, *, calm: bool = False) -> tuple[str, tuple[int, str, float]]:
        """Return a task's name and arguments, of which the key is new."""
        chance = self.world.chance
        key = self.world.next_key(1 + self.member.retries)
        if calm:
            self.world.ledger.fates[key] = "ok"
            return "work", (key, "ok", chance.uniform(0.1, 0.3))
        name = chance.choices(("work", "rare", "once", "ghost"), (12, 4, 4, 1))[0]
        fate = chance.choices(("ok", "fail", "flaky", "kill"), (30, 5, 4, 1))[0]
        self.world.ledger.fates[key] = fate
        self.world.ledger.retries[key] = RETRIES[name].retries
        if name == "once":
            self.world.ledger.once.add(key)
        return name, (key, fate, chance.choice((0.0, 0.0, 0.01, 0.1, 0.4, 1.5)))

    async def _timed(self, awaitable: Awaitable[Any], *, is_flushed: bool = False) -> Any:
        """Await a call; check that it ends in time, by an error that tells the truth if any.

        Args:
            awaitable: what the client returned.
            is_flushed: whether it only waits for an acknowledgement, as `aclose` does.
        """
        world, member, loop = self.world, self.member, self.world.loop
        connection = self.client._connection
        has_room = connection is None or connection.submissions.has_room
        # Waiting for room has a time of its own.
        bound = 1.0 if has_room else 2.0
        begun, stopped_s, losses = loop.time(), self.process.stopped_s, member.disconnects
        timeout_s = member.timeout_s
        error: FastQueueError | None = None
        try:
            return await awaitable
        except (ControlPlaneUnavailable, TaskTimeout) as late:
            error = late
            raise
        except (Overloaded, SubmissionRefused, ResultExpired) as refusal:
            error = refusal
            raise
        except ClientStateError:
            world.ledger.claim(not member.is_up or self.client is not member.client, "not stopped")
            is_cut_short = is_flushed and has_room and member.flushes
            world.ledger.claim(not is_cut_short, "aclose didn't wait for what was submitted")
            raise
        finally:
            took_s = loop.time() - begun
            stood_s = self.process.stopped_s - stopped_s
            world.ledger.claim(
                took_s <= timeout_s * bound + stood_s + _LATE_S, f"a call took {took_s:g} s"
            )
            if isinstance(error, ControlPlaneUnavailable) and "retries are used" in str(error):
                lost = member.disconnects - losses
                # What the control plane has no room for spends retries too.
                world.ledger.claim(lost > 0, "gave up, and no connection was lost")
            elif isinstance(error, ControlPlaneUnavailable | TaskTimeout):
                world.ledger.claim(
                    took_s >= timeout_s - _LATE_S, f"gave up after {took_s:g} s: {error}"
                )

    def _check(self, result: TaskResult, task_id: str) -> None:
        ledger = self.world.ledger
        known = ledger.recorded.get(task_id)
        told = (result.task_id, result.status, result.error, result.attempt, result.worker_id)
        expected = known and (
            known.task_id,
            known.status,
            known.error,
            known.attempt,
            known.worker_id,
        )
        ledger.claim(told == expected, f"{task_id}: was told {told}, recorded is {known}")
        if result.status is TaskStatus.SUCCESS:
            key = ledger.key_of.get(task_id)
            ledger.claim(
                str(result.result).startswith(f"{key}/"), f"{task_id} got another's result"
            )

    def _known_ids(self) -> list[str]:
        """Return some ids that an application may know, and one that nobody has submitted."""
        stored = self.world.ledger.key_of
        return ["0123456789-none", *(i for i in self.world.ids[-12:] if i in stored)]

    # -- calls

    def _options(self, name: str, key: int) -> SubmitOptions:
        """Return what a submission asks for, and have the ledger know it."""
        chance, ledger, asked = self.world.chance, self.world.ledger, SubmitOptions()
        if chance.random() < 0.3:
            asked["countdown"] = chance.choice((0.0, 0.05, 0.4, 2.0, 6.0))
            ledger.due[key] = self.world.wall() + asked["countdown"]
        if chance.random() < 0.2:
            asked["batch"] = chance.choice(("nightly", "hourly"))
        if chance.random() < 0.2:
            asked["expires"] = chance.choice((0.0, 0.05, 0.4, 2.0, 6.0))
            ledger.expires[key] = self.world.wall() + asked["expires"]
        if name != "once" and chance.random() < 0.2:
            asked["retries"] = ledger.retries[key] = chance.choice((0, 1, 3))
            asked["backoff"] = 0.2
        return asked

    async def delay(self) -> None:
        name, args = self._arguments()
        priority = self.world.chance.choice(_PRIORITIES)
        if options := self._options(name, args[0]):
            optioned = self.client.options(priority=priority, **options)
            submitted = optioned.delay(name, *args)
        else:
            submitted = self.client.delay(name, *args, priority=priority)
        task_id = await self._timed(submitted, is_flushed=True)
        self.world.acknowledge(args[0], task_id)
        if self.world.chance.random() < 0.5:
            status = self.client.get_status(task_id)
            self.world.ledger.claim(status is not TaskStatus.PENDING, f"{task_id} is acknowledged")

    async def submit(self) -> None:
        name, args = self._arguments()
        try:
            result = await self._timed(self.client.submit_task(name, args))
        except (TaskTimeout, ResultExpired) as error:
            self.world.acknowledge(args[0], error.task_id)
            if isinstance(error, ResultExpired):
                self.world.ledger.on_expired(error.task_id, was_stored=True, store=self.world.store)
            raise
        self.world.acknowledge(args[0], result.task_id)
        self._check(result, result.task_id)

    async def batch(self) -> None:
        calls = [self._arguments() for _ in range(self.world.chance.randint(1, 9))]
        ids = await self._timed(self.client.submit_batch(calls), is_flushed=True)
        for (_, args), task_id in zip(calls, ids, strict=True):
            self.world.acknowledge(args[0], task_id)

    async def query(self) -> None:
        chance = self.world.chance
        ids = self._known_ids()
        some = chance.sample(ids, min(len(ids), chance.choice((1, 1, 4, 7))))
        ends = await asyncio.gather(*map(self._query_one, some), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end

    async def _query_one(self, task_id: str) -> None:
        ledger = self.world.ledger
        was_recorded = task_id in ledger.recorded
        was_stored = task_id in ledger.key_of
        result = await self._timed(self.client.get_task_result(task_id))
        if result is None:
            is_known = was_stored and task_id not in ledger.recorded
            ledger.claim(not is_known, f"{task_id} is stored and said to be unknown")
        elif result.status in (TaskStatus.SUCCESS, TaskStatus.FAILURE, TaskStatus.CANCELLED):
            self._check(result, task_id)
        else:
            ledger.claim(not was_recorded, f"{task_id} is over and said to be {result.status}")

    async def await_others(self) -> None:
        ids = self._known_ids()
        some = self.world.chance.sample(ids, min(5, len(ids)))
        stored = set(some) & set(self.world.ledger.key_of)
        try:
            async for result in self._within(some, self.member.timeout_s):
                self._check(result, result.task_id)
        except ResultExpired as error:
            self.world.ledger.on_expired(
                error.task_id, was_stored=error.task_id in stored, store=self.world.store
            )
            raise

    async def _within(self, ids: list[str], timeout_s: float) -> Any:
        results = self.client.as_completed(ids, timeout=timeout_s)
        begun, stopped_s = self.world.loop.time(), self.process.stopped_s
        try:
            async for result in results:
                yield result
        except ClientStateError:
            self.world.ledger.claim(
                not self.member.is_up or self.client is not self.member.client, "not stopped"
            )
            raise
        finally:
            took_s = self.world.loop.time() - begun - (self.process.stopped_s - stopped_s)
            self.world.ledger.claim(took_s <= timeout_s + _LATE_S, f"as_completed took {took_s} s")

    async def cancel(self) -> None:
        ids = self._known_ids()
        task_id = self.world.chance.choice(ids)
        self.world.ledger.asked_to_cancel.add(task_id)
        try:
            answer = await self._timed(self.client.cancel(task_id))
        except ResultExpired:
            return  # it ran when it was asked for, and its result is gone since
        if answer:
            self.world.ledger.cancelled.add(task_id)
            known = self.world.ledger.recorded.get(task_id)
            is_so = known is not None and known.status is TaskStatus.CANCELLED
            self.world.ledger.claim(is_so, f"{task_id} is said to be cancelled: {known}")

    async def callback(self) -> None:
        name, args = self._arguments()
        address = self.world.chance.choice((*LISTENERS, FORBIDDEN))
        submitted = self.client.delay_with_callback(name, address, *args, callback_data=args[0])
        result = await self._timed(submitted, is_flushed=True)
        self.world.acknowledge(args[0], result.task_id)

    async def inspect(self) -> None:
        is_for_all = "token_submit" not in self.world.tokens
        try:
            await self._timed(self.client.inspect())
        except SubmissionRefused:
            self.world.ledger.claim(not is_for_all, f"{self.member.name} may not inspect")
            raise
        self.world.ledger.claim(is_for_all, f"{self.member.name} may inspect")

    async def intrude(self) -> None:
        """Submit a task as somebody who isn't let in, or doesn't believe the control plane."""
        key = self.world.next_key(0)
        try:
            await self._timed(self.client.delay("work", key, "ok", 0.0))
        except ControlPlaneUnavailable as error:
            self.world.note(f"{self.member.name} was told: {error}")
            self.world.turned_away += 1
        else:
            self.world.ledger.claim(False, f"{self.member.name} has submitted a task")

    # -- when all faults have ended but one

    async def long(self) -> None:
        """Submit a task during which something can happen."""
        key = self.world.next_key(1 + self.member.retries)
        self.world.ledger.fates[key] = "ok"
        self.world.acknowledge(key, await self._timed(self.client.delay("work", key, "ok", 0.5)))

    async def calm(self) -> None:
        """Lose one connection in each kind of call; with a retry left, none may notice."""
        self.process.calls_under_way += 1
        try:
            await self._calm()
        except FastQueueError as error:
            self.world.ledger.claim(False, f"{self.member.name} lost one connection: {error!r}")
        finally:
            self.process.calls_under_way -= 1

    async def _calm(self) -> None:
        client, world = self.client, self.world
        if self.member.retries > 0:
            load = [self._arguments(calm=True) for _ in range(4)]
            await self._timed(client.submit_batch(load))
            name, args = self._arguments(calm=True)
            world.cut_soon(self.process)
            world.acknowledge(args[0], await self._timed(client.delay(name, *args)))
            name, args = self._arguments(calm=True)
            world.cut_no_more(self.process)
            await asyncio.sleep(0.15)  # a cut that came too late for the first call is noticed
            submitted = asyncio.create_task(self._timed(client.submit_task(name, args)))
            await asyncio.sleep(0.15)
            world.cut_now(self.process)
            result = await submitted
            world.acknowledge(args[0], result.task_id)
            self._check(result, result.task_id)
            await self._give_up_waiting()
        await self._lose_acknowledgements()
        some = world.ids[-3:]
        world.cut_soon(self.process, bytes_max=600, hears=True)
        await asyncio.gather(*map(self._query_one, some))
        world.cut_no_more(self.process)
        world.cut_soon(self.process)
        self.world.ledger.asked_to_cancel.add(some[-1])
        await self._timed(client.cancel(some[-1]))
        world.cut_no_more(self.process)
        # A connection that was cut after the last answer is noticed when it is used again.
        await self._query_one(some[0])

    async def _give_up_waiting(self) -> None:
        """Wait for a task for less time than it takes; nothing may be left of that."""
        name, args = self._arguments(calm=True)
        task_id = await self._timed(self.client.delay(name, *args))
        self.world.acknowledge(args[0], task_id)
        with contextlib.suppress(TaskTimeout):
            async for _ in self._within([task_id], 0.01):
                pass
        connection = self.client._connection
        is_kept = connection is not None and task_id in connection.results._waiters
        self.world.ledger.claim(not is_kept, f"{self.member.name} still waits for {task_id}")

    async def _lose_acknowledgements(self) -> None:
        """Lose each one of a submission, until it is told that it may or may not be stored."""
        connection = self.client._connection
        assert connection is not None
        name, args = self._arguments(calm=True)
        call = asyncio.ensure_future(self._timed(self.client.delay(name, *args)))
        while not call.done():
            if connection.submissions._sent:
                self.world.cut_soon(self.process, bytes_max=4, hears=True)
            await asyncio.sleep(0.001)
        self.world.cut_no_more(self.process)
        with contextlib.suppress(ControlPlaneUnavailable):
            self.world.acknowledge(args[0], await call)
