"""Own submissions under a unique key: the same one again, the last of many, the latest alone.

A unique key is a task name's own. It is held by the task that was last submitted under it, for a
time; the store keeps who holds which, since there may be millions, and the engine looks them up
for each submission that has one.

- `unique_for`: while it is held, a submission under it is the one that holds it: the client gets
  that id, and nothing is stored.
- `debounce`: the task waits, and a later submission under the key takes the place of one that
  hasn't started, so that of many in a row the last one runs, once.
- `latest_wins`: a submission under the key cancels the one before it, even if that runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fastqueue.core.changes import UniquesForgotten, UniquesHeld
from fastqueue.core.commands import StoredTask
from fastqueue.core.records import UniqueHold
from fastqueue.core.requests import cancel_tasks

if TYPE_CHECKING:
    from fastqueue.core.commands import Submit
    from fastqueue.core.decision import Decision
    from fastqueue.core.records import NewTask
    from fastqueue.core.state import State

__all__ = ["Uniqueness"]

# How long a key is held for `latest_wins` and `debounce`, from when the task is due: for as long as
# its task may wait and run. A task that takes longer isn't cancelled by the next.
_HELD_S = 7 * 86_400.0
# After so many keys were taken, those whose time is over are forgotten, which is cheap; and after
# so many it is seen that there aren't too many, for which all of them are counted.
_FORGET_EVERY = 1_000
_COUNT_EVERY = 100_000


class Uniqueness:
    """Hold what one submission does about unique keys.

    Attributes:
        same: pairs of (id submitted, id of the task that it is the same as).
    """

    __slots__ = ("_at", "_command", "_fresh", "_held", "_holders", "_latest", "_replaced", "same")

    def __init__(self, command: Submit) -> None:
        self._command = command
        self._at = command.submitted_at
        self._holders = dict(command.holders)
        self._held: dict[tuple[str, str], UniqueHold] = {}
        self._replaced: dict[str, str] = {}
        self._latest: set[str] = set()
        # Tasks of this very submission that memory doesn't hold, as the store will have them.
        self._fresh: dict[str, StoredTask] = {}
        self.same: list[tuple[str, str]] = []

    def settle(self, new: NewTask) -> NewTask | None:
        """Return the task as it is to be stored, or None if it is the same as another."""
        options = new.options
        assert options is not None
        place = (new.name, options.unique_key)
        holder = self._holders.get(place)
        if options.unique_for_s is not None and holder is not None and self._at < holder.until:
            self.same.append((new.task_id, holder.task_id))
            return None
        if options.debounce_s is not None:
            due_at = max(options.due_at or 0.0, self._at + options.debounce_s)
            new = replace(new, options=replace(options, due_at=due_at))
        return new

    def hold(self, new: NewTask, stored: StoredTask | None = None) -> None:
        """Have a task that was accepted hold its key; `stored` if memory doesn't hold it."""
        options = new.options
        assert options is not None
        place = (new.name, options.unique_key)
        is_alone = options.debounce_s is not None or options.latest_wins
        if stored is not None:
            self._fresh[new.task_id] = stored
        holder = self._holders.get(place)
        if holder is not None and is_alone:
            self._replaced[holder.task_id] = new.task_id
        if options.latest_wins:
            self._latest.add(new.task_id)
        if options.unique_for_s is not None:
            until = self._at + options.unique_for_s
        else:
            until = max(self._at, options.due_at or 0.0) + _HELD_S
        hold = UniqueHold(*place, new.task_id, until, is_latest=options.latest_wins)
        self._holders[place] = self._held[place] = hold

    def conclude(self, state: State, now: float, decision: Decision) -> None:
        """Turn it into changes, once the submission's tasks are stored; cancel the replaced."""
        if self._held:
            decision.changes.append(UniquesHeld(list(self._held.values())))
            before, state.uniques_held = state.uniques_held, state.uniques_held + len(self._held)
            if before // _FORGET_EVERY != state.uniques_held // _FORGET_EVERY:
                is_counted = before // _COUNT_EVERY != state.uniques_held // _COUNT_EVERY
                kept_max = state.limits.uniques_max if is_counted else None
                decision.changes.append(UniquesForgotten(self._at, kept_max))
        stored = {**self._command.stored, **self._fresh}
        for task_id, by in self._replaced.items():
            cancel_tasks(
                state,
                [task_id],
                stored,
                f"Replaced: task {by} was submitted later under its unique key",
                at=self._at,
                now=now,
                decision=decision,
                even_running=by in self._latest,
            )
