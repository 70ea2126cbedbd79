-- A lane is also of one fair key; it is empty for what has none.
CREATE TABLE lanes_of_keys (
    lane_id  INTEGER PRIMARY KEY,
    queue    TEXT    NOT NULL,
    rank     INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    live     INTEGER NOT NULL DEFAULT 0,
    fair_key TEXT    NOT NULL DEFAULT '',
    UNIQUE (queue, rank, name, fair_key)
) STRICT;
INSERT INTO lanes_of_keys (lane_id, queue, rank, name, live)
    SELECT lane_id, queue, rank, name, live FROM lanes;
DROP TABLE lanes;
ALTER TABLE lanes_of_keys RENAME TO lanes;

-- Queues with settings of their own.
CREATE TABLE queues (
    name         TEXT PRIMARY KEY,
    is_paused    INTEGER NOT NULL,
    weight       REAL    NOT NULL,
    ageing_s     REAL,
    wait_limit_s REAL
) STRICT, WITHOUT ROWID;

-- Queues that are being purged: what they have up to this sequence number goes.
CREATE TABLE purges (
    queue         TEXT PRIMARY KEY,
    last_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What limits how many tasks run at once, and begin in a time; told by a task definition, or set.
CREATE TABLE run_limits (
    scope       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    is_each     INTEGER NOT NULL,
    is_defined  INTEGER NOT NULL,
    concurrency INTEGER,
    rate        REAL,
    burst       INTEGER NOT NULL,
    weight      REAL    NOT NULL,
    PRIMARY KEY (scope, name, is_each, is_defined)
) STRICT, WITHOUT ROWID;

-- When the bucket of each rate is full again.
CREATE TABLE rate_marks (
    scope    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    is_each  INTEGER NOT NULL,
    fair_key TEXT    NOT NULL,
    full_at  REAL    NOT NULL,
    PRIMARY KEY (scope, name, is_each, fair_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX rate_marks_by_time ON rate_marks (full_at);

-- Which task holds which unique key of a task name, and until when.
CREATE TABLE uniques (
    name    TEXT NOT NULL,
    key     TEXT NOT NULL,
    task_id TEXT NOT NULL,
    until   REAL NOT NULL,
    PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX uniques_by_time ON uniques (until);
