"""Own the faults that the world of whole processes must catch, each planted alone.

They lie in what only that world runs: the client, the subworker, the link between them and the
server. Those in the engine, the core and the store are in `tests.simulation.mutants`.
"""

from __future__ import annotations

from tests.simulation.mutants import Mutant

__all__ = ["STACK_MUTANTS"]

_SUBMISSIONS = "client/submissions.py"
_CLIENT = "client/connection.py"
_REQUESTS = "client/requests.py"
_RESULTS = "client/results.py"
_LIFECYCLE = "client/lifecycle.py"
_DIALER = "link/dialer.py"
_CONNECTION = "link/connection.py"
_RUNTIME = "subworker/runtime.py"
_HELD = "subworker/held.py"
_REPORTS = "subworker/reports.py"
_OUTCOMES = "subworker/outcomes.py"
_SUBWORKER = "subworker/app.py"
_HEARTBEAT = "subworker/heartbeat.py"
_SERVER = "control_plane/server.py"
_SESSION = "control_plane/session.py"
_ADMISSION = "control_plane/admission.py"
_HANDSHAKE = "protocol/handshake.py"
_CALLBACKS = "control_plane/callbacks.py"

_SUBMITTING = (
    Mutant(
        "a submission is sent again under a new id",
        _SUBMISSIONS,
        "            batch.tries += 1\n",
        """            if batch.tries:
                batch.tasks = [
                    type(t)(t.task_id + "x", t.name, t.rank, t.format, t.payload)
                    for t in batch.tasks
                ]
            batch.tries += 1
""",
        "one submission is two tasks if the first was stored and its acknowledgement lost",
    ),
    Mutant(
        "what wasn't acknowledged is forgotten with its connection",
        _SUBMISSIONS,
        """                batch.retries_left -= 1
                self._wait_in_front(batch)
""",
        "                batch.retries_left -= 1\n",
        "a lost connection would cost a submission that has retries left",
    ),
    Mutant(
        "an acknowledgement is counted twice",
        _SUBMISSIONS,
        """        self._sent_tasks -= len(batch.tasks)
        self._sent_bytes -= batch.size_bytes
        if batch.deadline is not None:
""",
        """        self._sent_tasks -= 2 * len(batch.tasks)
        self._sent_bytes -= 2 * batch.size_bytes
        if batch.deadline is not None:
""",
        "the window opens further with each acknowledgement",
    ),
    Mutant(
        "the window has no bound",
        _SUBMISSIONS,
        "or (self._sent_tasks < _WINDOW_TASKS and self._sent_bytes < _WINDOW_BYTES)",
        "or True",
        "the control plane would have to hold all of a client's backlog",
    ),
    Mutant(
        "retries aren't counted",
        _SUBMISSIONS,
        "                batch.retries_left -= 1\n",
        "",
        "retries=0 promises that nothing is sent twice",
    ),
    Mutant(
        "a refusal spends no retry",
        _SUBMISSIONS,
        "_Batch(of.retries_left - 1, of.expires_at)",
        "_Batch(of.retries_left, of.expires_at)",
        "retries bound how often a submission is sent",
    ),
    Mutant(
        "a submission has no deadline",
        _SUBMISSIONS,
        "_Batch(self._retries, self._loop.time() + self._timeout_s)",
        "_Batch(self._retries, self._loop.time() + 9 * self._timeout_s)",
        "a call takes no longer than its timeout",
    ),
    Mutant(
        "a refusal is taken for an acknowledgement",
        _SUBMISSIONS,
        "            if refusal is None:\n",
        "            if True:\n",
        "a task is said to be stored that isn't",
    ),
    Mutant(
        "what was refused for now isn't sent again",
        _SUBMISSIONS,
        """            self._start_deadline(batch)
            self._wait_in_front(batch)
            self._pump()
""",
        "            self._pump()\n",
        "its caller waits for ever",
    ),
    Mutant(
        "a hint when to come back is ignored",
        _SUBMISSIONS,
        "wait_s, why = max(wait_s, refusal.retry_after_s + pause_s), refusal",
        "wait_s, why = pause_s, refusal",
        "a control plane with no room is asked again and again",
    ),
    Mutant(
        "the pause before a retry may outlast the call",
        _SUBMISSIONS,
        "elif self._may_retry(batch, refusal, refusal.retry_after_s + pause_s):",
        "elif self._may_retry(batch, refusal, refusal.retry_after_s):",
        "a call takes no longer than its timeout",
    ),
    Mutant(
        "a client that closes doesn't wait for acknowledgements",
        _LIFECYCLE,
        "        await connection.submissions.flushed()\n",
        "",
        "aclose promises that what was submitted is acknowledged or has failed",
    ),
)

