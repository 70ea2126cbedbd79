"""Own what connected subworkers offer, and what waits although none offers it.

Clients are told what is offered, so that they can check a call's arguments and find its queue
without asking: at the start of their session, and when it changes. What a client believes may be
old all the same; it asks anew before it refuses anything.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from fastqueue.core.effects import AnswerOffers, TellOffers, TellUnoffered
from fastqueue.core.records import Offer
from fastqueue.tasks.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from fastqueue.core.commands import FindOffers, WatchOffers
    from fastqueue.core.decision import Decision
    from fastqueue.core.limits import CoreLimits
    from fastqueue.core.state import State

__all__ = [
    "Offers",
    "Unoffered",
    "describe_offers",
    "find_offers",
    "tell_offers",
    "tell_unoffered",
    "unoffered_now",
    "watch_offers",
]

# Names in one line of the log.
_TOLD_MAX = 20


class Offers:
    """Hold the different offers of each name, in the order in which they came to be.

    Two versions of a program may be connected at one time, so a name can have several. Subworkers
    that offer the same share one.

    Attributes:
        by_name: for each name that is offered, how many subworkers make each of its offers.
        version: another number whenever there is another offer, or one is gone.
        listeners: the sessions that are told of it, in the order in which they began.
    """

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = limits
        self.by_name: dict[str, dict[Offer, int]] = {}
        self.version = 0
        self.listeners: dict[int, None] = {}
        # Names that nobody offers any more, since the last tick.
        self.lapsed: set[str] = set()
        self._size_bytes = 0
        self._told_version = 0
        self._quiet_until = -math.inf
        self._names: tuple[int, list[str]] = (0, [])

    def __iter__(self) -> Iterator[Offer]:
        return (offer for offers in self.by_name.values() for offer in offers)

    def names(self) -> list[str]:
        """Return the names that are offered, sorted."""
        if self._names[0] != self.version:
            self._names = (self.version, sorted(self.by_name))
        return self._names[1]

    def add(self, names: Collection[str], offers: Iterable[Offer]) -> Sequence[Offer]:
        """Add what a subworker offers; return what is to be removed at the end of its session."""
        known = {offer.name: offer for offer in offers}
        return [self._add(known.get(name) or Offer(name)) for name in sorted(names)]

    def _add(self, offer: Offer) -> Offer:
        same_name = self.by_name.setdefault(offer.name, {})
        if offer not in same_name:
            size = _size_bytes(offer)
            if self._size_bytes + size > self._limits.offered_bytes_max:
                offer = Offer(offer.name)
        if offer not in same_name:
            same_name[offer] = 0
            self._size_bytes += _size_bytes(offer)
            self.version += 1
        same_name[offer] += 1
        return offer

    def remove(self, offers: Iterable[Offer]) -> None:
        """Remove what a subworker offered."""
        for offer in offers:
            same_name = self.by_name[offer.name]
            same_name[offer] -= 1
            if same_name[offer]:
                continue
            del same_name[offer]
            self._size_bytes -= _size_bytes(offer)
            self.version += 1
            if not same_name:
                del self.by_name[offer.name]
                self.lapsed.add(offer.name)

    @property
    def is_small(self) -> bool:
        """Say whether all of it may be pushed to every client."""
        # The names alone may be more than is counted.
        limit = self._limits.offers_pushed_bytes_max
        return self._size_bytes <= limit and 20 * len(self.by_name) <= limit

    @property
    def has_news(self) -> bool:
        """Say whether it has changed since the listeners were told."""
        return self.version != self._told_version

    def next_due(self) -> float | None:
        """Return when the listeners are to be told, or None."""
        return self._quiet_until if self.has_news and self.listeners else None

    def take_news(self, now: float) -> list[int]:
        """Return the sessions that are to be told now."""
        if not self.listeners:
            # Who comes is told all of it anyway.
            self._told_version = self.version
        if not self.listeners or now < self._quiet_until:
            return []
        self._told_version = self.version
        self._quiet_until = now + self._limits.offers_pause_s
        return list(self.listeners)


def _size_bytes(offer: Offer) -> int:
    return len(offer.name) + len(offer.queue) + len(offer.signature)


class Unoffered:
    """Hold since when tasks of a name wait that no connected subworker offers.

    An entry may be left over from tasks that are gone; `unoffered_now` drops those.
    """

    def __init__(self, limits: CoreLimits) -> None:
        self._grace_s = limits.unoffered_grace_s
        self.since: dict[str, float] = {}
        self._untold: dict[str, None] = {}
        self._due = math.inf

    def note(self, name: str, now: float, *, anew: bool = False) -> None:
        """Note that a task of the name waits; with `anew` none did until now."""
        if name not in self.since or anew:
            self.since[name] = now
            self._untold[name] = None
            self._due = min(self._due, now + self._grace_s)

    def drop(self, names: Iterable[str]) -> None:
        """Forget names that are offered, or of which nothing waits."""
        for name in names if self.since else ():
            self.since.pop(name, None)
            self._untold.pop(name, None)

    def waits_for(self, name: str, status: TaskStatus) -> str | None:
        """Return what a task waits for beside its turn, if that is a subworker."""
        if name not in self.since or status is not TaskStatus.QUEUED:
            return None
        return f"a subworker that offers {name!r}; none that is connected does"

    def next_due(self) -> float | None:
        """Return when the log is to say more, or None."""
        return self._due if self._untold else None

    def take_due(self, now: float) -> list[str]:
        """Return the names that the log is to tell now; each is told once."""
        if not self._untold or now < self._due:
            return []
        due = [n for n in self._untold if self.since[n] + self._grace_s <= now]
        for name in due:
            del self._untold[name]
        # Not a line for each: those that come meanwhile are told together.
        self._due = now + self._grace_s if self._untold else math.inf
        return due


def unoffered_now(state: State) -> list[tuple[str, int, float]]:
    """Return names that nobody offers, how many tasks wait for each, and since when."""
    since = state.unoffered.since
    if not since:
        return []
    waiting: Counter[str] = Counter()
    for lane in state.lanes:
        if lane.live and lane.name in since:
            waiting[lane.name] += lane.live
    state.unoffered.drop([name for name in since if name not in waiting])
    return [(name, waiting[name], at) for name, at in since.items()]


def tell_unoffered(state: State, now: float, decision: Decision) -> None:
    """Note what nobody offers any more, and have the log say what has waited for a while."""
    offers, unoffered = state.workers.offers, state.unoffered
    if offers.lapsed:
        for lane in state.lanes:
            if lane.live and lane.name in offers.lapsed and lane.name not in offers.by_name:
                unoffered.note(lane.name, now)
        offers.lapsed.clear()
    due = set(unoffered.take_due(now))
    if due:
        told = [(name, count) for name, count, _ in unoffered_now(state) if name in due]
        if told:
            decision.effects.append(TellUnoffered(told, offers.names()[:_TOLD_MAX]))


def tell_offers(state: State, now: float, decision: Decision) -> None:
    """Tell clients of what is offered now, if that has changed."""
    offers = state.workers.offers
    if offers.has_news and (sessions := offers.take_news(now)):
        decision.effects.append(TellOffers(sessions))


def watch_offers(state: State, command: WatchOffers, now: float, decision: Decision) -> None:
    """Tell a client what is offered, and from now on when that changes."""
    state.workers.offers.listeners[command.session] = None
    decision.effects.append(TellOffers([command.session]))


def find_offers(state: State, command: FindOffers, now: float, decision: Decision) -> None:
    """Answer what is offered under some names."""
    by_name = state.workers.offers.by_name
    found = [offer for name in command.names for offer in by_name.get(name, ())]
    decision.effects.append(AnswerOffers(command.session, command.request, found))


def describe_offers(state: State, shown_max: int, bytes_max: int) -> dict[str, Any]:
    """Return what is offered for people, by name, as much of it as may be; the rest is counted."""
    offers = state.workers.offers
    rows: list[dict[str, Any]] = []
    size = 0
    names = offers.names()
    for name in names:
        if len(rows) >= shown_max or size >= bytes_max:
            break
        for offer, count in offers.by_name[name].items():
            size += _size_bytes(offer)
            rows.append(
                {
                    "name": name,
                    "queue": offer.queue,
                    "signature": offer.signature,
                    "subworkers": count,
                }
            )
    shown = len({row["name"] for row in rows})
    return {"offers": rows, "left_out": len(names) - shown}
