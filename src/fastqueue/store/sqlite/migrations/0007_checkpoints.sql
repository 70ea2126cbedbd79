-- What an attempt has saved for the next one. Apart from the task, whose payload may be large and
-- would be written again with each value; the task's row says whether there is one.
CREATE TABLE checkpoints (
    task_id TEXT PRIMARY KEY,
    value   BLOB NOT NULL
) STRICT;

ALTER TABLE tasks ADD COLUMN checkpointed INTEGER NOT NULL DEFAULT 0;
