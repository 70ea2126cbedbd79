"""Own the list of faults that the simulation must catch, each planted alone by `make mutants`.

A fault is a text of the source and what replaces it, and the promise it breaks. Whoever changes
the source changes the fault with it; a new rule of the core deserves a fault here.
"""

from __future__ import annotations

from tests.simulation.batch_mutants import BATCH_MUTANTS
from tests.simulation.context_mutants import CONTEXT_MUTANTS
from tests.simulation.mutant import Mutant
from tests.simulation.queue_mutants import QUEUE_MUTANTS

_ENGINE = "control_plane/engine.py"
_OUTLET = "control_plane/outlet.py"
_ANSWERS = "control_plane/answers.py"
_BOOK = "control_plane/lease_book.py"
_DISK = "control_plane/disk_space.py"
_CACHE = "control_plane/payload_cache.py"
_CHANGES = "core/changes.py"
_CORE = "core/core.py"
_DELAYING = "core/delaying.py"
_DELAYS = "core/delays.py"
_LANES = "core/lanes.py"
_LEASING = "core/leasing.py"
_LIVENESS = "core/liveness.py"
_OPENING = "core/opening.py"
_OFFERS = "core/offers.py"
_OUTBOX = "core/outbox.py"
_REQUESTS = "core/requests.py"
_RETENTION = "core/retention.py"
_SCHEDULES = "core/schedules.py"
_SCHEDULING = "core/scheduling.py"
_STATE = "core/state.py"
_SUBMISSION = "core/submission.py"
_SUSPECTS = "core/suspects.py"
_TURNS = "core/turns.py"
_WORKERS = "core/workers.py"
_STORE = "store/memory.py"

_DURABILITY = (
    Mutant(
        "effects are released before the commit",
        _ENGINE,
        """            await self.store.commit()
        except StoreFull as error:
            await self._recover(peers, error)
            return
        release(self, peers, effects)
""",
        """            release(self, peers, effects)
            await self.store.commit()
        except StoreFull as error:
            await self._recover(peers, error)
            return
""",
        "what is acknowledged may not be stored",
    ),
    Mutant(
        "a full disk rolls nothing back",
        _ENGINE,
        "        self.store.rollback()\n",
        "",
        "changes whose effects were never released become durable with a later commit",
    ),
    Mutant(
        "lazy changes are dropped at the end",
        _ENGINE,
        "        changes = self._book.take_all()\n        if not",
        "        changes: list[ch.Change] = []\n        if not",
        "after an orderly stop every lease is known, so that nothing runs twice",
    ),
    Mutant(
        "young leases are dropped at the end",
        _BOOK,
        """return self.take(float("inf"), committing=True)""",
        "return self.take(0.0, committing=True)",
        "after an orderly stop every lease is known, so that nothing runs twice",
    ),
    Mutant(
        "an orderly stop isn't recorded",
        _ENGINE,
        "            changes.append(ch.Stopped())\n",
        "            pass\n",
        "a restart would wait for leases that were made in no last moment",
    ),
    Mutant(
        "a stop right after a crash counts as one in order",
        _ENGINE,
        "        if not self.core.is_recovering(self._clock()):\n",
        "        if True:\n",
        "a restart wouldn't wait for leases made in the last moment before the crash",
    ),
    Mutant(
        "a lease that has ended is written later",
        _BOOK,
        "                    self._forget(change.keys)\n",
        "                    pass\n",
        "a task would come back from a restart as leased to nobody",
    ),
    Mutant(
        "a lost lease is written lazily",
        _CHANGES,
        "LAZY = (LeasesAdded, LeasesEnded,",
        "LAZY = (LeasesAdded, LeasesEnded, LeasesLost,",
        "a crash would bring back a lease that was declared lost",
    ),
    Mutant(
        "a lost lease isn't written",
        _SUSPECTS,
        "            decision.changes.append(LeasesLost(rows))\n",
        "            pass\n",
        "a crash would bring back a lease that was declared lost",
    ),
    Mutant(
        "a cancellation isn't recorded",
        _REQUESTS,
        """        decision.changes.append(TasksDue(due))
    state.conclude(finished, now, decision)
""",
        """        decision.changes.append(TasksDue(due))
""",
        "a cancelled task comes back with a restart",
    ),
)

