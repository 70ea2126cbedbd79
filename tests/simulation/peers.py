"""Own what simulated peers know: a client of its tasks, a subworker of its leases."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastqueue.client.watching import Feed

if TYPE_CHECKING:
    from fastqueue.core.records import Lease, NewTask, Offer, Outcome, PendingCallback
    from fastqueue.core.schedule_records import ScheduleSpec


class SimulatedClient:
    """Hold what one client knows: what it submitted, what was acknowledged, what came back."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.session = 0
        # Frames on their way to it; they are lost with its connection.
        self.inbound: deque[bytes] = deque()
        self.sent: dict[int, list[NewTask]] = {}
        self.asked: dict[int, list[str]] = {}
        self.submitted: dict[str, NewTask] = {}
        # What must be pushed in this session, and what was, or was said to have expired.
        self.owed: set[str] = set()
        self.told: set[str] = set()
        # What it follows, as the real client takes it.
        self.feeds: dict[str, Feed] = {}
        # What it was told of what is offered, in this session.
        self.offered: list[Offer] | None = None
        # Until when it takes nothing that it is owed.
        self.slow_until = 0.0

    def has(self, callback: PendingCallback) -> bool:
        """Say whether it submitted the task that a callback is about."""
        return callback.task_id in self.submitted

    def end(self) -> None:
        """Forget what was of this session only."""
        self.session = 0
        self.inbound.clear()
        self.sent.clear()
        self.asked.clear()
        self.owed.clear()
        self.told.clear()
        self.feeds.clear()
        self.offered = None


class SimulatedSubworker:
    """Hold what one subworker process knows: its leases, and reports not yet acknowledged."""

    def __init__(
        self, instance: str, names: frozenset[str], capacity: int, queues: frozenset[str]
    ) -> None:
        self.instance = instance
        self.session = 0
        self.inbound: deque[bytes] = deque()
        self.names = names
        self.queues = queues
        self.capacity = capacity
        self.held: dict[str, Lease] = {}
        # The tokens of what has begun in this process, whatever came of it.
        self.begun: set[int] = set()
        self.unacknowledged: dict[int, list[Outcome]] = {}
        self.last_sequence = 0
        # Checkpoints that aren't acknowledged: by sequence number the lease, and the value.
        self.saving: dict[int, tuple[Lease, bytes]] = {}
        # Per lease, how many lines it has told.
        self.lines: dict[int, int] = {}
        # It was stopped, or its host vanished: it is connected and says nothing.
        self.is_stopped = False
        # Of its definitions, by this process's version of them; and when that started.
        self.schedules: list[ScheduleSpec] = []
        self.started_at = 0.0

    def end(self) -> None:
        """Lose the connection; what it runs goes on."""
        self.session = 0
        self.inbound.clear()
