"""Own the faults of batches that the simulation must catch; see `mutants`."""

from __future__ import annotations

from tests.simulation.mutant import Mutant

__all__ = ["BATCH_MUTANTS"]

_BATCHES = "core/batches.py"
_CORE = "core/core.py"
_STATE = "core/state.py"
_SUBMISSION = "core/submission.py"

BATCH_MUTANTS = (
    Mutant(
        "a delayed task isn't counted in its batch",
        _SUBMISSION,
        "    if is_taken and options.batch is not None:\n",
        "    if is_taken and options.batch is not None and not options.due_at:\n",
        "a batch would end with more tasks than were submitted to it",
    ),
    Mutant(
        "a task that isn't taken is counted in its batch",
        _SUBMISSION,
        "    if is_taken and options.batch is not None:\n",
        "    if options.batch is not None:\n",
        "a batch would wait for ever for a task that there isn't",
    ),
    Mutant(
        "a cancelled task counts as a failure of its batch",
        _BATCHES,
        """            case _:
                batch.cancelled += 1
""",
        """            case _:
                batch.failure += 1
""",
        "the counts of a batch say how its tasks ended",
    ),
    Mutant(
        "an ended task is counted and not written",
        _BATCHES,
        """            self._expiries[batch_id] = now + self._limits.batches_ttl_s
        self._counted[batch_id] = None
""",
        """            self._expiries[batch_id] = now + self._limits.batches_ttl_s
""",
        "after a crash the counts of a batch would be those of before",
    ),
    Mutant(
        "an accepted task is counted and not written",
        _BATCHES,
        """        self._expiries.pop(batch_id, None)
        self._counted[batch_id] = None
""",
        """        self._expiries.pop(batch_id, None)
""",
        "after a crash the counts of a batch would be those of before",
    ),
    Mutant(
        "a batch that goes on is forgotten as if it were finished",
        _BATCHES,
        """        batch.changed_at = at
        self._expiries.pop(batch_id, None)
""",
        """        batch.changed_at = at
""",
        "the tasks of a forgotten batch would be counted by nobody",
    ),
    Mutant(
        "a batch is forgotten and stays in the store",
        _BATCHES,
        "        decision.changes.append(BatchForgotten(batch_id))\n",
        "",
        "the store would keep every batch there ever was",
    ),
    Mutant(
        "a rebuilt core forgets no finished batch",
        _BATCHES,
        """            if not batch.live:
                finished.append(""",
        """            if batch.live < 0:
                finished.append(""",
        "what is finished is forgotten in time, also after a restart",
    ),
    Mutant(
        "an unfinished batch makes way for another",
        _BATCHES,
        "        return batch_id in self._by_id or",
        "        return True or",
        "a batch is remembered for as long as a task of it is live",
    ),
    Mutant(
        "a task of a batch that ended is still found as live",
        _STATE,
        "            into.batched.append((options.batch, task.task_id))\n",
        "",
        "cancelling a batch would go through all that it ever had",
    ),
    Mutant(
        "counts are settled before the leases are made",
        _CORE,
        """    lease_ready(state, command.at, now, decision)
    settle_batches(state, now, decision)
""",
        """    settle_batches(state, now, decision)
    lease_ready(state, command.at, now, decision)
""",
        "a task that expires as it is to be leased would be counted a turn too late",
    ),
    Mutant(
        "nobody wakes for a batch that is to be forgotten",
        _CORE,
        "            state.batches.next_expiry(),\n",
        "",
        "what is finished is forgotten in time, also if nothing else happens",
    ),
)
