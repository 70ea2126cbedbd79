-- How often the task's own code failed, and what its submission asked for beyond its definition.
ALTER TABLE tasks ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN options BLOB;
-- Whether somebody has asked for it to be cancelled while it ran: it isn't leased again.
ALTER TABLE tasks ADD COLUMN cancelling INTEGER NOT NULL DEFAULT 0;

-- When tasks are due that wait for a time; their keys are those of lane 0. By rank, so that of what
-- is due at once the most urgent can be had first.
CREATE TABLE delayed (
    rank  INTEGER NOT NULL,
    due   REAL    NOT NULL,
    key   INTEGER NOT NULL,
    queue TEXT    NOT NULL,
    name  TEXT    NOT NULL,
    PRIMARY KEY (rank, due, key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX delayed_by_key ON delayed (key);

-- When tasks aren't to be started any more. A row may outlast its task.
CREATE TABLE expiries (
    at      REAL NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (at, task_id)
) STRICT, WITHOUT ROWID;

-- Attempts that failed and were followed by another; the last one is in `results`.
CREATE TABLE attempts (
    task_id      TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    started_at   REAL    NOT NULL,
    completed_at REAL    NOT NULL,
    worker_id    TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    traceback    TEXT,
    PRIMARY KEY (task_id, attempt)
) STRICT, WITHOUT ROWID;

-- Tasks that failed for good, with all that a submission has, to be queued again under another id.
CREATE TABLE dead_letters (
    died_at          REAL    NOT NULL,
    task_id          TEXT    NOT NULL UNIQUE,
    name             TEXT    NOT NULL,
    queue            TEXT    NOT NULL,
    rank             INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    format           INTEGER NOT NULL,
    callback_address TEXT,
    callback_data    BLOB,
    options          BLOB,
    error            TEXT    NOT NULL,
    traceback        TEXT,
    payload          BLOB    NOT NULL,
    PRIMARY KEY (died_at, task_id)
) STRICT, WITHOUT ROWID;
