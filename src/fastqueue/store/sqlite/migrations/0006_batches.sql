-- Batches: how many tasks were submitted under a name, and how many of them ended how. The times are
-- those of the first task and of the last change.
CREATE TABLE batches (
    batch_id   TEXT PRIMARY KEY,
    created_at REAL    NOT NULL,
    changed_at REAL    NOT NULL,
    submitted  INTEGER NOT NULL,
    success    INTEGER NOT NULL,
    failure    INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The live tasks of batches, to be found when a batch is cancelled.
CREATE TABLE batch_tasks (
    batch_id TEXT NOT NULL,
    task_id  TEXT NOT NULL,
    PRIMARY KEY (batch_id, task_id)
) STRICT, WITHOUT ROWID;