_FENCING = (
    Mutant(
        "no fencing",
        _LEASING,
        "if task is None or task.token != outcome.token:",
        "if task is None:",
        "a stale lease's outcome is recorded",
    ),
    Mutant(
        "a stored lease that was declared lost is adopted",
        _LEASING,
        "if held.attempt != stored.attempt + 1 or held.token >> LEASE_BITS >= state.epoch:",
        "if held.token >> LEASE_BITS >= state.epoch:",
        "what was run again meanwhile would be reported by the dead lease",
    ),
    Mutant(
        "a lease in memory that was declared lost is adopted",
        _LEASING,
        "        or held.attempt != task.attempt + 1\n",
        "",
        "what was run again meanwhile would be reported by the dead lease",
    ),
    Mutant(
        "an adopted task still waits",
        _LEASING,
        "    state.lanes.take_out(task)\n",
        "",
        "it would be leased a second time",
    ),
    Mutant(
        "a lease keeps its token when it is lost",
        _STATE,
        "        task.status = next_status(task.status, event)\n        task.token = 0\n",
        "        task.status = next_status(task.status, event)\n",
        "the lost lease's outcome is recorded",
    ),
    Mutant(
        "a lease that never arrived is kept",
        _LEASING,
        "            if task.task_id not in held or held[task.task_id].token != task.token\n",
        "            if False\n",
        "the task would wait for ever for a subworker that doesn't know of it",
    ),
    Mutant(
        "a void lease isn't revoked",
        _LEASING,
        "        decision.effects.append(RevokeLeases(command.session, void))\n",
        "        pass\n",
        "a subworker would go on with what isn't its own",
    ),
    Mutant(
        "leases begin at once after a crash",
        _STATE,
        "            self.leases_begin_at = now + self.limits.recovery_pause_s\n",
        "            pass\n",
        "what a crash made forget would run a second time without need",
    ),
)

_SUBMITTING = (
    Mutant(
        "no dedup against memory",
        _SUBMISSION,
        "if task_id in tasks or task_id in seen",
        "if task_id in seen",
        "a resent submission runs twice",
    ),
    Mutant(
        "no dedup against the results",
        _SUBMISSION,
        "        if task_id in retention:\n",
        "        if False:\n",
        "a resent submission runs twice",
    ),
    Mutant(
        "no dedup against the store",
        _SUBMISSION,
        "or task_id in seen or",
        "or",
        "a resent submission runs twice",
    ),
    Mutant(
        "no dedup within one submission",
        _SUBMISSION,
        " or task_id in unheld:",
        ":",
        "a submission that names a task twice runs it twice",
    ),
    Mutant(
        "the greatest id isn't noted",
        _ENGINE,
        """    def _note_added(self, change: ch.TasksAdded) -> None:
        self._note_ids(change.tasks)
""",
        """    def _note_added(self, change: ch.TasksAdded) -> None:
""",
        "a resent task that is only in the store passes for new",
    ),
    Mutant(
        "a live bound is ignored",
        _SUBMISSION,
        "if state.lanes.live + state.delays.count >= limits.live_tasks_max:",
        "if False:",
        "nothing is unbounded",
    ),
    Mutant(
        "a full disk is ignored",
        _SUBMISSION,
        "    if state.disk_shortage is not None:\n",
        "    if False:\n",
        "running tasks would find no room for their results",
    ),
    Mutant(
        "a full disk refuses what is known",
        _SUBMISSION,
        "        task_id = new.task_id\n        if task_id in retention:\n",
        """        task_id = new.task_id
        if state.disk_shortage is not None:
            refused.append(_disk_full(task_id, state.disk_shortage))
            continue
        if task_id in retention:
""",
        "a client would be told that a stored task isn't stored, and submit it anew",
    ),
    Mutant(
        "the disk is looked at once",
        _DISK,
        "self._due = now + _LOOK_EVERY_S",
        'self._due = float("inf")',
        "a disk that fills wouldn't be noticed",
    ),
    Mutant(
        "a rebuilt core isn't told of the disk",
        _ENGINE,
        "self._look_at_disk(self._clock(), at_once=True)",
        "self._disk.look(self._clock(), at_once=True)",
        "tasks would be taken on a full disk after a recovery",
    ),
    Mutant(
        "the lanes' bound is ignored",
        _OPENING,
        "    if len(lanes.by_id) >= limits.lanes_max:\n",
        "    if False:\n",
        "nothing is unbounded",
    ),
    Mutant(
        "a refusal isn't told",
        _SUBMISSION,
        "            taken.refused.append(refusal)\n",
        "            pass\n",
        "a refused task is acknowledged, and lost",
    ),
)

