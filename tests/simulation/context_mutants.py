"""Own the planted faults of checkpoints, and of what tasks tell of themselves."""

from __future__ import annotations

from tests.simulation.mutant import Mutant

__all__ = ["CONTEXT_MUTANTS"]

_CHECKPOINTS = "core/checkpoints.py"
_FOLLOWING = "core/following.py"
CONTEXT_MUTANTS = (
    Mutant(
        "whoever once had a lease may save",
        _CHECKPOINTS,
        "task.worker is not worker or task.token != command.token:",
        "task.worker is None:",
        "an attempt that was given up would put back what a later one has saved",
    ),
    Mutant(
        "a checkpoint is acknowledged and not written",
        _CHECKPOINTS,
        "        decision.changes.append(CheckpointSaved(task.key, task.task_id, command.value))\n",
        "        pass\n",
        "the next attempt would begin from the start",
    ),
    Mutant(
        "a checkpoint that the store has isn't counted when its task is read back",
        "core/state.py",
        "        task.checkpoint_bytes = stored.checkpoint_bytes\n",
        "",
        "after a restart the next attempt wouldn't get it, and it would never be dropped",
    ),
    Mutant(
        "a lease goes out without the checkpoint",
        "control_plane/outlet.py",
        "                lease.checkpoint = engine.store.read_checkpoint(lease.task_id)\n",
        "                lease.checkpoint = None\n",
        "the next attempt would begin from the start",
    ),
    Mutant(
        "a lease that waits goes out without the checkpoint",
        "control_plane/answers.py",
        "                    lease.checkpoint = store.read_checkpoint(lease.task_id)\n",
        "                    lease.checkpoint = None\n",
        "the same for a subworker that is slow",
    ),
    Mutant(
        "a checkpoint outlives its task",
        "core/state.py",
        "            into.checkpointed.append(task.task_id)\n",
        "            pass\n",
        "the store would fill with what nobody reads",
    ),
    Mutant(
        "the checkpoints of tasks that end aren't counted down",
        "core/state.py",
        "            self.checkpoints_bytes -= task.checkpoint_bytes\n",
        "            pass\n",
        "after a while no checkpoint would be saved",
    ),
    Mutant(
        "the checkpoints have no bound",
        _CHECKPOINTS,
        "    if grows_by > 0 and state.checkpoints_bytes + grows_by > most:\n",
        "    if False:\n",
        "they would fill the disk",
    ),
    Mutant(
        "what a void lease tells is taken",
        _FOLLOWING,
        "        if task is not None and task.worker is worker and task.token == news.token:\n",
        "        if task is not None:\n",
        "a watcher would see two attempts at once",
    ),
    Mutant(
        "what an attempt told stays when it is over",
        "core/state.py",
        "        self.lanes.remove(task)\n        if self.followed.told:\n"
        "            self.followed.forget(task.task_id)\n",
        "        self.lanes.remove(task)\n",
        "memory would fill with it",
    ),
    Mutant(
        "a task that is over is followed on",
        "core/state.py",
        "            self.followed.end(task.task_id)\n",
        "            pass\n",
        "memory would fill with followers of nothing",
    ),
    Mutant(
        "a session that has ended follows on",
        "core/requests.py",
        "    state.followed.disconnect(session)\n",
        "",
        "its tasks' news would be for nobody",
    ),
    Mutant(
        "lines are kept without a bound",
        _FOLLOWING,
        "        if over > 0:\n            self._drop_lines(told, over)\n",
        "",
        "one task could fill the memory",
    ),
    Mutant(
        "lines are counted from the wrong one",
        _FOLLOWING,
        "        return self.next_line - len(self.lines)\n",
        "        return self.next_line - len(self.lines) + 1\n",
        "a late watcher would see lines twice, or miss some",
    ),
)
