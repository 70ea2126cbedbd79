"""Own what may go wrong in a world of whole processes, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.stack.calls import Calls
from tests.simulation.stack.processes import ClientProcess

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Callable

    from tests.simulation.stack.disk import SimulatedStore
    from tests.simulation.stack.loop import VirtualLoop
    from tests.simulation.stack.network import Link
    from tests.simulation.stack.processes import (
        ControlPlaneProcess,
        Member,
        SubworkerProcess,
    )

__all__ = ["Faults"]


class Faults:
    """Let things happen; the world that is made of it plays everything else."""

    chance: random.Random
    loop: VirtualLoop
    store: SimulatedStore
    is_calm: bool
    clock_error_s: float
    moves: bool
    faults: Counter[str]
    control_plane: ControlPlaneProcess
    subworkers: list[SubworkerProcess]
    clients: list[ClientProcess]
    members: list[Member]
    strangers: list[Member]

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        raise NotImplementedError

    def guard(self, make: object) -> object:
        """Run something in a process that isn't to fail."""
        raise NotImplementedError

    def step(self) -> None:
        """Let one thing happen, mostly a call."""
        happenings: list[tuple[float, Callable[[], None]]] = [
            (34, self.call),
            (2, self.partition),
            (3, self.stall),
            (3, self.reset),
            (4, self.cut),
            (1, self.half_open),
            (1.5, self.kill_control_plane),
            (1, self.kill_in_commit),
            (0.7, self.stop_control_plane),
            (1.5, self.kill_subworker),
            (2, self.drain_subworker),
            (0.7, self.vanish),
            (1.5, self.stand_still),
            (0.7, self.kill_client),
            (0.4, self.stop_client),
            (0.5, self.fill_disk),
            (0.3, self.break_disk),
            (0.8, self.run_short),
            (1.5, self.lose_the_network),
            (2, self.intrude),
            (1, self.jump_clock),
        ]
        weights, choices = zip(*happenings, strict=True)
        happening = self.chance.choices(choices, weights)[0]
        self.faults[happening.__name__] += 1
        happening()

    def call(self) -> None:
        ups = [member for member in self.clients if member.is_up and member.client is not None]
        for _ in range(self.chance.choice((1, 1, 2, 4))):
            if ups:
                member = self.chance.choice(ups)
                assert member.process is not None
                calls = Calls(self, member)  # type: ignore[arg-type]
                self.loop.spawn(member.process, self.guard(calls.some))  # type: ignore[arg-type]

    def intrude(self) -> None:
        """Let somebody who isn't to be let in submit a task."""
        stranger = self.strangers[0]
        assert isinstance(stranger, ClientProcess)
        if stranger.process is not None and stranger.client is not None:
            calls = Calls(self, stranger)  # type: ignore[arg-type]
            self.loop.spawn(stranger.process, self.guard(calls.intrude))  # type: ignore[arg-type]

    def wall(self) -> float:
        """Return what the clock on the wall shows."""
        raise NotImplementedError

    def jump_clock(self) -> None:
        """Set the wall clock, forward or back, on all hosts."""
        self.wall()
        self.clock_error_s = self.chance.choice((-20.0, -2.0, 0.0, 2.0, 20.0))
        self.note(f"the clock is wrong by {self.clock_error_s} s")

    # -- the network

    def _link(self) -> Link | None:
        links = [link for link in self.loop.network.links if not link.is_over]
        return self.chance.choice(links) if links else None

    def partition(self) -> None:
        ups = [member for member in self.members if member.process is not None]
        if ups:
            member = self.chance.choice(ups)
            seconds = self.chance.choice((0.05, 0.5, 2.0, 6.0, 14.0))
            self.note(f"{member.name} is cut off for {seconds} s")
            assert member.process is not None
            self.loop.network.partition(member.process, seconds)

    def lose_the_network(self) -> None:
        """Cut a process off, and let both sides know it at once: no connection stays."""
        ups = [member for member in self.members if member.process is not None]
        if ups:
            member = self.chance.choice(ups)
            seconds = self.chance.choice((0.3, 1.3, 1.6, 4.0))
            self.note(f"{member.name} has no network for {seconds} s")
            assert member.process is not None
            for link in self.loop.network.links_of(member.process):
                link.reset()
            self.loop.network.partition(member.process, seconds)

    def stall(self) -> None:
        link = self._link()
        if link is not None:
            seconds = self.chance.choice((0.05, 0.5, 2.0, 6.0))
            way = self.chance.randrange(2)
            self.note(f"way {way} of {link.ends} is stalled for {seconds} s")
            link.stall(seconds, link.ways[way : way + 1])

    def reset(self) -> None:
        link = self._link()
        if link is not None:
            self.note(f"{link.ends} is reset")
            link.reset()

    def cut(self) -> None:
        link = self._link()
        if link is not None:
            way, count = self.chance.randrange(2), self.chance.randint(1, 200)
            self.note(f"way {way} of {link.ends} is cut after {count} more bytes")
            link.ways[way].cut_after = count

    def half_open(self) -> None:
        link = self._link()
        if link is not None:
            at = self.chance.choice((link.dialled, link.accepted))
            self.note(f"only {at.process} knows that {link.ends} is over")
            link.forget(at)

    # -- processes

    def boot_later(self, member: Member) -> None:
        """Start a process again after a while, as a supervisor does."""
        seconds = 0.2 if self.is_calm else self.chance.choice((0.02, 0.3, 1.5, 4.0))
        self.loop.schedule(None, seconds, self._boot, member)

    def _boot(self, member: Member) -> None:
        if member.process is not None:
            return
        if member is self.control_plane and self.moves and self.chance.random() < 0.5:
            self.control_plane.port += 1
        member.boot()

    def _kill(self, member: Member, *, vanishes: bool = False) -> None:
        if member.process is not None:
            member.kill(vanishes=vanishes)
            self.boot_later(member)

    def kill_control_plane(self) -> None:
        self._kill(self.control_plane)

    def kill_in_commit(self) -> None:
        def crash() -> None:
            self.note("... in a commit")
            self.loop.schedule(None, 0.0, self._kill_if, self.control_plane.process)

        self.store.crash = crash

    def _kill_if(self, process: object) -> None:
        if self.control_plane.process is process:
            self._kill(self.control_plane)

    def stop_control_plane(self) -> None:
        self._leave(self.control_plane)

    def _leave(self, member: Member) -> None:
        if member.is_up:
            member.begin_to_leave()
            self.loop.schedule(None, 0.1, self._watch_leaving, member)

    def _watch_leaving(self, member: Member) -> None:
        if member.process is None:
            self.boot_later(member)
        elif member.is_leaving:
            self.loop.schedule(None, 0.1, self._watch_leaving, member)

    def kill_subworker(self) -> None:
        self._kill(self.chance.choice(self.subworkers))

    def drain_subworker(self) -> None:
        busy = [member for member in self.subworkers if member.running and member.is_up]
        member = self.chance.choice(busy or self.subworkers)
        member.grace_s = self.chance.choice((0.0, 0.2, 2.0))
        self._leave(member)

    def vanish(self) -> None:
        self._kill(self.chance.choice(self.members), vanishes=True)

    def stand_still(self) -> None:
        member = self.chance.choice(self.members)
        if member.process is not None:
            seconds = self.chance.choice((0.1, 0.7, 2.5, 8.0))
            self.note(f"{member.name} stands still for {seconds} s")
            self.loop.stop_process(member.process, seconds)

    def kill_client(self) -> None:
        self._kill(self.chance.choice(self.clients))

    def stop_client(self) -> None:
        self._leave(self.chance.choice(self.clients))

    # -- the disk

    def fill_disk(self) -> None:
        seconds = self.chance.choice((0.05, 0.6, 3.0))
        self.note(f"the disk is full for {seconds} s")
        self.store.is_full = True
        self.loop.schedule(None, seconds, self._make_room)

    def _make_room(self) -> None:
        self.store.is_full = False

    def run_short(self) -> None:
        seconds = self.chance.choice((0.6, 2.0, 5.0))
        self.note(f"there is little room on the disk for {seconds} s")
        self.store.set_short(self.loop.time())
        self.loop.schedule(None, seconds, self.store.set_short, None)

    def break_disk(self) -> None:
        self.note("the next commit fails")
        self.store.breaks_next = True

    # -- the end of it

    def end_faults(self) -> None:
        """Let nothing more go wrong, and put right what is."""
        self.is_calm = True
        self.store.is_full = self.store.breaks_next = False
        self.store.set_short(None)
        for stranger in self.strangers:
            stranger.kill()
        self.store.crash = None
        self.loop.network.calm()
        self.loop.wake_all()
        for member in self.members:
            if member.process is None:
                self.boot_later(member)