_QUEUEING = (
    Mutant(
        "new tasks overtake spilled ones",
        _LANES,
        "has_room = lane.live == lane.in_memory and len",
        "has_room = len",
        "the order is first in, first out; the overtaken would never be read",
    ),
    Mutant(
        "a refill reads twice",
        _LEASING,
        "        if stored.task_id not in state.tasks:\n",
        "        if True:\n",
        "a task that is in memory already would run twice",
    ),
    Mutant(
        "a refill skips what it found leased",
        _LEASING,
        "        lane.last_key = stored.key\n",
        "        lane.last_key = stored.key + 1\n",
        "a spilled task would never be read",
    ),
    Mutant(
        "a refill never ends",
        _LEASING,
        "    lane.refilling = False\n",
        "",
        "the rest of a lane would stay spilled",
    ),
    Mutant(
        "a refill reads more than the window",
        _LEASING,
        "Refill(lane.lane_id, lane.last_key, window - len(lane.ready))",
        "Refill(lane.lane_id, lane.last_key, window * 10)",
        "nothing is unbounded",
    ),
    Mutant(
        "a lane sleeps over its spilled tasks",
        _LANES,
        "        if not lane.ready and not lane.spilled:\n",
        "        if not lane.ready:\n",
        "the rest of a lane would stay spilled",
    ),
    Mutant(
        "what is given back isn't put in order",
        _LANES,
        "            lane.restore_order()\n            self._activate",
        "            self._activate",
        "the order is first in, first out",
    ),
    Mutant(
        "priorities are turned around",
        _TURNS,
        "        return rank, turn, key & SEQUENCE_MASK\n",
        "        return -rank, turn, key & SEQUENCE_MASK\n",
        "priorities are strict",
    ),
    Mutant(
        "the last comes first",
        _TURNS,
        "lane.ready.popitem(last=False)",
        "lane.ready.popitem(last=True)",
        "the order is first in, first out",
    ),
    Mutant(
        "payloads are mixed up",
        _ENGINE,
        "zip(change.keys, change.tasks, strict=True):",
        "zip(reversed(change.keys), change.tasks, strict=True):",
        "a task would run with another's arguments",
    ),
    Mutant(
        "payloads that aren't cached are forgotten",
        _OUTLET,
        "                payload = engine.store.read_payloads((key,))[key]\n",
        '                payload = b""\n',
        "a task would run without its arguments",
    ),
    Mutant(
        "leases owed to a slow subworker are dropped",
        _OUTLET,
        "    if position < len(effect.leases):\n",
        "    if False:\n",
        "the core would believe that it runs them, for ever",
    ),
    Mutant(
        "a cancelled task is still leased",
        _LANES,
        "        self.take_out(task)\n        lane.in_memory -= 1\n",
        "        lane.in_memory -= 1\n",
        "a cancelled task never starts",
    ),
)

