-- Whether the leased task is never to be run a second time; such a lease is stored before it is sent.
ALTER TABLE leases ADD COLUMN at_most_once INTEGER NOT NULL DEFAULT 0;