_ASKING = (
    Mutant(
        "unanswered requests aren't sent again",
        _REQUESTS,
        "        if bodies:\n            connection.send_all(bodies)\n",
        "",
        "a lost connection would cost an answer",
    ),
    Mutant(
        "answered requests are kept",
        _REQUESTS,
        "            self._unanswered.pop(request, None)\n",
        "            pass\n",
        "a client would fill up and ask all of it again on every connection",
    ),
    Mutant(
        "half an answer outlives its connection",
        _REQUESTS,
        "        self._connection = None\n        self._parts.clear()\n",
        "        self._connection = None\n",
        "its beginning would come twice",
    ),
    Mutant(
        "results that were missed aren't asked for",
        _CLIENT,
        "        if unfinished:\n",
        "        if False:\n",
        "who waits for a result whose push was lost waits in vain",
    ),
    Mutant(
        "what the control plane may not have yet is asked for",
        _RESULTS,
        "        awaited = (i for i in self._waiters if i not in self._unacknowledged)\n",
        "        awaited = (i for i in self._waiters)\n",
        "a task on its way would be called unknown, and its caller told that it expired",
    ),
    Mutant(
        "nobody is told that a result can't be had",
        _RESULTS,
        """                if not waiter.done():
                    waiter.set_result(None)
""",
        "                pass\n",
        "who waits for an unknown task waits in vain",
    ),
    Mutant(
        "waiters that have given up are kept",
        _RESULTS,
        "            waiters.remove(waiter)\n",
        "            return\n",
        "a client would fill up, and ask for them on every connection",
    ),
    Mutant(
        "a stopped client leaves its requests waiting",
        _CLIENT,
        "        self.requests.fail_all(error)\n",
        "",
        "calls that wait when the client stops are told so",
    ),
)

_CONNECTING = (
    Mutant(
        "a connection that has ended isn't made again",
        _DIALER,
        "                    await self._use(connection, greeting)\n",
        "                    await self._use(connection, greeting)\n                    return\n",
        "clients and subworkers come back by themselves",
    ),
    Mutant(
        "no backoff",
        _DIALER,
        "await self._pause(pause_s or backoff_s(failures, _BACKOFF_FIRST_S, _BACKOFF_MAX_S))",
        "await self._pause(pause_s)",
        "a control plane that starts would be flooded by all who wait for it",
    ),
    Mutant(
        "an announcement wakes nobody",
        _DIALER,
        "        self._announced.set()\n        if self._attempt",
        "        if self._attempt",
        "whoever heard none yet waits in vain",
    ),
    Mutant(
        "an attempt that took too long leaves its connection open",
        _DIALER,
        "        except BaseException:\n            connection.abort()\n            raise\n",
        "        except BaseException:\n            raise\n",
        "the control plane would serve a session that nobody uses",
    ),
    Mutant(
        "nobody is told that the peer has caught up",
        _CONNECTION,
        "        if self._on_writable is not None:\n            self._on_writable(self)\n",
        "",
        "what was held back meanwhile is never sent",
    ),
)

_RUNNING = (
    Mutant(
        "reports aren't sent again",
        _REPORTS,
        "        self._unsent = deque(self._unacknowledged)\n",
        "        self._unsent = deque()\n",
        "an outcome is lost with the connection that carried it",
    ),
    Mutant(
        "a subworker that comes back names nothing that it holds",
        _RUNTIME,
        "            held,\n            self._at_most_once,\n",
        "            [],\n            self._at_most_once,\n",
        "what it runs would be run again, although it was back in time",
    ),
    Mutant(
        "an outcome has the token of another lease",
        _OUTCOMES,
        "        lease.token,\n        True,\n",
        "        lease.token - 1,\n        True,\n",
        "it is refused, and the task never ends",
    ),
    Mutant(
        "a lease is forgotten as soon as it is reported",
        _RUNTIME,
        "                self.reports.new.append(outcome)\n",
        "                self.reports.new.append(outcome)\n"
        "                self.held.forget(outcome.task_id)\n",
        "a report that was lost is of a lease that isn't named, so the task is run again",
    ),
    Mutant(
        "a new capacity isn't told",
        _RUNTIME,
        "self.held.note_ended(ended) and not self._is_draining:",
        "self.held.note_ended(ended) and False:",
        "credits would be lost: the control plane would lease too few, or too many",
    ),
    Mutant(
        "what is given back isn't told",
        _HELD,
        "            self._send(msg.GiveBack(returned))\n",
        "            pass\n",
        "the control plane would believe it here for ever",
    ),
    Mutant(
        "what a drain interrupts isn't given back",
        _RUNTIME,
        "        self.held.give_back(lease for lease in unfinished if lease.name",
        "        (lease for lease in unfinished if lease.name",
        "a task would fail because its subworker was stopped",
    ),
    Mutant(
        "a drain doesn't wait for what runs",
        _RUNTIME,
        "            async with asyncio.timeout(grace_s):\n",
        "            async with asyncio.timeout(0):\n",
        "running tasks have the grace time to end",
    ),
    Mutant(
        "more runs than there are slots",
        _RUNTIME,
        "        free = self._slots - len(self.running.tasks)\n",
        "        free = 1 + self._slots - len(self.running.tasks)\n",
        "concurrency is what the user set",
    ),
    Mutant(
        "an acknowledged report ends a newer lease",
        _RUNTIME,
        "            if lease is not None and lease.token == outcome.token:\n",
        "            if lease is not None:\n",
        "the newer lease's outcome would never be reported",
    ),
    Mutant(
        "nobody is told what is to run at most once",
        _RUNTIME,
        "            held,\n            self._at_most_once,\n",
        "            held,\n            [],\n",
        "it would be run again when its subworker dies",
    ),
    Mutant(
        "what a drain interrupts is given back although it may run only once",
        _RUNTIME,
        "stopped = [lease for lease in unfinished if lease.name in self._at_most_once]",
        "stopped = [lease for lease in unfinished if lease.name in ()]",
        "it would end as cancelled, or run a second time",
    ),
    Mutant(
        "no heartbeats",
        _SUBWORKER,
        "        self._heartbeats.start()\n",
        "",
        "a subworker whose loop is blocked would be declared dead",
    ),
    Mutant(
        "heartbeats are too rare",
        _HEARTBEAT,
        "INTERVAL_S = 2.0\n",
        "INTERVAL_S = 40.0\n",
        "an idle subworker would be declared dead",
    ),
)