_SUBWORKERS = (
    Mutant(
        "a lease goes to who doesn't offer its name",
        _WORKERS,
        "return [w for w in self._offers.get(name, {}).values() if w.free > 0 and",
        "return [w for w in self.by_session.values() if w.free > 0 and",
        "the subworker can't run it",
    ),
    Mutant(
        "a subworker that is gone still offers",
        _WORKERS,
        "            offering.pop(worker.instance, None)\n",
        "",
        "tasks are leased into the void",
    ),
    Mutant(
        "capacity is ignored",
        _WORKERS,
        "        return self.capacity - len(self.tasks)\n",
        "        return 1\n",
        "a subworker would get more than it can hold",
    ),
    Mutant(
        "a change of capacity is ignored",
        _LEASING,
        "        worker.capacity = command.capacity\n",
        "        pass\n",
        "a subworker that drains would get tasks, and one that grows none",
    ),
    Mutant(
        "a report is acknowledged without being recorded",
        _LEASING,
        "if task is None or task.token != outcome.token:",
        "if task is None or task.token != outcome.token or not outcome.succeeded:",
        "the subworker forgets what nobody else knows",
    ),
    Mutant(
        "a report isn't acknowledged",
        _LEASING,
        "    decision.effects.append(AcknowledgeReport(command.session, command.sequence))\n",
        "    _ = AcknowledgeReport\n",
        "a subworker would hold on to it, and report it for ever",
    ),
    Mutant(
        "a given-back attempt is spent",
        _SUSPECTS,
        "        task.attempt -= 1\n",
        "",
        "an attempt is a run, and it never ran",
    ),
    Mutant(
        "giving back isn't written",
        _SUSPECTS,
        "    decision.changes.append(LeasesEnded([task.key for task in tasks]))\n",
        "",
        "a restart would wait for a lease that was given back",
    ),
    Mutant(
        "a crash is counted for what is given back",
        _SUSPECTS,
        "        task.attempt -= 1\n",
        "        task.attempt -= 1\n        task.crashes += 1\n",
        "a task that never ran would be quarantined",
    ),
    Mutant(
        "timers follow the wall clock",
        _ENGINE,
        "        now = self._clock()\n        self._look_at_disk(now)\n",
        "        now = self._wall() - 1_700_000_000.0\n        self._look_at_disk(now)\n",
        "a clock that is set would end leases, or keep them for an hour",
    ),
    Mutant(
        "a subworker's grace never ends",
        _LEASING,
        "        worker.deadline = now + state.limits.session_grace_s\n",
        "        worker.deadline = now + 1e9\n",
        "its tasks would wait for ever",
    ),
    Mutant(
        "a subworker has no grace",
        _LEASING,
        "        worker.deadline = now + state.limits.session_grace_s\n",
        "        worker.deadline = now\n",
        "a connection that ends for a moment isn't a death",
    ),
    Mutant(
        "a heartbeat isn't heard",
        _LIVENESS,
        "    worker.heard_at = now\n",
        "",
        "a subworker that is alive would be given up",
    ),
    Mutant(
        "silence is never noticed",
        _CORE,
        "    give_up_silent(state, now, decision)\n",
        "",
        "the tasks of a host that vanished would wait for ever",
    ),
    Mutant(
        "no timer for silence",
        _CORE,
        "            state.workers.silence_due if state.workers.by_session else None,\n",
        "",
        "an idle control plane would never notice a host that vanished",
    ),
    Mutant(
        "a blocked event loop gets no longer grace",
        _LIVENESS,
        "        worker.deadline = max(worker.deadline, now + state.limits.blocked_grace_s)\n",
        "        pass\n",
        "a task that blocks the loop would be run a second time after a cut",
    ),
    Mutant(
        "a stored lease's grace never ends",
        _STATE,
        "        deadline = now + self.limits.adoption_grace_s\n",
        "        deadline = now + 1e9\n",
        "tasks of a subworker that died with the control plane would wait for ever",
    ),
    Mutant(
        "what hadn't begun is blamed as well",
        _SUSPECTS,
        "            if running is not None and task.token not in running:\n",
        "            if False:\n",
        "an innocent task would become a suspect, or fail if it is to run at most once",
    ),
    Mutant(
        "a task to be run at most once is run again",
        _SUSPECTS,
        "            if task.at_most_once:\n",
        "            if False:\n",
        "it would begin twice",
    ),
    Mutant(
        "a lease of a task to be run at most once waits to be written",
        _BOOK,
        "for row in change.rows if not row[3])\n",
        "for row in change.rows)\n                    continue\n",
        "a crash would forget it, and the task would begin twice",
    ),
    Mutant(
        "a lease to be written at once overtakes the end of the one before it",
        _BOOK,
        "                        urgent += self._lazy\n                        self._lazy = []\n",
        "",
        "the late end would wipe it out",
    ),
    Mutant(
        "the dead whose connection stays open are never given up",
        _WORKERS,
        "if not w.session or w.death is not None)\n",
        "if not w.session)\n",
        "their tasks would wait for ever",
    ),
    Mutant(
        "a suspect runs beside others",
        _WORKERS,
        "        if not self.session or self.suspects or self.is_reserved:\n",
        "        if not self.session or self.is_reserved:\n",
        "the next crash would have many possible reasons",
    ),
    Mutant(
        "a suspect is put to others",
        _SUSPECTS,
        "        idle = [worker for worker in able if not worker.tasks]\n",
        "        idle = able\n",
        "the next crash would have many possible reasons",
    ),
    Mutant(
        "a suspect read back isn't known as one",
        _STATE,
        "        task.is_suspect = stored.crashes >= self.limits.isolate_after_crashes\n",
        "",
        "it would run beside others after a restart",
    ),
    Mutant(
        "nobody is kept free for suspects",
        _SUSPECTS,
        "            state.reserved.is_reserved = True\n",
        "",
        "suspects would wait as long as anything else does",
    ),
    Mutant(
        "whoever is kept free is so for ever",
        _SUSPECTS,
        "        state.reserved.is_reserved = False\n",
        "",
        "a subworker would never get a task again",
    ),
    Mutant(
        "a task that kills its own process is never quarantined",
        _SUSPECTS,
        "        elif task.crashes >= state.limits.crashes_max:\n            self",
        "        elif False:\n            self",
        "a task that kills would kill for ever",
    ),
    Mutant(
        "the crash of a task's own process isn't written",
        _SUSPECTS,
        "            decision.changes.append(LeasesLost(lost_rows))\n",
        "            pass\n",
        "a crash of the control plane would bring back a lease whose process is dead",
    ),
    Mutant(
        "a task to be run at most once is run again after its own process died",
        _SUSPECTS,
        """        if task.at_most_once:
            error = _not_repeated_error(f"process""",
        """        if False:
            error = _not_repeated_error(f"process""",
        "it would begin twice",
    ),
    Mutant(
        "nothing is quarantined",
        _SUSPECTS,
        "            elif task.crashes >= state.limits.crashes_max:\n",
        "            elif False:\n",
        "a task that kills would kill for ever",
    ),
    Mutant(
        "a task is quarantined too early",
        _SUSPECTS,
        "            elif task.crashes >= state.limits.crashes_max:\n",
        "            elif task.crashes >= state.limits.isolate_after_crashes:\n",
        "an innocent task would fail for its neighbour",
    ),
)

