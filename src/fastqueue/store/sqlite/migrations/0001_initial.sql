-- Facts about the store itself: the control plane's id, the boot epoch.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per (queue, priority, task name). `live` counts its rows in `tasks`, so that a start
-- needn't.
CREATE TABLE lanes (
    lane_id INTEGER PRIMARY KEY,
    queue   TEXT    NOT NULL,
    rank    INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    live    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (queue, rank, name)
) STRICT;

-- Tasks that aren't terminal. The key is the lane and a sequence number: each lane is stored in
-- FIFO order, and its window is read by a range scan that needs no index.
CREATE TABLE tasks (
    key              INTEGER PRIMARY KEY,
    task_id          TEXT    NOT NULL UNIQUE,
    client           TEXT    NOT NULL,
    submitted_at     REAL    NOT NULL,
    format           INTEGER NOT NULL,
    attempt          INTEGER NOT NULL DEFAULT 0,
    crashes          INTEGER NOT NULL DEFAULT 0,
    callback_address TEXT,
    callback_data    BLOB,
    payload          BLOB    NOT NULL
) STRICT;

-- Leases that have lasted long enough to be written.
CREATE TABLE leases (
    key    INTEGER PRIMARY KEY,
    token  INTEGER NOT NULL,
    worker TEXT    NOT NULL
) STRICT;

-- Terminal tasks. What is read at every start comes first in the row, what may be large last.
CREATE TABLE results (
    task_id      TEXT PRIMARY KEY,
    accessed     INTEGER NOT NULL,
    recorded_at  REAL    NOT NULL,
    size         INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    format       INTEGER NOT NULL,
    started_at   REAL,
    completed_at REAL,
    worker_id    TEXT,
    error        TEXT,
    traceback    TEXT,
    result       BLOB
) STRICT, WITHOUT ROWID;

-- Ids whose result is evicted, so that they are told from unknown ones and never run again.
-- Two generations: one is filled, and when it is full the other, older one is emptied and filled.
-- `meta` says which is the younger.
CREATE TABLE tombstones_0 (
    task_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones_1 (
    task_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Callbacks owed; `number` gives the order.
CREATE TABLE callbacks (
    number       INTEGER PRIMARY KEY,
    address      TEXT    NOT NULL,
    owed_at      REAL    NOT NULL,
    task_id      TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    started_at   REAL,
    completed_at REAL,
    error        TEXT,
    data         BLOB    NOT NULL,
    result       BLOB
) STRICT;

CREATE INDEX callbacks_by_address ON callbacks (address, number);

-- Task names that some subworker has offered.
CREATE TABLE names (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
