"""Two years of schedules in three zones, through 500 crashes, beside what cronsim itself says."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import pytest
from cronsim import CronSim

from fastqueue.control_plane.engine import Engine
from fastqueue.core import changes as ch
from fastqueue.core import commands as cmd
from fastqueue.core.limits import CoreLimits
from fastqueue.core.records import Outcome
from fastqueue.core.schedule_records import ScheduleSpec
from fastqueue.protocol import messages as msg
from fastqueue.store.memory import MemoryStore
from fastqueue.tasks.ids import run_id
from fastqueue.tasks.timetable import timetable_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Auckland")
# Hours that are skipped or come twice are among all of these.
CRONS = ("0 * * * *", "30 2 * * *", "15 1,2,3 * * 0", "5 0 29 2 *")
START = datetime(2027, 1, 1, tzinfo=UTC)
END = datetime(2029, 1, 1, tzinfo=UTC)
CRASHES = 500
LIMITS = CoreLimits(retained_max=20, tombstones_max=60, schedule_runs_max=4)
SUBWORKER = 7

_leases_of = msgspec.msgpack.Decoder(msg.ToSubworker).decode


class Crash(BaseException):
    """The control plane is killed."""


class LoggedStore(MemoryStore):
    """Keep the ids of all tasks that were ever durable; be killed beside a commit on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.durable: list[str] = []
        self.dies = ""
        self._written: list[str] = []

    def write(self, changes: Iterable[ch.Change]) -> None:
        changes = list(changes)
        for change in changes:
            if isinstance(change, ch.TasksAdded):
                self._written += (new.task_id for new in change.tasks)
        super().write(changes)

    def commit_now(self) -> None:
        has_runs = bool(self._written)
        if self.dies == "before" and has_runs:
            raise Crash
        super().commit_now()
        self.durable += self._written
        self._written.clear()
        if self.dies == "after" and has_runs:
            raise Crash

    def rollback(self) -> None:
        self._written.clear()
        super().rollback()


class Calendar:
    """Run schedules on a clock of its own; a subworker that does whatever it is given."""

    def __init__(self, specs: Sequence[ScheduleSpec], start: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.at = start
        self.store = LoggedStore()
        self.specs = specs
        self.crashes = 0
        self.epochs = 0
        self.reports: list[cmd.Report] = []
        self._boot()
        for number, spec in enumerate(specs):
            self.engine.put(cmd.PutSchedule(1, number, spec, False, self.at))

    def _boot(self) -> None:
        self.epochs += 1
        self.reports.clear()
        self.engine = Engine(self.store, LIMITS, clock=lambda: self.at, wall=lambda: self.at)
        names = frozenset(spec.name for spec in self.specs)
        self.engine.put(cmd.WorkerReady(SUBWORKER, f"w{self.epochs}", "w", names, 100, at=self.at))

    def crash(self, down_s: float) -> None:
        """Lose what isn't committed, and be down for a time; in all no run is a minute late."""
        self.crashes += 1
        self.store.rollback()
        self.store.dies = ""
        self._boot()
        late_s = max(0.0, self.at - self.engine.core.state.schedules.next_due)
        self.at += min(down_s, 59.0 - late_s)

    async def turn(self) -> None:
        for report in self.reports:
            self.engine.put(report)
        self.reports = []
        await self.engine.turn(self)

    def jump(self) -> bool:
        """Let time pass until the next run is due; say whether there is one."""
        due = self.engine.core.state.schedules.next_due
        self.at = max(self.at, min(due, END.timestamp()))
        return due <= END.timestamp()

    # -- what the engine calls

    def send(self, session: int, bodies: Sequence[bytes]) -> None:
        if session != SUBWORKER:
            return
        for body in bodies:
            message = _leases_of(body)
            if isinstance(message, msg.Leases):
                outcomes = [
                    Outcome(lease.task_id, lease.token, True, self.at, self.at, b"1")
                    for lease in message.leases
                ]
                self.reports.append(cmd.Report(SUBWORKER, 1, outcomes, self.at))

    def close(self, session: int, reason: str) -> None:
        pass

    def close_all(self, reason: str) -> None:
        raise AssertionError(reason)

    def is_writable(self, session: int) -> bool | None:
        return True

    def hold_back(self, session: int) -> None:
        pass

    def read_again(self, session: int) -> None:
        pass

    def resume(self) -> None:
        pass

    def deliver(self, address: str, callbacks: object) -> None:
        raise AssertionError("nobody asked to be called back")


def spec_of(number: int, cron: str, zone: str, **policies: object) -> ScheduleSpec:
    timetable = timetable_of(cron=cron, timezone=zone)
    spec = ScheduleSpec(f"s{number}", timetable, f"task{number}", 2, 0, b"[[],{}]")
    return msgspec.structs.replace(spec, **policies)


def expected(cron: str, zone: str) -> Iterator[float]:
    for found in CronSim(cron, START.astimezone(ZoneInfo(zone))):
        at = found.timestamp()
        if at > END.timestamp():
            return
        yield at


async def play(calendar: Calendar) -> None:
    chance = calendar.random
    moments = {at for cron in CRONS for zone in ZONES for at in expected(cron, zone)}
    odds = 1.5 * CRASHES / len(moments)
    await calendar.turn()
    while True:
        try:
            if chance.random() < odds and calendar.crashes < CRASHES:
                calendar.store.dies = chance.choice(("before", "after", "between"))
                if calendar.store.dies == "between":
                    raise Crash
            await calendar.turn()
            await calendar.turn()
        except Crash:
            calendar.crash(chance.choice((0.0, 0.5, 3.0, 20.0, 59.0)))
            continue
        if not calendar.jump():
            break
    await calendar.turn()


@pytest.mark.parametrize("seed", [int(os.environ.get("SEED", "1"))])
def test_a_cron_schedule_of_two_years_in_three_zones_fires_as_cronsim_says_through_500_crashes(
    seed: int,
) -> None:
    pairs = [(cron, zone) for cron in CRONS for zone in ZONES]
    specs = [spec_of(n, cron, zone) for n, (cron, zone) in enumerate(pairs)]
    calendar = Calendar(specs, START.timestamp(), seed)
    logging.disable(logging.ERROR)
    try:
        asyncio.run(play(calendar))
    finally:
        logging.disable(logging.NOTSET)
    assert calendar.crashes == CRASHES
    made = Counter(calendar.store.durable)
    assert set(made.values()) == {1}, "a run was submitted twice"
    for spec, (cron, zone) in zip(specs, pairs, strict=True):
        wanted = [run_id(spec.schedule_id, at) for at in expected(cron, zone)]
        assert wanted
        missing = [run for run in wanted if run not in made]
        assert not missing, f"{cron} in {zone}: {len(missing)} of {len(wanted)} never ran"
        for run in wanted:
            del made[run]
    assert not made, "a run was submitted that cronsim knows nothing of"
