-- Results that were applied: one row for each run whose ackUrl was called.
CREATE TABLE acks (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    run    INTEGER NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (job_id, run)
) WITHOUT ROWID;

-- The groups where an ack has ever been seen. It stays when the jobs are purged: elsewhere nobody sends any, and a
-- missing one says nothing.
CREATE TABLE ack_groups (
    name  TEXT PRIMARY KEY,
    since REAL NOT NULL
) WITHOUT ROWID;

ALTER TABLE deliveries ADD COLUMN grp TEXT NOT NULL DEFAULT 'default';
ALTER TABLE deliveries ADD COLUMN reminded_at REAL;
UPDATE deliveries SET grp = coalesce((SELECT grp FROM jobs WHERE id = job_id), 'default');

-- What was delivered and never acknowledged, and of that what nobody was reminded of yet: both without looking at
-- the rest, which may be a million.
CREATE INDEX deliveries_unacked ON deliveries (grp, reminded_at, finished_at, job_id, run)
WHERE state = 'delivered' AND acked_at IS NULL;