_ENDING = (
    Mutant(
        "a callback is dropped",
        _STATE,
        "        if callback is None:\n            return\n",
        "        if callback is None or result.status is TaskStatus.FAILURE:\n            return\n",
        "a failure calls back too",
    ),
    Mutant(
        "a callback isn't stored",
        _STATE,
        "        if finished.callbacks:\n",
        "        if False:\n",
        "a crash would lose it",
    ),
    Mutant(
        "an owed count is wrong",
        _OUTBOX,
        "        self.owed -= done\n",
        "",
        "the bound of callbacks would be reached by none",
    ),
    Mutant(
        "an address's owed count is wrong",
        _OUTBOX,
        "        entry.owed -= done\n",
        "        entry.owed = 0\n",
        "the rest of an address would wait for a restart",
    ),
    Mutant(
        "owed callbacks are forgotten by a restart",
        _STATE,
        "        self.outbox.restore(snapshot.owed, snapshot.next_callback, now)\n",
        "        self.outbox.restore((), snapshot.next_callback, now)\n",
        "a callback survives a crash",
    ),
    Mutant(
        "a failed delivery isn't tried again",
        _OUTBOX,
        "        heapq.heappush(self._schedule, (entry.due, address))\n",
        "",
        "a callback would be lost for a listener that was away",
    ),
    Mutant(
        "the deliveries' bound is ignored",
        _OUTBOX,
        "while schedule and self._sending < self._limits.callback_deliveries_max:",
        "while schedule:",
        "nothing is unbounded",
    ),
    Mutant(
        "a delivered callback stays",
        _CORE,
        "        decision.changes.append(CallbacksRemoved(done))\n",
        "        _ = CallbacksRemoved\n",
        "it would be delivered again and again",
    ),
    Mutant(
        "a callback tells another story",
        _STATE,
        "                error=result.error,\n",
        "                error=None,\n",
        "a listener is told what is recorded",
    ),
    Mutant(
        "an eviction leaves no tombstone",
        _STORE,
        "                    t.young_tombstones[task_id] = None\n",
        "                    pass\n",
        "a resent submission runs twice",
    ),
    Mutant(
        "tombstones are trimmed too early",
        _STATE,
        "if self.young_tombstones >= self.limits.tombstones_max // 2:",
        "if self.young_tombstones >= self.limits.tombstones_max // 24:",
        "a resent submission runs twice",
    ),
    Mutant(
        "tombstones are never trimmed",
        _STATE,
        "if self.young_tombstones >= self.limits.tombstones_max // 2:",
        "if False:",
        "nothing is unbounded",
    ),
    Mutant(
        "an eviction isn't written",
        _STATE,
        "        decision.changes.append(ResultsEvicted(evicted))\n",
        "        _ = ResultsEvicted\n",
        "the disk would fill, and the result come back with a restart",
    ),
    Mutant(
        "results don't expire",
        _RETENTION,
        "            if expiries[task_id] > now:\n                break\n",
        "            break\n",
        "what is kept has a time",
    ),
    Mutant(
        "the results' bound is ignored",
        _RETENTION,
        "len(sizes) > limits.retained_max or",
        "",
        "nothing is unbounded",
    ),
    Mutant(
        "reading a result doesn't renew it after a restart",
        _REQUESTS,
        "        decision.changes.append(ResultsAccessed(accessed))\n",
        "        _ = ResultsAccessed\n",
        "the order of eviction would differ after a restart",
    ),
)

_TELLING = (
    Mutant(
        "a result is pushed to nobody",
        _STATE,
        "        session = self.clients.get(task.client)\n",
        "        session = None\n",
        "a client would wait for ever",
    ),
    Mutant(
        "a client that came back isn't known",
        _REQUESTS,
        "    state.clients[command.instance] = command.session\n",
        "    state.clients.setdefault(command.instance, command.session)\n",
        "results would be pushed to a session that has ended",
    ),
    Mutant(
        "the end of an old session forgets the new one",
        _REQUESTS,
        "    if state.clients.get(instance) == session:\n",
        "    if True:\n",
        "a client would wait for ever",
    ),
    Mutant(
        "a watch is forgotten",
        _REQUESTS,
        "            state.watchers.setdefault(task_id, []).append(session)\n",
        "            pass\n",
        "who watches would wait for ever",
    ),
    Mutant(
        "a watch of one that is spilled is forgotten",
        _REQUESTS,
        "        task = state.tasks.get(task_id) or command.stored.get(task_id)\n        if task",
        "        task = state.tasks.get(task_id)\n        if task",
        "who watches would be told that it is unknown",
    ),
    Mutant(
        "a watcher isn't told",
        _STATE,
        "            self.watched[session] -= 1\n            into.pushes.setdefault(session, []).append(result)\n",  # noqa: E501
        "            self.watched[session] -= 1\n",
        "who watches would wait for ever",
    ),
    Mutant(
        "a watched result that is recorded isn't pushed",
        _REQUESTS,
        "        decision.effects.append(PushStored(session, recorded))\n",
        "            _ = PushStored\n",
        "who watches would wait for ever",
    ),
    Mutant(
        "a resent task's result isn't pushed",
        _SUBMISSION,
        "            decision.effects.append(PushStored(command.session, self.recorded))\n",
        "            _ = PushStored\n",
        "a client whose acknowledgement was lost would wait for ever",
    ),
    Mutant(
        "a resent task's expiry isn't told",
        _SUBMISSION,
        "            decision.effects.append(TellExpired(command.session, self.expired))\n",
        "            _ = TellExpired\n",
        "a client whose acknowledgement was lost would wait for ever",
    ),
    Mutant(
        "results owed to a slow client are dropped",
        _OUTLET,
        "        engine.answers.push(session, [result.task_id for result in effect.results])\n",
        "        pass\n",
        "a client that was slow for a moment would wait for ever",
    ),
    Mutant(
        "results that expired in the queue aren't told",
        _ANSWERS,
        "        if expired:\n            frames.append(encode(msg.Expired(expired)))\n",
        "",
        "a client that was slow for a moment would wait for ever",
    ),
    Mutant(
        "a spilled task is said to be unknown",
        _ANSWERS,
        "        if stored is not None:\n",
        "        if False:\n",
        "an acknowledged task is known until it expires",
    ),
    Mutant(
        "a task of a running attempt is said to be cancelled",
        _REQUESTS,
        "            answers[task_id] = (False, task.status)\n",
        "            answers[task_id] = (True, task.status)\n",
        "a cancelled task never ends otherwise",
    ),
)

