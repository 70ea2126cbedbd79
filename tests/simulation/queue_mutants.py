"""Own the faults planted into queues, shares, limits and unique keys; each must be caught."""

from __future__ import annotations

from tests.simulation.mutant import Mutant

_CONTROL = "core/queue_control.py"
_CORE = "core/core.py"
_GATES = "core/gates.py"
_LANES = "core/lanes.py"
_LEASING = "core/leasing.py"
_QUEUES = "core/queues.py"
_STATE = "core/state.py"
_TURNS = "core/turns.py"
_UNIQUENESS = "core/uniqueness.py"
_WORKERS = "core/workers.py"

QUEUE_MUTANTS = (
    Mutant(
        "a paused queue goes on",
        _LEASING,
        "        if not queue.settings.is_paused:\n",
        "        if True:\n",
        "nothing of a paused queue begins",
    ),
    Mutant(
        "a task goes to who doesn't serve its queue",
        _WORKERS,
        "        return not self.queues or queue in self.queues\n",
        "        return True\n",
        "a subworker chooses its queues",
    ),
    Mutant(
        "a limit's place isn't given back",
        _STATE,
        "            gate.running -= 1\n",
        "            pass\n",
        "a limit would fill up for ever",
    ),
    Mutant(
        "a lane that waits at a gate isn't woken",
        _STATE,
        "            if gate.parked:\n                self.lanes.unpark(gate)\n",
        "",
        "its tasks would wait for ever",
    ),
    Mutant(
        "a rate isn't drawn from",
        _TURNS,
        "                state.gates.draw(gates, now)\n",
        "                pass\n",
        "more would begin than the rate lets",
    ),
    Mutant(
        "a limit is looked at once a turn",
        _TURNS,
        "            if gates and not self._is_open(lane):\n",
        "            if False:\n",
        "more would run at once than may",
    ),
    Mutant(
        "nobody wakes up when a rate lets the next one through",
        _CORE,
        "            state.gates.next_due(),\n",
        "",
        "it would wait for something else to happen",
    ),
    Mutant(
        "a bucket is refilled when limits change",
        _GATES,
        "        self._full_at.update((g.place, g.full_at) for g in self._gates.values())\n",
        "",
        "more would begin than the rate lets",
    ),
    Mutant(
        "what runs isn't counted when limits change",
        _CONTROL,
        "                gate.running += 1\n",
        "                pass\n",
        "more would run at once than may",
    ),
    Mutant(
        "a limit isn't stored",
        _CONTROL,
        "    decision.changes.append(RunLimitSet(limit))\n    _answer(",
        "    _answer(",
        "it would be gone after a restart",
    ),
    Mutant(
        "a queue's settings aren't stored",
        _CONTROL,
        "    decision.changes.append(QueueChanged(settings))\n",
        "",
        "a paused queue would go on after a restart",
    ),
    Mutant(
        "a purge takes what comes after it",
        _STATE,
        "        self.last_sequence = max(snapshot.last_sequence, *marks, 0)\n",
        "        self.last_sequence = snapshot.last_sequence\n",
        "what was submitted after the purge would be cancelled",
    ),
    Mutant(
        "a purge forgets what waits for a time",
        _CONTROL,
        "        if is_done and after is None:\n",
        "        if is_done:\n",
        "what is delayed would start after its queue was purged",
    ),
    Mutant(
        "a lane whose first task has changed isn't put in its place",
        _QUEUES,
        "            heapq.heappush(self._heads, (*standing, lane.lane_id, lane))\n",
        "            pass\n",
        "its tasks would never have their turn",
    ),
    Mutant(
        "a lane is asleep although it has tasks again",
        _LANES,
        "        if len(lane.ready) == 1:\n            self._queues.wake(lane)\n",
        "",
        "its tasks would never have their turn",
    ),
    Mutant(
        "the one before isn't cancelled by the latest",
        _UNIQUENESS,
        "            self._replaced[holder.task_id] = new.task_id\n",
        "            pass\n",
        "of a unique key the latest alone is wanted",
    ),
)
