-- Deliveries by destination: which answers, which is slowed down, and what waits for each.

ALTER TABLE deliveries ADD COLUMN opened_at REAL NOT NULL DEFAULT 0;
UPDATE deliveries SET opened_at = created_at;
-- When the next try was due after this one; NULL: there was none.
ALTER TABLE posts ADD COLUMN next_due REAL;

-- The next of each destination is one step in this index, however many wait behind it.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (destination, due_at) WHERE state = 'pending';

-- Destinations that have failed lately; those that answer have no row.
CREATE TABLE destinations (
    name          TEXT PRIMARY KEY,
    failures      INTEGER NOT NULL,
    failing_since REAL,
    slowed_at     REAL,
    probes        INTEGER NOT NULL,
    successes     INTEGER NOT NULL,
    not_before    REAL NOT NULL,
    last_error    TEXT
) WITHOUT ROWID;

-- Addresses that have answered 410.
CREATE TABLE gone (
    url TEXT PRIMARY KEY,
    at  REAL NOT NULL
) WITHOUT ROWID;