_OFFERED = (
    Mutant(
        "what nobody offers is taken although a subworker is required",
        _SUBMISSION,
        "        elif new.require_worker and new.name not in state.workers.offers.by_name:\n",
        "        elif False:\n",
        "it would wait, and was to be refused",
    ),
    Mutant(
        "what is required to have a subworker is refused although one offers it",
        _SUBMISSION,
        "        elif new.require_worker and new.name not in state.workers.offers.by_name:\n",
        "        elif new.require_worker:\n",
        "a task that can run would be refused",
    ),
    Mutant(
        "clients aren't told what is offered when they come",
        _OFFERS,
        "    decision.effects.append(TellOffers([command.session]))\n",
        "",
        "their first calls wouldn't be checked",
    ),
    Mutant(
        "clients aren't told what has changed",
        _OFFERS,
        "        decision.effects.append(TellOffers(sessions))\n",
        "        pass\n",
        "they would believe what isn't so any more",
    ),
    Mutant(
        "no timer for what clients are to be told",
        _CORE,
        "            state.workers.offers.next_due(),\n",
        "",
        "an idle control plane would never tell them",
    ),
    Mutant(
        "no timer for the warning about names that nobody offers",
        _CORE,
        "            state.unoffered.next_due(),\n",
        "",
        "an idle control plane would never warn",
    ),
    Mutant(
        "a session that ended is told what is offered",
        _REQUESTS,
        "    state.workers.offers.listeners.pop(session, None)\n",
        "",
        "sessions would pile up",
    ),
    Mutant(
        "what a subworker offered stays when it goes",
        _WORKERS,
        "        self.offers.remove(worker.offers)\n",
        "",
        "clients would be told of what nobody offers",
    ),
    Mutant(
        "an offer of two subworkers goes with the first of them",
        _OFFERS,
        "            if same_name[offer]:\n                continue\n",
        "",
        "the other one still makes it",
    ),
    Mutant(
        "nobody notes that the last subworker with a name is gone",
        _OFFERS,
        "                self.lapsed.add(offer.name)\n",
        "",
        "its tasks would wait, and nobody be told why",
    ),
    Mutant(
        "nobody notes that a new task has no subworker",
        _OPENING,
        "    state.unoffered.note(name, now, anew=not is_waiting)\n",
        "",
        "it would wait, and nobody be told why",
    ),
    Mutant(
        "nobody notes after a restart what has no subworker",
        _STATE,
        "                self.unoffered.note(lane.name, now)\n",
        "                pass\n",
        "it would wait, and nobody be told why",
    ),
    Mutant(
        "what is offered is said to have no subworker",
        _LEASING,
        "    state.unoffered.drop(command.names)\n",
        "",
        "people would look for a fault that is none",
    ),
)

_TIMING = (
    Mutant(
        "no timer for a subworker's grace",
        _CORE,
        "            state.workers.next_deadline(),\n",
        "",
        "an idle control plane would never lease its tasks again",
    ),
    Mutant(
        "no timer for the results",
        _CORE,
        "            state.retention.next_expiry(),\n",
        "",
        "an idle control plane would keep results for ever",
    ),
    Mutant(
        "no timer for callbacks",
        _CORE,
        "            state.outbox.next_due(),\n",
        "",
        "an idle control plane would never try again",
    ),
    Mutant(
        "no timer for the end of the recovery pause",
        _CORE,
        "            state.leases_begin_at if state.leases_begin_at > state.last_tick else None,\n",
        "",
        "an idle control plane would lease nothing after a crash",
    ),
    Mutant(
        "no timer for lazy changes",
        _BOOK,
        "            dues.append(self._lazy_due)\n",
        "            pass\n",
        "an idle control plane would never write them",
    ),
    Mutant(
        "a turn that leaves something doesn't wake the next",
        _ENGINE,
        "        if self.answers.serve(peers):\n            self._wake.set()\n",
        "        self.answers.serve(peers)\n",
        "what is owed would wait for the next command",
    ),
)

