"""Own the SQL that runs after start-up; each statement is prepared once and kept by apsw."""

from __future__ import annotations

from fastqueue.core.lanes import SEQUENCE_BITS

_STORED_TASK = (
    "t.key, t.task_id, t.client, t.attempt, t.crashes, t.format, t.submitted_at,"
    " length(t.payload), t.callback_address, t.callback_data, t.failures, t.options,"
    " t.cancelling, CASE WHEN t.checkpointed THEN"
    " (SELECT length(c.value) FROM checkpoints c WHERE c.task_id = t.task_id) ELSE 0 END"
)

SET_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
GET_META = "SELECT value FROM meta WHERE name = ?"

ADD_LANE = "INSERT INTO lanes (lane_id, queue, rank, name, fair_key) VALUES (?, ?, ?, ?, ?)"
REMOVE_LANE = "DELETE FROM lanes WHERE lane_id = ?"
COUNT_LANE = "UPDATE lanes SET live = live + ? WHERE lane_id = ?"
LANES = "SELECT lane_id, queue, rank, name, live, fair_key FROM lanes ORDER BY lane_id"
REMOVE_IDLE_LANES = "DELETE FROM lanes WHERE live = 0"
LAST_KEY = "SELECT max(key) FROM tasks WHERE key BETWEEN ? AND ?"

