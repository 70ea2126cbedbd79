"""Own the engine: inbox, core, commit, effects, in this order and no other.

It is the only caller of the core and of the store. One turn takes all that has arrived (bounded),
applies it, commits every change in one transaction, and only then releases the effects: persist,
then acknowledge. While a commit waits for the disk the loop goes on receiving, so that the next
turn is larger the slower the disk is: group commit needs no timer.

Before the disk is full new tasks are refused (`disk_space.py`). If it is full all the same, because
others filled it, nothing of the turn is released: all sessions are closed, the core is rebuilt
from the store when there is room, and clients and subworkers come back and say again what wasn't
acknowledged. Any other failure of the store ends the control plane: a restart recovers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from fastqueue.control_plane.answers import StoredAnswers
from fastqueue.control_plane.disk_space import DiskWatch
from fastqueue.control_plane.lease_book import LeaseBook
from fastqueue.control_plane.outlet import release
from fastqueue.control_plane.payload_cache import PayloadCache
from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core.core import Core
from fastqueue.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastqueue.core.effects import Effect
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.records import NewTask
    from fastqueue.store.base import NumberedCallback, Store

__all__ = ["Engine", "Peers"]

logger = logging.getLogger(__name__)

# One turn's bound: its commit, and so everyone's acknowledgement, shall not wait much longer than
# a few fsyncs for the statements of others.
_TURN_COMMANDS_MAX = 512
_TURN_TASKS_MAX = 2_048
_TURN_BYTES_MAX = 8 * 1024**2
# Commands that may wait before the server stops reading from its peers.
_INBOX_HIGH = 2_048
_INBOX_HIGH_BYTES = 8 * 1024**2
_LAZY_DELAY_S = 0.05
_PAYLOAD_CACHE_BYTES_MAX = 16 * 1024**2


class Peers(Protocol):
    """Say what the engine asks of the server and of the callback service."""

    def send(self, session: int, bodies: Sequence[bytes]) -> None:
        """Send frames to a session, if it is still there."""

    def close(self, session: int, reason: str) -> None:
        """End a session."""

    def close_all(self, reason: str) -> None:
        """End every session and every delivery; nothing of them may reach the engine later."""

    def is_writable(self, session: int) -> bool | None:
        """Say whether a session keeps up with what it is sent; None if it has ended."""

    def hold_back(self, session: int) -> None:
        """Read nothing from a session until `read_again`."""

    def read_again(self, session: int) -> None:
        """Read again from a session."""

    def resume(self) -> None:
        """Read again from the peers that were held back because the engine was behind."""

    def deliver(self, address: str, callbacks: list[NumberedCallback]) -> None:
        """Deliver callbacks, and tell the engine what came of it by `CallbacksSent`."""


class Engine:
    """Run the core on a store.

    Args:
        store: where changes become durable; the engine alone uses it.
        limits: the core's bounds.
        clock: the monotonic clock, in seconds.
        wall: the wall clock, in seconds since the Unix epoch.
        full_retry_s: how often to look for room on a disk that is full, in seconds.
    """

    def __init__(
        self,
        store: Store,
        limits: CoreLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        full_retry_s: float = 1.0,
    ) -> None:
        self.store = store
        self.limits = limits
        self.payloads = PayloadCache(_PAYLOAD_CACHE_BYTES_MAX)
        self._clock = clock
        self._wall = wall
        self._full_retry_s = full_retry_s
        # Each command with the bytes of the frame that it came in.
        self._inbox: deque[tuple[cmd.Command, int]] = deque()
        self._inbox_bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self.is_full = False
        self._disk = DiskWatch(store, limits.disk_free_min)
        self._begin()

    def _begin(self) -> None:
        snapshot = self.store.load(self._wall())
        self.epoch = snapshot.epoch
        self.core = Core(self.limits, snapshot, self._clock())
        self._book = LeaseBook(_LAZY_DELAY_S)
        self.payloads.clear()
        self._greatest_id = self.store.greatest_id()
        self.answers = StoredAnswers(self.store, self.core, self.payloads)
        self._look_at_disk(self._clock(), at_once=True)

    # -- what the server and the callback service call

    def put(self, command: cmd.Command, size_bytes: int = 0) -> None:
        """Take a command, which came in a frame of `size_bytes`, into the next turn."""
        self._inbox.append((command, size_bytes))
        self._inbox_bytes += size_bytes
        self._wake.set()

    def put_first(self, command: cmd.Command) -> None:
        """Take a command into the next turn before all others."""
        self._inbox.appendleft((command, 0))
        self._wake.set()

    def wake(self) -> None:
        """Take a turn: a peer that is owed something can take it now."""
        self._wake.set()

    @property
    def is_behind(self) -> bool:
        """Say whether so much waits that peers are to be held back."""
        return len(self._inbox) > _INBOX_HIGH or self._inbox_bytes > _INBOX_HIGH_BYTES

    def wall(self) -> float:
        """Return the wall clock's time, in seconds since the Unix epoch."""
        return self._wall()

    # -- turns

    async def run(self, peers: Peers) -> None:
        """Take turns until `stop`, then commit what was held back.

        Raises:
            StoreError: the store failed for another reason than a full disk.
        """
        while not self._stopping:
            await self._wait()
            await self.turn(peers)
        while self._inbox and not self.is_full:
            await self.turn(peers)
        if self.is_full:
            # What the book holds back is of a turn that was rolled back: the next start recovers.
            return
        changes = self._book.take_all()
        if not self.core.is_recovering(self._clock()):
            changes.append(ch.Stopped())
        try:
            if changes:
                self.store.write(changes)
            await self.store.commit()
        except StoreFull as error:
            # As after a crash: what is lost is the note of young leases, which isn't a promise.
            logger.warning("%s; the next start recovers", error)

    def stop(self) -> None:
        """Let `run` end once what has arrived is dealt with."""
        self._stopping = True
        self._wake.set()

    async def _wait(self) -> None:
        if self._inbox or self._stopping:
            # A quick commit hasn't let the peers have their say.
            await asyncio.sleep(0)
        else:
            timers = (self.core.next_due(), self._book.next_due(), self._disk.next_due())
            dues = [due for due in timers if due is not None]
            if dues:
                handle = asyncio.get_running_loop().call_later(
                    max(0.0, min(dues) - self._clock()), self._wake.set
                )
                await self._wake.wait()
                handle.cancel()
            else:
                await self._wake.wait()
        self._wake.clear()

    async def turn(self, peers: Peers) -> None:
        """Deal with what has arrived, up to a bound, and with what is due.

        Raises:
            StoreError: the store failed for another reason than a full disk.
        """
        effects: list[Effect] = []
        now = self._clock()
        self._look_at_disk(now)
        try:
            for command in self._take():
                self._apply(command, now, effects)
            at = self._wall()
            if runs := self.core.runs_due(at, now):
                self._apply(cmd.RunSchedules(at, runs), now, effects)
            self._apply(cmd.Tick(at), now, effects)
            held_back = self._book.take(now, committing=self.store.in_transaction)
            if held_back:
                self.store.write(held_back)
            await self.store.commit()
        except StoreFull as error:
            await self._recover(peers, error)
            return
        release(self, peers, effects)
        if self.answers.serve(peers):
            self._wake.set()
        if not self.is_behind:
            peers.resume()

    def _take(self) -> list[cmd.Command]:
        inbox, tasks, size = self._inbox, 0, 0
        taken: list[cmd.Command] = []
        while (
            inbox
            and len(taken) < _TURN_COMMANDS_MAX
            and tasks < _TURN_TASKS_MAX
            and size < _TURN_BYTES_MAX
        ):
            command, size_bytes = inbox.popleft()
            self._inbox_bytes -= size_bytes
            size += size_bytes
            taken.append(command)
            if isinstance(command, cmd.Submit):
                tasks += len(command.tasks)
                self._disk.note_submitted(size_bytes)
            elif isinstance(command, cmd.Report):
                tasks += len(command.outcomes)
        if inbox:
            self._wake.set()
        return taken

    def _apply(self, command: cmd.Command, now: float, effects: list[Effect]) -> None:
        decision = self.core.apply(self._inform(command), now)
        if decision.changes:
            for change in decision.changes:
                if type(change) is ch.TasksAdded:
                    self._note_added(change)
                elif type(change) is ch.TasksDelayed:
                    self._note_ids(change.tasks)
                elif type(change) is ch.TasksFinished:
                    self.payloads.discard(change.keys)
                elif type(change) is ch.TasksRetried:
                    # Those that were adopted, and so never taken; they have other keys now.
                    self.payloads.discard(row[3] for row in change.rows)
            self.store.write(self._book.sift(decision.changes, now))
        effects += decision.effects

    def _note_ids(self, tasks: Sequence[NewTask]) -> None:
        self._greatest_id = max(self._greatest_id, max(new.task_id for new in tasks))

    def _note_added(self, change: ch.TasksAdded) -> None:
        self._note_ids(change.tasks)
        put = self.payloads.put
        for key, new in zip(change.keys, change.tasks, strict=True):
            if self.core.holds(new.task_id):
                put(key, new.payload)

    def _inform(self, command: cmd.Command) -> cmd.Command:
        """Add what only the store knows to a command that names ids."""
        holds = self.core.holds
        match command:
            case cmd.Submit():
                # Ids are time-ordered: one greater than all is new for certain, and needn't be
                # looked up. This is nearly every one.
                greatest = self._greatest_id
                doubtful = [
                    new.task_id
                    for new in command.tasks
                    if new.task_id <= greatest and not holds(new.task_id)
                ]
                if doubtful:
                    seen = self.store.find_known(doubtful)
                    evicted = self.store.find_evicted(seen)
                    command = replace(command, seen=seen, evicted=evicted)
                return self._find_holders(command)
            case cmd.Cancel() | cmd.Watch():
                unheld = [task_id for task_id in command.task_ids if not holds(task_id)]
                if unheld:
                    return replace(command, stored=self.store.find_live(unheld))
            case cmd.Inspect(topic="why"):
                waiting = self.store.find_live(i for i in command.task_ids if not holds(i))
                ahead = {i: self.store.count_before(one.key) for i, one in waiting.items()}
                return replace(command, stored=waiting, ahead=ahead)
            case cmd.Requeue():
                return replace(
                    command,
                    letters=self.store.read_dead_letters(command.pairs),
                    seen=self.store.find_known(new for _, new in command.pairs),
                )
            case cmd.RunSchedules():
                made = [task_id for due in command.runs for _, task_id in due.runs]
                before = {due.before for due in command.runs if due.before}
                return self._inform_of_runs(command, made, before)
            case cmd.RunScheduleNow():
                before = {self.core.last_run_of(command.schedule_id)} - {""}
                return self._inform_of_runs(command, [command.task_id], before)
            case cmd.WorkerReady():
                unheld = [h.task_id for h in command.held if not holds(h.task_id)]
                if unheld:
                    return replace(command, stored=self.store.find_live(unheld))
            case cmd.Follow():
                if not command.ends and not holds(command.task_id):
                    stored = self.store.find_live((command.task_id,)).get(command.task_id)
                    return replace(command, stored=stored)
            case _:
                pass
        return command

    def _inform_of_runs(
        self, command: cmd.RunSchedules | cmd.RunScheduleNow, made: list[str], before: set[str]
    ) -> cmd.Command:
        unheld = [task_id for task_id in before if not self.core.holds(task_id)]
        return replace(
            command, seen=self.store.find_known(made), stored=self.store.find_live(unheld)
        )

    def _find_holders(self, command: cmd.Submit) -> cmd.Submit:
        places = {
            (new.name, new.options.unique_key)
            for new in command.tasks
            if new.options is not None and new.options.unique_key
        }
        if not places:
            return command
        holders = self.store.find_holders(places)
        ids = (hold.task_id for hold in holders.values())
        stored = self.store.find_live([i for i in ids if not self.core.holds(i)])
        return replace(command, holders=holders, stored=stored)

    # -- a full disk

    def _look_at_disk(self, now: float, *, at_once: bool = False) -> None:
        command = self._disk.look(now, at_once=at_once)
        if command is not None:
            self.core.apply(command, now)

    async def _recover(self, peers: Peers, error: StoreFull) -> None:
        logger.error("%s; nothing is accepted until there is room", error)
        self.is_full = True
        self.store.rollback()
        peers.close_all("the control plane's disk is full")
        while not self._stopping:
            await asyncio.sleep(self._full_retry_s)
            try:
                self._inbox.clear()
                self._inbox_bytes = 0
                self._begin()
            except StoreFull:
                continue
            self.is_full = False
            logger.warning("there is room on the disk again; everybody may connect")
            return