_WAITING = (
    Mutant(
        "no timer for what waits for a time",
        _CORE,
        "            None if delay_s is None else state.last_tick + delay_s,\n",
        "",
        "an idle control plane would never start them",
    ),
    Mutant(
        "a delayed task isn't counted in",
        _DELAYS,
        "        self.count += 1\n",
        "        pass\n",
        "delayed tasks would come on top of the bound of live ones",
    ),
    Mutant(
        "a delayed task isn't counted out",
        _DELAYING,
        "    state.delays.count -= 1\n",
        "    pass\n",
        "tasks long over would count against the bound of live ones",
    ),
    Mutant(
        "an earlier time is forgotten",
        _DELAYS,
        "min(self.next_due[rank], due_at)",
        "due_at",
        "a task would wait for the time of one that came after it",
    ),
    Mutant(
        "an earlier expiry is forgotten",
        _DELAYS,
        "min(self.next_expiry, expires_at)",
        "expires_at",
        "a task would be cancelled long after it has expired",
    ),
    Mutant(
        "the clock isn't looked at meanwhile",
        _DELAYS,
        "min(*waits_s, LOOK_AGAIN_S)",
        "min(waits_s)",
        "a clock that is set forward would go unnoticed",
    ),
    Mutant(
        "what is due and what has expired is read at one time",
        _DELAYING,
        "    elif delays.next_expiry <= at:\n",
        "    if delays.next_expiry <= at:\n",
        "a task that is both would be in two places",
    ),
    Mutant(
        "an expired task is leased",
        _TURNS,
        "if task.options is not None and is_expired(task, self._expired.at):",
        "if False:",
        "what failed once and waits again would start after its time",
    ),
    Mutant(
        "an expired suspect is leased",
        _SUSPECTS,
        "        if is_expired(task, expired.at):\n",
        "        if False:\n",
        "what was in a crash would start after its time",
    ),
    Mutant(
        "what has expired is let be",
        _DELAYING,
        "        if task is not None and task.status is TaskStatus.QUEUED:\n",
        "        if False:\n",
        "a delayed task would be taken out of its wait and be nowhere",
    ),
    Mutant(
        "what runs expires too",
        _DELAYING,
        "        if task is not None and task.status is TaskStatus.QUEUED:\n",
        "        if task is not None:\n",
        "a task would be cancelled while it runs",
    ),
    Mutant(
        "a task of no lane isn't looked for again",
        _DELAYING,
        "            delays.hold_off(stored, now)\n",
        "            pass\n",
        "it would wait for the next one that is due, or for ever",
    ),
    Mutant(
        "no end of asking for a task of no lane",
        _DELAYS,
        "        self.held_off_until = now + LOOK_AGAIN_S\n",
        "        pass\n",
        "turn after turn would read the store in vain",
    ),
    Mutant(
        "a task comes into its lane before its time",
        _SUBMISSION,
        "options.due_at > at:",
        "options.due_at > at + 1:",
        "a task would start before its eta",
    ),
    Mutant(
        "a failure isn't counted",
        _DELAYING,
        "task.failures + 1, task.key",
        "task.failures, task.key",
        "a task would be tried again without end",
    ),
    Mutant(
        "an attempt that is followed by another stays leased",
        _DELAYING,
        "        state.forget(task)\n        state.delays.add",
        "        state.delays.add",
        "its subworker would seem to run it, and a report of it count twice",
    ),
    Mutant(
        "an attempt that is followed by another isn't told of",
        _DELAYING,
        "TasksRetried(self.rows, self.waits, self.attempts)",
        "TasksRetried(self.rows, self.waits, self.attempts[:-1])",
        "nobody could find out why a task was tried again",
    ),
    Mutant(
        "the lease of a failed attempt is written later",
        _BOOK,
        "                    self._forget(row[3] for row in change.rows)\n",
        "                    pass\n",
        "a restart would find a lease of no task",
    ),
    Mutant(
        "a delayed task is adopted",
        _LEASING,
        "        if stored is None or stored.is_delayed:\n",
        "        if stored is None:\n",
        "a lease of an attempt that is over would be valid again",
    ),
    Mutant(
        "an id that is delayed isn't remembered as the greatest",
        _ENGINE,
        "                    self._note_ids(change.tasks)\n",
        "                    pass\n",
        "a submission that is sent again would be stored twice",
    ),
    Mutant(
        "the payload of a failed attempt is kept",
        _ENGINE,
        "                    self.payloads.discard(row[3] for row in change.rows)\n",
        "                    pass\n",
        "the cache would fill with what nobody takes",
    ),
    Mutant(
        "of what is due at one time only some is read",
        _STORE,
        "            next_due[rank:] = [-math.inf] * (4 - rank)\n",
        "            pass\n",
        "the others would wait for the next one that is due",
    ),
)