ADD_TASK = (
    "INSERT INTO tasks (key, task_id, client, submitted_at, format, callback_address,"
    " callback_data, payload, options) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REMOVE_TASK = "DELETE FROM tasks WHERE key = ?"
SPEND_ATTEMPT = "UPDATE tasks SET attempt = ?, crashes = ? WHERE key = ?"
_LEASE = "l.token, l.worker, l.at_most_once"
_BELONGS = "d.queue, d.rank, d.name"
FIND_LIVE = (
    f"SELECT {_STORED_TASK}, {_LEASE}, {_BELONGS}, d.due FROM tasks t"
    " LEFT JOIN leases l USING (key) LEFT JOIN delayed d USING (key) WHERE t.task_id = ?"
)
READ_WINDOW = (
    f"SELECT {_STORED_TASK}, CASE WHEN length(t.payload) <= ?4 THEN t.payload END"
    " FROM tasks t WHERE t.key > ?1 AND t.key <= ?2 ORDER BY t.key LIMIT ?3"
)
COUNT_BEFORE = (
    "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE key >= ? AND key < ? ORDER BY key LIMIT ?)"
)
READ_PAYLOAD = "SELECT payload FROM tasks WHERE key = ?"

ADD_LEASE = "INSERT OR REPLACE INTO leases (key, token, worker, at_most_once) VALUES (?, ?, ?, ?)"
REMOVE_LEASE = "DELETE FROM leases WHERE key = ?"
LEASED = f"SELECT {_STORED_TASK}, {_LEASE} FROM leases l JOIN tasks t USING (key)"
REMOVE_ORPHANED_LEASES = "DELETE FROM leases WHERE key NOT IN (SELECT key FROM tasks)"

ADD_DELAYED = "INSERT INTO delayed (due, queue, rank, name, key) VALUES (?, ?, ?, ?, ?)"
REMOVE_DELAYED = "DELETE FROM delayed WHERE key = ?"
COUNT_DELAYED = "SELECT count(*) FROM delayed"
# The first of each rank after a time; the ranks are 0 to 3.
NEXT_DUE = "SELECT min(due) FROM delayed WHERE rank = ? AND due > ?"
READ_DUE = (
    f"SELECT {_STORED_TASK}, NULL, NULL, NULL, {_BELONGS}, d.due"
    " FROM delayed d JOIN tasks t USING (key)"
    " WHERE d.rank = ? AND d.due <= ? ORDER BY d.due, d.key LIMIT ?"
)
READ_DELAYED = (
    f"SELECT {_STORED_TASK}, NULL, NULL, NULL, {_BELONGS}"
    " FROM delayed d INDEXED BY delayed_by_key JOIN tasks t USING (key)"
    " WHERE d.key > ? AND d.key <= ? AND d.queue = ? ORDER BY d.key LIMIT ?"
)
# The value is in a table of its own, so that a large payload isn't written again with each.
SAVE_CHECKPOINT = "INSERT OR REPLACE INTO checkpoints (task_id, value) VALUES (?, ?)"
NOTE_CHECKPOINT = "UPDATE tasks SET checkpointed = 1 WHERE key = ? AND NOT checkpointed"
READ_CHECKPOINT = "SELECT value FROM checkpoints WHERE task_id = ?"
REMOVE_CHECKPOINT = "DELETE FROM checkpoints WHERE task_id = ?"
CHECKPOINTS_BYTES = "SELECT total(length(value)) FROM checkpoints"

NOTE_CANCEL = "UPDATE tasks SET cancelling = 1 WHERE key = ?"
MOVE_TASK = "UPDATE tasks SET key = ? WHERE key = ?"
RETRY_TASK = "UPDATE tasks SET key = ?, attempt = ?, failures = ? WHERE key = ?"

ADD_EXPIRY = "INSERT OR IGNORE INTO expiries (at, task_id) VALUES (?, ?)"
REMOVE_EXPIRY = "DELETE FROM expiries WHERE at = ? AND task_id = ?"
READ_EXPIRED = "SELECT at, task_id FROM expiries WHERE at <= ? ORDER BY at, task_id LIMIT ?"
NEXT_EXPIRY = "SELECT min(at) FROM expiries WHERE at > ?"

# A task that fails has a lane: it was leased, quarantined or refused.
ADD_DEAD_LETTER = (
    "INSERT OR REPLACE INTO dead_letters (died_at, task_id, name, queue, rank, attempt, format,"
    " callback_address, callback_data, options, error, traceback, payload)"
    " SELECT ?, t.task_id, l.name, l.queue, l.rank, ?, t.format, t.callback_address,"
    " t.callback_data, t.options, ?, ?, t.payload"
    f" FROM tasks t JOIN lanes l ON l.lane_id = t.key >> {SEQUENCE_BITS} WHERE t.key = ?"
)
LIST_DEAD_LETTERS = (
    "SELECT task_id, died_at, name, queue, rank, attempt, length(payload), error, traceback"
    " FROM dead_letters WHERE (died_at, task_id) > (?1, ?2) AND (?3 IS NULL OR name = ?3)"
    " AND (?4 IS NULL OR queue = ?4) ORDER BY died_at, task_id LIMIT ?5"
)
READ_DEAD_LETTER = (
    "SELECT name, rank, format, payload, callback_address, callback_data, queue, options"
    " FROM dead_letters WHERE task_id = ?"
)
REMOVE_DEAD_LETTER = "DELETE FROM dead_letters WHERE task_id = ?"
TRIM_DEAD_LETTERS = (
    "DELETE FROM dead_letters WHERE task_id IN"
    " (SELECT task_id FROM dead_letters ORDER BY died_at, task_id LIMIT ?)"
)
COUNT_DEAD_LETTERS = "SELECT count(*), total(length(payload)) FROM dead_letters"

ADD_BATCH_TASK = "INSERT INTO batch_tasks (batch_id, task_id) VALUES (?, ?)"
REMOVE_BATCH_TASK = "DELETE FROM batch_tasks WHERE batch_id = ? AND task_id = ?"
LIST_BATCH = (
    "SELECT task_id FROM batch_tasks WHERE batch_id = ? AND task_id > ? ORDER BY task_id LIMIT ?"
)
COUNT_BATCH = (
    "INSERT OR REPLACE INTO batches (batch_id, created_at, changed_at, submitted, success,"
    " failure, cancelled) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
FORGET_BATCH = "DELETE FROM batches WHERE batch_id = ?"
BATCHES = (
    "SELECT batch_id, created_at, changed_at, submitted, success, failure, cancelled FROM batches"
)

ADD_ATTEMPT = (
    "INSERT OR REPLACE INTO attempts (task_id, attempt, started_at, completed_at, worker_id,"
    " error, traceback) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
READ_ATTEMPTS = (
    "SELECT task_id, attempt, started_at, completed_at, worker_id, error, traceback FROM attempts"
    " WHERE task_id = ? ORDER BY attempt"
)
REMOVE_ATTEMPTS = "DELETE FROM attempts WHERE task_id = ?"
HAS_ATTEMPTS = "SELECT EXISTS (SELECT 1 FROM attempts)"

ADD_RESULT = (
    "INSERT INTO results (task_id, accessed, recorded_at, size, status, name, attempt, format,"
    " started_at, completed_at, worker_id, error, traceback, result)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ACCESS_RESULT = "UPDATE results SET accessed = ? WHERE task_id = ?"
REMOVE_RESULT = "DELETE FROM results WHERE task_id = ?"
READ_RESULT = (
    "SELECT task_id, status, name, attempt, format, result, error, traceback, started_at,"
    " completed_at, worker_id FROM results WHERE task_id = ?"
)
READ_STATUS = "SELECT task_id, status FROM results WHERE task_id = ?"
RESULT_INDEX = "SELECT task_id, size, recorded_at, accessed FROM results ORDER BY accessed"

# By generation, 0 and 1.
ADD_TOMBSTONE = tuple(f"INSERT OR IGNORE INTO tombstones_{n} (task_id) VALUES (?)" for n in (0, 1))
COUNT_TOMBSTONES = tuple(f"SELECT count(*) FROM tombstones_{n}" for n in (0, 1))
DROP_TOMBSTONES = tuple(f"DELETE FROM tombstones_{n}" for n in (0, 1))
IS_EVICTED = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM tombstones_0 WHERE task_id = ?1)"
    " OR EXISTS (SELECT 1 FROM tombstones_1 WHERE task_id = ?1)"
)
IS_KNOWN = (
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM tasks WHERE task_id = ?1)"
    " OR EXISTS (SELECT 1 FROM results WHERE task_id = ?1)"
    " OR EXISTS (SELECT 1 FROM tombstones_0 WHERE task_id = ?1)"
    " OR EXISTS (SELECT 1 FROM tombstones_1 WHERE task_id = ?1)"
)
GREATEST_ID = (
    "SELECT max(coalesce((SELECT max(task_id) FROM tasks), ''),"
    " coalesce((SELECT max(task_id) FROM results), ''),"
    " coalesce((SELECT max(task_id) FROM tombstones_0), ''),"
    " coalesce((SELECT max(task_id) FROM tombstones_1), ''))"
)

ADD_CALLBACK = (
    "INSERT INTO callbacks (number, address, owed_at, task_id, status, started_at, completed_at,"
    " error, data, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
REMOVE_CALLBACK = "DELETE FROM callbacks WHERE number = ?"
READ_CALLBACKS = (
    "SELECT number, owed_at, address, task_id, status, result, error, started_at, completed_at,"
    " data FROM callbacks WHERE address = ? ORDER BY number LIMIT ?"
)
CALLBACKS_OWED = "SELECT address, count(*) FROM callbacks GROUP BY address"
LAST_CALLBACK = "SELECT coalesce(max(number), 0) FROM callbacks"

PUT_SCHEDULE = (
    "INSERT OR REPLACE INTO schedules (settled_at, next_at, is_paused, fired, left_out,"
    " last_task_id, last_at, decided_at, is_withdrawn, schedule_id, spec)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADVANCE_SCHEDULE = (
    "UPDATE schedules SET settled_at = ?, next_at = ?, is_paused = ?, fired = ?, left_out = ?,"
    " last_task_id = ?, last_at = ?, decided_at = ?, is_withdrawn = ? WHERE schedule_id = ?"
)
REMOVE_SCHEDULE = "DELETE FROM schedules WHERE schedule_id = ?"
SCHEDULES = (
    "SELECT spec, settled_at, next_at, is_paused, fired, left_out, last_task_id, last_at,"
    " decided_at, is_withdrawn FROM schedules ORDER BY schedule_id"
)

SET_QUEUE = (
    "INSERT OR REPLACE INTO queues (name, is_paused, weight, ageing_s, wait_limit_s)"
    " VALUES (?, ?, ?, ?, ?)"
)
REMOVE_QUEUE = "DELETE FROM queues WHERE name = ?"
QUEUES = "SELECT name, is_paused, weight, ageing_s, wait_limit_s FROM queues"
SET_PURGE = "INSERT OR REPLACE INTO purges (queue, last_sequence) VALUES (?, ?)"
END_PURGE = "DELETE FROM purges WHERE queue = ?"
PURGES = "SELECT queue, last_sequence FROM purges"

SET_RUN_LIMIT = (
    "INSERT OR REPLACE INTO run_limits (scope, name, is_each, is_defined, concurrency, rate, burst,"
    " weight) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
REMOVE_RUN_LIMIT = (
    "DELETE FROM run_limits WHERE scope = ? AND name = ? AND is_each = ? AND is_defined = ?"
)
RUN_LIMITS = (
    "SELECT scope, name, is_each, is_defined, concurrency, rate, burst, weight FROM run_limits"
)
MARK_RATE = (
    "INSERT OR REPLACE INTO rate_marks (scope, name, is_each, fair_key, full_at)"
    " VALUES (?, ?, ?, ?, ?)"
)
FORGET_RATES = "DELETE FROM rate_marks WHERE full_at <= ?"
RATE_MARKS = "SELECT scope, name, is_each, fair_key, full_at FROM rate_marks WHERE full_at > ?"

HOLD_UNIQUE = "INSERT OR REPLACE INTO uniques (name, key, task_id, until) VALUES (?, ?, ?, ?)"
FIND_HOLDER = "SELECT task_id, until FROM uniques WHERE name = ? AND key = ?"
FORGET_UNIQUES = "DELETE FROM uniques WHERE until <= ?"
# Those that end last are kept.
TRIM_UNIQUES = (
    "DELETE FROM uniques WHERE until < (SELECT until FROM uniques ORDER BY until DESC LIMIT 1"
    " OFFSET ?)"
)
