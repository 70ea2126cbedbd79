-- Schedules: what each is (an encoded record), and how far it has come. Every nominal time up to
-- `settled_at` is dealt with; `next_at` is the next one, NULL if there is none.
CREATE TABLE schedules (
    schedule_id  TEXT    PRIMARY KEY,
    settled_at   REAL    NOT NULL,
    next_at      REAL,
    is_paused    INTEGER NOT NULL,
    fired        INTEGER NOT NULL,
    left_out     INTEGER NOT NULL,
    last_task_id TEXT    NOT NULL,
    last_at      REAL,
    decided_at   REAL    NOT NULL,
    is_withdrawn INTEGER NOT NULL,
    spec         BLOB    NOT NULL
) STRICT;