_BY_THE_CLOCK = (
    Mutant(
        "a run is submitted and its schedule stays where it was",
        _SCHEDULING,
        "    if put:\n        decision.changes.append(SchedulesAdvanced(put))\n",
        "",
        "after a crash it would run again",
    ),
    Mutant(
        "schedules aren't read at a start",
        _STORE,
        "            schedules=list(tables.schedules.values()),\n",
        "",
        "none of them would ever run again",
    ),
    Mutant(
        "a clock that is set isn't looked at while a schedule waits",
        _SCHEDULES,
        "        return max(0.0, min(wait_s, LOOK_AGAIN_S))\n",
        "        return max(0.0, wait_s)\n",
        "what is due by the clock that was set forward would wait for hours",
    ),
    Mutant(
        "a schedule goes back with the clock",
        _SCHEDULES,
        "    settled_at = max(settled_at, state.settled_at)\n",
        "",
        "what has run would come again",
    ),
    Mutant(
        "a run that is known is submitted again",
        _SCHEDULING,
        'Submit(0, 0, "", at, tasks, seen)',
        'Submit(0, 0, "", at, tasks)',
        "a schedule that was made anew after the clock was set back would run a time twice",
    ),
    Mutant(
        "what a restart has delayed is taken for missed",
        _SCHEDULES,
        "    if at - oldest <= late_s or spec.missed is MissedRuns.ALL:\n",
        "    if spec.missed is MissedRuns.ALL:\n",
        "of two runs that came due in a restart one would be lost",
    ),
    Mutant(
        "an outage is no outage",
        _SCHEDULES,
        "    if at - oldest <= late_s or spec.missed is MissedRuns.ALL:\n",
        "    if True:\n",
        "after a day all runs of a day would come at once",
    ),
    Mutant(
        "the window of missed runs has no end",
        _SCHEDULES,
        "            since = max(since, math.nextafter(window_begins_at, -math.inf))\n",
        "",
        "what is older than the window would be run",
    ),
    Mutant(
        "nobody asks whether the run before is over",
        _SCHEDULES,
        '    before = "" if spec.overlap is Overlap.ALLOW else state.last_task_id\n',
        '    before = ""\n',
        "runs that may not overlap would",
    ),
    Mutant(
        "a run that is only stored counts as over",
        _SCHEDULING,
        "    return task_id in state.tasks or task_id in command.stored\n",
        "    return task_id in state.tasks\n",
        "runs that may not overlap would, behind a long queue",
    ),
    Mutant(
        "the older run isn't cancelled",
        _SCHEDULING,
        "    if older:\n",
        "    if False:\n",
        "it was to make way for the newer one",
    ),
    Mutant(
        "runs that may not overlap are made several at a time",
        _SCHEDULES,
        "        limit = budget if spec.overlap is Overlap.ALLOW else 1\n",
        "        limit = budget\n",
        "the second can't look at the first, which nobody has stored",
    ),
    Mutant(
        "a paused schedule runs",
        _SCHEDULES,
        "    if state.next_at is None or state.is_paused or state.is_withdrawn:\n",
        "    if state.next_at is None or state.is_withdrawn:\n",
        "somebody has paused it",
    ),
    Mutant(
        "a withdrawn schedule runs",
        _SCHEDULES,
        "    if state.next_at is None or state.is_paused or state.is_withdrawn:\n",
        "    if state.next_at is None or state.is_paused:\n",
        "its definition has none any more",
    ),
    Mutant(
        "a run that there is no room for is taken for one that was",
        _SCHEDULING,
        "        elif refusal.code in _PASSING:\n",
        "        elif False:\n",
        "it would be lost, although there is room a moment later",
    ),
    Mutant(
        "what there was no room for is tried again at once",
        _SCHEDULES,
        "        self.held_off_until = now + LOOK_AGAIN_S\n",
        "",
        "the control plane would spin",
    ),
    Mutant(
        "jitter is left out",
        _SCHEDULES,
        "    return jittered(state.spec.timetable, state.spec.schedule_id, state.next_at)\n",
        "    return state.next_at\n",
        "a run would start at its time, with all others",
    ),
    Mutant(
        "whichever subworker connects last decides",
        _SCHEDULING,
        "        if found is not None and started_at <= found.decided_at:\n            continue\n",
        "",
        "an old version that connects anew would change the schedule of the new one",
    ),
    Mutant(
        "a definition that has no schedule any more keeps it",
        _SCHEDULING,
        "        return replace(found, is_withdrawn=True, decided_at=started_at)\n",
        "        return replace(found, decided_at=started_at)\n",
        "it would run for ever",
    ),
    Mutant(
        "there may be any number of schedules",
        _SCHEDULES,
        "            old is not None or len(self._by_id) < self._limits.schedules_max\n",
        "            True\n",
        "all of them are in memory",
    ),
    Mutant(
        "a turn submits any number of runs",
        _SCHEDULES,
        "            budget -= max(1, len(runs.runs))\n",
        "",
        "nobody else would be served meanwhile",
    ),
)

MUTANTS = (
    *_DURABILITY,
    *_FENCING,
    *_SUBMITTING,
    *_QUEUEING,
    *_SUBWORKERS,
    *_ENDING,
    *_TELLING,
    *_OFFERED,
    *_TIMING,
    *_WAITING,
    *QUEUE_MUTANTS,
    *BATCH_MUTANTS,
    *_BY_THE_CLOCK,
    *CONTEXT_MUTANTS,
)