_SERVING = (
    Mutant(
        "sessions that have ended are kept",
        _SERVER,
        "            del self._by_number[session.number]\n            if session.hello",
        "            if session.hello",
        "the control plane fills up",
    ),
    Mutant(
        "frames go to the session before",
        _SERVER,
        """        found = self._by_number.get(session)
        if found is not None:
            found.connection.send_all(bodies)
""",
        """        found = self._by_number.get(session - 1) or self._by_number.get(session)
        if found is not None:
            found.connection.send_all(bodies)
""",
        "somebody gets another's answers",
    ),
    Mutant(
        "nobody notices that a session has ended",
        _SERVER,
        "                self._engine.put(cmd.SessionLost(session.number))\n",
        "                pass\n",
        "what a killed subworker held would never be run elsewhere",
    ),
    Mutant(
        "nobody notices that heartbeats have ended",
        _SERVER,
        "cmd.HeartbeatLost(session.number, session.hello.instance)",
        "cmd.HeartbeatLost(session.number, session.hello.name)",
        "a blocked subworker that is gone would be waited for",
    ),
    Mutant(
        "who was held back is never read again",
        _SERVER,
        "        for connection in held_back:\n            self._read(connection)\n",
        "",
        "it would never be heard again",
    ),
    Mutant(
        "peers are let in while the disk is full",
        _SERVER,
        "        elif self._engine.is_full:\n",
        "        elif False:\n",
        "the core that knows them is about to be thrown away",
    ),
    Mutant(
        "sessions outlive a full disk",
        _SERVER,
        "            session.connection.abort(ProtocolError(reason))\n\n    def is_writable",
        "\n    def is_writable",
        "a core rebuilt from the store knows nothing of them",
    ),
    Mutant(
        "who has said hello is timed out all the same",
        _SERVER,
        """        if session.hello_timer is not None:
            session.hello_timer.cancel()
        self._strangers""",
        "        self._strangers",
        "every session would end after five seconds",
    ),
    Mutant(
        "a submission is put down to another client",
        _SESSION,
        "message.request, hello.instance, at",
        "message.request, hello.name, at",
        "its results would be pushed to nobody",
    ),
)

_ADMITTING = (
    Mutant(
        "any token will do",
        _ADMISSION,
        "        if not fits:\n",
        "        fits = fits or [*self._tokens][:1]\n        if not fits:\n",
        "a stranger would be let in",
    ),
    Mutant(
        "a token will do for any role",
        _ADMISSION,
        '        if name not in ("token", "token_admin", wanted):\n',
        "        if False:\n",
        "who may only run tasks could submit them, and the reverse",
    ),
    Mutant(
        "whoever asks for no proof is believed",
        _HANDSHAKE,
        "        if self._nonce is None:\n            raise HandshakeRefused(\n",
        "        if self._nonce is None:\n            return\n"
        "            raise HandshakeRefused(\n",
        "tasks would be told to a control plane that isn't ours",
    ),
    Mutant(
        "who may submit may inspect",
        _ADMISSION,
        '            may_inspect=name != "token_submit",\n',
        "            may_inspect=True,\n",
        "a client could look at what is others'",
    ),
    Mutant(
        "a forbidden address is called back",
        _SESSION,
        "                        self._check_callback(new.callback.address)\n",
        "                        pass\n",
        "the control plane would dial wherever it is told",
    ),
    Mutant(
        "callbacks that were broken off count as delivered",
        _CALLBACKS,
        "delivered = [owed.number for owed in callbacks[:count]]",
        "delivered = [owed.number for owed in callbacks]",
        "a listener that wasn't there would never be told",
    ),
    Mutant(
        "a delivery that failed isn't accounted for",
        _CALLBACKS,
        "        delivered = [owed",
        "        if not count:\n            return\n        delivered = [owed",
        "its address would stay taken",
    ),
)

STACK_MUTANTS = (*_SUBMITTING, *_ASKING, *_CONNECTING, *_RUNNING, *_SERVING, *_ADMITTING)
